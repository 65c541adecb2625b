"""Spike sparse convolution: convolutions that see only the positions that a mask keeps.

For pre-training with masked images. A dense convolution would carry what a position holds into its masked neighbours,
layer by layer, until nothing is hidden; so each convolution's output is masked again, and batch norm counts the kept
positions alone. Nothing of it is left in the trained model, whose convolutions are plain ones.

Source: Yao et al., E-SpikeFormer (arXiv 2411.16061), after Tian et al., SparK (ICLR 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def enlarged(keep: Tensor, height: int, width: int) -> Tensor:
    """A mask (B, 1, h, w) for maps of height x width, (B, 1, height, width): of the place in which each position lies.

    ValueError where the map is smaller than the mask.
    """
    rows, columns = keep.shape[2:]
    if height < rows or width < columns:
        raise ValueError(f"a mask of {rows}x{columns} does not fit a map of {height}x{width}")
    row, column = torch.arange(height) * rows // height, torch.arange(width) * columns // width
    return keep[:, :, row[:, None], column]


@contextmanager
def sparse_convolutions(modules: Iterable[nn.Module], keep: Tensor) -> Iterator[None]:
    """Inside the block the two-dimensional convolutions and batch norms among the modules and below are sparse.

    keep: (B, 1, h, w) of 0.0 and 1.0, with as many images as the batch; maps are at least as large.
    Tokens (B, C, N) are such maps of N = h w positions.
    """
    handles, norms = [], []
    kept = keep.bool()
    if not kept.any():
        raise ValueError("the mask keeps no position")
    for module in {id(x): x for top in modules for x in top.modules()}.values():
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            handles.append(module.register_forward_hook(partial(_masked, kept)))
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            norms.append((module, module.forward))
            module.forward = partial(_normalised, module, kept)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for norm, forward in norms:
            _restore(norm, forward)


def _restore(norm: nn.Module, forward: Callable[..., Tensor]) -> None:
    if getattr(forward, "__self__", None) is norm:
        del norm.__dict__["forward"]  # the class has it
    else:
        norm.forward = forward  # type: ignore[method-assign]


def _mask_for(kept: Tensor, x: Tensor) -> Tensor:
    """The mask of maps (B, C, H, W) or tokens (B, C, N), (B, H, W) or (B, N)."""
    if x.dim() == 3:
        return kept.flatten(2)[:, 0]
    return enlarged(kept, *x.shape[2:])[:, 0]


def _masked(kept: Tensor, _module: nn.Module, _inputs: tuple[Tensor, ...], y: Tensor) -> Tensor:
    return y * _mask_for(kept, y)[:, None].to(y.dtype)


def _normalised(norm: nn.BatchNorm1d | nn.BatchNorm2d, kept: Tensor, x: Tensor) -> Tensor:
    """Batch norm over the kept positions; zeros elsewhere."""
    mask = _mask_for(kept, x)
    positions = x.movedim(1, -1)[mask]  # (kept, C)
    rate = norm.momentum
    if norm.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        rate = 1 / float(norm.num_batches_tracked) if rate is None else rate
    y = F.batch_norm(
        positions,
        norm.running_mean,
        norm.running_var,
        norm.weight,
        norm.bias,
        norm.training,
        0.0 if rate is None else rate,
        norm.eps,
    )
    whole = torch.zeros_like(x.movedim(1, -1), dtype=y.dtype)
    whole[mask] = y
    return whole.movedim(-1, 1)
