"""Cycles and memory of a network on a core, without simulating it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikeloom.flow.models import time_steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np

    from spikeloom.flow.progress import Bars
    from spikeloom.gen.compiler import Compiled
    from spikeloom.gen.estimate import Activity, Estimate
    from spikeloom.golden.network import Network


def activities(network: Network, images: np.ndarray) -> list[Activity]:
    """What each image, uint8 (n, C, H, W), makes spike."""
    from spikeloom.gen.estimate import Activity
    from spikeloom.golden.network.execute import execute

    execution = execute(network, images, record=True)
    return [
        Activity(
            tensors={name: x[:, index] for name, x in execution.tensors.items()},
            spikes={name: x[:, index] for name, x in execution.spikes.items()},
        )
        for index in range(len(images))
    ]


def estimate_each(compiled: Compiled, given: Sequence[Activity], shown: Bars) -> list[Estimate]:
    """Of each image, from what it makes spike."""
    from spikeloom.gen.estimate import estimate

    advance, found = shown.bar("estimate", len(given)), []
    for number, activity in enumerate(given, 1):
        found.append(estimate(compiled.plan, activity))
        advance(number)
    return found


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
