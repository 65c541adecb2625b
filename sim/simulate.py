"""A compiled network on images: the Verilated core against golden, every spike, every counter."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np

from spikeloom.common.files import writable_file
from spikeloom.common.progress import Progress, silent
from spikeloom.gen.compiler import Compiled
from spikeloom.gen.verilog import core_verilog
from spikeloom.golden.network.execute import check_images, execute
from spikeloom.sim.compare import Difference, differences
from spikeloom.sim.expected_counters import TOTAL, ExpectedCounters, expected_counters
from spikeloom.sim.verilated import Run, VerilatedCore

BATCH = 16  # images of a simulator's run: bounds the traces and activations in memory
COMPARED = ("sops_done", "kv_updates", "events", "rows_skipped", "membrane_reads", "membrane_writes")


@dataclass(frozen=True, kw_only=True)
class CounterDifference:
    """A counter of an image that is not golden's."""

    image: int
    """Its number, from 0."""
    layer: str
    """The layer's name; `expected_counters.TOTAL` is all of them."""
    counter: str
    """One of `COMPARED`."""
    golden: int
    """What it should be."""
    hardware: int
    """What it is."""

    def __str__(self) -> str:
        return (
            f"image {self.image}: layer {self.layer!r}, counter {self.counter}: "
            f"golden {self.golden}, hardware {self.hardware}"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulationReport:
    """What the hardware did with B images, and where it differs from golden."""

    images: int
    """B."""
    sums: np.ndarray
    """Class sums of the hardware, int64 (B, classes)."""
    differences: list[Difference]
    """Of spikes and class sums: the first of each image that has one."""
    counter_differences: list[CounterDifference]
    """Of counters: all of them. None where the core has no counters."""
    counters: dict[str, np.ndarray]
    """By name, int64 (B,): of the whole core; `rows_skipped` beside the hardware's; else `cycles` alone."""
    layer_cycles: dict[str, np.ndarray]
    """By layer, int64 (B,): cycles, the image's loading not counted."""
    layer_counters: dict[str, dict[str, np.ndarray]]
    """By layer, then by name, int64 (B,)."""
    golden: dict[str, dict[str, np.ndarray]]
    """What golden expects: by layer and `TOTAL`, then by name, int64 (B,)."""
    seconds: float
    """Of simulation, compilation not counted."""

    def __repr__(self) -> str:
        wrong = len(self.counter_differences)
        return (
            f"<SimulationReport: {self.images_bit_exact} of {self.images} images bit-exact, "
            f"{wrong} counters differ, {self.cycles_per_image:,.0f} cycles per image>"
        )

    @property
    def images_bit_exact(self) -> int:
        """Images of which every spike and every class sum is golden's."""
        return self.images - len(self.differences)

    @property
    def predictions(self) -> np.ndarray:
        """The class of each image, int64 (B,); the lowest of equals."""
        return self.sums.argmax(axis=1)

    @property
    def cycles_per_image(self) -> float:
        """From the last pixel to the class sums, mean."""
        return float(self.counters["cycles"].mean())

    @property
    def cycles_per_second(self) -> float:
        """Simulated cycles of the network a second of simulation, all processes together."""
        return float(self.counters["cycles"].sum()) / self.seconds


def simulate(
    compiled: Compiled,
    images: np.ndarray,
    *,
    build_dir: str | os.PathLike[str],
    processes: int = 2,
    batch: int = BATCH,
    progress: Progress = silent,
    waves: str | os.PathLike[str] | None = None,
) -> SimulationReport:
    """Run uint8 images (B, C, H, W) on the core with the network in its memories, compare all with golden.

    build_dir: folder for the executable, compiled once for the same Verilog. processes: simulators at a time.
    batch: images of one run; bounds the memory used. progress: counts images.
    waves: file for a waveform (FST) of all images, in one process; of few images, since it is large.

    Raises
    ------
    SimulationError
        when Verilator is missing or a simulation ends badly.
    ValueError, TypeError
        for images that are not the network's.
    OSError
        when a folder cannot be written.
    """
    if waves is not None:
        writable_file(waves)
    images = check_images(compiled.network, images)
    if not len(images):
        raise ValueError("images must be at least one, not 0")
    progress(0, len(images), "compiling the core")
    verilog = core_verilog(compiled.config, compiled.program)
    core = VerilatedCore(verilog, config=compiled.config, build_dir=build_dir, waves=waves is not None)
    if waves is not None:
        processes, batch = 1, len(images)
    starts = range(0, len(images), batch)
    begin, done, stop = time.monotonic(), 0, threading.Event()

    def run(start: int) -> SimulationReport:
        nonlocal done
        part = images[start : start + batch]
        report = report_of(compiled, part, core.run(part, waves=waves, stop=stop), first=start)
        done += len(part)
        progress(done, len(images), "")
        return report

    with ThreadPoolExecutor(processes) as pool:
        futures = [pool.submit(run, start) for start in starts]
        try:
            finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failed = [future for future in futures if future in finished and future.exception() is not None]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            stop.set()  # ends what still runs after an interrupt or a failure
        parts = [future.result() for future in failed[:1] or futures]
    return _joined(parts, seconds=time.monotonic() - begin)


def report_of(compiled: Compiled, images: np.ndarray, run: Run, *, first: int = 0) -> SimulationReport:
    """Compare a run with golden; `first` is the number of the first image."""
    network, plan = compiled.network, compiled.plan
    execution = execute(network, images, record=True)
    golden = expected_counters(plan, execution)
    names = [layer.name for layer in network.layers]
    by_layer = {
        name: {key: values[:, i + 1] - values[:, i] for key, values in run.layer_counters.items()}
        for i, name in enumerate(names)
    }
    total = dict(run.counters)
    for found in (*by_layer.values(), total) if plan.config.counters else ():
        found["rows_skipped"] = found["rows_offered"] - found["events"]
    return SimulationReport(
        images=len(images),
        sums=run.sums[:, : network.classes],
        differences=[_shifted(d, first) for d in differences(run, execution, plan)],
        counter_differences=_counter_differences({**by_layer, TOTAL: total}, golden, first),
        counters=total,
        layer_cycles={name: found["cycles"] for name, found in by_layer.items()},
        layer_counters=by_layer,
        golden={name: dict(vars(value)) for name, value in golden.items()},
        seconds=0.0,
    )


def _shifted(difference: Difference, first: int) -> Difference:
    return Difference(**{**vars(difference), "image": difference.image + first})


def _counter_differences(
    hardware: dict[str, dict[str, np.ndarray]], golden: dict[str, ExpectedCounters], first: int
) -> list[CounterDifference]:
    return [
        CounterDifference(
            image=first + int(image),
            layer=layer,
            counter=name,
            golden=int(getattr(golden[layer], name)[image]),
            hardware=int(found[name][image]),
        )
        for layer, found in hardware.items()
        for name in COMPARED
        if name in found
        for image in np.flatnonzero(getattr(golden[layer], name) != found[name])
    ]


def _joined(parts: list[SimulationReport], *, seconds: float) -> SimulationReport:
    def join(values: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return {name: np.concatenate([value[name] for value in values]) for name in values[0]}

    def join_layers(values: list[dict[str, dict[str, np.ndarray]]]) -> dict[str, dict[str, np.ndarray]]:
        return {name: join([value[name] for value in values]) for name in values[0]}

    return SimulationReport(
        images=sum(part.images for part in parts),
        sums=np.concatenate([part.sums for part in parts]),
        differences=[d for part in parts for d in part.differences],
        counter_differences=[d for part in parts for d in part.counter_differences],
        counters=join([part.counters for part in parts]),
        layer_cycles=join([part.layer_cycles for part in parts]),
        layer_counters=join_layers([part.layer_counters for part in parts]),
        golden=join_layers([part.golden for part in parts]),
        seconds=seconds,
    )
