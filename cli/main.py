"""The command line `spikeloom`."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from spikeloom import __version__
from spikeloom.cli import (
    build,
    classify,
    compile,
    data,
    demo,
    energy,
    estimate,
    import_,
    info,
    models,
    nir,
    program,
    quantize,
    regress,
    similarity,
    simulate,
    sweep,
    train,
)
from spikeloom.cli.console import json_alone, visible
from spikeloom.cli.options import spread
from spikeloom.common.folders import building_in
from spikeloom.common.process import end_like_interrupt
from spikeloom.flow.errors import user_message

USER_ERROR = 2
BUG = 70
INTERRUPTED = 130
BUILD_DIR = "--build-dir"

app = typer.Typer(
    name="spikeloom",
    help="From a trained spiking vision transformer to an FPGA bitstream, bit-exact at every step.",
    epilog="Without arguments the commands use the shipped digits model. Try: spikeloom demo",
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
COMMANDS = (
    *(demo, train, sweep, quantize, models, info, similarity, estimate, energy),
    *(classify, compile, simulate, regress, build, program),
)
for command in COMMANDS:
    app.command(epilog=command.EXAMPLE)(spread(getattr(command, command.__name__.rpartition(".")[2])))
app.add_typer(data.app, name="data")
app.add_typer(nir.app, name="nir")
app.command("import", epilog=import_.EXAMPLE)(import_.import_)
app.command("generate", epilog=compile.EXAMPLE, help="The same as compile.")(spread(compile.compile))


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    build_dir: Annotated[
        Path | None,
        typer.Option(
            BUILD_DIR,
            metavar="DIR",
            help="Where all commands write and look for what was made, unless -o says otherwise; also behind the "
            "command. Default: SPIKELOOM_BUILD, or build.",
        ),
    ] = None,
) -> None:
    if version:
        print(f"spikeloom {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())
    context.with_resource(building_in(build_dir))


def run(arguments: Sequence[str]) -> int:
    """Run a command; the exit code: 0 success, 1 a result that is not as wanted, 2 a user's mistake, 70 a bug of ours,
    130 interrupted. With ``--json`` a failure is one JSON object too, with the line as "error".
    """
    as_json = "--json" in arguments
    with json_alone() if as_json else contextlib.nullcontext():
        code, message = _outcome(arguments)
    if message is not None:
        if as_json:
            print(json.dumps({"error": message}))
        print(f"spikeloom: {visible(message)}", file=sys.stderr)
    return code


def _outcome(arguments: Sequence[str]) -> tuple[int, str | None]:
    """Exit code and, where something went wrong, the line that says what."""
    command = typer.main.get_command(app)
    try:
        code = command.main(args=_with_build_dir_first(arguments), prog_name="spikeloom", standalone_mode=False)
        if code == INTERRUPTED:  # what typer makes of it
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0, None
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED, "interrupted; the same command continues where it stopped"
    except Exception as error:
        message = user_message(error)
        if message is None or os.environ.get("SPIKELOOM_DEBUG"):
            traceback.print_exc()
        if message is None:
            said = f"a bug of SpikeLoom, please report it with the lines above: {type(error).__name__}: {error}"
            return BUG, " ".join(said.split())
        return USER_ERROR, message


def _with_build_dir_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with ``--build-dir`` before the command, where an option of all commands has its place."""
    first: list[str] = []
    others: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--":
            others += [argument, *waiting]
        elif argument == BUILD_DIR:
            value = list(itertools.islice(waiting, 1))
            if not value:
                return [argument]  # what Typer says of it is right
            first += [argument, *value]
        elif argument.startswith(f"{BUILD_DIR}="):
            first.append(argument)
        else:
            others.append(argument)
    return first + others


def main() -> None:
    """The console script."""
    end_like_interrupt()
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
