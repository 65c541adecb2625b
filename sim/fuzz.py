"""Random networks of any graph on simulated cores: every spike, class sum and counter against golden.

Nothing is compiled for a network: a few cores of fixed sizes are, once, and the networks' Programs are loaded one
after the other. So it is also tried that nothing of a Program is left for the next.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Literal

import numpy as np

from spikeloom.common.progress import Progress, silent
from spikeloom.gen.compiler import Compiled, compile_network
from spikeloom.gen.errors import CompileError
from spikeloom.gen.estimate import Activity, estimate
from spikeloom.gen.verilog import core_verilog
from spikeloom.golden.network.execute import execute
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.sim.fuzz_case import CORES, Case, draw
from spikeloom.sim.shrink import smaller_networks
from spikeloom.sim.simulate import SimulationReport, report_of
from spikeloom.sim.verilated import Run, VerilatedCore
from spikeloom.sim.verilator import SimulationError

CHUNK = 25  # networks of one run of the simulator
MOST_CYCLES = 4_000_000  # of an image, before the core counts as hung; the largest networks take a tenth
SHRINKING_RUNS = 400  # of one network
MOST_SHRUNKEN = 3  # failing networks; the others are kept as they were drawn

Kind = Literal["spikes", "counters", "hang"]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How hardware and golden differ on a network."""

    kind: Kind
    """What differs first: a spike or class sum, only counters, or the core that does not come to an end."""
    where: str
    """The first difference: image, layer, step, position and channel, or counter."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}"


@dataclass(frozen=True, kw_only=True)
class Found:
    """A failing network, and the smallest that was found to fail the same way."""

    seed: int
    """Runs it again: `spikeloom regress --random 1 --seed SEED`."""
    failure: Failure
    """Of the network as drawn."""
    shrunken: Case
    """The smallest that fails."""
    shrunken_failure: Failure
    """Its first difference."""


@dataclass(frozen=True, kw_only=True)
class FuzzReport:
    """What came out of a number of seeds."""

    networks: int
    """Drawn."""
    refused: dict[int, str]
    """By seed: why the compiler said that the core cannot run the network."""
    found: tuple[Found, ...]
    """The failing ones."""
    cycles: int
    """Simulated, from the last pixel to the class sums, of all images."""
    spikes: int
    """Compared."""
    deviation: float
    """The largest of an estimate's cycles from the hardware's, as a share of the image's."""
    deviation_seed: int
    """Where."""

    @property
    def passed(self) -> int:
        """Networks of which every spike, class sum and counter is golden's."""
        return self.networks - len(self.refused) - len(self.found)


class Bench:
    """Compiled cores, each made when it is first wanted."""

    def __init__(self, build_dir: str | os.PathLike[str]) -> None:
        self.build_dir = Path(build_dir)
        self._cores: dict[CoreConfig, VerilatedCore] = {}
        self._one_at_a_time = Lock()

    def core(self, config: CoreConfig) -> VerilatedCore:
        """The core of a size; compiled once for a build folder."""
        if config not in self._cores:
            with self._one_at_a_time:
                verilog = core_verilog(config)
            self._cores[config] = VerilatedCore(verilog, config=config, build_dir=self.build_dir)
        return self._cores[config]

    def runs(self, cases: Sequence[Case]) -> list[tuple[Case, Compiled, Run]]:
        """Cases of one size, one after the other on the same core. SimulationError, CompileError."""
        compiled = [compile_network(case.network, case.config) for case in cases]
        work = [(case.network.framed(case.images), x.program) for case, x in zip(cases, compiled, strict=True)]
        runs = self.core(cases[0].config).run_programs(work, most_cycles=MOST_CYCLES)
        return list(zip(cases, compiled, runs, strict=True))

    def failure(self, case: Case) -> Failure | None:
        """How the case fails, after the one before it. CompileError where the core cannot run it."""
        cases = [case] if case.before is None else [case.before, case]
        try:
            _, compiled, run = self.runs(cases)[-1]
        except SimulationError as error:
            return Failure(kind="hang", where=str(error))
        return _failure_of(report_of(compiled, case.images, run))


def fuzz(
    seeds: Sequence[int],
    *,
    build_dir: str | os.PathLike[str],
    cores: Sequence[CoreConfig] = CORES,
    processes: int = 2,
    shrink: int = SHRINKING_RUNS,
    progress: Progress = silent,
) -> FuzzReport:
    """Draw a network for each seed, run it on its core, compare everything; shrink those that fail.

    build_dir: folder for the compiled cores. processes: simulators at a time. shrink: most runs to make a failing
    network smaller, of the first `MOST_SHRUNKEN`. progress: counts networks.
    SimulationError where Verilator is missing.
    """
    bench, tally = Bench(build_dir), _Tally()
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(bench.core, {cores[seed % len(cores)]: None for seed in seeds}))
        chunks = [
            part[i : i + CHUNK]
            for k in range(len(cores))
            for part in [[seed for seed in seeds if seed % len(cores) == k]]
            for i in range(0, len(part), CHUNK)
        ]
        for seeds_done in pool.map(lambda chunk: _fuzz_chunk(bench, chunk, cores, shrink, tally), chunks):
            tally.networks += seeds_done
            progress(tally.networks, len(seeds))
    return FuzzReport(**{k: v for k, v in vars(tally).items() if k != "found"}, found=tuple(tally.found))


