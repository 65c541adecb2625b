"""Many cores for one network, side by side: how fast each is, what it costs, whether it fits a board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from dataclasses import fields as fields_of
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeloom.common.cache import code_hash
from spikeloom.common.files import data_hash, writable_folder, written_aside

if TYPE_CHECKING:
    from spikeloom.flow.progress import Bars
    from spikeloom.gen.cells import CoreCells
    from spikeloom.gen.explore import Candidate, Choice
    from spikeloom.gen.scanner_walk import Activity
    from spikeloom.gen.targets import Target
    from spikeloom.golden.network import Network
    from spikeloom.jobs.engine import Tally
    from spikeloom.rtl.core.config import CoreConfig

RESULTS, FIGURE, NETWORK, ACTIVITY = "cores.jsonl", "cores.svg", "network.safetensors", "activity.npz"
CORES_OF_A_JOB = 4
SLACK = 1.05
"""Cores of which one is no more than this worse than another in everything are one to whoever chooses."""


class ExplorationError(Exception):
    """A job failed: which, and why."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A core that was looked at."""

    core: CoreConfig
    """Its sizes."""
    cycles: int
    """Of an image, estimated."""
    ms: float
    """Likewise, at the clock that was asked for."""
    cells: CoreCells
    """Predicted."""
    fits: bool
    """Whether the board has room for it."""

    def costs(self) -> tuple[float, ...]:
        """What less is better of: milliseconds, cells, block memories."""
        return self.ms, self.cells.cells, self.cells.block_rams


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """What was found."""

    network: str
    """Its name."""
    board: str
    """Its name."""
    clock_mhz: float
    """For the milliseconds."""
    tried: int
    """Cores that run the network, of all sizes."""
    points: tuple[Point, ...]
    """Those that were estimated: what the coarse estimate left in the running."""
    front: tuple[Point, ...]
    """Of these the ones that no other is as good as in everything, but for `SLACK`; the fastest first."""
    best: Choice | None
    """What is best for the board; None where nothing fits."""
    figure: Path
    """The picture."""

    def record(self) -> dict[str, Any]:
        """As `spikeloom estimate --explore --json` has it."""
        return {
            "network": self.network,
            "board": self.board,
            "clock_mhz": self.clock_mhz,
            "cores_tried": self.tried,
            "cores_estimated": len(self.points),
            "front": [
                asdict(point) | {"luts_and_carries": point.cells.cells, "best": self.is_best(point)}
                for point in self.front
            ],
            "best": None if self.best is None else self.best.candidate.config,
            "why": None if self.best is None else self.best.why,
            "figure": self.figure,
        }

    def is_best(self, point: Point) -> bool:
        """Whether a point is the best for the board."""
        return self.best is not None and point.core == self.best.candidate.config


def explore(
    network: Network,
    activities: Sequence[Activity],
    board: Target,
    sizes: dict[str, Any],
    folder: Path,
    shown: Bars,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
) -> Exploration:
    """Every size that makes a difference, estimated where the coarse estimate leaves it in the running.

    activities: what images make spike; cycles are their mean. board: its clock is for the milliseconds. sizes: fields
    of `CoreConfig` that are kept. folder: of what the jobs read and write, which a cluster's workers must see, and of
    the picture. What was estimated before is not again. scheduler, workers, and what is raised: see `jobs.engine.run`;
    CompileError where no core of the sizes runs the network.
    """
    from spikeloom.flow.exploration_figure import draw
    from spikeloom.gen.errors import CompileError
    from spikeloom.gen.explore import ALL, best, candidates, front, in_the_running, legal_sizes

    advance = shown.bar("coarse estimate", len(legal_sizes(network, ALL, sizes)))
    tried = candidates(network, ALL, sizes, advance)
    try:
        choice = best(network, board, sizes)
    except CompileError:
        choice = None
    running = in_the_running(tried)
    if choice is not None and choice.candidate.config not in {x.config for x in running}:
        running.append(choice.candidate)
    where = {"scheduler": scheduler, "workers": workers}
    cycles = _estimated(network, activities, running, writable_folder(folder), shown, **where)
    clock_mhz = board.clock_hz / 1e6
    points = tuple(
        Point(core=x.config, cycles=n, ms=n / clock_mhz / 1000, cells=x.cells, fits=x.fits(board))
        for x, n in zip(running, cycles, strict=True)
    )
    found = Exploration(
        network=network.name,
        board=board.name,
        clock_mhz=clock_mhz,
        tried=len(tried),
        points=points,
        front=tuple(front(points, Point.costs, SLACK)),
        best=choice,
        figure=folder / FIGURE,
    )
    draw(found, found.figure)
    return found


