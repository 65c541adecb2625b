"""Batch norms folded into the weights and biases before them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from spikeloom.golden.models.branch import Branch
from spikeloom.golden.models.pixels import PIXEL_SCALE, PIXEL_TOP


def fold(layer: Branch) -> tuple[np.ndarray, np.ndarray]:
    """Weights (O, I, k, k) and bias (O,) of a layer with its batch norm, float64.

    Those of the first layer apply to ``pixel * PIXEL_SCALE``, whatever the normalisation of the pixels.
    """
    with torch.no_grad():
        weight, bias = folded_tensors(layer)
    return weight.cpu().numpy(), bias.cpu().numpy()


def folded_tensors(layer: Branch) -> tuple[Tensor, Tensor]:
    """What `fold` returns, as functions of the layer's parameters that gradients pass through."""
    projection, norm = layer.projection, layer.norm
    assert projection is not None and isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    slope = norm.weight.double() / torch.sqrt(variance + norm.eps)
    weight = projection.weight.double()
    weight = weight.reshape(*weight.shape[:2], *(weight.shape[2:] if weight.dim() == 4 else (1, 1)))
    before = 0 if projection.bias is None else projection.bias.double()
    bias = (before - mean) * slope + norm.bias.double()
    weight = weight * slope[:, None, None, None]
    if layer.normalisation is not None:
        center, spread = (weight.new_tensor(x) for x in layer.normalisation)
        bias = bias - weight.sum((2, 3)) @ (center / spread)
        weight = weight / (PIXEL_TOP * PIXEL_SCALE * spread)[:, None, None]
    return weight, bias


def head_of(head: nn.Linear) -> tuple[np.ndarray, np.ndarray]:
    """Weights (classes, C, 1, 1) and bias of a readout, float64."""
    weight = head.weight.detach().double().cpu().numpy()[:, :, None, None]
    return weight, head.bias.detach().double().cpu().numpy()


class ChannelBias(nn.Module):
    """Stands in for a folded batch norm: adds one number a channel to (B, C, ...)."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.bias, Tensor)
        return x + self.bias.view(-1, *(1,) * (x.dim() - 2))
