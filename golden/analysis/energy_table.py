"""Networks beside each other: what each did for the same images, and its energies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from spikeloom.golden.analysis.energy import SCHEDULES, Energy, Reuse, not_spiking, spiking
from spikeloom.golden.analysis.energy_constants import CONSTANTS
from spikeloom.golden.analysis.operations import TOTAL, Operations, operations
from spikeloom.golden.network import Network
from spikeloom.golden.network.execute import execute

EQUAL_ACCURACY = 0.01  # accuracies that differ by more are not called equal


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network of the table: what it did, and its energies."""

    name: str
    """Of the network."""
    kind: Literal["non-spiking", "plain", "dynamic"]
    """Plain: all ``T_l`` are ``T_max``."""
    accuracy: float | None
    """On the images, 0..1; None where it is not known."""
    t_avg: float | None
    """None without time steps."""
    t_max: int
    """1 without time steps."""
    operations: dict[str, Operations]
    """By layer and `TOTAL`, of a spiking network; else empty."""
    energies: dict[str, dict[str, Energy]]
    """By the constants' name, then by layer and `TOTAL`."""
    totals: dict[str, dict[str, float]]
    """All energy in pJ, by the constants' name, then by each schedule that a word's reuse may have."""

    def relative(self, other: Row, constants: str) -> tuple[float, float, float]:
        """Compute, memory and total as multiples of the other row's."""
        own, reference = self.energies[constants][TOTAL], other.energies[constants][TOTAL]
        return tuple(  # type: ignore[return-value]
            getattr(own, key) / getattr(reference, key) if getattr(reference, key) else float("nan")
            for key in ("compute", "memory", "total")
        )


def is_dynamic(network: Network) -> bool:
    """Whether any layer fires at fewer than all time steps."""
    return any(layer.steps < network.steps for layer in network.spiking)


def full_steps(network: Network) -> Network:
    """The same network with ``T_l = T_max`` everywhere: a plain Spikformer, though one trained with masks."""
    plain = network.with_steps({layer.name: network.steps for layer in network.spiking})
    return replace(plain, name=f"{network.name}, all T_l = {network.steps}")


def measure(
    network: Network,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    reuse: Reuse = "none",
    external: bool = False,
    batch: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Row:
    """A spiking network's row, from its operations on the images; arguments as of `operations` and `spiking`."""
    counted = operations(network, images, batch=batch, progress=progress)
    return Row(
        name=network.name,
        kind="dynamic" if is_dynamic(network) else "plain",
        accuracy=None if labels is None else execute(network, images).accuracy(labels),
        t_avg=network.t_avg,
        t_max=network.steps,
        operations=counted,
        energies={
            name: spiking(network, counted, constants, reuse=reuse, external=external)
            for name, constants in CONSTANTS.items()
        },
        totals=_by_schedule(spiking, network, counted, external),
    )


def without_spikes(network: Network, row: Row, *, reuse: Reuse = "none", external: bool = False) -> Row:
    """The row of a vision transformer of the network's shape, which nobody has trained here: no accuracy."""
    return Row(
        name="non-spiking ViT",
        kind="non-spiking",
        accuracy=None,
        t_avg=None,
        t_max=1,
        operations={},
        energies={
            name: not_spiking(network, row.operations, constants, reuse=reuse, external=external)
            for name, constants in CONSTANTS.items()
        },
        totals=_by_schedule(not_spiking, network, row.operations, external),
    )


def _by_schedule(
    energy: Callable[..., dict[str, Energy]], network: Network, counted: Mapping[str, Operations], external: bool
) -> dict[str, dict[str, float]]:
    """All energy of a network, by constants and schedule."""
    return {
        name: {x: energy(network, counted, constants, reuse=x, external=external)[TOTAL].total for x in SCHEDULES}
        for name, constants in CONSTANTS.items()
    }


def warnings(accuracies: Sequence[tuple[str, float | None]]) -> list[str]:
    """What stands in the way of calling a comparison one at equal accuracy, a line each. The first is compared with."""
    (reference, wanted), *others = accuracies
    if wanted is None:
        return ["no accuracy is known: the images have no labels, so nothing here is a comparison at equal accuracy"]
    return [
        f"{name} is {100 * abs(found - wanted):.1f} points {'below' if found < wanted else 'above'} {reference}: "
        "no comparison at equal accuracy"
        for name, found in others
        if found is not None and round(abs(found - wanted), 9) > EQUAL_ACCURACY
    ]
