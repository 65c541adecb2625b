"""`spikeloom program`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from spikeloom.cli.console import emit, note
from spikeloom.cli.options import DEFAULT_BOARD, DEFAULT_MODEL, AsJson
from spikeloom.common.folders import folder_of

EXAMPLE = "Example: spikeloom program --board ulx3s-85f --flash"


def program(
    bitstream: Annotated[Path | None, typer.Argument(help="Default: that of the digits model for the board.")] = None,
    board: Annotated[str, typer.Option(metavar="NAME", help="Of amaranth-boards.")] = DEFAULT_BOARD,
    flash: Annotated[bool, typer.Option("--flash", help="Into the flash: stays when power goes.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say the command.")] = False,
    as_json: AsJson = False,
) -> None:
    """Load a bitstream into a board, through openFPGALoader."""
    from spikeloom.gen.targets import target
    from spikeloom.gen.toolchain import program_board

    chosen = target(board)
    path = bitstream or folder_of(DEFAULT_MODEL) / chosen.name / "spikeloom.bit"
    command, said = program_board.program(chosen, path, flash=flash, dry_run=dry_run)
    if said:
        note(said.strip())
    record = {
        "board": chosen.name,
        "bitstream": path,
        "flash": flash,
        "dry_run": dry_run,
        "command": command,
        "programmed": not dry_run,
    }
    emit(record, shlex.join(command) if dry_run else f"{chosen.name} runs {path}", as_json=as_json)
