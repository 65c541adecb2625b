"""Spiking neurons of training, in floating point (those of the hardware: `golden.network.neurons`).

Each function takes the currents of all time steps at once and loops over them itself; the trained ones have a
hand-written backward pass, so that autograd sees one operation a layer instead of ten a step. Inside
`compiled_neurons` the loops become fused kernels, which read and write each number once (`bench/training.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ALPHA = 4.0  # of SpikingJelly's Sigmoid surrogate
_compiling = False


@contextmanager
def compiled_neurons(wanted: bool = True) -> Iterator[None]:
    """Run the trained neurons of the block as kernels of `torch.compile`: faster, after seconds of compiling.

    Results may differ from the others' in the last bit, where the compiler fuses a product with a sum.
    Raises ValueError where neither a GPU nor a C++ compiler is there.
    """
    global _compiling
    if wanted and not torch.cuda.is_available() and not shutil.which("c++") and not shutil.which("g++"):
        raise ValueError("compiled neurons need a C++ compiler: install g++ or switch train.compile off")
    before, _compiling = _compiling, wanted
    try:
        yield
    finally:
        _compiling = before


@cache
def _compiled(loop: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(loop, dynamic=True)  # type: ignore[no-any-return]


def _run(loop: Callable[..., tuple[Tensor, ...]], *given: Tensor, **constants: float) -> tuple[Tensor, ...]:
    """What a loop makes of tensors of one shape (T, ...): tensors of that shape.

    They are laid out as the first one, which results of earlier versions depend on to the last bit; compiled ones
    with the last dimension innermost, which batch norm and convolutions like better (measured).
    """
    first = given[0]
    order = list(range(first.dim()))
    if not _compiling:
        order[1:] = sorted(order[1:], key=first.stride, reverse=True)
    back = sorted(range(len(order)), key=order.__getitem__)
    laid = [x.permute(order) for x in given]
    flat = [x.reshape(len(x), -1) for x in laid]  # (T, neurons): one kernel for layers of all shapes
    if _compiling:
        made = _compiled(loop)(*(_no_view(x) for x in flat), **constants)
    else:
        made = loop(*flat, **constants)
    return tuple(x.view(laid[0].shape).permute(back) for x in made)


def _no_view(x: Tensor) -> Tensor:
    """The same memory under a tensor that is no view: the compiler makes a kernel for each kind of view."""
    return x.new_empty(0).set_(x.contiguous().detach())  # type: ignore[call-overload, no-any-return]


def _exact(x: Tensor) -> Tensor:
    """Half precision is for products: potentials are at least float32."""
    return x if x.dtype == torch.float64 else x.float()


def _spikingjelly_forward(currents: Tensor, *, threshold: float, leak: float) -> tuple[Tensor, Tensor]:
    """Potentials before the reset, and spikes."""
    potentials: list[Tensor] = []
    for x in _exact(currents).unbind():
        if potentials:
            h = potentials[-1]
            v = torch.where(h < threshold, h, 0.0)
            potentials.append(v + (x - v) * 0.5 if leak == 0.5 else v * leak + x * 0.5)
        else:
            potentials.append(x * 0.5)
    together = torch.stack(potentials)
    return together, (together >= threshold).to(currents.dtype)


def _spikingjelly_backward(grad_spikes: Tensor, potentials: Tensor, *, threshold: float, leak: float) -> tuple[Tensor]:
    sigmoid = torch.sigmoid((potentials - threshold) * ALPHA)
    grad = (_exact(grad_spikes) * sigmoid * (1 - sigmoid) * (ALPHA / 2)).unbind()
    kept = [grad[-1]]
    for g, h in zip(grad[-2::-1], potentials.unbind()[-2::-1], strict=True):
        kept.append(g + torch.where(h < threshold, kept[-1] * leak, 0.0))
    return (torch.stack(kept[::-1]).to(grad_spikes.dtype),)


def _dts_forward(currents: Tensor, *, threshold: float, leak: float) -> tuple[Tensor, Tensor]:
    """Potentials before the reset, and spikes."""
    potentials: list[Tensor] = []
    for x in _exact(currents).unbind():
        if potentials:
            h = potentials[-1]
            u = torch.where(h > threshold, h - threshold, h)
            potentials.append(x + u * leak)
        else:
            potentials.append(x)
    together = torch.stack(potentials)
    return together, (together > threshold).to(currents.dtype)


def _dts_backward(
    grad_spikes: Tensor, potentials: Tensor, *, threshold: float, leak: float, gamma: float
) -> tuple[Tensor]:
    window = (1 - (potentials / threshold - 1).abs()).clamp(min=0)
    grad = (_exact(grad_spikes) * window * (gamma / threshold)).unbind()
    kept = [grad[-1]]
    for g in grad[-2::-1]:
        kept.append(g + kept[-1] * leak)
    return (torch.stack(kept[::-1]).to(grad_spikes.dtype),)


class _SpikingJellyLIF(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, currents: Tensor, threshold: float, leak: float) -> Tensor:
        ctx.constants = {"threshold": threshold, "leak": leak}
        potentials, spikes = _run(_spikingjelly_forward, currents, **ctx.constants)
        ctx.save_for_backward(potentials)
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = _run(_spikingjelly_backward, grad_spikes, *ctx.saved_tensors, **ctx.constants)
        return grad, None, None


def spikingjelly_lif(currents: Tensor, *, threshold: float = 1.0, leak: float = 0.5) -> Tensor:
    """Spikes of SpikingJelly's `LIFNode(tau=2, decay_input=True, v_reset=0, detach_reset=True)`.

    ``H = leak V + X / 2; S = H >= threshold; V = 0 where S else H``; the surrogate gradient is the
    derivative of ``sigmoid(4 (H - threshold))``.

    currents: float (T, ...). Returns spikes 0.0 or 1.0 of the same shape. Source:
    fangwei123456/spikingjelly, `clock_driven.neuron.MultiStepLIFNode`; used by Spikformer (ICLR 2023), whose leak
    is 0.5: ``H = V + (X - V) / 2``.
    """
    return _SpikingJellyLIF.apply(currents, threshold, leak)  # type: ignore[no-any-return]


class _DTSLIF(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, currents: Tensor, threshold: float, leak: float, gamma: float) -> Tensor:
        potentials, spikes = _run(_dts_forward, currents, threshold=threshold, leak=leak)
        ctx.save_for_backward(potentials)
        ctx.constants = {"threshold": threshold, "leak": leak, "gamma": gamma}
        return spikes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor) -> tuple[Tensor, None, None, None]:
        (grad,) = _run(_dts_backward, grad_spikes, *ctx.saved_tensors, **ctx.constants)
        return grad, None, None, None


def dts_lif(currents: Tensor, *, threshold: float = 1.0, leak: float = 0.5, gamma: float = 1.0) -> Tensor:
    """Spikes of the DTS paper's neuron: no input decay, soft reset, strict comparison.

    ``H = leak U + X; S = H > threshold; U = H - threshold S``; the surrogate gradient is
    ``gamma / threshold * max(0, 1 - |H / threshold - 1|)``.

    currents: float (T, ...). Returns spikes 0.0 or 1.0 of the same shape: the paper's output amplitude (the
    threshold) belongs to the next layer's weights, and is 1 everywhere here. Source: Datta et al., arXiv
    2311.16456, equations 1 and 2. Not stated there: ``leak`` (0.5, Spikformer's tau of 2), ``gamma`` (1),
    and whether the gradient passes through the reset (it does not, as in Spikformer). A departure: its equation 9
    gives a step the gradient of its own spikes alone; here that of later steps comes back through ``U`` as well,
    times ``leak``, as in any training through time.
    """
    return _DTSLIF.apply(currents, threshold, leak, gamma)  # type: ignore[no-any-return]
