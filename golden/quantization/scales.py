"""Scales of channels, and the rounding to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

Scales = Literal["power-of-two", "free"]
RESOLUTION = 2.0**-16  # least scale of weights, in thresholds of the neurons that they reach


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


def shared_scale(weight: np.ndarray, bits: int) -> np.ndarray:
    """One power of two for all channels of a readout, (O,): the least that clips nothing."""
    top = (1 << bits - 1) - 1
    largest = max(float(abs(weight).max()), 2.0**-100)
    return np.full(len(weight), 2.0 ** np.ceil(np.log2(largest / top)))


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
