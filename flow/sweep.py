"""A sweep: its runs as jobs, its tables and its page in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeloom.common.files import write_text

if TYPE_CHECKING:
    from spikeloom.golden.training.sweep import Sweep
    from spikeloom.golden.training.sweep_tables import Table
    from spikeloom.jobs.engine import Tally
    from spikeloom.jobs.results import Record

RESULTS, REPORT, RUNS, FIGURE = "results.jsonl", "report.md", "runs.csv", "figure.svg"
ON_CORE = 8
"""Images whose cycles are estimated."""


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What the runs of a sweep came to."""

    plan: Sweep
    """What was wanted."""
    folder: Path
    """Of all files: `RESULTS`, `REPORT`, `RUNS`, `FIGURE` where the sweep has lines, and a folder for each run."""
    records: dict[str, Record]
    """Of each run, by its key."""

    @property
    def results(self) -> dict[str, Any]:
        """What each run measured; None where it failed."""
        return {key: record.result for key, record in self.records.items()}

    @property
    def failures(self) -> dict[str, str]:
        """Why runs failed, in one line, by their key."""
        return {key: record.error or "" for key, record in self.records.items() if not record.done}

    def tables(self, which: str | None = None) -> list[Table]:
        """Like the paper's; which: I, III or IV, all when None."""
        from spikeloom.golden.training.sweep_tables import tables

        return tables(self.plan, self.results, None if which is None else [which])

    def record(self, tables: list[Table]) -> dict[str, Any]:
        """As `spikeloom sweep --json` has it."""
        return {
            "sweep": self.plan.name,
            "results": self.folder / RESULTS,
            "report": self.folder / REPORT,
            "runs": [
                {"run": x.key, "status": x.status, "error": x.error, **(x.result or {})} for x in self.records.values()
            ],
            "failed": self.failures,
            "tables": {x.name: {"title": x.title, "rows": x.records} for x in tables},
        }


def sweep(
    plan: Sweep,
    folder: Path,
    *,
    data: Path | None,
    command: str,
    progress: Callable[[Tally], None],
    scheduler: str | None = None,
    workers: int | None = None,
) -> Swept:
    """Run what is missing of a sweep, then write its page, its table of runs and its figure.

    data: folder of the data set's files. command: what the page says it was made with. scheduler, workers, and what is
    raised: see `jobs.engine.run`.
    """
    from functools import partial

    from spikeloom.golden.training import sweep_tables
    from spikeloom.golden.training.sweep_figure import draw
    from spikeloom.golden.training.sweep_point import check_results
    from spikeloom.jobs.engine import run

    files = None if data is None else str(data.absolute())
    function = partial(run_on_core, runs=str((folder / "runs").absolute()), data=files)
    records = run(function, plan.arguments(), folder / RESULTS, scheduler=scheduler, workers=workers, progress=progress)
    found = Swept(plan=plan, folder=folder, records=records)
    check_results(found.results, folder / RESULTS)
    write_text(folder / REPORT, sweep_tables.report(plan, found.results, found.failures, command))
    write_text(folder / RUNS, sweep_tables.as_csv(plan, found.results))
    if plan.lines:
        draw(plan, found.results, folder / FIGURE)
    return found


def run_on_core(**arguments: Any) -> dict[str, Any]:
    """What `run_point` makes of a job, with "cycles": of an image on the smallest core that holds the network, the mean
    over `ON_CORE` held-out images, estimated.
    """
    from spikeloom.gen.estimate import Activity, estimate
    from spikeloom.gen.sizing import plan_smallest
    from spikeloom.golden.data import datasets
    from spikeloom.golden.models import checkpoints
    from spikeloom.golden.network.execute import execute
    from spikeloom.golden.quantization.quantize import quantize
    from spikeloom.golden.training.run_config import from_mapping
    from spikeloom.golden.training.sweep_point import CHECKPOINT, folder_of, run_point

    result = run_point(**arguments)
    model, _ = checkpoints.load(Path(arguments["runs"]) / folder_of(arguments["key"], arguments["run"]) / CHECKPOINT)
    network, data = quantize(model), from_mapping(arguments["run"]).data
    held_out = datasets.open_images(data.name, "test", arguments.get("data") or data.folder, size=data.size)
    images = held_out.batch(datasets.spread_out(len(held_out.labels), min(ON_CORE, len(held_out.labels))))
    done, plan = execute(network, images, record=True), plan_smallest(network)
    cycles = 0
    for i in range(len(images)):
        tensors, spikes = ({name: x[:, i] for name, x in known.items()} for known in (done.tensors, done.spikes))
        cycles += estimate(plan, Activity(tensors=tensors, spikes=spikes)).cycles
    return {**result, "cycles": cycles / len(images)}
