"""Dynamic time steps: a trained number of time steps for every spiking layer.

Source: Datta, Liu, Li, Beerel, *Dynamic SpikFormer* (ICASSP 2025, arXiv 2311.16456), equations 3 to 11.
No code is published. Where the paper leaves a choice, this is the one taken:

* Equation 4, orientation: ``TP`` is a row vector times a lower triangle of ones, hence *suffix* sums,
  ``TS[j] = sum of TP[i] over i >= j``; with ``TP >= 0`` the scores fall with the step, as the text says.
* Nothing in the paper keeps ``TP >= 0``, without which an intermediate step could be masked. `project_`,
  called after each optimiser step, does. ``T_l`` is the number of leading ones; a mask that is no prefix is
  an error.
* A departure: the paper's window 0 < TS < 2 is open, so that a score that reaches 0 or 2 never gets a gradient
  again: a step that died stays dead, one that froze stays on, whatever the task needs. `project_` keeps all scores
  in `LOWEST`..`HIGHEST`, inside the window. The window itself stays the paper's: without it, scores could wander
  arbitrarily far from 1, and would come back as late.
* Initial scores for "k of T steps" are not given. The paper's masks both grow and shrink, so all steps start inside
  the window: ``1 + 0.05 (k - j)`` for the active steps and ``0.75 - 0.05 (j - k)`` for the others.
* The neuron goes on below its mask only in training, where the gradient of a masked step needs its spikes;
  the mask being a prefix, nobody can tell. The *next* layer does go on: it has its own ``T_l``, bias and
  leak.
* ``T_l = 0`` is reachable and means a silent layer. The paper's tables suggest a floor of one step: `floor`. Without
  it, a layer that nothing of the image passes any more is out of reach of the task, whatever its scores are.
* The mean of the head runs over ``T_max``, not over ``T_l``.
* Weight decay does not apply to ``TP``.
* Equation 8 counts all steps alike, as `mask_loss` does without weights. A departure: given weights, it counts what a
  step of each layer costs those that read it (`golden.training.costs`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LOWEST, HIGHEST = 0.05, 1.95  # of the scores that `TimeMask.project_` leaves


class _Step(torch.autograd.Function):
    """Equations 5 and 6: 1 where the score reaches 1; gradient 1 where 0 < score < 2."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        ctx.save_for_backward(scores)
        return (scores >= 1).to(scores.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (scores,) = ctx.saved_tensors
        return grad * ((scores > 0) & (scores < 2))  # type: ignore[no-any-return]


def scores(parameters: Tensor) -> Tensor:
    """Equation 4: ``TS`` of ``TP``, both (T,), as suffix sums."""
    return parameters.flip(0).cumsum(0).flip(0)


def initial_parameters(steps: int, initial: int) -> Tensor:
    """``TP`` (steps,) whose mask has ``initial`` ones and whose scores all lie inside the gradient window."""
    if not 0 <= initial <= steps:
        raise ValueError(f"the initial time steps must be in 0..{steps}, not {initial!r}")
    active = [1 + min(0.05 * (initial - j), 0.9) for j in range(initial)]
    masked = [max(0.75 - 0.05 * j, LOWEST) for j in range(steps - initial)]
    score = torch.tensor(active + masked + [0.0])
    return score[:-1] - score[1:]


def prefix_length(mask: Iterable[float | bool]) -> int:
    """``T_l``: the number of ones of a mask. ValueError where they are not all at the front."""
    bits = [bool(x) for x in mask]
    count = sum(bits)
    if not all(bits[:count]):
        shown = "".join("1" if x else "0" for x in bits)
        raise ValueError(f"the time mask {shown} is no prefix: an active step follows a masked one")
    return count


class TimeMask(nn.Module):
    """The trained mask of one layer: multiplies its spikes (equation 7).

    steps: ``T_max``. initial: ones of the mask at the start. floor: keep the first step whatever the scores
    say.
    """

    def __init__(self, *, steps: int, initial: int, floor: bool = True) -> None:
        super().__init__()
        self.floor = floor
        self.tp = nn.Parameter(initial_parameters(steps, initial))

    def mask(self) -> Tensor:
        """``TM`` (T,) of zeros and ones, differentiable (equations 5 and 6)."""
        mask: Tensor = _Step.apply(scores(self.tp))
        if self.floor:
            first = torch.zeros_like(mask)
            first[0] = 1
            mask = torch.maximum(mask.detach(), first) * first + mask * (1 - first)
        return mask

    def forward(self, spikes: Tensor) -> Tensor:
        """Spikes (T, ...), of the first steps at least, with the masked steps set to zero."""
        return spikes * self.mask()[: len(spikes)].view(-1, *(1,) * (spikes.dim() - 1))

    @property
    def steps(self) -> int:
        """``T_l``. ValueError where the mask is no prefix."""
        with torch.no_grad():
            return prefix_length(self.mask().tolist())

    @torch.no_grad()
    def project_(self) -> None:
        """Clamp ``TP`` to what the method assumes: at least zero, so that masks stay prefixes, and all scores in
        `LOWEST`..`HIGHEST`, where they get gradients.
        """
        self.tp.clamp_(min=0)
        self.tp[-1:].clamp_(min=LOWEST)  # which all scores contain
        high = scores(self.tp)
        held = high.clamp(max=HIGHEST)
        self.tp.copy_(torch.where(high > HIGHEST, held - torch.cat([held[1:], held.new_zeros(1)]), self.tp))


def mask_loss(masks: Iterable[TimeMask], weights: Iterable[Tensor | float] | None = None) -> Tensor:
    """The sum of equation 8, without its factor: all active steps of the given layers' masks.

    weights: what a step of each counts; 1 where they are left out, as in the paper.
    """
    total = torch.zeros(())
    chosen = list(masks)
    for mask, weight in zip(chosen, [1.0] * len(chosen) if weights is None else weights, strict=True):
        total = total + weight * mask.mask().sum()
    return total
