"""Spikformer in plain PyTorch: the official architecture, with a choice of neuron and dynamic time steps.

Source: Zhou et al., *Spikformer* (ICLR 2023), github ZK-Zhou/spikformer; parameters carry the names and shapes
of its state dicts, of CIFAR or of ImageNet (`SpikformerConfig.dialect`), without the LayerNorms that it
creates and never uses. Departures, all by default only: pixels are scaled by 1/256 and not normalised, so
that zero padding is exact and every scale is a power of two; linear layers have no bias (batch norm follows).
`official` has neither departure.

`SpikformerConfig.residual` "ms" is the membrane shortcut of Spikingformer (Zhou et al., arXiv 2304.11954): the
embedding ends and each branch ends with its batch norm, the currents are added, and neurons of their own turn
the sum into spikes before the next dot product. As in the Spike-driven Transformer (Yao et al., NeurIPS 2023), and
not in Spikingformer, neurons also stand before the head, which else would multiply reals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeloom.golden.models.branch import Branch, Projection, watched
from spikeloom.golden.models.neurons import dts_lif, spikingjelly_lif
from spikeloom.golden.models.pixels import Pixels
from spikeloom.golden.models.spikformer_config import GAIN, STAGES, SpikformerConfig
from spikeloom.golden.models.time_mask import TimeMask

ATTENTION_SCALE = 0.125


class SpikingLayer(nn.Module):
    """The neurons of one layer: spikes (T, B, C, ...) of currents, masked by trained or fixed steps."""

    def __init__(self, config: SpikformerConfig, *, threshold: float | None = None) -> None:
        super().__init__()
        self.neuron, self.leak = config.neuron, config.leak
        self.gain = config.input_gain / GAIN[config.neuron]
        self.threshold = config.threshold if threshold is None else threshold
        self.time_steps = config.steps
        self.time_mask = None
        if config.dynamic:
            self.time_mask = TimeMask(steps=config.steps, initial=config.initial, floor=config.floor)

    @property
    def steps(self) -> int:
        """``T_l``. ValueError where the mask is no prefix."""
        return self.time_steps if self.time_mask is None else self.time_mask.steps

    def hold(self, *, threshold: float, steps: int) -> None:
        """From now on fire at that threshold, in so many steps, without a mask."""
        self.threshold, self.time_steps, self.time_mask = threshold, steps, None

    def forward(self, currents: Tensor) -> Tensor:
        fire = spikingjelly_lif if self.neuron == "spikingjelly" else dts_lif
        if self.gain != 1:
            currents = currents * self.gain
        spikes = fire(currents, threshold=self.threshold, leak=self.leak)
        if self.time_mask is not None:
            return self.time_mask(spikes)  # type: ignore[no-any-return]
        if self.time_steps < len(spikes):
            spikes = torch.cat([spikes[: self.time_steps], torch.zeros_like(spikes[self.time_steps :])])
        return spikes


@dataclass(frozen=True, kw_only=True)
class Stage(Branch):
    """A spiking layer."""

    neurons: SpikingLayer
    """That its currents go to."""


def _convolved(owner: nn.Module, part: str, suffix: str, x: Tensor) -> Tensor:
    """A convolution and its batch norm on (B, C, H, W)."""
    y: Tensor = getattr(owner, f"{part}_bn{suffix}")(getattr(owner, f"{part}_conv{suffix}")(x))
    return y


def pooled(x: Tensor) -> Tensor:
    """Maxima of (T, B, C, H, W) over windows of 3x3, stride 2."""
    return F.max_pool2d(x.flatten(0, 1), 3, 2, 1).unflatten(0, x.shape[:2])


class PatchEmbed(nn.Module):
    """Image to tokens: four convolutions and a convolutional position embedding, each with neurons."""

    def __init__(self, config: SpikformerConfig) -> None:
        super().__init__()
        self.pools, self.pool_first = config.pools, config.pool_first
        self.normalisation = config.normalisation
        before = config.channels
        for i, after in enumerate(config.stem):
            suffix = str(i) if i else ""
            self.add_module(f"proj_conv{suffix}", nn.Conv2d(before, after, 3, padding=1, bias=False))
            self.add_module(f"proj_bn{suffix}", nn.BatchNorm2d(after))
            self.add_module(f"proj_lif{suffix}", SpikingLayer(config))
            before = after
        self.rpe_conv = nn.Conv2d(before, before, 3, padding=1, bias=False)
        self.rpe_bn = nn.BatchNorm2d(before)
        self.rpe_lif = SpikingLayer(config) if config.residual == "sew" else None

    def forward(self, images: Tensor, steps: int) -> Tensor:
        """Scaled images (B, C, H, W) to token maps (T, B, dim, h, w) of sums of spikes, or of currents."""
        x = images[None]  # the same at every step: convolved, and its currents pooled, once
        for i, pool in enumerate(self.pools):
            suffix = str(i) if i else ""
            x = _convolved(self, "proj", suffix, x.flatten(0, 1)).unflatten(0, x.shape[:2])
            if pool and self.pool_first:
                x = pooled(x)
            x = getattr(self, f"proj_lif{suffix}")(x if i else x.expand(steps, -1, -1, -1, -1))
            if pool and not self.pool_first:
                x = pooled(x)
        position = _convolved(self, "rpe", "", x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return position if self.rpe_lif is None else x + self.rpe_lif(position)

    def stages(self) -> Iterator[Branch]:
        yield replace(_stage("sps.0", "sps", self, "proj", "", "conv"), normalisation=self.normalisation)
        for i in range(1, STAGES):
            yield _stage(f"sps.{i}", "sps", self, "proj", str(i), "conv")
        yield _stage("rpe", "sps", self, "rpe", "", "conv")


def _stage(name: str, group: str, owner: nn.Module, part: str, suffix: str, kind: str) -> Branch:
    """The stage of a projection, or its branch where it has no neurons."""
    names: dict[str, Any] = dict(projection_name=f"{part}_{kind}{suffix}", norm_name=f"{part}_bn{suffix}")
    neurons = getattr(owner, f"{part}_lif{suffix}")
    if neurons is None:
        return Branch(name=name, group=group, owner=owner, **names)
    return Stage(name=name, group=group, owner=owner, neurons=neurons, **names)


class _TokenLayers(nn.Module):
    """Linear layers over tokens, called by the first part of their names, with batch norm and neurons.

    The neurons of a membrane shortcut stand at the entrance, and the last layer has none.
    """

    def __init__(self, config: SpikformerConfig) -> None:
        super().__init__()
        self.kind = "linear" if config.dialect == "cifar" else "conv"
        self.in_lif = None if config.residual == "sew" else SpikingLayer(config)

    def add(self, part: str, before: int, after: int, config: SpikformerConfig, *, last: bool = False) -> None:
        self.add_module(f"{part}_{self.kind}", _linear(part, before, after, config))
        self.add_module(f"{part}_bn", nn.BatchNorm1d(after))
        fires = not (last and config.residual == "ms")
        self.add_module(f"{part}_lif", SpikingLayer(config) if fires else None)

    def enter(self, x: Tensor) -> Tensor:
        """What the first layer reads."""
        return x if self.in_lif is None else self.in_lif(x)

    def entrance(self, name: str, group: str) -> Iterator[Stage]:
        if self.in_lif is not None:
            yield Stage(name=name, group=group, owner=self, neurons=self.in_lif)

    def spikes(self, part: str, x: Tensor) -> Tensor:
        """(T, B, C, N) to (T, B, C', N); currents where the layer has no neurons."""
        linear: Projection = getattr(self, f"{part}_{self.kind}")
        y = linear.weight.flatten(1) @ x.flatten(0, 1)  # (T B, C', N)
        if linear.bias is not None:
            y = y + linear.bias[:, None]
        y = getattr(self, f"{part}_bn")(y).unflatten(0, x.shape[:2])
        neurons = getattr(self, f"{part}_lif")
        return y if neurons is None else neurons(y)


def _linear(part: str, before: int, after: int, config: SpikformerConfig) -> Projection:
    """A linear layer in the shape in which the dialect stores it."""
    if config.dialect == "cifar":
        return nn.Linear(before, after, bias=config.bias)
    if part in ("q", "k", "v"):
        return nn.Conv1d(before, after, 1, bias=False)
    return (nn.Conv1d if part == "proj" else nn.Conv2d)(before, after, 1, bias=config.bias)


class Attention(_TokenLayers):
    """Spiking self-attention: ``Q K^T V`` without softmax, scaled by 0.125, then neurons."""

    def __init__(self, config: SpikformerConfig) -> None:
        super().__init__(config)
        self.heads = config.heads
        for part in ("q", "k", "v", "proj"):
            self.add(part, config.dim, config.dim, config, last=part == "proj")
        self.attn_lif = SpikingLayer(config, threshold=config.attention_threshold)

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, C, N) to spikes, or currents, of the same shape."""
        x = self.enter(x)
        q, k, v = (self.spikes(part, x).unflatten(2, (self.heads, -1)) for part in "qkv")  # (T, B, heads, d, N)
        kv = k @ v.transpose(-1, -2)  # (T, B, heads, d of k, d of v)
        mixed = kv.transpose(-1, -2) @ q * ATTENTION_SCALE  # (T, B, heads, d, N)
        return self.spikes("proj", self.attn_lif(mixed.flatten(2, 3)))

    def stages(self, block: str) -> Iterator[Branch]:
        yield from self.entrance(f"{block}.attn_in", "qkv")
        for part in "qkv":
            yield _stage(f"{block}.{part}", "qkv", self, part, "", self.kind)
        yield Stage(name=f"{block}.attn", group="attn", owner=self, neurons=self.attn_lif)
        yield _stage(f"{block}.proj", "attn", self, "proj", "", self.kind)


class MLP(_TokenLayers):
    """Two linear layers with neurons."""

    def __init__(self, config: SpikformerConfig) -> None:
        super().__init__(config)
        self.add("fc1", config.dim, config.hidden, config)
        self.add("fc2", config.hidden, config.dim, config, last=True)

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, C, N) to spikes, or currents, of the same shape."""
        return self.spikes("fc2", self.spikes("fc1", self.enter(x)))

    def stages(self, block: str) -> Iterator[Branch]:
        yield from self.entrance(f"{block}.mlp_in", "mlp")
        for part in ("fc1", "fc2"):
            yield _stage(f"{block}.{part}", "mlp", self, part, "", self.kind)


