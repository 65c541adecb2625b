"""From a bitstream to a configured board, through openFPGALoader."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from spikeloom.common.process import ToolError, find_tool, run
from spikeloom.gen.targets import Target, target_names

_TOOL = "openFPGALoader"
_VARIABLE = "OPENFPGALOADER"

# Options that name the board, or its cable where openFPGALoader 0.10 (Debian 12) has no name for the board.
_BOARDS = {
    "ulx3s": ("-b", "ulx3s"),
    "ecpix5": ("-b", "ecpix5"),
    "ecp5-5g-evn": ("-b", "ecp5_evn"),
    "versa-ecp5": ("-c", "ft2232"),
    "icepi-zero": ("-c", "ft231X"),
    "colorlight-5a75b-r7-0": ("-c", "ft232"),
}
_ABSENT = re.compile(r"device not found|no device|not found|-3\b", re.IGNORECASE)
_DENIED = re.compile(
    r"permission|denied|LIBUSB_ERROR_ACCESS|usb_open\(?\)? failed|unable to open ftdi device: -[48]\b",
    re.IGNORECASE,
)


class ProgramError(ToolError):
    """The board was not programmed; one line that says what to do."""


def programmer_command(target: Target, bitstream: str | Path, *, flash: bool = False) -> list[str]:
    """Command line that configures the board: its memory until power goes, or its flash.

    Raises ValueError for a board that openFPGALoader does not know.
    """
    for family, options in _BOARDS.items():
        if target.name == family or target.name.startswith(f"{family}-"):
            where = "--write-flash" if flash else "--write-sram"
            return [os.environ.get(_VARIABLE, _TOOL), *options, where, str(bitstream)]
    programmable = [name for name in target_names() if any(name.startswith(family) for family in _BOARDS)]
    raise ValueError(
        f"{_TOOL} does not program {target.name!r}, use its own tool; it programs {', '.join(programmable)}"
    )


def program(
    target: Target, bitstream: str | Path, *, flash: bool = False, dry_run: bool = False
) -> tuple[list[str], str]:
    """Configure the board; the command and what it said. A dry run only gives the command.

    Raises
    ------
    ValueError
        For a board that openFPGALoader does not know.
    ProgramError
        Where the bitstream, the tool, the board or the permission is missing.
    """
    command = programmer_command(target, bitstream, flash=flash)
    if dry_run:
        return command, ""
    if not Path(bitstream).is_file():
        raise ProgramError(f"there is no bitstream {bitstream}: build it first")
    command[0] = find_tool(command[0], install="sudo apt install openfpgaloader", error=ProgramError)
    try:
        return command, "\n".join(run(command, folder=".", error=ProgramError))
    except ProgramError as error:
        raise ProgramError(_explain(target, error.lines, error.status)) from None


def _explain(target: Target, lines: Sequence[str], status: int | None) -> str:
    said = [line.strip() for line in lines if line.strip()]
    whole = "\n".join(said)
    line = next(
        (line for line in said if re.search(r"error|unable|fail|cannot|denied|not found", line, re.IGNORECASE)),
        said[-1] if said else f"nothing, exit status {status}",
    )
    if _DENIED.search(whole):
        return (
            f"no permission to use the board ({_TOOL}: {line}): install its udev rules (Debian's package "
            "openfpgaloader has them), run sudo udevadm control --reload-rules && sudo udevadm trigger, "
            "and plug the board in again"
        )
    if _ABSENT.search(whole):
        return f"no {target.name} found ({_TOOL}: {line}): is it connected and powered?"
    return f"{_TOOL} failed: {line}"
