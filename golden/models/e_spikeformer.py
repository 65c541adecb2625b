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

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor, nn

from spikeloom.golden.bounds import (
    LARGEST_DIM,
    LARGEST_KERNEL,
    LARGEST_RATIO,
    LARGEST_SIDE,
    MOST_BLOCKS,
    MOST_CHANNELS,
    MOST_CLASSES,
    MOST_LEVELS,
)
from spikeloom.golden.models.pixels import Pixels
from spikeloom.golden.models.sfa import sfa, sfa_spikes
from spikeloom.golden.models.spikformer import (
    IMAGENET,
    Branch,
    Reals,
    checked_normalisation,
    watched,
)
from spikeloom.golden.models.time_mask import TimeMask

# Channels of the four stages of the official models, of 2.70, 5.11, 10.02 and 18.99 million parameters.
PRESETS = {"t": (24, 48, 96, 128), "s": (32, 64, 128, 192), "m": (48, 96, 192, 240), "l": (64, 128, 256, 360)}
CONV_STAGES = ("ConvBlock1_1", "ConvBlock1_2", "ConvBlock2_1", "ConvBlock2_2")
STAGES = (*CONV_STAGES, "block3", "block4")
DOWNSAMPLES = ("downsample1_1", "downsample1_2", "downsample2", "downsample3", "downsample4")
ATTENTION_KERNEL = 3  # of the depthwise convolution in a block with attention

Projection = nn.Conv2d | nn.Conv1d | nn.Linear
Channels = Annotated[int, Interval(ge=1, le=LARGEST_DIM)]
Blocks = Annotated[int, Interval(ge=0, le=MOST_BLOCKS)]
Stride = Annotated[int, Interval(ge=1, le=LARGEST_KERNEL)]


