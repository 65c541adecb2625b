"""Cycles and memory of a network on a core, without simulating it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikeloom.flow.models import time_steps

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from spikeloom.flow.progress import Bars
    from spikeloom.gen.compiler import Compiled
    from spikeloom.gen.estimate import Estimate


def estimate_images(compiled: Compiled, images: np.ndarray, shown: Bars) -> list[Estimate]:
    """Of each image, uint8 (n, C, H, W), from what the network really does with it."""
    from spikeloom.gen.estimate import Activity, estimate
    from spikeloom.golden.network.execute import execute

    execution = execute(compiled.network, images, record=True)
    advance = shown.bar("estimate", len(images))
    found = []
    for index in range(len(images)):
        tensors = {name: x[:, index] for name, x in execution.tensors.items()}
        spikes = {name: x[:, index] for name, x in execution.spikes.items()}
        found.append(estimate(compiled.plan, Activity(tensors=tensors, spikes=spikes)))
        advance(index + 1)
    return found


def estimate_density(compiled: Compiled, density: float) -> list[Estimate]:
    """Of one image of random spikes, with this share of neurons, 0 to 1, that fire."""
    from spikeloom.gen.estimate import estimate, random_activity

    return [estimate(compiled.plan, random_activity(compiled.network, density))]


def record(compiled: Compiled, found: list[Estimate], *, clock_mhz: float, density: float | None) -> dict[str, Any]:
    """As `spikeloom estimate --json` has it: means over the images."""
    from spikeloom.gen.resources import block_rams, memory_bits

    network, config = compiled.network, compiled.config
    cycles = _mean(x.cycles for x in found)
    return {
        "network": network.name,
        "cycles_per_image": cycles,
        "clock_mhz": clock_mhz,
        "ms_per_image": cycles / clock_mhz / 1000,
        "images": len(found),
        "density": density,
        **time_steps(network),
        "layers": [
            {
                "name": layer.name,
                "steps": network.layers[index].steps,
                "cycles": _mean(x.layers[index].cycles for x in found),
                "events": _mean(x.layers[index].events for x in found),
                "slots": _mean(x.layers[index].slots for x in found),
                "bound": layer.bound,
            }
            for index, layer in enumerate(found[0].layers)
        ],
        "memory_bits": memory_bits(config),
        "block_rams": block_rams(config),
        "core": config,
    }


def _mean(values: Iterable[int]) -> int:
    given = list(values)
    return round(sum(given) / len(given))