class Block(nn.Module):
    """Attention and MLP, each added to its input: small integers or currents, not spikes."""

    def __init__(self, config: SpikformerConfig) -> None:
        super().__init__()
        self.attn = Attention(config)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(x)
        return x + self.mlp(x)  # type: ignore[no-any-return]


class Spikformer(nn.Module):
    """uint8 images (B, C, H, W) to class scores (B, classes), of the mean over tokens and ``T_max`` steps."""

    def __init__(self, config: SpikformerConfig) -> None:
        super().__init__()
        self.config = config
        self.pixels: nn.Module = Pixels(config.mean, config.std)
        self.patch_embed = PatchEmbed(config)
        self.block = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.head_lif = None if config.residual == "sew" else SpikingLayer(config)
        self.head = nn.Linear(config.dim, config.classes)
        self.ahead: int | None = None
        """Steps that training computes behind the last one that any mask leaves; None for all."""
        self.by_step = False
        """In training the scores are those of each time step, (T, B, classes), of which the usual ones are the mean."""

    def forward(self, images: Tensor) -> Tensor:
        steps = self.steps_computed()
        x = self.patch_embed(self.scaled(images), steps)
        x = x.flatten(3)  # (T, B, C, N)
        for block in self.block:
            x = block(x)
        if self.head_lif is not None:
            x = self.head_lif(x)
        if self.by_step and self.training:
            return self.head(x.mean(3))  # type: ignore[no-any-return]
        means = x.mean(dim=(0, 3))
        if steps < self.config.steps:  # the others are zeros
            means = means * (steps / self.config.steps)
        return self.head(means)  # type: ignore[no-any-return]

    def steps_computed(self) -> int:
        """``T_max``; in training, where `ahead` says so, fewer: no layer spikes in the steps that are left out."""
        if self.ahead is None or not self.training or not self.config.dynamic:
            return self.config.steps
        return min(self.config.steps, max(self.time_steps().values()) + self.ahead)

    def scaled(self, images: Tensor) -> Tensor:
        """What the first convolution sees of uint8 images (B, C, H, W)."""
        return self.pixels(images.to(self.head.weight.dtype))  # type: ignore[no-any-return]

    def layers(self) -> list[Branch]:
        """All layers but the head in execution order, by their names in the integer network."""
        found = list(self.patch_embed.stages())
        for i, block in enumerate(self.block):
            assert isinstance(block, Block)
            found += [*block.attn.stages(f"block.{i}"), *block.mlp.stages(f"block.{i}")]
        if self.head_lif is not None:
            found.append(Stage(name="head_in", group="head", owner=self, neurons=self.head_lif))
        return found

    def stages(self) -> list[Stage]:
        """The spiking layers of `layers`."""
        return [x for x in self.layers() if isinstance(x, Stage)]

    def time_steps(self) -> dict[str, int]:
        """``T_l`` of each spiking layer. ValueError with the layer's name where a mask is no prefix."""
        found = {}
        for stage in self.stages():
            try:
                found[stage.name] = stage.neurons.steps
            except ValueError as error:
                raise ValueError(f"layer {stage.name!r}: {error}") from None
        return found

    def masks(self, groups: tuple[str, ...]) -> list[TimeMask]:
        """The trained masks of the layers in the given groups of the mask loss."""
        stages = [x for x in self.stages() if x.group in groups]
        return [x.neurons.time_mask for x in stages if x.neurons.time_mask is not None]


@torch.no_grad()
def record_spikes(model: Spikformer, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Class scores and each layer's spikes (T, B, C, H, W), before they are pooled and the residual."""
    scores, found = watched(model, images, {stage.name: stage.neurons for stage in model.stages()})
    for name, x in found.items():
        if x.dim() == 4:  # tokens
            found[name] = x.unflatten(3, model.config.token_map)
    return scores, found
