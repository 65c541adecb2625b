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

RESULTS, REPORT, RUNS = "results.jsonl", "report.md", "runs.csv"


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What the runs of a sweep came to."""

    plan: Sweep
    """What was wanted."""
    folder: Path
    """Of all files: `RESULTS`, `REPORT`, `RUNS` and a folder for each run."""
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
    """Run what is missing of a sweep, then write its page and its table of runs.

    data: folder of the data set's files. command: what the page says it was made with. scheduler, workers, and what is
    raised: see `jobs.engine.run`.
    """
    from functools import partial

    from spikeloom.golden.training import sweep_tables
    from spikeloom.golden.training.sweep_point import check_results, run_point
    from spikeloom.jobs.engine import run

    files = None if data is None else str(data.absolute())
    function = partial(run_point, runs=str((folder / "runs").absolute()), data=files)
    records = run(function, plan.arguments(), folder / RESULTS, scheduler=scheduler, workers=workers, progress=progress)
    found = Swept(plan=plan, folder=folder, records=records)
    check_results(found.results, folder / RESULTS)
    write_text(folder / REPORT, sweep_tables.report(plan, found.results, found.failures, command))
    write_text(folder / RUNS, sweep_tables.as_csv(plan, found.results))
    return found
