"""Cores that could run a network: every size that makes a difference, what each costs, which of them is best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import Any, TypeVar

from spikeloom.gen.cells import CoreCells, core_cells
from spikeloom.gen.coarse_estimate import coarse_cycles
from spikeloom.gen.errors import CompileError
from spikeloom.gen.plan import Plan
from spikeloom.gen.resources import check_device
from spikeloom.gen.sizing import SHAPE, plan_smallest
from spikeloom.gen.targets import Target
from spikeloom.golden.network import Network
from spikeloom.rtl.core.config import LANE_GROUPS, MOST_LANES, CoreConfig

Sizes = Mapping[str, Any]
Grid = Mapping[str, Sequence[int]]
"""Sizes that are tried, by field of `CoreConfig`."""

LANES = (4, 8, *range(16, MOST_LANES + 1, 16))
ALL: Grid = {
    "lanes": LANES,
    "columns": (1, 2, 4, 8),
    "banks": (1, 2, 4, 8),
    "word": (4, 8, 16, 32, 64),
    "neuron_lanes": (1, 2, 4, 8, 16, 32),
}
"""All that an exploration tries: every size but those that no network is faster with."""
LIKELY: Grid = {"lanes": LANES, "banks": (1, 2, 4, 8), "neuron_lanes": (4, 8, 16)}
"""What a choice is made from: a column costs as many accumulators as the lanes have and saves less than a bank does;
words of other than 32 bits are within some per cent."""

FILL = 0.85
"""Share of a device's look-up tables and flip-flops that a core may take: the host's bridge needs some, the router too.
A rule of thumb, not measured."""
CLOSE = 1.2
"""A core is out of the running where another one costs no more and is that much faster by the coarse estimate, which is
off by half of it at most."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """A core that runs a network, and what it costs."""

    plan: Plan
    """How it does."""
    cycles: float
    """Of an image of random spikes, by the coarse estimate."""

    @property
    def config(self) -> CoreConfig:
        """All its sizes."""
        return self.plan.config

    @property
    def sizes(self) -> dict[str, int]:
        """Those that were tried."""
        return {name: getattr(self.config, name) for name in SHAPE}

    @cached_property
    def cells(self) -> CoreCells:
        """Predicted."""
        return core_cells(self.config)

    def fits(self, device: Target) -> bool:
        """Whether the device has room for it."""
        room = FILL * device.luts
        cells = self.cells
        return cells.sites <= room and cells.flip_flops <= room and cells.block_rams <= device.block_rams

    def costs(self) -> tuple[float, ...]:
        """What less is better of: cycles, cells, block memories."""
        return self.cycles, self.cells.cells, self.cells.block_rams


def candidates(
    network: Network, grid: Grid, chosen: Sizes, progress: Callable[[int], None] | None = None
) -> list[Candidate]:
    """The smallest core of each size of the grid that runs the network; `chosen` fields of `CoreConfig` are kept.

    progress: called with the sizes that were tried so far.

    Raises
    ------
    CompileError
        where no core of these sizes runs it: the first reason.
    ValueError
        for sizes that no core has.
    """
    found: list[Candidate] = []
    reason: CompileError | None = None
    for number, sizes in enumerate(legal_sizes(network, grid, chosen), 1):
        try:
            plan = plan_smallest(network, **sizes)
            found.append(Candidate(plan=plan, cycles=coarse_cycles(plan)))
        except CompileError as error:
            reason = reason or error
        if progress is not None:
            progress(number)
    if not found:
        raise CompileError(f"{reason}")
    return found


def legal_sizes(network: Network, grid: Grid, chosen: Sizes) -> list[dict[str, Any]]:
    """Sizes of the grid that a core can have, but for lanes that no layer makes use of. ValueError where none can."""
    tried = {name: [chosen[name]] if name in chosen else list(values) for name, values in grid.items()}
    if "lanes" not in chosen:
        tried["lanes"] = list(_useful_lanes(network, tried["lanes"]))
    given = {name: value for name, value in chosen.items() if name not in tried}
    found, reason = [], None
    for values in product(*tried.values()):
        sizes = given | dict(zip(tried, values, strict=True))
        try:
            CoreConfig(**sizes)
            found.append(sizes)
        except ValueError as error:
            reason = reason or error
    if not found:
        raise ValueError(f"{reason}")
    return found


def _useful_lanes(network: Network, lanes: Iterable[int]) -> Iterator[int]:
    """Those that save a tile, or let the layer that reads the image compute more positions at once."""
    before = None
    for number in sorted(lanes):
        tiles = tuple(-(-layer.channels_out // number) for layer in network.layers)
        groups = tuple(
            min(LANE_GROUPS, number // layer.channels_out).bit_length() for layer in network.layers if layer.direct
        )
        if (tiles, groups) != before:
            yield number
        before = tiles, groups


def front(points: Sequence[T], costs: Callable[[T], Sequence[float]], slack: float = 1.0) -> list[T]:
    """The points that no other is as good as, by what less is better of; of equal ones the first. The first cost rises.

    slack: how much worse in each cost, as a factor, another is still as good: more than 1 leaves fewer, of which those
    with the least product of costs come first.
    """
    found: list[tuple[Sequence[float], T]] = []
    for cost, point in sorted(((costs(x), x) for x in points), key=lambda pair: prod(pair[0])):
        if not any(all(a <= slack * b for a, b in zip(other, cost, strict=True)) for other, _ in found):
            found.append((cost, point))
    return [point for _, point in sorted(found, key=lambda pair: tuple(pair[0]))]


def in_the_running(found: Sequence[Candidate]) -> list[Candidate]:
    """Candidates that could be on the front of a better estimate than the coarse one; see `CLOSE`."""
    best = [x.costs() for x in front(found, Candidate.costs)]

    def beaten(candidate: Candidate) -> bool:
        cycles, *others = candidate.costs()
        return any(
            CLOSE * first <= cycles and all(a <= b for a, b in zip(rest, others, strict=True)) for first, *rest in best
        )

    return [x for x in found if not beaten(x)]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The best core for a network on a device."""

    candidate: Candidate
    """The core."""
    fitting: int
    """Cores that fit, of those that were tried."""
    device: str
    """Its name."""

    @property
    def why(self) -> str:
        """In a line."""
        return (
            f"{self.candidate.config.summary}: the least cells times cycles of {self.fitting} cores that fit "
            f"{self.device}"
        )


def best(network: Network, device: Target, chosen: Sizes) -> Choice:
    """The core with the least product of cells and cycles that fits; `chosen` fields of `CoreConfig` are kept.

    Raises
    ------
    CompileError
        where no core of these sizes runs the network, or none fits: why the one of the fewest block memories does not.
    """
    found = candidates(network, LIKELY, chosen)
    fitting = [x for x in found if x.fits(device)]
    if not fitting:
        least = min(found, key=lambda x: (x.cells.block_rams, x.cells.cells))
        check_device(least.config, device)
        raise CompileError(
            f"the core needs {least.cells.sites:,} look-up tables, {device.name} has {device.luts:,}, of which "
            f"{FILL:.0%} can be placed; what would help is fewer lanes or a larger device"
        )
    return Choice(candidate=min(fitting, key=product_of_costs), fitting=len(fitting), device=device.name)


def product_of_costs(candidate: Candidate) -> float:
    """Cells times cycles: what more cells do not pay for with as large a share of cycles is not worth its clock."""
    return candidate.cells.cells * candidate.cycles
