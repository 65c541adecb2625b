"""Mixed precision: which layers keep 8 bits and which take 4, so that the weights fit a size.

What a layer's 4 bits cost is measured, on training images: the loss of the integer network with that layer alone at
4 bits, above that of the network at 8 bits. What a set of layers costs together is taken for the sum, which is what
makes the choice of the best set exact: a knapsack of a few dozen layers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from spikeloom.golden.models.architectures import Model
from spikeloom.golden.network import Layer, Network
from spikeloom.golden.network.execute import Execution, execute
from spikeloom.golden.quantization.quantize import quantize
from spikeloom.golden.quantization.scales import Scales

WIDE, NARROW = 8, 4
UNITS = {"": 1, "B": 1, "kB": 1000, "KiB": 1024, "MB": 1000**2, "MiB": 1024**2}


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """What 4 bits for one layer alone cost, beside the network at 8 bits; either loss may be negative."""

    name: str
    """Of the layer."""
    weights: int
    """Their number."""
    loss_lost: float
    """Cross entropy above that of the network at 8 bits, in nats per image."""
    accuracy_lost: float
    """Accuracy below that of the network at 8 bits, 0..1."""

    def bytes(self, bits: int) -> int:
        """Of the weights at that many bits."""
        return math.ceil(self.weights * bits / 8)


def weight_bytes(network: Network) -> int:
    """Bytes of all weights, each layer at its bits. Biases and thresholds do not depend on the bits."""
    return sum(math.ceil(x.weight.size * x.weight_bits / 8) for x in network.layers if x.weight is not None)


def parse_bytes(text: str) -> int:
    """The number of bytes in "60kB", "0.5 MiB" or "61440". ValueError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    units = {unit.lower(): factor for unit, factor in UNITS.items()}
    if found is None or found[2].lower() not in units:
        known = ", ".join(unit for unit in UNITS if unit)
        raise ValueError(f"a size must be a number with {known} or nothing, not {text!r}")
    return int(float(found[1]) * units[found[2].lower()])


def sensitivities(
    model: Model,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    scales: Scales = "power-of-two",
    progress: Callable[[int, int], None] | None = None,
) -> list[Sensitivity]:
    """What 4 bits cost each layer that has weights, in execution order, on images and labels of the training.

    progress: called with the networks measured and their number.
    """
    wide = quantize(model, weight_bits=WIDE, scales=scales)
    layers = [x for x in wide.layers if x.weight is not None]
    count = len(layers) + 1

    def measured(network: Network, number: int) -> tuple[float, float]:
        done = execute(network, images)
        if progress is not None:
            progress(number, count)
        return loss(network, done, labels), done.accuracy(labels)

    base = measured(wide, 1)
    found = []
    for number, layer in enumerate(layers, 2):
        alone = measured(quantize(model, weight_bits={layer.name: NARROW}, scales=scales), number)
        found.append(
            Sensitivity(
                name=layer.name,
                weights=_count(layer),
                loss_lost=alone[0] - base[0],
                accuracy_lost=base[1] - alone[1],
            )
        )
    return found


def loss(network: Network, done: Execution, labels: np.ndarray) -> float:
    """Mean cross entropy of the class scores that the integer sums mean, in nats."""
    head = network.layers[-1]
    scores = done.sums * head.scale / (head.positions * network.steps)  # (B, classes)
    top = scores.max(axis=1, keepdims=True)
    of_all = top[:, 0] + np.log(np.exp(scores - top).sum(axis=1))
    return float((of_all - scores[np.arange(len(labels)), labels]).mean())


def check_budget(network: Network, budget: int) -> None:
    """ValueError where the weights of a network are larger than a budget in bytes, even with 4 bits each."""
    counts = [x.weight.size for x in network.layers if x.weight is not None]
    _check_budget(sum(math.ceil(count * NARROW / 8) for count in counts), budget)


def _check_budget(least: int, budget: int) -> None:
    if budget < least:
        raise ValueError(f"a budget of {budget:,} bytes is below {least:,}, the weights at 4 bits")


def choose_bits(rows: list[Sensitivity], budget: int) -> dict[str, int]:
    """The bits of each layer, 8 or 4: of all choices within the budget the one with the least sum of losses.

    budget: bytes of all weights. Losses that are negative count as none: they are noise. Equal losses keep more
    layers at 8 bits. Raises ValueError where 4 bits everywhere are still too large.
    """
    least, most = (sum(row.bytes(bits) for row in rows) for bits in (NARROW, WIDE))
    _check_budget(least, budget)
    needed = most - budget
    # Choices by the bytes that they save, at most what is needed: (loss, layers at 4 bits, their numbers as bits).
    best = {0: (0.0, 0, 0)}
    for number, row in enumerate(rows):
        saved, cost = row.bytes(WIDE) - row.bytes(NARROW), max(row.loss_lost, 0.0)
        for so_far, (lost, chosen, layers) in list(best.items()):
            total = min(so_far + saved, max(needed, 0))
            candidate = (lost + cost, chosen + 1, layers | 1 << number)
            if total > so_far and (total not in best or candidate < best[total]):
                best[total] = candidate
    narrow = best[max(needed, 0)][2]
    return {row.name: NARROW if narrow >> i & 1 else WIDE for i, row in enumerate(rows)}


def bytes_of(rows: list[Sensitivity], bits: Mapping[str, int]) -> int:
    """Of all weights with the given bits."""
    return sum(row.bytes(bits[row.name]) for row in rows)


def _count(layer: Layer) -> int:
    assert layer.weight is not None
    return layer.weight.size
