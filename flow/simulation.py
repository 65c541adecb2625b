"""The record of a simulation: what every command says about it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikeloom.flow.images import Samples
    from spikeloom.flow.progress import Bars
    from spikeloom.gen.compiler import Compiled
    from spikeloom.golden.network import Layer
    from spikeloom.sim.compare import Difference
    from spikeloom.sim.simulate import CounterDifference, SimulationReport

MOST_SIMULATED = 360
"""Images where the user does not say: the held-out digits; larger networks take minutes."""

MOST_WAVES = 60  # images
PROCESSES = 2


def run_recorded(
    compiled: Compiled,
    samples: Samples,
    folder: Path,
    shown: Bars,
    *,
    waves: Path | None = None,
    processes: int = PROCESSES,
) -> dict[str, Any]:
    """Run the images on the core next to the golden model.

    Counts are totals over the images, cycles the mean. Differences are in "first_difference" (the first of
    all, as a line), "images_bit_exact" and "counters_match" (None where the core has none).
    """
    from spikeloom.flow.models import time_steps
    from spikeloom.golden.analysis.operations import dense_sops
    from spikeloom.golden.network.execute import execute
    from spikeloom.sim.expected_counters import TOTAL
    from spikeloom.sim.simulate import simulate

    network, images, labels = compiled.network, samples.images, samples.labels
    if waves is not None and len(images) > MOST_WAVES:
        raise ValueError(f"--waves takes at most {MOST_WAVES} images, not {len(images)}: choose with --images")
    advance = shown.bar("simulating", len(images))
    report = simulate(compiled, images, build_dir=folder, processes=processes, progress=advance, waves=waves)
    advance(stage=f"{report.images_bit_exact} of {report.images} bit-exact")
    found: list[Difference | CounterDifference] = [*report.differences, *report.counter_differences]
    first = min(found, key=lambda difference: difference.image, default=None)
    golden = {name: int(values.sum()) for name, values in report.golden[TOTAL].items()}
    dense = {layer.name: dense_sops(network, layer) * len(images) for layer in network.layers}
    return {
        "network": network.name,
        "images": report.images,
        "images_bit_exact": report.images_bit_exact,
        "counters_match": not report.counter_differences if compiled.config.counters else None,
        "first_difference": None if first is None else asdict(first),
        "first_difference_text": None if first is None else str(first),
        "accuracy_integer": None if labels is None else execute(network, images).accuracy(labels),
        "accuracy_hardware": None if labels is None else float((report.predictions == labels).mean()),
        "cycles_per_image": round(report.cycles_per_image),
        **time_steps(network),
        **golden,
        "sops_skipped": sum(dense.values()) - golden["sops_done"],
        "simulated_cycles_per_second": round(report.cycles_per_second),
        "layers": [_layer(layer, report, dense[layer.name]) for layer in network.layers],
        "core": asdict(compiled.config),
    }


def _layer(layer: Layer, report: SimulationReport, dense: int) -> dict[str, Any]:
    """One layer in all images; dense: its accumulates if every neuron fired."""
    golden = report.golden[layer.name]
    done = int(golden["sops_done"].sum())
    return {
        "name": layer.name,
        "steps": layer.steps,
        "cycles_per_image": round(float(report.layer_cycles[layer.name].mean())),
        "sops_done": done,
        "sops_skipped": dense - done,
        "spikes": int(golden["spikes"].sum()),
    }


def finished_well(record: dict[str, Any]) -> bool:
    """Whether hardware and golden model agree in everything."""
    return record["images_bit_exact"] == record["images"] and record["counters_match"] is not False
