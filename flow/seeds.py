"""Placements with several seeds, side by side: on the cores here, or on a Dask cluster."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikeloom.gen.toolchain.build import PlaceAll, Synthesised
    from spikeloom.gen.toolchain.reports import BuildReport
    from spikeloom.jobs.engine import Tally


def placer(*, scheduler: str | None = None, workers: int | None = None) -> PlaceAll:
    """What places all seeds of a netlist.

    scheduler: address of a Dask scheduler, whose workers see the build's folder; None takes processes here.
    workers: how many of those, the processor cores when None.
    """
    if scheduler is not None:
        return partial(_on_cluster, scheduler=scheduler)
    return partial(_here, workers=workers or len(os.sched_getaffinity(0)))


def _here(
    netlist: Synthesised, seeds: Sequence[int], done: Callable[[BuildReport], None], *, workers: int
) -> list[BuildReport]:
    """A thread waits for the tools of each seed; the first failure, or an interrupt, ends all of them."""
    from spikeloom.gen.toolchain.build import seed_folder

    stop, reports = threading.Event(), []
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(netlist.place, seed, seed_folder(netlist, seed), stop=stop) for seed in seeds]
        try:
            for future in as_completed(futures):
                reports.append(future.result())
                done(reports[-1])
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    return reports


def _on_cluster(
    netlist: Synthesised, seeds: Sequence[int], done: Callable[[BuildReport], None], *, scheduler: str
) -> list[BuildReport]:
    """A job for each seed. BuildError with the first failure, once all have ended."""
    from dataclasses import asdict
    from pathlib import Path

    from spikeloom.gen.toolchain.build import SEEDS
    from spikeloom.gen.toolchain.environment import BuildError
    from spikeloom.gen.toolchain.reports import BuildReport
    from spikeloom.jobs.engine import run

    def progress(state: Tally) -> None:
        if state.last is not None and state.last.done:
            done(BuildReport.from_dict(state.last.result))

    jobs = {str(seed): {"netlist": asdict(netlist), "seed": seed} for seed in seeds}
    results = Path(netlist.folder, SEEDS, "results.jsonl")
    results.parent.mkdir(exist_ok=True)
    results.unlink(missing_ok=True)  # what lies in the seeds' folders says what is done
    records = run(_place, jobs, results, scheduler=scheduler, progress=progress)
    for record in records.values():
        if not record.done:
            raise BuildError(f"seed {record.key}: {record.error}")
    return [BuildReport.from_dict(record.result) for record in records.values()]


def _place(netlist: dict[str, Any], seed: int) -> dict[str, Any]:
    """The job, on a worker."""
    from spikeloom.gen.toolchain.build import Synthesised, seed_folder

    design = Synthesised(**netlist)
    return design.place(seed, seed_folder(design, seed)).as_dict()