@dataclass(frozen=True, kw_only=True)
class ESpikeformerConfig:
    """Shape and neurons of an E-SpikeFormer."""

    channels: Annotated[int, Interval(ge=1, le=MOST_CHANNELS)] = 1
    """Of the 8-bit image."""
    height: Annotated[int, Interval(ge=1, le=LARGEST_SIDE)] = 28
    """Rows of the image."""
    width: Annotated[int, Interval(ge=1, le=LARGEST_SIDE)] = 28
    """Columns of the image."""
    classes: Annotated[int, Interval(ge=1, le=MOST_CLASSES)] = 10
    """Of the readout."""
    dims: tuple[Channels, Channels, Channels, Channels] = (24, 48, 96, 128)
    """Channels of the four stages, the first even, the last two multiples of heads."""
    depths: tuple[Blocks, Blocks, Blocks, Blocks, Blocks, Blocks] = (1, 1, 1, 1, 6, 2)
    """Blocks of ConvBlock1_1, 1_2, 2_1, 2_2, block3, block4."""
    strides: tuple[Stride, Stride, Stride, Stride, Stride] = (2, 2, 2, 2, 1)
    """Of the five downsampling convolutions, before ConvBlock1_1, ConvBlock1_2, ConvBlock2_1, block3 and block4."""
    stem_kernel: Annotated[int, Interval(ge=1, le=LARGEST_KERNEL)] = 7
    """Of the first of them, odd; the others are 3x3."""
    sep_kernel: Annotated[int, Interval(ge=1, le=LARGEST_KERNEL)] = 7
    """Of the depthwise convolutions of the convolution blocks, odd; those of the others are 3x3."""
    heads: Annotated[int, Interval(ge=1, le=LARGEST_DIM)] = 8
    """Of the attention."""
    mlp_ratio: Annotated[int, Interval(ge=1, le=LARGEST_RATIO)] = 4
    """Inner channels of MLPs and of the convolution blocks, over the stage's."""
    sep_ratio: Annotated[int, Interval(ge=1, le=LARGEST_RATIO)] = 2
    """Inner channels of separable convolutions, over the stage's."""
    value_ratio: Annotated[int, Interval(ge=1, le=LARGEST_RATIO)] = 4
    """Channels of the attention's values, over the stage's."""
    levels: Annotated[int, Interval(ge=1, le=MOST_LEVELS)] = 4
    """D, the largest integer spike; a power of two keeps every scale one."""
    mean: Reals | None = None
    """Of the channels; where given, the model sees ``(pixel / 255 - mean) / std`` instead of ``pixel / 256``, and
    pads with zeros, the mean."""
    std: Reals | None = None
    """Given together with the mean."""

    def __post_init__(self) -> None:
        for key in ("channels", "height", "width", "classes", "heads", "mlp_ratio", "sep_ratio", "value_ratio"):
            _check_integer(key, getattr(self, key), 1)
        _check_integer("levels", self.levels, 1)
        for key, count, least in (("dims", 4, 1), ("depths", len(STAGES), 0), ("strides", len(DOWNSAMPLES), 1)):
            value = tuple(getattr(self, key))
            object.__setattr__(self, key, value)
            if len(value) != count:
                raise ValueError(f"{key} must have {count} numbers, not {len(value)}")
            for number in value:
                _check_integer(key, number, least)
        for key in ("stem_kernel", "sep_kernel"):
            _check_integer(key, getattr(self, key), 1)
            if getattr(self, key) % 2 == 0:
                raise ValueError(f"{key} must be odd, not {getattr(self, key)!r}")
        if self.dims[0] % 2:
            raise ValueError(f"dims must begin with an even number, not {self.dims[0]!r}")
        for dim in self.dims[2:]:
            if dim % self.heads:
                raise ValueError(f"the last two of dims must be multiples of heads ({self.heads}), not {dim!r}")
        checked_normalisation(self)

    @property
    def steps(self) -> int:
        """Time steps: each neuron fires once."""
        return 1

    @property
    def widths(self) -> tuple[int, int, int, int, int]:
        """Channels that each downsampling makes."""
        return (self.dims[0] // 2, *self.dims)

    @property
    def token_map(self) -> tuple[int, int]:
        """Rows and columns before the head."""
        height, width = self.height, self.width
        for stride in self.strides:
            height, width = -(-height // stride), -(-width // stride)
        return height, width


def official(size: Literal["t", "s", "m", "l"], **options: Any) -> ESpikeformerConfig:
    """The configuration of an official model, on ImageNet at 224x224. options: other fields."""
    if size not in PRESETS:
        raise ValueError(f"size must be {', '.join(PRESETS)}, not {size!r}")
    image = {key: IMAGENET[key] for key in ("channels", "height", "width", "classes", "mean", "std")}
    return ESpikeformerConfig(**{**image, "dims": PRESETS[size], **options})


def _check_integer(key: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        what = "a positive integer" if least else "an integer of at least 0"
        raise ValueError(f"{key} must be {what}, not {value!r}")


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
        return _projected(projection, self(currents), self.levels if norm is None else norm, self.driven)


def _projected(projection: nn.Module, spikes: Tensor, norm: int, driven: bool) -> Tensor:
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


@dataclass(frozen=True, kw_only=True)
class Part(Branch):
    """A layer of the `Network` to be, with the modules that make it; called by their names."""

    kind: Literal["accumulate", "attention", "neurons"] = "accumulate"
    """As in `Layer`."""
    inputs: tuple[str, ...]
    """As in `Layer`."""
    residual: str | None = None
    """As in `Layer`."""
    neurons: MultiSpike | None = None
    """That its currents go to; None where they go to a stream."""
    whole_map: bool = False
    """It reads the mean over all positions."""


def _conv_bn(before: int, after: int, kernel: int = 1, *, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(before, after, kernel, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after))


class SepConv(nn.Module):
    """Inverted separable convolution: 1x1, depthwise, 1x1, neurons before each."""

    def __init__(self, dim: int, kernel: int, config: ESpikeformerConfig) -> None:
        super().__init__()
        inner = dim * config.sep_ratio
        self.spike1 = MultiSpike(config.levels)
        self.pwconv1 = _conv_bn(dim, inner)
        self.spike2 = MultiSpike(config.levels)
        self.dwconv = _conv_bn(inner, inner, kernel, groups=inner)
        self.spike3 = MultiSpike(config.levels)
        self.pwconv2 = _conv_bn(inner, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Currents (B, C, H, W) to currents of the same shape."""
        for spike, (conv, norm) in (
            (self.spike1, self.pwconv1),
            (self.spike2, self.dwconv),
            (self.spike3, self.pwconv2),
        ):
            x = norm(spike.into(conv, x))
        return x

    def parts(self, name: str, stream: str) -> Iterator[Part]:
        yield _neurons(f"{name}.spike1", "sps", self, self.spike1, stream)
        yield _sequential(f"{name}.pwconv1", "sps", self.pwconv1, f"{name}.spike1", neurons=self.spike2)
        yield _sequential(f"{name}.dwconv", "sps", self.dwconv, f"{name}.pwconv1", neurons=self.spike3)
        yield _sequential(f"{name}.pwconv2", "sps", self.pwconv2, f"{name}.dwconv", residual=stream)


def _neurons(name: str, group: str, owner: nn.Module, neurons: MultiSpike, stream: str, **more: Any) -> Part:
    return Part(name=name, group=group, owner=owner, kind="neurons", inputs=(stream,), neurons=neurons, **more)


def _sequential(name: str, group: str, layer: nn.Sequential, source: str, **more: Any) -> Part:
    return Part(name=name, group=group, owner=layer, projection_name="0", norm_name="1", inputs=(source,), **more)


class ConvBlock(nn.Module):
    """A separable convolution and two 3x3 convolutions, each added to its input."""

    def __init__(self, dim: int, config: ESpikeformerConfig) -> None:
        super().__init__()
        hidden = dim * config.mlp_ratio
        self.Conv = SepConv(dim, config.sep_kernel, config)
        self.spike1 = MultiSpike(config.levels)
        self.conv1 = nn.Conv2d(dim, hidden, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.spike2 = MultiSpike(config.levels)
        self.conv2 = nn.Conv2d(hidden, dim, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.Conv(x)
        inner = self.bn1(self.spike1.into(self.conv1, x))
        return x + self.bn2(self.spike2.into(self.conv2, inner))  # type: ignore[no-any-return]

    def parts(self, name: str, stream: str) -> Iterator[Part]:
        yield from self.Conv.parts(f"{name}.Conv", stream)
        stream = f"{name}.Conv.pwconv2"
        yield _neurons(f"{name}.spike1", "sps", self, self.spike1, stream)
        for i, source, more in (
            (1, "spike1", {"neurons": self.spike2}),
            (2, "conv1", {"residual": stream}),
        ):
            names: dict[str, Any] = dict(projection_name=f"conv{i}", norm_name=f"bn{i}", inputs=(f"{name}.{source}",))
            yield Part(name=f"{name}.conv{i}", group="sps", owner=self, **names, **more)


class Attention(nn.Module):
    """``Q K^T V`` without softmax on integer spikes, scaled by twice the usual scale; the values are wider."""

    def __init__(self, dim: int, config: ESpikeformerConfig) -> None:
        super().__init__()
        self.heads, self.levels = config.heads, config.levels
        self.scale = attention_scale(dim // config.heads)
        wide = dim * config.value_ratio
        self.head_spike = MultiSpike(config.levels)
        self.q_conv = _conv_bn(dim, dim)
        self.q_spike = MultiSpike(config.levels)
        self.k_conv = _conv_bn(dim, dim)
        self.k_spike = MultiSpike(config.levels)
        self.v_conv = _conv_bn(dim, wide)
        self.v_spike = MultiSpike(config.levels)
        self.attn_spike = MultiSpike(config.levels)
        self.proj_conv = _conv_bn(wide, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Currents (B, C, H, W) to currents of the same shape."""
        rows, driven = x.shape[-2:], self.head_spike.driven
        spikes = self.head_spike(x)
        q, k, v = (
            neurons(norm(_projected(conv, spikes, self.levels, driven)))
            .flatten(-2)
            .unflatten(-2, (self.heads, -1))  # (B, heads, d, N), driven (D, B, heads, d, N)
            for neurons, (conv, norm) in (
                (self.q_spike, self.q_conv),
                (self.k_spike, self.k_conv),
                (self.v_spike, self.v_conv),
            )
        )
        mixed = self._mixed_steps(q, k, v) if driven else self._mixed(q, k, v)
        currents = (mixed / self.levels**3 * self.scale).flatten(1, 2).unflatten(2, rows)
        conv, norm = self.proj_conv
        return norm(self.attn_spike.into(conv, currents))  # type: ignore[no-any-return]

    def _mixed(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """``Q K^T V``, (B, heads, d of v, N): sums of integers, exact in float32."""
        with torch.autocast(q.device.type, enabled=False):
            q, k, v = (x if x.dtype == torch.float64 else x.float() for x in (q, k, v))
            return (v @ k.transpose(-1, -2)) @ q

    def _mixed_steps(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The same of spikes (D, B, heads, d, N): one factor of each product is a spike."""
        counts = torch.stack([b @ a.transpose(-1, -2) for a in k for b in v]).sum(0)  # (B, heads, d of v, d of k)
        return torch.stack([counts @ step for step in q]).sum(0)

    def parts(self, name: str, stream: str) -> Iterator[Part]:
        yield _neurons(f"{name}.head_spike", "qkv", self, self.head_spike, stream)
        for part, layer, neurons in (
            ("q_conv", self.q_conv, self.q_spike),
            ("k_conv", self.k_conv, self.k_spike),
            ("v_conv", self.v_conv, self.v_spike),
        ):
            yield _sequential(f"{name}.{part}", "qkv", layer, f"{name}.head_spike", neurons=neurons)
        inputs = tuple(f"{name}.{x}_conv" for x in "qkv")
        attn = f"{name}.attn_spike"
        yield Part(name=attn, group="attn", owner=self, kind="attention", inputs=inputs, neurons=self.attn_spike)
        yield _sequential(f"{name}.proj_conv", "attn", self.proj_conv, attn, residual=stream)


def attention_scale(width: int) -> float:
    """Of the attention of heads with so many channels of Q and K."""
    return 2 / math.sqrt(width)


class MLP(nn.Module):
    """Two linear layers, neurons before each."""

    def __init__(self, dim: int, config: ESpikeformerConfig) -> None:
        super().__init__()
        hidden = dim * config.mlp_ratio
        self.fc1_conv = nn.Conv1d(dim, hidden, 1)
        self.fc1_bn = nn.BatchNorm1d(hidden)
        self.fc1_spike = MultiSpike(config.levels)
        self.fc2_conv = nn.Conv1d(hidden, dim, 1)
        self.fc2_bn = nn.BatchNorm1d(dim)
        self.fc2_spike = MultiSpike(config.levels)

    def forward(self, x: Tensor) -> Tensor:
        """Currents (B, C, H, W) to currents of the same shape."""
        inner = self.fc1_bn(self.fc1_spike.into(self.fc1_conv, x.flatten(2)))  # (B, hidden, N)
        y: Tensor = self.fc2_bn(self.fc2_spike.into(self.fc2_conv, inner))
        return y.unflatten(2, x.shape[2:])

    def parts(self, name: str, stream: str) -> Iterator[Part]:
        yield _neurons(f"{name}.fc1_spike", "mlp", self, self.fc1_spike, stream)
        for i, source, more in (
            (1, "fc1_spike", {"neurons": self.fc2_spike}),
            (2, "fc1_conv", {"residual": stream}),
        ):
            names: dict[str, Any] = dict(projection_name=f"fc{i}_conv", norm_name=f"fc{i}_bn")
            inputs = (f"{name}.{source}",)
            yield Part(name=f"{name}.fc{i}_conv", group="mlp", owner=self, inputs=inputs, **names, **more)


class Block(nn.Module):
    """A separable convolution, attention and an MLP, each added to its input."""

    def __init__(self, dim: int, config: ESpikeformerConfig) -> None:
        super().__init__()
        self.conv = SepConv(dim, ATTENTION_KERNEL, config)
        self.attn = Attention(dim, config)
        self.mlp = MLP(dim, config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.conv(x)
        x = x + self.attn(x)
        return x + self.mlp(x)  # type: ignore[no-any-return]

    def parts(self, name: str, stream: str) -> Iterator[Part]:
        yield from self.conv.parts(f"{name}.conv", stream)
        yield from self.attn.parts(f"{name}.attn", f"{name}.conv.pwconv2")
        yield from self.mlp.parts(f"{name}.mlp", f"{name}.attn.proj_conv")


class Downsample(nn.Module):
    """A convolution that begins a stream; the first reads the image, before the others are neurons."""

    def __init__(
        self, before: int, after: int, *, kernel: int, stride: int, levels: int | None, normalisation: Any = None
    ) -> None:
        super().__init__()
        self.encode_conv = nn.Conv2d(before, after, kernel, stride, kernel // 2)
        self.encode_bn = nn.BatchNorm2d(after)
        self.encode_spike = None if levels is None else MultiSpike(levels)
        self.normalisation = normalisation

    def forward(self, x: Tensor) -> Tensor:
        y = self.encode_conv(x) if self.encode_spike is None else self.encode_spike.into(self.encode_conv, x)
        return self.encode_bn(y)  # type: ignore[no-any-return]

    def parts(self, name: str, source: str) -> Iterator[Part]:
        if self.encode_spike is not None:
            yield _neurons(f"{name}.encode_spike", "sps", self, self.encode_spike, source)
            source = f"{name}.encode_spike"
        names: dict[str, Any] = dict(projection_name="encode_conv", norm_name="encode_bn")
        names["normalisation"] = self.normalisation
        yield Part(name=f"{name}.encode_conv", group="sps", owner=self, inputs=(source,), **names)


class ESpikeformer(nn.Module):
    """uint8 images (B, C, H, W) to class scores (B, classes), of the mean currents over all positions."""

    def __init__(self, config: ESpikeformerConfig) -> None:
        super().__init__()
        self.config = config
        self.pixels: nn.Module = Pixels(config.mean, config.std)
        normalisation = None if config.mean is None or config.std is None else (config.mean, config.std)
        depths = iter(config.depths)
        before = config.channels
        for i, name in enumerate(DOWNSAMPLES):
            dim = config.widths[i]
            shape: dict[str, Any] = dict(kernel=3 if i else config.stem_kernel, stride=config.strides[i])
            shape |= dict(levels=config.levels if i else None, normalisation=None if i else normalisation)
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
        found.append(_neurons("spike", "head", self, self.spike, found[-1].name, whole_map=True))
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
