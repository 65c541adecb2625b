"""Temporal efficient training: every time step has to know the class by itself.

Source: Deng, Li, Zhang, Gu, *Temporal Efficient Training of Spiking Neural Network via Gradient Re-weighting* (ICLR
2022), equations 8 to 10; a baseline of Table II of the dynamic-time-steps paper. Departure: the cross entropy smooths
its labels where the run wants that.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

GOAL = 1.0  # of the scores in the regulariser: the neurons' threshold


def tet_loss(scores: Tensor, targets: Tensor, *, share: float, label_smoothing: float = 0.0) -> Tensor:
    """``(1 - share) * mean of the steps' cross entropies + share * mean of (scores - 1) ** 2``.

    scores: float (T, B, classes). targets: as `torch.nn.functional.cross_entropy` takes them for (B, classes).
    """
    each = [F.cross_entropy(x, targets, label_smoothing=label_smoothing) for x in scores]
    spread = F.mse_loss(scores, torch.full_like(scores, GOAL))
    return (1 - share) * torch.stack(each).mean() + share * spread
