"""Neurons of integer spikes as modules, and the dot products of what they fire, at once or step after step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeloom.golden.models.branch import Projection
from spikeloom.golden.models.sfa import sfa, sfa_spikes


class MultiSpike(nn.Module):
    """Integer spikes (B, C, ...) of currents, 0..D; while ``driven``, D steps (D, B, C, ...) of zeros and ones."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.driven = False

    def forward(self, currents: Tensor) -> Tensor:
        return (sfa_spikes if self.driven else sfa)(currents, self.levels)

    def into(self, projection: nn.Module, currents: Tensor, *, norm: int | None = None) -> Tensor:
        """What the projection makes of the spikes over ``norm`` (D where None)."""
        return projected(projection, self(currents), self.levels if norm is None else norm, self.driven)


def projected(projection: nn.Module, spikes: Tensor, norm: int, driven: bool) -> Tensor:
    """Of integers (B, C, ...), or step after step of spikes (D, B, C, ...), with the bias once."""
    assert isinstance(projection, Projection)
    if not driven:
        return projection(spikes / norm)  # type: ignore[no-any-return]
    steps = [_without_bias(projection, step) for step in spikes]
    y = torch.stack(steps).sum(0) / norm
    if projection.bias is None:
        return y
    return y + projection.bias.view(-1, *(1,) * (y.dim() - 2))


def _without_bias(projection: Projection, x: Tensor) -> Tensor:
    if isinstance(projection, nn.Linear):
        return F.linear(x, projection.weight)
    return projection._conv_forward(x, projection.weight, None)
