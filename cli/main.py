"""The command line `spikeloom`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from spikeloom import __version__
from spikeloom.cli import (
    build,
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
from spikeloom.cli.console import json_alone
from spikeloom.flow.errors import user_message

USER_ERROR = 2
INTERRUPTED = 130

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
    *(compile, simulate, regress, build, program),
)
for command in COMMANDS:
    app.command(epilog=command.EXAMPLE)(getattr(command, command.__name__.rpartition(".")[2]))
app.add_typer(data.app, name="data")
app.add_typer(nir.app, name="nir")
app.command("import", epilog=import_.EXAMPLE)(import_.import_)
app.command("generate", epilog=compile.EXAMPLE, help="The same as compile.")(compile.compile)


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"spikeloom {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


def run(arguments: Sequence[str]) -> int:
    """Run a command; the exit code: 0 success, 1 a result that is not as wanted, 2 a user's mistake."""
    as_json = "--json" in arguments
    command = typer.main.get_command(app)
    message = ""
    with json_alone() if as_json else contextlib.nullcontext():
        try:
            code = command.main(args=list(arguments), prog_name="spikeloom", standalone_mode=False)
            if code == INTERRUPTED:  # what typer makes of it
                raise KeyboardInterrupt
            return code if isinstance(code, int) else 0
        except (KeyboardInterrupt, typer.Abort):
            message, code = "interrupted; the same command continues where it stopped", INTERRUPTED
        except Exception as error:
            found = user_message(error)
            if found is None or os.environ.get("SPIKELOOM_DEBUG"):
                traceback.print_exc()
            if found is None:
                print("This is a bug of SpikeLoom: please report it with the lines above.", file=sys.stderr)
                return 70
            message, code = found, USER_ERROR
    if as_json:
        print(json.dumps({"error": message}))
    print(f"spikeloom: {message}", file=sys.stderr)
    return code


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
