"""The compiled core on many images, next to the golden model: one record of what came out."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from spikeloom.cli.console import Bars
    from spikeloom.cli.inputs import Samples
    from spikeloom.gen.compiler import Compiled
    from spikeloom.golden.network import Layer, Network
    from spikeloom.sim.compare import Difference

CHUNK = 60  # images at a time: bounds the memory for spikes and potentials
HARDWARE_COUNTS = ("events", "sops_done", "kv_updates", "membrane_reads", "membrane_writes")


def simulate(
    compiled: Compiled,
    verilog: str,
    samples: Samples,
    folder: Path,
    shown: Bars,
    *,
    waves: Path | None = None,
) -> dict[str, Any]:
    """Run the images on the core and on the golden model; compare spikes, class sums and counters.

    Counts are totals over the images, cycles the mean. Differences are in "first_difference" (the first of
    all), "images_bit_exact" and "counters_match".
    """
    from spikeloom.sim.verilated import VerilatedCore

    if waves is not None and len(samples.images) > CHUNK:
        raise ValueError(
            f"--waves takes at most {CHUNK} images, not {len(samples.images)}: choose with --images"
        )
    started = shown.bar("compiling the core", 1)
    core = VerilatedCore(verilog, config=compiled.config, build_dir=folder, waves=waves is not None)
    started(1)
    advance = shown.bar("simulating", len(samples.images))
    tally = _Tally(compiled)
    begin = time.monotonic()
    for start in range(0, len(samples.images), CHUNK):
        part = samples.images[start : start + CHUNK]

        def progress(done: int, _: int, start: int = start) -> None:
            advance(start + done)

        tally.add(part, core.run(part, waves=waves, progress=progress))
        exact = f"{tally.images - tally.wrong} of {tally.images} bit-exact"
        advance(start + len(part), state=exact)
    return tally.record(samples.labels) | {
        "simulated_cycles_per_second": round(tally.cycles / max(time.monotonic() - begin, 1e-6)),
    }


class _Tally:
    """Sums over the chunks."""

    def __init__(self, compiled: Compiled) -> None:
        self.compiled = compiled
        self.images = self.wrong = self.cycles = 0
        self.counters_match = True
        self.first: Difference | None = None
        self.golden: dict[str, int] = {}
        self.layers: dict[str, dict[str, int]] = {}
        self.sums: list[tuple[np.ndarray, np.ndarray]] = []  # golden and hardware

    def add(self, images: np.ndarray, run: Any) -> None:
        from spikeloom.golden.counts import TOTAL, Counts, counts
        from spikeloom.golden.execute import execute
        from spikeloom.sim.compare import differences

        network, config = self.compiled.network, self.compiled.config
        execution = execute(network, images, record=True)
        found = differences(run, execution, network, lanes=config.lanes)
        if found and self.first is None:
            self.first = replace(found[0], image=found[0].image + self.images)
        sizes = {"lanes": config.lanes, "columns": config.columns, "neuron_lanes": config.neuron_lanes}
        expected = counts(network, execution, **sizes)
        total = expected[TOTAL]
        for field in fields(Counts):
            self.golden[field.name] = self.golden.get(field.name, 0) + int(getattr(total, field.name).sum())
        for name in HARDWARE_COUNTS:
            self.counters_match &= bool(np.array_equal(run.counters[name], getattr(total, name)))
        skipped = run.counters["rows_offered"] - run.counters["events"]
        self.counters_match &= bool(np.array_equal(skipped, total.rows_skipped))
        spent = np.diff(run.layer_cycles, axis=1).sum(axis=0)
        for layer, cycles in zip(network.layers, spent.tolist(), strict=True):
            mine = self.layers.setdefault(layer.name, {"cycles": 0, "sops_done": 0, "spikes": 0})
            mine["cycles"] += cycles
            mine["sops_done"] += int(expected[layer.name].sops_done.sum())
            mine["spikes"] += int(expected[layer.name].spikes.sum())
        self.images += len(images)
        self.wrong += len({difference.image for difference in found})
        self.cycles += int(run.counters["cycles"].sum())
        self.sums.append((execution.sums, run.sums[:, : network.classes]))

    def record(self, labels: np.ndarray | None) -> dict[str, Any]:
        network = self.compiled.network
        golden, hardware = (np.concatenate(x) for x in zip(*self.sums, strict=True))
        dense = {layer.name: dense_sops(network, layer) * self.images for layer in network.layers}

        def accuracy(sums: np.ndarray) -> float | None:
            return None if labels is None else float((sums.argmax(1) == labels).mean())

        return {
            "network": network.name,
            "images": self.images,
            "images_bit_exact": self.images - self.wrong,
            "first_difference": None if self.first is None else asdict(self.first),
            "first_difference_text": None if self.first is None else str(self.first),
            "counters_match": self.counters_match,
            "accuracy_integer": accuracy(golden),
            "accuracy_hardware": accuracy(hardware),
            "cycles_per_image": round(self.cycles / self.images),
            **time_steps(network),
            **self.golden,
            "sops_skipped": sum(dense.values()) - self.golden["sops_done"],
            "layers": [
                {
                    "name": layer.name,
                    "steps": layer.steps,
                    "cycles_per_image": round(self.layers[layer.name]["cycles"] / self.images),
                    "sops_done": self.layers[layer.name]["sops_done"],
                    "sops_skipped": dense[layer.name] - self.layers[layer.name]["sops_done"],
                    "spikes": self.layers[layer.name]["spikes"],
                }
                for layer in network.layers
            ],
            "core": asdict(self.compiled.config),
        }


def time_steps(network: Network) -> dict[str, Any]:
    """What every command says about time steps."""
    steps = {layer.name: layer.steps for layer in network.spiking}
    return {"t_avg": network.t_avg, "t_max": network.steps, "t_per_layer": steps}


def dense_sops(network: Network, layer: Layer) -> int:
    """Accumulates an image of an array that skips neither zeros nor steps: ``T_max`` steps, the image once.

    Every tap inside the map, channel and bit-plane counts, for each output channel.
    """
    if layer.kind == "attention":
        return network.steps * layer.positions * layer.channels_in * (layer.channels_in // layer.heads)
    info = network.tensors()[layer.inputs[0]]
    taps = _taps_inside(layer.height_in, layer.height_conv, layer) * _taps_inside(
        layer.width_in, layer.width_conv, layer
    )
    steps = 1 if layer.direct else network.steps
    return steps * taps * layer.channels_in * info.planes * layer.channels_out


def _taps_inside(size_in: int, size_out: int, layer: Layer) -> int:
    """Taps of one dimension that are no padding, over all output positions."""
    places = (y * layer.stride + tap - layer.padding for y in range(size_out) for tap in range(layer.kernel))
    return sum(0 <= place < size_in for place in places)


def simulator_version() -> str:
    """Verilator's version; empty where there is none."""
    if shutil.which("verilator") is None:
        return ""
    return subprocess.run(["verilator", "--version"], capture_output=True, text=True).stdout.strip()


def finished_well(record: dict[str, Any]) -> bool:
    """Whether hardware and golden model agree in everything."""
    return record["images_bit_exact"] == record["images"] and bool(record["counters_match"])
