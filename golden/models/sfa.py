"""Spike firing approximation: neurons that are trained with integers and run with binary spikes.

In training a neuron fires an integer 0..D once (`sfa`); at inference it fires 0 or 1 at each of D steps (`sfa_spikes`).
Proposition 1: both are the same number, so that a dot product of the integer is the sum of D dot products of
spikes. Source: Yao et al., *Scaling Spike-driven Transformer with Efficient Spike Firing Approximation Training*
(TPAMI 2025, arXiv 2411.16061). Departure: the paper's neuron fires at ``V >= 1``, which rounds each half up, while
the integers of its code come from `torch.round`, which rounds a half to the even number; here both do the latter.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _SFA(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, levels: int) -> Tensor:
        ctx.save_for_backward((x >= 0) & (x <= levels))
        return x.clamp(0, levels).round_()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return grad * inside, None


def sfa(x: Tensor, levels: int) -> Tensor:
    """Integer spikes 0..``levels`` (D), as reals of the same shape and type: ``round(clamp(x, 0, D))``.

    A half becomes the even neighbour. The gradient passes straight through where x is in [0, D], both ends
    included. Source: the official code's `MultiSpike`, without its division by D.
    Raises ValueError where levels is not positive.
    """
    _check(levels)
    return _SFA.apply(x, levels)  # type: ignore[no-any-return]


def sfa_spikes(x: Tensor, levels: int) -> Tensor:
    """The same as D binary steps: spikes 0.0 or 1.0, (D, ...) of x (...), whose sum is ``sfa(x, D)``; no gradient.

    An integrate-and-fire neuron with threshold 1 and soft reset, charged once to ``V = 0.5 + x``. Its first n
    steps fire and the others do not. At ``V = 1`` it fires where that makes the number of its spikes even. The 0.5
    is taken off the threshold instead: then ``V - 1`` is exact in every floating-point type, which ``0.5 + x`` is not.
    Raises ValueError where levels is not positive.
    """
    _check(levels)
    v, spikes = x.detach(), []
    odd = torch.zeros_like(v, dtype=torch.bool)  # the number of spikes so far
    for _ in range(levels):
        fires = (v > 0.5) | ((v == 0.5) & odd)
        odd = odd ^ fires
        spikes.append(fires.to(v.dtype))
        v = v - spikes[-1]
    return torch.stack(spikes)


def _check(levels: int) -> None:
    if levels < 1:
        raise ValueError(f"levels must be positive, not {levels!r}")
