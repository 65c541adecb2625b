"""`spikeloom sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spikeloom.cli.console import bars, emit, note, pairs, percent, table
from spikeloom.cli.options import AsJson, TrainingData
from spikeloom.common.folders import folder_of

if TYPE_CHECKING:
    from spikeloom.golden.training.sweep import Sweep
    from spikeloom.jobs.engine import Tally
    from spikeloom.jobs.results import Record

EXAMPLE = "Example: spikeloom sweep examples/sweep_digits.yaml --table IV"
RESULTS, REPORT, RUNS = "results.jsonl", "report.md", "runs.csv"


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
    from functools import partial

    from spikeloom.common.files import writable_folder, write_text
    from spikeloom.golden.training import sweep as golden
    from spikeloom.golden.training import sweep_tables
    from spikeloom.jobs.engine import run

    plan = golden.load(file, change or [])
    folder = writable_folder(output or folder_of(plan.name))
    function = partial(golden.run_point, runs=str((folder / "runs").absolute()), data=_absolute(data))
    with bars() as shown:
        advance = shown.bar(plan.name, len(plan.jobs))

        def progress(state: Tally) -> None:
            advance(state.done + state.failed, stage=_line(state))

        options: dict[str, Any] = dict(scheduler=scheduler, workers=workers, progress=progress)
        records = run(function, plan.arguments(), folder / RESULTS, **options)
    results = {key: record.result for key, record in records.items()}
    failures = {key: record.error or "" for key, record in records.items() if not record.done}
    page = sweep_tables.report(plan, results, failures, f"spikeloom sweep {file}")
    for name, text in ((REPORT, page), (RUNS, sweep_tables.as_csv(plan, results))):
        write_text(folder / name, text)
    made = sweep_tables.tables(plan, results, None if which == "all" else [which])
    emit(
        {
            "sweep": plan.name,
            "results": folder / RESULTS,
            "report": folder / REPORT,
            "runs": [_run(record) for record in records.values()],
            "failed": failures,
            "tables": {x.name: {"title": x.title, "rows": x.records} for x in made},
        },
        *(table(x.title, x.columns, x.rows) for x in made),
        pairs("Sweep", _summary(plan, records, folder)),
        as_json=as_json,
    )
    for key, error in failures.items():
        note(f"failed: {key}: {error}")
    if failures:
        raise typer.Exit(1)


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def _line(state: Tally) -> str:
    failed = f"{state.failed} failed  " if state.failed else ""
    if state.last is None:
        return failed
    said = percent(state.last.result["accuracy"]) if state.last.done else state.last.error
    return f"{failed}last: {said}"


def _run(record: Record) -> dict[str, Any]:
    return {"run": record.key, "status": record.status, "error": record.error, **(record.result or {})}


def _summary(plan: Sweep, records: dict[str, Record], folder: Path) -> list[tuple[str, Any]]:
    return [
        ("runs", f"{sum(x.done for x in records.values())} of {len(plan.jobs)}"),
        ("seconds of all runs", round(sum(x.seconds for x in records.values()))),
        ("report", str(folder / REPORT)),
        ("a row a run", str(folder / RUNS)),
        ("results", str(folder / RESULTS)),
    ]
