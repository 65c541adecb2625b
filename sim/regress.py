"""The regression of the hardware's components: every bench of `spikeloom.sim.benches`, on Icarus Verilog."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from spikeloom.common.progress import Progress, silent
from spikeloom.sim.bench import BenchError, run_bench

BENCHES = (
    "time_mask",
    "layer_loops",
    "sequencer",
    "scan_cursor",
    "word_gatherer",
    "bank_splitter",
    "bit_emitter",
    "bank_heads",
    "event_scanner",
    "ac_array",
    "weight_store",
    "block_memory",
    "dual_port_memory",
    "product_writer",
    "loadable_memory",
    "sum_selector",
    "neuron_lane",
    "neuron_unit",
    "membrane_store",
    "activation_store",
    "activation_writer",
    "image_loader",
    "image_slicer",
    "result_store",
    "event_counts",
    "counters",
    "host_port",
    "core",
)


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a bench ended."""

    name: str
    """Of the component."""
    passed: bool
    """Whether all its tests did."""
    tests: int
    """How many passed, over all parameter sets."""
    seconds: float
    """Wall clock, building included."""
    message: str = ""
    """Why it failed, else empty."""
    waves: tuple[Path, ...] = ()
    """Waveforms (FST), one for each parameter set, if asked for."""


def bench(name: str) -> ModuleType:
    """The module of a bench.

    Raises
    ------
    ValueError
        for an unknown name; the message has the known ones.
    """
    if name not in BENCHES:
        raise ValueError(f"no bench is called {name!r}; there are {', '.join(BENCHES)}")
    return importlib.import_module(f"spikeloom.sim.benches.{name}")


def regress(
    names: Iterable[str] | None = None,
    *,
    progress: Progress = silent,
    waves: str | Path | None = None,
    processes: int = 2,
) -> list[Result]:
    """Run the named benches, or all; never raises for one that fails.

    progress: counts parameter sets. waves: folder for waveforms, a folder for each parameter set
    inside it. processes: simulators at a time.

    Raises
    ------
    ValueError
        for an unknown name.
    """
    chosen = list(BENCHES) if names is None else list(names)
    work = [(name, i, case) for name in chosen for i, case in enumerate(bench(name).CASES)]
    done = 0

    def run(item: tuple[str, int, dict[str, Any]]) -> Result:
        nonlocal done
        name, index, case = item
        result = run_case(name, case, build_dir=None if waves is None else Path(waves) / f"{name}-{index}")
        done += 1
        progress(done, len(work))
        return result

    with ThreadPoolExecutor(processes) as pool:
        results = list(pool.map(run, work))
    return [_joined(name, [r for r in results if r.name == name]) for name in dict.fromkeys(chosen)]


def run_case(name: str, case: dict[str, Any], *, build_dir: Path | None = None) -> Result:
    """Run a bench on one of its parameter sets; with waves if a folder is named."""
    module, begin = bench(name), time.monotonic()
    try:
        found = run_bench(
            module.build(**case),
            module=module.__name__,
            name=name,
            parameters=case,
            waves=build_dir is not None,
            build_dir=build_dir,
        )
    except BenchError as error:
        return Result(name=name, passed=False, tests=0, seconds=time.monotonic() - begin, message=str(error))
    waves = () if found.waves is None else (found.waves,)
    return Result(name=name, passed=True, tests=found.tests, seconds=time.monotonic() - begin, waves=waves)


def _joined(name: str, results: list[Result]) -> Result:
    return Result(
        name=name,
        passed=all(r.passed for r in results),
        tests=sum(r.tests for r in results),
        seconds=sum(r.seconds for r in results),
        message=next((r.message for r in results if r.message), ""),
        waves=tuple(path for r in results for path in r.waves),
    )
