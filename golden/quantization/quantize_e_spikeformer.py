"""From a trained E-SpikeFormer to the integer `Network`.

As in `golden.quantization.quantize`, batch norms fold into weights and bias, and nothing is rescaled: the real value
of one integer unit of a layer's potentials is in its thresholds. A neuron fires the number of D thresholds that its
potential reaches, and the j-th of them is::

    threshold[j] = least integer H with round(H * scale) >= j      round: half to even, as in training

of ``scale`` = weights' scale / D, for the pixels' layer weights' scale / 256; of attention, 2 / sqrt(d) / D^3; of
the mean over N positions, the stream's scale / N. So any scale has exact thresholds, and the integer network fires
what the floating-point model with the quantised weights does. That model is exact in float64 where its own sums are:
with "power-of-two" scales and a D that is a power of two. "free" scales are ``D / n`` for an integer n.

Streams have a power-of-two scale a channel, the finest of their branches', as in `golden.quantization.quantize`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikeloom.golden.models.e_spikeformer import Attention, ESpikeformer, ESpikeformerConfig, Part
from spikeloom.golden.models.spikformer import PIXEL_SCALE, PIXEL_TOP
from spikeloom.golden.network import IMAGE, MOST_SHIFT, Coding, Layer, Network, Neuron
from spikeloom.golden.quantization.scales import (
    ChannelBias,
    Scales,
    best_scale,
    bits_of,
    fold,
    framed,
    readout_tensors,
    round_weights,
    weight_scale,
)

HEAD = "head"
RESOLUTION = 2.0**-16  # least scale of weights, in levels of a neuron


def quantize_e_spikeformer(
    model: ESpikeformer,
    *,
    weight_bits: int | Mapping[str, int] = 8,
    scales: Scales = "power-of-two",
    name: str = "e_spikeformer",
    coding: Coding = "planes",
    provenance: Mapping[str, Any] | None = None,
) -> Network:
    """The integer network of a trained model; see `golden.quantization.quantize.quantize` for the arguments."""
    config = model.config
    parts = model.layers()
    bits = bits_of(weight_bits, [*(part.name for part in parts), HEAD])
    frame = config.stem_kernel // 2 if config.mean is not None else 0
    streams = _Streams(parts, bits, config)
    sizes = {IMAGE: (config.height + 2 * frame, config.width + 2 * frame)}
    layers: list[Layer] = []
    for part in parts:
        size = sizes[part.inputs[0]]
        fields = _geometry(part, size, config, framed=bool(frame)) | {"weight_bits": bits[part.name]}
        if part.neurons is None:
            layer = _branch(part, fields, config.levels, streams)
        elif part.kind == "accumulate":
            layer = _firing(part, fields, config.levels, scales)
        else:
            layer = _without_weights(part, fields, config.levels, streams)
        sizes[part.name] = (layer.height_out, layer.width_out)
        layers.append(layer)
    last = layers[-1]
    readout = readout_tensors(model.head, bits[HEAD], 1)
    shape: dict[str, Any] = dict(channels_in=last.channels_out, channels_out=config.classes, height_in=1, width_in=1)
    layers.append(
        Layer(
            name=HEAD,
            kind="readout",
            group="head",
            inputs=(last.name,),
            steps=1,
            weight_bits=bits[HEAD],
            **shape,
            **readout,
        )  # fmt: skip
    )
    quantization = {"weight_bits": bits, "scales": scales}
    about = {"architecture": "e_spikeformer", "config": asdict(config), "quantization": quantization}
    return Network(
        name=name,
        steps=1,
        channels=config.channels,
        height=config.height + 2 * frame,
        width=config.width + 2 * frame,
        padding_pixel=tuple(round(x) for x in padding_pixel(config)),
        frame=max(frame, 1),
        coding=coding,
        layers=tuple(layers),
        pixel_scale=PIXEL_SCALE,
        provenance={**(provenance or {}), **about},
    )


def padding_pixel(config: ESpikeformerConfig) -> tuple[float, ...]:
    """The pixel of each channel that the first convolution pads with; empty where that is the pixel 0."""
    padded = config.mean is not None and config.stem_kernel > 1
    return tuple(PIXEL_TOP * x for x in config.mean or ()) if padded else ()


def norm_of(layer: Layer, config: ESpikeformerConfig) -> int:
    """What the floating-point model divides the spikes that the layer reads by."""
    return 1 if layer.direct or layer.kind == "readout" else config.levels


def thresholds(real: Callable[[np.ndarray], np.ndarray], unit: np.ndarray, levels: int) -> np.ndarray:
    """Least integers H at which ``round(real(H))`` is at least 1, 2 ... levels: int64 (levels, O).

    real: of one H a channel, what the floating-point model rounds, ascending. unit: (O,), about ``real(1)``.
    """
    found = []
    for j in range(1, levels + 1):
        h = np.ceil((j - 0.5) / unit).astype(np.int64)
        while (short := np.rint(real(h)) < j).any():
            h = h + short
        while (over := np.rint(real(h - 1)) >= j).any():
            h = h - over
        found.append(h)
    return np.stack(found)


def _input_scale(part: Part, levels: int) -> float:
    """Real value of one unit of the integers that a dot product reads."""
    return PIXEL_SCALE if part.inputs[0] == IMAGE else 1 / levels


class _Streams:
    """The scales of the branches' accumulators and of the streams that they add to, by the branches' names."""

    def __init__(self, parts: list[Part], bits: Mapping[str, int], config: ESpikeformerConfig) -> None:
        begun: dict[str, list[str]] = {}  # branches by the first one of their stream
        self._first: dict[str, str] = {}
        wanted = {}
        for part in parts:
            if part.neurons is not None:
                continue
            first = part.name if part.residual is None else self._first[part.residual]
            self._first[part.name] = first
            begun.setdefault(first, []).append(part.name)
            weight, _ = fold(part)
            unit = best_scale(part.name, weight, bits[part.name], np.inf, config.levels * RESOLUTION, "power-of-two")
            wanted[part.name] = unit * _input_scale(part, config.levels)
        self._stream: dict[str, np.ndarray] = {}
        self._branch: dict[str, np.ndarray] = {}
        for first, names in begun.items():
            finest, coarsest = (pick([wanted[x] for x in names]) for pick in (np.minimum.reduce, np.maximum.reduce))
            stream = np.maximum(finest, coarsest / 2.0**MOST_SHIFT)
            self._stream[first] = stream
            self._branch |= {x: np.maximum(wanted[x], stream) for x in names}

    def branch(self, name: str) -> np.ndarray:
        """Scale of the accumulators of a branch."""
        return self._branch[name]

    def stream(self, name: str) -> np.ndarray:
        """Scale of the stream that a branch makes."""
        return self._stream[self._first[name]]


def _geometry(part: Part, size: tuple[int, int], config: ESpikeformerConfig, *, framed: bool) -> dict[str, Any]:
    """Fields of the `Layer` that do not depend on numbers, for an input of that height and width."""
    found: dict[str, Any] = dict(
        name=part.name, kind=part.kind, group=part.group, inputs=part.inputs, steps=1, residual=part.residual,
        fires=part.neurons is not None, height_in=size[0], width_in=size[1], whole_map=part.whole_map,
    )  # fmt: skip
    if part.neurons is not None:
        found["neuron"] = Neuron(levels=config.levels)
    conv = part.projection
    if conv is None:
        return found
    found |= dict(channels_out=conv.weight.shape[0], channels_in=conv.weight.shape[1])
    if isinstance(conv, nn.Conv2d):
        found |= dict(kernel=conv.kernel_size[0], stride=conv.stride[0], padding=int(conv.padding[0]))
        if conv.groups > 1:
            found |= dict(depthwise=True, channels_in=conv.groups)
        if framed and part.inputs[0] == IMAGE:
            found["padding"] = 0
    return found


def _branch(part: Part, fields: dict[str, Any], levels: int, streams: _Streams) -> Layer:
    weight, bias = fold(part)
    scale, stream = streams.branch(part.name), streams.stream(part.name)
    return Layer(
        **fields,
        weight=round_weights(weight, scale / _input_scale(part, levels), fields["weight_bits"]),
        bias=np.rint(bias / stream).astype(np.int64),
        threshold=np.zeros(len(bias), np.int64),
        scale=scale,
        shift=np.rint(np.log2(scale / stream)).astype(np.int64),
    )


def _firing(part: Part, fields: dict[str, Any], levels: int, scales: Scales) -> Layer:
    """A layer with weights and neurons."""
    weight, bias = fold(part)
    bits = fields["weight_bits"]
    limit = float(levels) if scales == "free" else np.inf
    unit = best_scale(part.name, weight, bits, limit, levels * RESOLUTION, scales)
    scale = unit * _input_scale(part, levels)
    return Layer(
        **fields,
        weight=round_weights(weight, unit, bits),
        bias=np.rint(bias / scale).astype(np.int64),
        threshold=_shaped(thresholds(lambda h: h * scale, scale, levels)),
        scale=scale,
    )


def _without_weights(part: Part, fields: dict[str, Any], levels: int, streams: _Streams) -> Layer:
    """Attention, and neurons of a stream."""
    if part.kind == "attention":
        assert isinstance(part.owner, Attention)
        value, query = (getattr(part.owner, x)[0].weight.shape[0] for x in ("v_conv", "q_conv"))
        fields |= dict(channels_in=query, channels_out=value, heads=part.owner.heads)
        factor = part.owner.scale
        scale = np.full(value, factor / levels**3)
        limits = thresholds(lambda h: h / levels**3 * factor, scale, levels)
    else:
        stream = streams.stream(part.inputs[0])
        fields |= dict(channels_in=len(stream), channels_out=len(stream))
        count = fields["height_in"] * fields["width_in"] if part.whole_map else 1
        scale = stream / count
        limits = thresholds(lambda h: h * stream / count, scale, levels)
    channels = fields["channels_out"]
    return Layer(**fields, bias=np.zeros(channels, np.int64), threshold=_shaped(limits), scale=scale)


def _shaped(limits: np.ndarray) -> np.ndarray:
    """Thresholds as `Layer` has them: one level is a neuron like any other."""
    return limits[0] if len(limits) == 1 else limits


class FoldedESpikeformer(ESpikeformer):
    """An E-SpikeFormer in evaluation whose batch norms are folded, in floating point.

    network: where given, its quantised weights and biases take the place of the model's, in the layer called
    ``only`` or in all.
    """

    def __init__(
        self,
        model: ESpikeformer,
        network: Network | None = None,
        *,
        only: str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(model.config)
        self.load_state_dict(model.state_dict())
        self.to(torch.float64)
        self.padding_pixel = padding_pixel(model.config)
        for part, original in zip(self.layers(), model.layers(), strict=True):
            conv = part.projection
            if conv is None:
                continue
            weight, bias = fold(original)
            if network is not None and only in (None, part.name):
                layer = network.layer(part.name)
                assert layer.weight is not None
                weight = layer.weight * weight_scale(layer, norm_of(layer, model.config))[:, None, None, None]
                bias = layer.bias * layer.scale / (1 if layer.shift is None else 2.0**layer.shift)
                if layer.direct and self.padding_pixel:
                    self.padding_pixel = network.padding_pixel
            conv.weight.data = torch.from_numpy(weight).reshape(conv.weight.shape)
            conv.bias = None
            if part.inputs[0] == IMAGE and self.padding_pixel:
                conv.padding = (0, 0)
            assert part.norm_name is not None
            setattr(part.owner, part.norm_name, ChannelBias(torch.from_numpy(bias)))
        if network is not None and only in (None, HEAD):
            layer = network.layers[-1]
            assert layer.weight is not None
            self.head.weight.data = torch.from_numpy(layer.weight[:, :, 0, 0] * layer.scale[:, None])
            self.head.bias.data = torch.from_numpy(layer.bias * layer.scale)
        self.to(dtype).eval()

    def scaled(self, images: Tensor) -> Tensor:
        """The images on the pixels' scale, with a frame of the padding pixel where the model normalises."""
        x = images.to(self.head.weight.dtype)
        if self.padding_pixel:
            x = framed(x, self.padding_pixel, self.config.stem_kernel // 2)
        return x * PIXEL_SCALE


class QuantizedESpikeformer(FoldedESpikeformer):
    """The floating-point model that holds a network's quantised weights and biases.

    With power-of-two scales and levels the integer executor equals it spike by spike: in float64 always, in float32
    (the default) while the currents fit its 24 bits.
    """

    def __init__(self, network: Network, *, dtype: torch.dtype = torch.float32) -> None:
        if network.provenance.get("architecture") != "e_spikeformer":
            raise ValueError(f"network {network.name!r} was not made from an E-SpikeFormer")
        super().__init__(ESpikeformer(ESpikeformerConfig(**network.provenance["config"])), network, dtype=dtype)
