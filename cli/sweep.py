"""`spikeloom sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spikeloom.cli.console import bars, emit, note, pairs, percent, table
from spikeloom.cli.options import AsJson, TrainingData
from spikeloom.common.files import writable_folder
from spikeloom.common.folders import folder_of
from spikeloom.flow import sweep as flow

if TYPE_CHECKING:
    from spikeloom.flow.sweep import Swept
    from spikeloom.jobs.engine import Tally

EXAMPLE = "Example: spikeloom sweep examples/sweep_digits.yaml --table IV"


def sweep(
    file: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="A base run, what to change in it, the tables.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Default: build/<name of the sweep>.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Dask scheduler such as tcp://10.0.0.1:8786. Default: processes here."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes here. Default: the processor cores.")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the base run; may be repeated.")
    ] = None,
    data: TrainingData = None,
    which: Annotated[
        Literal["I", "III", "IV", "all"], typer.Option("--table", help="Which table of the paper to print.")
    ] = "all",
    as_json: AsJson = False,
) -> None:
    """Train and measure every run of a grid, and print tables like the paper's.

    A sweep that was stopped, or extended in its file, runs what is missing; what failed is tried again.
    """
    from spikeloom.golden.training.sweep import load

    plan = load(file, change or [])
    folder = writable_folder(output or folder_of(plan.name))
    with bars() as shown:
        advance = shown.bar(plan.name, len(plan.jobs))

        def progress(state: Tally) -> None:
            advance(state.done + state.failed, stage=_line(state))

        where: dict[str, Any] = {"scheduler": scheduler, "workers": workers}
        command = f"spikeloom sweep {file}"
        found = flow.sweep(plan, folder, data=data, command=command, progress=progress, **where)
    tables = found.tables(None if which == "all" else which)
    shown_tables = (table(x.title, x.columns, x.rows) for x in tables)
    emit(found.record(tables), *shown_tables, pairs("Sweep", _summary(found)), as_json=as_json)
    for key, error in found.failures.items():
        note(f"failed: {key}: {error}")
    if found.failures:
        raise typer.Exit(1)


def _line(state: Tally) -> str:
    failed = f"{state.failed} failed  " if state.failed else ""
    if state.last is None:
        return failed
    said = percent(state.last.result["accuracy"]) if state.last.done else state.last.error
    return f"{failed}last: {said}"


def _summary(found: Swept) -> list[tuple[str, Any]]:
    records = found.records.values()
    return [
        ("runs", f"{sum(x.done for x in records)} of {len(found.plan.jobs)}"),
        ("seconds of all runs", round(sum(x.seconds for x in records))),
        ("report", str(found.folder / flow.REPORT)),
        ("a row a run", str(found.folder / flow.RUNS)),
        ("results", str(found.folder / flow.RESULTS)),
    ]
