"""The neurons of the hardware, in integers."""

from __future__ import annotations

import torch
from torch import Tensor

from spikeloom.golden.network import Neuron


def lif(currents: Tensor, *, bias: Tensor, threshold: Tensor, neuron: Neuron, steps: int) -> tuple[Tensor, Tensor]:
    """Spikes and potentials of a layer in integers: exactly the formula of `spikeloom.golden.network`.

    currents: integers (T, B, C, ...), the accumulators of the steps that the producer has; where ``steps`` is
    larger they are zero, and bias and leak go on. bias, threshold: integers (C,) of the same type.
    Returns spikes (bool) and potentials ``H`` before the reset, both (steps, B, C, ...).
    Raises TypeError for a floating-point type, ValueError for a negative ``steps``.
    """
    if currents.is_floating_point() or bias.is_floating_point() or threshold.is_floating_point():
        raise TypeError(f"lif needs integers, not {currents.dtype}, {bias.dtype}, {threshold.dtype}")
    if steps < 0:
        raise ValueError(f"steps must not be negative, not {steps!r}")
    shape = currents.shape[1:]
    per_channel = (-1,) + (1,) * (len(shape) - 2)  # against (B, C, ...)
    bias, threshold = bias.view(per_channel), threshold.view(per_channel)
    potentials = currents.new_empty((steps, *shape))
    spikes = torch.empty((steps, *shape), dtype=torch.bool)
    u = torch.zeros(shape, dtype=currents.dtype)
    for t in range(steps):
        h = torch.add(u, bias, out=potentials[t])
        if t < len(currents):
            h += currents[t]
        s = torch.gt(h, threshold, out=spikes[t]) if neuron.strict else torch.ge(h, threshold, out=spikes[t])
        if t == steps - 1:
            break
        u = h.masked_fill(s, 0) if neuron.hard else h - s * threshold
        if neuron.leak:
            u = (u + 1 if neuron.strict else u) >> 1
    return spikes, potentials


def fire_integers(currents: Tensor, *, bias: Tensor, threshold: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Integer spikes and potentials of a layer with D levels: exactly the formula of `spikeloom.golden.network`.

    currents: integers (T, B, C, ...), T at most ``steps``, which is 0 or 1: where they are missing they are zero.
    bias (C,), threshold (D, C): integers of the same type. Returns spikes, uint8, 0..D, and potentials ``H``,
    both (steps, B, C, ...). Raises TypeError for a floating-point type, ValueError for another ``steps``.
    """
    if currents.is_floating_point() or bias.is_floating_point() or threshold.is_floating_point():
        raise TypeError(f"fire_integers needs integers, not {currents.dtype}, {bias.dtype}, {threshold.dtype}")
    if steps not in (0, 1):
        raise ValueError(f"steps must be 0 or 1, not {steps!r}")
    per_channel = (-1,) + (1,) * (currents.dim() - 3)  # against (B, C, ...)
    potentials = currents.new_zeros((steps, *currents.shape[1:]))
    potentials[: len(currents)] = currents[:steps]
    potentials += bias.view(per_channel)
    spikes = torch.zeros(potentials.shape, dtype=torch.uint8)
    for level in threshold:
        spikes += potentials >= level.view(per_channel)
    return spikes, potentials