def _estimated(
    network: Network,
    activities: Sequence[Activity],
    cores: Sequence[Candidate],
    folder: Path,
    shown: Bars,
    **where: Any,
) -> list[int]:
    """Cycles of an image on each core, by jobs."""
    from spikeloom.jobs.engine import run

    network.save(folder / NETWORK)
    arrays: dict[str, Any] = _arrays(activities)
    with written_aside(folder / ACTIVITY) as aside, aside.open("wb") as file:
        np.savez(file, **arrays)
    inputs = {"network": str((folder / NETWORK).absolute()), "activity": str((folder / ACTIVITY).absolute())}
    digest = f"{_content_hash(network, arrays)} {code_hash('golden', 'rtl', 'gen', 'flow')}"
    jobs = {}
    for first in range(0, len(cores), CORES_OF_A_JOB):
        some = [asdict(x.config) for x in cores[first : first + CORES_OF_A_JOB]]
        jobs[f"cores {first}"] = {**inputs, "digest": digest, "cores": some}
    advance = shown.bar("estimate", len(jobs))

    def progress(state: Tally) -> None:
        advance(state.done + state.failed)

    records = run(cycles_on, jobs, folder / RESULTS, progress=progress, **where)
    for record in records.values():
        if not record.done:
            raise ExplorationError(f"{record.key}: {record.error}")
    return [cycles for record in records.values() for cycles in record.result["cycles"]]


def cycles_on(*, network: str, activity: str, digest: str, cores: list[dict[str, Any]]) -> dict[str, Any]:
    """The job, on a worker: mean cycles of the images on each core. digest: of both files."""
    from spikeloom.gen.estimate import estimate
    from spikeloom.gen.plan import make_plan
    from spikeloom.rtl.core.config import CoreConfig

    known, activities = _loaded(network, activity, digest)
    plans = [make_plan(known, CoreConfig(**core)) for core in cores]
    return {"cycles": [round(sum(estimate(plan, x).cycles for x in activities) / len(activities)) for plan in plans]}


def _content_hash(network: Network, arrays: dict[str, np.ndarray]) -> str:
    """Of the layers and of what spikes: files of both differ from one time to the next."""
    fields = {
        f"{layer.name} {field.name}": getattr(layer, field.name)
        for layer in network.layers
        for field in fields_of(layer)
    }
    parts = []
    for key, value in (fields | arrays | {"": network.image_shape}).items():
        content = value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
        parts.append(f"{key} {getattr(value, 'shape', '')} ".encode() + content)
    return data_hash(b"".join(parts))


def _arrays(activities: Sequence[Activity]) -> dict[str, np.ndarray]:
    """All of them, for one file."""
    return {
        f"{index}/{kind}/{name}": array
        for index, activity in enumerate(activities)
        for kind in ("tensors", "spikes")
        for name, array in getattr(activity, kind).items()
    }


@lru_cache(maxsize=1)
def _loaded(network: str, activity: str, digest: str) -> tuple[Network, list[Activity]]:
    """What both files hold, for all jobs of a worker."""
    from spikeloom.gen.scanner_walk import Activity
    from spikeloom.golden.network import Network

    parts: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    with np.load(activity, allow_pickle=False) as arrays:
        for key in arrays:
            index, kind, name = key.split("/", 2)
            parts.setdefault(index, {"tensors": {}, "spikes": {}})[kind][name] = arrays[key]
    return Network.load(network), [Activity(**x) for x in parts.values()]
