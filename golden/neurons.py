"""Spiking neurons: two for training, in floating point, and the one of the hardware, in integers.

Each function takes the currents of all time steps at once and loops over them itself; the trained ones have a
hand-written backward pass, so that autograd sees one operation a layer instead of ten a step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spikeloom.golden.network import Neuron

ALPHA = 4.0  # of SpikingJelly's Sigmoid surrogate


class _SpikingJellyLIF(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, currents: Tensor, threshold: float) -> Tensor:
        potentials = torch.empty_like(currents)
        v = torch.zeros_like(currents[0])
        for t, x in enumerate(currents):
            h = torch.add(v, x - v, alpha=0.5, out=potentials[t])
            v = h * (h < threshold)
        ctx.save_for_backward(potentials)
        ctx.threshold = threshold
        return (potentials >= threshold).to(currents.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor) -> tuple[Tensor, None]:
        (potentials,) = ctx.saved_tensors
        sigmoid = torch.sigmoid((potentials - ctx.threshold) * ALPHA)
        grad = grad_spikes * sigmoid * (1 - sigmoid) * (ALPHA / 2)
        quiet = (potentials < ctx.threshold).to(grad.dtype) / 2
        for t in range(len(grad) - 2, -1, -1):
            grad[t] += grad[t + 1] * quiet[t]
        return grad, None


def spikingjelly_lif(currents: Tensor, *, threshold: float = 1.0) -> Tensor:
    """Spikes of SpikingJelly's `LIFNode(tau=2, decay_input=True, v_reset=0, detach_reset=True)`.

    ``H = V + (X - V) / 2; S = H >= threshold; V = 0 where S else H``; the surrogate gradient is the
    derivative of ``sigmoid(4 (H - threshold))``.

    currents: float (T, ...). Returns spikes 0.0 or 1.0 of the same shape. Source:
    fangwei123456/spikingjelly, `clock_driven.neuron.MultiStepLIFNode`; used by Spikformer (ICLR 2023).
    """
    return _SpikingJellyLIF.apply(currents, threshold)  # type: ignore[no-any-return]


class _DTSLIF(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, currents: Tensor, threshold: float, leak: float, gamma: float) -> Tensor:
        potentials = torch.empty_like(currents)
        u = torch.zeros_like(currents[0])
        for t, x in enumerate(currents):
            h = torch.add(x, u, alpha=leak, out=potentials[t])
            u = h - (h > threshold).to(h.dtype) * threshold
        ctx.save_for_backward(potentials)
        ctx.threshold, ctx.leak, ctx.gamma = threshold, leak, gamma
        return (potentials > threshold).to(currents.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor) -> tuple[Tensor, None, None, None]:
        (potentials,) = ctx.saved_tensors
        window = (1 - (potentials / ctx.threshold - 1).abs()).clamp_(min=0)
        grad = grad_spikes * window * (ctx.gamma / ctx.threshold)
        for t in range(len(grad) - 2, -1, -1):
            grad[t] += grad[t + 1] * ctx.leak
        return grad, None, None, None


def dts_lif(currents: Tensor, *, threshold: float = 1.0, leak: float = 0.5, gamma: float = 1.0) -> Tensor:
    """Spikes of the DTS paper's neuron: no input decay, soft reset, strict comparison.

    ``H = leak U + X; S = H > threshold; U = H - threshold S``; the surrogate gradient is
    ``gamma / threshold * max(0, 1 - |H / threshold - 1|)``.

    currents: float (T, ...). Returns spikes 0.0 or 1.0 of the same shape: the paper's output amplitude (the
    threshold) belongs to the next layer's weights, and is 1 everywhere here. Source: Datta et al., arXiv
    2311.16456, equations 1 and 2. Not stated there: ``leak`` (0.5, Spikformer's tau of 2), ``gamma`` (1),
    and whether the gradient passes through the reset (it does not, as in Spikformer).
    """
    return _DTSLIF.apply(currents, threshold, leak, gamma)  # type: ignore[no-any-return]


def lif(
    currents: Tensor, *, bias: Tensor, threshold: Tensor, neuron: Neuron, steps: int
) -> tuple[Tensor, Tensor]:
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
