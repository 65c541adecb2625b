"""Proof of the number ranges of an integer `Network`, from its weights: why nothing can overflow.

Pure numpy: the compiler proves its widths with the same functions.

Accumulator: for one output, the weights times inputs of 0..maximum. Any partial sum, in any order of
events, is a sum over a subset, so it lies between the sum of the negative and the sum of the positive
weights, times the maximum. The same holds when bit-planes are processed from the most significant on and
the partial sum is doubled in between: after plane b it holds the weights times ``x >> b``, and
``2 (x >> b + 1) <= x >> b <= maximum``.

A maximum of accumulators, where a layer pools its currents, is one of them and needs no other width.

Neurons that read a membrane stream have it for an accumulator, or the sum of it over all positions; its range is the
sum of those of its branches. Neurons of integer spikes keep nothing: ``H`` and the thresholds are all they handle.

Membrane: interval arithmetic over the ``T_l`` steps, channel by channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from spikeloom.golden.network import Layer, LayerShape, Network

Bounds = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Widths:
    """Bits of two's complement that a layer needs."""

    accumulator: int
    """They hold every partial sum of ``acc``."""
    membrane: int
    """They hold every number that the neurons handle."""


def signed_bits(low: int, high: int) -> int:
    """The least width in bits of a two's complement number that holds low..high."""
    return max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + 1


def accumulator_bounds(network: Network) -> dict[str, Bounds]:
    """`accumulator_range` of each layer by name."""
    return {layer.name: accumulator_range(layer, network.shapes.layers[layer.name]) for layer in network.layers}


def membrane_bounds(network: Network) -> dict[str, Bounds]:
    """`membrane_range` of each layer by name."""
    return {layer.name: membrane_range(layer, network.shapes.layers[layer.name]) for layer in network.layers}


def accumulator_range(layer: Layer, shape: LayerShape) -> Bounds:
    """Lowest and highest partial sum of ``acc``; (0, 0) where nothing is added.

    Attention: both the partial sums of K^T V and those of Q (K^T V). Readout: one step and position.
    """
    low, high = _accumulator(layer, shape)
    return int(low.min()), int(high.max())


def membrane_range(layer: Layer, shape: LayerShape) -> Bounds:
    """Lowest and highest number that the neurons handle, over channels and steps.

    Covers the operands (``acc``, bias, threshold and its negative), ``U``, the sums of two of ``U``, ``acc`` and bias,
    ``H``, ``R``, ``R + 1`` of a leak that rounds up; of strict neurons also one less than bias and potentials, since
    the hardware keeps these one lower and has one neuron for both. Readout: the sum over its steps and positions, with
    and without bias. Branch: ``acc << shift``, with and without bias, and the stream.
    """
    low, high = _accumulator(layer, shape)
    bias = layer.bias.astype(np.int64)
    if layer.kind == "readout":
        sums = layer.positions * shape.producer_steps
        low, high = low * sums, high * sums
        ranges = [(low, high), (bias, bias), (low + bias, high + bias)]
    elif layer.shift is not None:
        shifted = low << layer.shift, high << layer.shift
        stream = np.array(shape.output.minimum), np.array(shape.output.maximum)
        ranges = [shifted, (bias, bias), (shifted[0] + bias, shifted[1] + bias), stream]
    else:
        ranges = _membrane_ranges(layer, shape, low, high, bias) if layer.steps else []
    return min([0, *(int(a.min()) for a, _ in ranges)]), max([0, *(int(b.max()) for _, b in ranges)])


@lru_cache(maxsize=4)
def widths(network: Network) -> Mapping[str, Widths]:
    """Proven widths of each layer, the readout included. Kept: who looks for a core asks for every one of them."""
    accumulators, membranes = accumulator_bounds(network), membrane_bounds(network)
    found = {
        name: Widths(accumulator=signed_bits(*accumulators[name]), membrane=signed_bits(*membranes[name]))
        for name in accumulators
    }
    return MappingProxyType(found)


def _accumulator(layer: Layer, shape: LayerShape) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest partial sum of each channel, int64 (O,)."""
    zeros = np.zeros(layer.channels_out, np.int64)
    if not shape.active_steps:
        return zeros, zeros
    info = shape.inputs[0]
    if layer.kind == "neurons":
        count = layer.height_in * layer.width_in if layer.whole_map else 1
        return zeros + min(info.minimum, 0) * count, zeros + max(info.maximum, 0) * count
    if layer.weight is None:
        largest = layer.height_in * layer.width_in * (layer.channels_in // layer.heads)
        for source in shape.inputs:
            largest *= source.maximum
        return zeros, zeros + largest
    rows = layer.weight.reshape(layer.channels_out, -1).astype(np.int64)
    return np.minimum(rows, 0).sum(1) * info.maximum, np.maximum(rows, 0).sum(1) * info.maximum


def _membrane_ranges(
    layer: Layer, shape: LayerShape, low: np.ndarray, high: np.ndarray, bias: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """What the neurons of each channel handle, step after step."""
    threshold = layer.threshold.astype(np.int64)
    zeros = np.zeros_like(bias)
    ranges = [(low, high), (bias, bias), (threshold, threshold), (low + bias, high + bias)]
    if layer.neuron.levels > 1:
        return ranges
    ranges.append((-threshold, -threshold))
    lower = int(layer.neuron.strict)
    ranges.append((bias - lower, bias))
    u_low, u_high = zeros, zeros
    for t in range(layer.steps):
        a_low, a_high = (low, high) if t < shape.active_steps else (zeros, zeros)
        ranges += [(u_low + a_low, u_high + a_high), (u_low + bias, u_high + bias)]
        h_low, h_high = u_low + a_low + bias, u_high + a_high + bias
        r_low, r_high = _reset(layer, threshold, h_low, h_high)
        ranges += [(h_low - lower, h_high), (r_low - lower, r_high)]
        if layer.neuron.leak:
            up = int(layer.neuron.strict)
            ranges.append((r_low + up, r_high + up))
            r_low, r_high = (r_low + up) >> 1, (r_high + up) >> 1
        u_low, u_high = r_low, r_high
        ranges.append((u_low - lower, u_high))
    return ranges


def _reset(layer: Layer, threshold: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interval of ``R`` for ``H`` in low..high: the union of the quiet and of the firing case."""
    firing = threshold + 1 if layer.neuron.strict else threshold  # the least H that fires
    quiet = (low, np.minimum(high, firing - 1))  # empty where low >= firing
    if layer.neuron.hard:
        fired = (np.zeros_like(low), np.zeros_like(high))
    else:
        fired = (np.maximum(low, firing) - threshold, high - threshold)
    can_rest, can_fire = low < firing, high >= firing
    lows = np.where(can_rest, np.where(can_fire, np.minimum(quiet[0], fired[0]), quiet[0]), fired[0])
    highs = np.where(can_rest, np.where(can_fire, np.maximum(quiet[1], fired[1]), quiet[1]), fired[1])
    return lows, highs
