"""E-SpikeFormer in plain PyTorch: the official Base architecture of the Spike-driven Transformer V3.

Source: Yao et al., *Scaling Spike-driven Transformer with Efficient Spike Firing Approximation Training* (TPAMI
2025, arXiv 2411.16061), github BICLab/Spike-Driven-Transformer-V3; parameters carry the names and shapes of its
state dicts. Neurons fire integers 0..D once (`golden.sfa`), one time step in all ("1 x D"), and dot products see
them divided by D. Between the neurons lie membrane streams: each branch ends with its batch norm and is added.

Within `ESpikeformer.spike_driven` the same model fires D binary steps: every dot product sees zeros and ones
alone, its results are accumulated over the steps, and the bias is added once.

Departures, all by default only: pixels are scaled by 1/256 and not normalised, so that zero padding is exact
and every scale is a power of two.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from spikeloom.golden.models.branch import watched
from spikeloom.golden.models.e_spikeformer_blocks import Block, ConvBlock, Downsample, Part, neurons_of
from spikeloom.golden.models.e_spikeformer_config import CONV_STAGES, DOWNSAMPLES, ESpikeformerConfig
from spikeloom.golden.models.multi_spike import MultiSpike
from spikeloom.golden.models.pixels import Pixels
from spikeloom.golden.models.time_mask import TimeMask


class ESpikeformer(nn.Module):
    """uint8 images (B, C, H, W) to class scores (B, classes), of the mean currents over all positions."""

    def __init__(self, config: ESpikeformerConfig) -> None:
        super().__init__()
        self.config = config
        self.pixels: nn.Module = Pixels(config.mean, config.std)
        depths = iter(config.depths)
        before = config.channels
        for i, name in enumerate(DOWNSAMPLES):
            dim = config.widths[i]
            shape: dict[str, Any] = dict(kernel=3 if i else config.stem_kernel, stride=config.strides[i])
            shape |= dict(levels=config.levels if i else None, normalisation=None if i else config.normalisation)
            self.add_module(name, Downsample(before, dim, **shape))
            for stage in _stages_behind(name):
                kind = ConvBlock if stage in CONV_STAGES else Block
                self.add_module(stage, nn.ModuleList(kind(dim, config) for _ in range(next(depths))))
            before = dim
        self.head = nn.Linear(before, config.classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.spike = MultiSpike(config.levels)

    def forward(self, images: Tensor) -> Tensor:
        x = self.features(self.scaled(images)).flatten(2)
        return self.spike.into(self.head, x.sum(2) / x.shape[2], norm=1)

    def features(self, x: Tensor) -> Tensor:
        """The last membrane stream (B, C, H, W), before the mean over its positions, of scaled images."""
        for _, module in self._in_order():
            x = module(x)
        return x

    def scaled(self, images: Tensor) -> Tensor:
        """What the first convolution sees of uint8 images (B, C, H, W)."""
        return self.pixels(images.to(self.head.weight.dtype))  # type: ignore[no-any-return]

    @contextmanager
    def spike_driven(self) -> Iterator[None]:
        """Within the block every neuron fires D binary steps; without gradients."""
        neurons = [x for x in self.modules() if isinstance(x, MultiSpike)]
        before = [x.driven for x in neurons]
        for x in neurons:
            x.driven = True
        try:
            with torch.no_grad():
                yield
        finally:
            for x, driven in zip(neurons, before, strict=True):
                x.driven = driven

    def _in_order(self) -> Iterator[tuple[str, nn.Module]]:
        """Downsamplings and blocks by name, as they are executed."""
        for name in DOWNSAMPLES:
            yield name, getattr(self, name)
            for stage in _stages_behind(name):
                for i, block in enumerate(getattr(self, stage)):
                    yield f"{stage}.{i}", block

    def layers(self) -> list[Part]:
        """All layers but the head in execution order, by their names in the integer network."""
        found: list[Part] = []
        for name, module in self._in_order():
            assert isinstance(module, Downsample | ConvBlock | Block)
            found += module.parts(name, found[-1].name if found else "image")
        found.append(neurons_of("spike", "head", self, self.spike, found[-1].name, whole_map=True))
        return found

    def time_steps(self) -> dict[str, int]:
        """``T_l`` of each spiking layer: 1."""
        return {part.name: 1 for part in self.layers() if part.neurons is not None}

    def masks(self, groups: tuple[str, ...]) -> list[TimeMask]:
        """Trained time masks: none."""
        return []


def _stages_behind(downsample: str) -> tuple[str, ...]:
    """The stages of blocks on the stream that a downsampling begins."""
    return {
        "downsample1_1": ("ConvBlock1_1",),
        "downsample1_2": ("ConvBlock1_2",),
        "downsample2": ("ConvBlock2_1", "ConvBlock2_2"),
        "downsample3": ("block3",),
        "downsample4": ("block4",),
    }[downsample]


@torch.no_grad()
def record_spikes(model: ESpikeformer, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Class scores and each layer's integer spikes (1, B, C, H, W), or (D, B, C, H, W) while spike-driven."""
    return watched(model, images, {x.name: x.neurons for x in model.layers() if x.neurons is not None})
