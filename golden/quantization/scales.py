"""What the quantisation of all architectures shares: folded batch norms, scales of channels, rounding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from spikeloom.golden.models.spikformer import PIXEL_SCALE, PIXEL_TOP, Branch
from spikeloom.golden.network import Layer

Scales = Literal["power-of-two", "free"]


def fold(stage: Branch) -> tuple[np.ndarray, np.ndarray]:
    """Weights (O, I, k, k) and bias (O,) of a layer with its batch norm, float64.

    Those of the first layer apply to ``pixel * PIXEL_SCALE``, whatever the normalisation of the pixels.
    """
    with torch.no_grad():
        weight, bias = folded_tensors(stage)
    return weight.cpu().numpy(), bias.cpu().numpy()


def folded_tensors(stage: Branch) -> tuple[Tensor, Tensor]:
    """What `fold` returns, as functions of the layer's parameters that gradients pass through."""
    projection, norm = stage.projection, stage.norm
    assert projection is not None and isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    slope = norm.weight.double() / torch.sqrt(variance + norm.eps)
    weight = projection.weight.double()
    weight = weight.reshape(*weight.shape[:2], *(weight.shape[2:] if weight.dim() == 4 else (1, 1)))
    before = 0 if projection.bias is None else projection.bias.double()
    bias = (before - mean) * slope + norm.bias.double()
    weight = weight * slope[:, None, None, None]
    if stage.normalisation is not None:
        center, spread = (weight.new_tensor(x) for x in stage.normalisation)
        bias = bias - weight.sum((2, 3)) @ (center / spread)
        weight = weight / (PIXEL_TOP * PIXEL_SCALE * spread)[:, None, None]
    return weight, bias


def head_of(head: nn.Linear) -> tuple[np.ndarray, np.ndarray]:
    """Weights (classes, C, 1, 1) and bias of a readout, float64."""
    weight = head.weight.detach().double().cpu().numpy()[:, :, None, None]
    return weight, head.bias.detach().double().cpu().numpy()


def readout_tensors(head: nn.Linear, bits: int, count: int) -> dict[str, Any]:
    """Integer tensors of a readout whose classes share one scale. count: sums that its mean is taken over."""
    weight, bias = head_of(head)
    top = (1 << bits - 1) - 1
    largest = max(float(abs(weight).max()), 2.0**-100)
    scale = np.full(len(weight), 2.0 ** np.ceil(np.log2(largest / top)))
    return {
        "weight": round_weights(weight, scale, bits),
        "bias": np.rint(bias * count / scale).astype(np.int64),
        "threshold": np.zeros(len(weight), np.int64),
        "scale": scale,
    }


def weight_scale(layer: Layer, norm: int = 1) -> np.ndarray:
    """Real value of one integer unit of each channel's weights, float64 (O,).

    Pixels have their own scale. norm: what the floating-point model divides the layer's spikes by.
    """
    return layer.scale / PIXEL_SCALE if layer.direct else layer.scale * norm


def round_weights(weight: np.ndarray, unit: np.ndarray, bits: int) -> np.ndarray:
    """Integer weights, int8: the nearest multiples of each channel's unit, clipped to the bits."""
    top = (1 << bits - 1) - 1
    return np.clip(np.rint(weight / unit[:, None, None, None]), -top - 1, top).astype(np.int8)


def best_scale(
    name: str, weight: np.ndarray, bits: int, threshold: float, resolution: float, scales: Scales
) -> np.ndarray:
    """The scale of each channel's weights, (O,): of those with an integer threshold, the least squared error.

    threshold: the real one, in units of the weights; clipping a few large weights may pay. resolution: the
    least scale before clipping, for channels whose weights are next to nothing.
    """
    top = (1 << bits - 1) - 1
    largest = abs(weight).reshape(len(weight), -1).max(1)
    if not np.isfinite(largest).all():
        raise ValueError(f"layer {name!r}: channel {np.isfinite(largest).argmin()} has weights that are not finite")
    unclipped = np.maximum(largest / top, resolution)
    best = np.full(len(weight), np.inf)
    chosen = np.zeros(len(weight))
    for shrink in np.linspace(1, 0.4, 13) if scales == "free" else (1.0, 0.5):
        if scales == "free":
            unit = threshold / np.maximum(np.floor(threshold / (unclipped * shrink)), 1)
        else:
            unit = 2.0 ** np.ceil(np.log2(unclipped)) * shrink
            unit = np.minimum(unit, threshold)
        error = ((round_weights(weight, unit, bits) * unit[:, None, None, None] - weight) ** 2).sum((1, 2, 3))
        better = error < best
        best, chosen = np.where(better, error, best), np.where(better, unit, chosen)
    return chosen


def bits_of(weight_bits: int | Mapping[str, int], names: list[str]) -> dict[str, int]:
    """8 or 4 for each of the named layers, 8 where a name is missing. ValueError for other bits or names."""
    if isinstance(weight_bits, int):
        weight_bits = dict.fromkeys(names, weight_bits)
    unknown = sorted(set(weight_bits) - set(names))
    if unknown:
        raise ValueError(f"unknown layer {unknown[0]!r}; the layers are {', '.join(names)}")
    found = {name: weight_bits.get(name, 8) for name in names}
    for name, bits in found.items():
        if bits not in (4, 8):
            raise ValueError(f"weight_bits must be 4 or 8, not {bits!r} (layer {name!r})")
    return found


class ChannelBias(nn.Module):
    """Stands in for a folded batch norm: adds one number a channel to (B, C, ...)."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.bias, Tensor)
        return x + self.bias.view(-1, *(1,) * (x.dim() - 2))


def framed(images: Tensor, pixel: tuple[float, ...], width: int) -> Tensor:
    """Images (B, C, H, W) with a frame of the padding pixel of each channel."""
    height, wide = (n + 2 * width for n in images.shape[2:])
    found = images.new_tensor(pixel).view(-1, 1, 1).expand(len(images), -1, height, wide).clone()
    found[:, :, width:-width, width:-width] = images
    return found
