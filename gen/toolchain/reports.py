"""What place and route made of a design, read from nextpnr's report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from spikeloom.gen.toolchain.environment import BuildError
from spikeloom.gen.toolchain.source_words import path_in_source_words
from spikeloom.rtl.board import CLOCK_NET

_CLOCKS = {CLOCK_NET, f"$glbnet${CLOCK_NET}"}  # with nextpnr's promotion to a global net
_CELLS = {
    "luts": "TRELLIS_COMB",
    "flip_flops": "TRELLIS_FF",
    "block_rams": "DP16KD",
    "distributed_rams": "TRELLIS_RAMW",
    "multipliers": "MULT18X18D",
}


@dataclass(frozen=True, kw_only=True)
class PathStep:
    """One step of the critical path."""

    kind: str
    """What is passed: "clk-to-q", "logic", "carry" (a whole chain), "routing" or "setup"."""
    source: str
    """Cell and port where it begins."""
    sink: str
    """Cell and port where it ends."""
    delay_ns: float
    """In nanoseconds."""


@dataclass(frozen=True, kw_only=True)
class CriticalPath:
    """The slowest path of the core's clock, from register to register."""

    source: str
    """Cell and port of the register where it begins."""
    sink: str
    """Cell and port of the register where it ends."""
    delay_ns: float
    """Of all steps together, in nanoseconds."""
    steps: tuple[PathStep, ...] = ()
    """Those that take time, in order."""
    words: str = ""
    """Likewise in the words of the source: components, and the signals of its ends."""

    @property
    def routing_ns(self) -> float:
        """Of all wires together, in nanoseconds."""
        return round(sum(step.delay_ns for step in self.steps if step.kind == "routing"), 3)


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What place and route made of the design."""

    target: str
    """Name of the board."""
    device: str
    """As Lattice names it."""
    luts: int
    """Look-up tables of four inputs used, halves of carry cells among them."""
    flip_flops: int
    """Used."""
    block_rams: int
    """DP16KD used, of 18 kbit each."""
    distributed_rams: int
    """TRELLIS_RAMW used: memories made of look-up tables."""
    multipliers: int
    """MULT18X18D used: 0, for nothing is multiplied."""
    available: dict[str, int]
    """What the device has of the five above, by their names."""
    clock_mhz: float
    """What the PLL makes."""
    fmax_mhz: float
    """What the placed design reaches."""
    timing_met: bool
    """That this is enough."""
    seed: int
    """Of the placement."""
    seconds: float
    """That the tools took."""
    tool_versions: dict[str, str]
    """By the tool's name."""
    bitstream: Path
    """The file."""
    critical_path: CriticalPath | None
    """None where the report names none."""
    cached: bool = False
    """That the tools did not run this time."""
    seeds: dict[int, float] = field(default_factory=dict)
    """What the design reaches with each seed that was tried, in MHz; empty where it was one."""

    @property
    def median_mhz(self) -> float:
        """Of what all seeds reach."""
        return median(self.seeds.values() or [self.fmax_mhz])

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"bitstream": str(self.bitstream)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> BuildReport:
        """From what `as_dict` gave, back from JSON."""
        path = fields["critical_path"]
        if path is not None:
            path = CriticalPath(**path | {"steps": tuple(PathStep(**step) for step in path["steps"])})
        seeds = {int(seed): mhz for seed, mhz in fields["seeds"].items()}
        return cls(**{**fields, "bitstream": Path(fields["bitstream"]), "critical_path": path, "seeds": seeds})

    def of(self, *, bitstream: Path, cached: bool) -> BuildReport:
        """The same design, in this file."""
        return replace(self, bitstream=bitstream, cached=cached)


def parse_report(
    report: Mapping[str, Any],
    *,
    target: str,
    device: str,
    clock_hz: float,
    seed: int,
    seconds: float,
    versions: dict[str, str],
    bitstream: Path,
) -> BuildReport:
    """From nextpnr's ``--report``, for a board's name and its device.

    Raises BuildError where it does not tell of the core's clock.
    """
    cells = report["utilization"]
    clocks = {name: value for name, value in report["fmax"].items() if name in _CLOCKS}
    if len(clocks) != 1:
        raise BuildError(f"nextpnr reports no clock {CLOCK_NET}, only: {', '.join(report['fmax']) or 'none'}")
    ((clock, reached),) = clocks.items()
    clock_mhz, fmax_mhz = clock_hz / 1e6, reached["achieved"]
    return BuildReport(
        target=target,
        device=device,
        **{name: cells.get(cell, {}).get("used", 0) for name, cell in _CELLS.items()},
        available={name: cells.get(cell, {}).get("available", 0) for name, cell in _CELLS.items()},
        clock_mhz=clock_mhz,
        fmax_mhz=round(fmax_mhz, 2),
        timing_met=fmax_mhz >= clock_mhz,
        seed=seed,
        seconds=seconds,
        tool_versions=versions,
        bitstream=bitstream,
        critical_path=_critical_path(report, clock),
    )


def _critical_path(report: Mapping[str, Any], clock: str) -> CriticalPath | None:
    """The path from the clock to itself."""
    for path in report.get("critical_paths", []):
        ends = {path["from"].split(" ")[-1], path["to"].split(" ")[-1]}
        if ends == {clock} and path["path"]:
            steps = path["path"]
            return CriticalPath(
                source=_pin(steps[0]["from"]),
                sink=_pin(steps[-1]["to"]),
                delay_ns=round(sum(step["delay"] for step in steps), 3),
                steps=_steps(steps),
                words=path_in_source_words(_cells(steps)),
            )
    return None


def _cells(steps: list[dict[str, Any]]) -> list[str]:
    return [steps[0]["from"]["cell"], *(step["to"]["cell"] for step in steps)]


def _steps(steps: list[dict[str, Any]]) -> tuple[PathStep, ...]:
    """What takes time, a carry chain as one step."""
    short: list[PathStep] = []
    for step in steps:
        carry = step["from"]["port"] == "FCI" and step["to"]["port"] == "FCO"
        source = _pin(step["from"])
        delay_ns = step["delay"]
        if not delay_ns:
            continue
        if carry and short and short[-1].kind == "carry":
            previous = short.pop()
            source, delay_ns = previous.source, previous.delay_ns + delay_ns
        kind = "carry" if carry else step["type"]
        short.append(PathStep(kind=kind, source=source, sink=_pin(step["to"]), delay_ns=round(delay_ns, 3)))
    return tuple(short)


def _pin(end: dict[str, Any]) -> str:
    return f"{end['cell']}.{end['port']}"
