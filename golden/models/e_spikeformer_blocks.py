"""The blocks of an E-SpikeFormer: modules, and the parts of the network that each of them is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from spikeloom.golden.models.branch import Branch
from spikeloom.golden.models.e_spikeformer_config import ESpikeformerConfig
from spikeloom.golden.models.multi_spike import MultiSpike, projected

ATTENTION_KERNEL = 3  # of the depthwise convolution in a block with attention


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
        yield neurons_of(f"{name}.spike1", "sps", self, self.spike1, stream)
        yield _sequential(f"{name}.pwconv1", "sps", self.pwconv1, f"{name}.spike1", neurons=self.spike2)
        yield _sequential(f"{name}.dwconv", "sps", self.dwconv, f"{name}.pwconv1", neurons=self.spike3)
        yield _sequential(f"{name}.pwconv2", "sps", self.pwconv2, f"{name}.dwconv", residual=stream)


def neurons_of(name: str, group: str, owner: nn.Module, neurons: MultiSpike, stream: str, **more: Any) -> Part:
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
        yield neurons_of(f"{name}.spike1", "sps", self, self.spike1, stream)
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
            neurons(norm(projected(conv, spikes, self.levels, driven)))
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
        yield neurons_of(f"{name}.head_spike", "qkv", self, self.head_spike, stream)
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
        yield neurons_of(f"{name}.fc1_spike", "mlp", self, self.fc1_spike, stream)
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
            yield neurons_of(f"{name}.encode_spike", "sps", self, self.encode_spike, source)
            source = f"{name}.encode_spike"
        names: dict[str, Any] = dict(projection_name="encode_conv", norm_name="encode_bn")
        names["normalisation"] = self.normalisation
        yield Part(name=f"{name}.encode_conv", group="sps", owner=self, inputs=(source,), **names)