@dataclass
class _Tally:
    """A report that grows; threads add to it a field at a time."""

    networks: int = 0
    refused: dict[int, str] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)
    cycles: int = 0
    spikes: int = 0
    deviation: float = 0.0
    deviation_seed: int = 0


def _fuzz_chunk(bench: Bench, seeds: list[int], cores: Sequence[CoreConfig], shrink: int, tally: _Tally) -> int:
    """Run the networks of some seeds, all of one core; the number of seeds."""
    cases = []
    for seed in seeds:
        case = draw(seed, cores)
        try:
            compile_network(case.network, case.config)
        except CompileError as error:
            tally.refused[seed] = str(error)
        else:
            cases.append(case)
    try:
        runs = bench.runs(cases) if cases else []
    except SimulationError:  # one of them hangs the core: which?
        for case in cases:
            _note(bench, case, bench.failure(case), None, shrink, tally)
        return len(seeds)
    for index, (case, compiled, run) in enumerate(runs):
        report = report_of(compiled, case.images, run)
        tally.cycles += int(report.counters["cycles"].sum())
        tally.spikes += int(sum(x["spikes"].sum() for name, x in report.golden.items() if name == "total"))
        deviation = _deviation(compiled, case, report)
        if deviation > tally.deviation:
            tally.deviation, tally.deviation_seed = deviation, case.seed
        _note(bench, case, _failure_of(report), cases[index - 1] if index else None, shrink, tally)
    return len(seeds)


def _note(bench: Bench, case: Case, failure: Failure | None, before: Case | None, shrink: int, tally: _Tally) -> None:
    """Keep a failure, made smaller; with the case before it where it does not fail alone."""
    if failure is None:
        return
    alone = bench.failure(case)
    if alone is None and before is not None:
        case = replace(case, before=before)
        alone = bench.failure(case)
    runs = shrink if alone and len(tally.found) < MOST_SHRUNKEN else 0
    small, last = shrunken(bench, case, alone or failure, runs=runs)
    tally.found.append(Found(seed=case.seed, failure=failure, shrunken=small, shrunken_failure=last))


def shrunken(bench: Bench, case: Case, failure: Failure, *, runs: int = SHRINKING_RUNS) -> tuple[Case, Failure]:
    """A smaller case that fails in the same kind, and how; found greedily, after at most so many runs."""
    again = True
    while again and runs > 0:
        again = False
        for smaller in _smaller_cases(case):
            if runs <= 0:
                break
            try:
                found = bench.failure(smaller)
            except CompileError:
                continue
            runs -= 1
            if found is not None and found.kind == failure.kind:
                case, failure, again = smaller, found, True
                break
    return case, failure


def _smaller_cases(case: Case) -> Iterator[Case]:
    """Cases that are smaller in one way, the boldest steps first."""
    if case.before is not None:
        yield replace(case, before=None)
    for i in range(len(case.images) if len(case.images) > 1 else 0):
        yield replace(case, images=case.images[i : i + 1])
    yield from _smaller_networks_of(case)
    if case.images.any():
        yield replace(case, images=np.zeros_like(case.images))
    if case.before is not None:
        for before in _smaller_networks_of(case.before):
            yield replace(case, before=before)


def _smaller_networks_of(case: Case) -> Iterator[Case]:
    for network in smaller_networks(case.network):
        channels, height, width = network.image_shape
        images = case.images if network.padding_pixel else case.network.framed(case.images)
        yield replace(case, network=network, images=images[:, :channels, :height, :width])


def _failure_of(report: SimulationReport) -> Failure | None:
    if report.differences:
        return Failure(kind="spikes", where=str(report.differences[0]))
    if report.counter_differences:
        return Failure(kind="counters", where=str(report.counter_differences[0]))
    return None


def _deviation(compiled: Compiled, case: Case, report: SimulationReport) -> float:
    """Of the estimate of the first image from the hardware's cycles, as a share."""
    execution = execute(compiled.network, case.images[:1], record=True)
    activity = Activity(
        tensors={name: x[:, 0] for name, x in execution.tensors.items()},
        spikes={name: x[:, 0] for name, x in execution.spikes.items()},
    )
    cycles = int(report.counters["cycles"][0])
    return abs(estimate(compiled.plan, activity).cycles - cycles) / cycles
