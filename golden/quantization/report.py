"""What the quantisation of a model did to each layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from spikeloom.golden.models.architectures import Model
from spikeloom.golden.network import Layer, Network
from spikeloom.golden.network.widths import widths
from spikeloom.golden.quantization.blueprints import blueprint
from spikeloom.golden.quantization.folded import folded
from spikeloom.golden.quantization.parts import Part
from spikeloom.golden.threads import torch_threads


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """What quantisation did to a layer. Those without weights have neither range nor error."""

    name: str
    """Of the layer."""
    weight_bits: int
    """Of the layer."""
    steps: int
    """``T_l``."""
    weight_low: float | None
    """The least of the folded weights, real."""
    weight_high: float | None
    """The largest of the folded weights, real."""
    clipped: float
    """Share of the weights outside the integer range, 0..1."""
    error: float
    """Root mean square of the rounding relative to that of the weights."""
    accumulator_bits: int
    """Proven worst-case width."""
    membrane_bits: int
    """Proven worst-case width."""
    accuracy_lost: float | None
    """Accuracy of the model in floating point minus the one with this layer alone quantised; None where it was not
    measured."""


def report(
    model: Model,
    network: Network,
    *,
    images: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[LayerReport]:
    """What quantisation did, layer by layer.

    images, labels: where given, the accuracy lost when only that layer is quantised is measured on them.
    progress: called with the layers done and their number.
    """
    proven = widths(network)
    whole = _accuracy(folded(model), images, labels)
    rows = []
    for layer, part in zip(network.layers, blueprint(model).parts, strict=True):
        rounding = _rounding(layer, part) if layer.weight is not None else (None, None, 0.0, 0.0)
        lost = None
        if whole is not None and layer.weight is not None:
            alone = _accuracy(folded(model, network, only=layer.name), images, labels)
            lost = None if alone is None else whole - alone
        rows.append(
            LayerReport(
                name=layer.name,
                weight_bits=layer.weight_bits,
                steps=layer.steps,
                weight_low=rounding[0],
                weight_high=rounding[1],
                clipped=rounding[2],
                error=rounding[3],
                accumulator_bits=proven[layer.name].accumulator,
                membrane_bits=proven[layer.name].membrane,
                accuracy_lost=lost,
            )
        )
        if progress is not None:
            progress(len(rows), len(network.layers))
    return rows


def _rounding(layer: Layer, part: Part) -> tuple[float, float, float, float]:
    """Least and largest weight, share of those that were clipped, and relative error of all."""
    real = part.weight
    assert real is not None
    top = (1 << layer.weight_bits - 1) - 1
    wanted = np.rint(real / part.unit(layer.scale)[:, None, None, None])
    clipped = float(((wanted > top) | (wanted < -top - 1)).mean())
    error = float(np.sqrt(((part.weights_of(layer) - real) ** 2).sum() / (real**2).sum()))
    return float(real.min()), float(real.max()), clipped, error


def _accuracy(model: Model, images: np.ndarray | None, labels: np.ndarray | None) -> float | None:
    if images is None or labels is None:
        return None
    with torch.no_grad(), torch_threads(1):
        parts = [model(part).argmax(1) for part in torch.from_numpy(images).split(180)]
    return float((torch.cat(parts).numpy() == labels).mean())
