"""Random networks of any legal graph, for fuzzing: not only Spikformers, and at the edges of what is allowed.

The same seed and limits give the same network on every machine: only integers and exact fractions are drawn, and
thresholds are taken from integer currents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from spikeloom.golden.network import IMAGE, MOST_SHIFT, Layer, LayerShape, Network, Neuron, TensorInfo
from spikeloom.golden.network.execute import LayerRunner
from spikeloom.golden.network.random_network import random_images, stand_in
from spikeloom.golden.network.widths import accumulator_range, membrane_range, signed_bits

ATTEMPTS = 12  # to draw a layer that fits its place, before a small one is taken
CALIBRATION_IMAGES = 3


@dataclass(frozen=True, kw_only=True)
class GraphLimits:
    """The largest network that `random_graph` may draw; what it draws is mostly far smaller."""

    steps: int = 31
    """``T_max``; most networks have at most 6."""
    layers: int = 9
    """Layers before the readout."""
    image_channels: int = 4
    """Channels of the image."""
    channels: int = 40
    """Channels of a layer."""
    size: int = 8
    """Rows and columns of the image; one in eight is a strip of one row or column, four times as long."""
    kernel: int = 5
    """Of a convolution."""
    stride: int = 3
    """Of a convolution."""
    classes: int = 12
    """Class sums."""
    weight_bits: int = 8
    """4, or 8 for layers of either kind."""
    accumulator_bits: int = 20
    """Proven width of a layer's accumulators."""
    potential_bits: int = 24
    """Proven width of a layer's potentials, at least `accumulator_bits`."""
    work: int = 16_000
    """Words of eight channels that all layers read, for each eight channels that they make: bounds the time."""
    word: int | None = None
    """Attention over more channels than this has whole words of it, nine times in ten; None: over any number."""
    golden_only: bool = False
    """Also what only golden computes: membrane shortcuts, integer spikes, depthwise, pooled currents, unary codes."""


def random_graph(seed: int, limits: GraphLimits | None = None) -> Network:
    """A network with a random graph, geometry, masks, neurons and integers; equal arguments give equal networks.

    Layers read any earlier tensor, attention any three of one shape, residuals come from anywhere with the shape;
    ``T_l`` is 0 in one layer of ten. Most thresholds lie where the neurons fire on `random_images`, some at the
    edges of `GraphLimits.potential_bits`.
    """
    draft = _Draft(np.random.default_rng(seed), limits or GraphLimits(), name=f"graph-{seed}")
    count = int(draft.rng.integers(1, draft.limits.layers + 1))
    while len(draft.layers) < count:
        if not (count - len(draft.layers) >= 4 and draft.block()):
            draft.add(draft.geometry())
    return draft.finished()


class _Draft:
    """A network while it grows: its layers, their tensors on a few images, and who has been read."""

    def __init__(self, rng: np.random.Generator, limits: GraphLimits, *, name: str) -> None:
        self.rng, self.limits = rng, limits
        self.layers: list[Layer] = []
        self.unread: list[str] = []
        self.work = 0
        self.integers = limits.golden_only and self._chance(1 / 4)  # spikes above 1, in a network of one step
        self.header = self._header(name)
        self.infos: dict[str, TensorInfo] = {}
        self.shapes: dict[str, LayerShape] = {}
        self.tensors: dict[str, torch.Tensor] = {}

    def _chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def _number(self, low: int, high: int) -> int:
        """An integer of low..high."""
        return int(self.rng.integers(low, max(low, high) + 1))

    def _choice(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def _header(self, name: str) -> dict[str, Any]:
        limits = self.limits
        steps = self._number(1, limits.steps if self._chance(1 / 16) else min(6, limits.steps))
        height, width = (self._number(1, limits.size) for _ in range(2))
        if self._chance(1 / 8):
            height, width = self._choice([(1, self._number(1, 4 * limits.size)), (self._number(1, 4 * limits.size), 1)])
        channels = self._number(1, limits.image_channels)
        header: dict[str, Any] = dict(name=name, steps=1 if self.integers else steps, channels=channels)
        if self._chance(1 / 4):
            frame = self._number(1, 2)
            height, width = height + 2 * frame, width + 2 * frame
            header |= dict(frame=frame, padding_pixel=tuple(self._number(0, 255) for _ in range(channels)))
        if limits.golden_only and self._chance(1 / 3):
            header["coding"] = "unary"
        return header | dict(height=height, width=width)

    # --- geometry: fields of a layer without its integers

    def geometry(self) -> dict[str, Any]:
        """A layer that fits where it reads and into what is left of the work."""
        for _ in range(ATTEMPTS):
            fields = self._grown() if self._chance(0.2) else self._attention() if self._chance(0.35) else None
            fields = fields or (self._neurons() if self._chance(0.4) else None)
            fields = fields or self._convolution()
            if fields is not None and self.work + self._work_of(fields) <= self.limits.work:
                return fields
        info = self._info(source := self._source())
        fields = dict(inputs=(source,), channels_in=info.channels, height_in=info.height, width_in=info.width)
        fields |= dict(kernel=1, stride=self.limits.stride, channels_out=1)
        return fields | self._time(fields)

    def _info(self, name: str) -> TensorInfo:
        if name == IMAGE:
            h = self.header
            return TensorInfo(steps=1, channels=h["channels"], height=h["height"], width=h["width"], maximum=255)
        return self.infos[name]

    def _source(self) -> str:
        """A tensor for a dot product: mostly one that nobody has read yet, at times the image."""
        known = [name for name, info in self.infos.items() if not info.membrane]
        if not known or self._chance(0.15):
            return IMAGE
        fresh = [name for name in known if name in self.unread]
        return str(self._choice(fresh if fresh and self._chance(0.7) else known))

    def _convolution(self) -> dict[str, Any] | None:
        limits, source = self.limits, self._source()
        info = self._info(source)
        fields: dict[str, Any] = dict(inputs=(source,), channels_in=info.channels)
        fields |= dict(height_in=info.height, width_in=info.width)
        kernel = self._choice([1, 1, 3, self._number(1, limits.kernel)])
        same = self._chance(0.6)  # the map keeps its size
        fields["kernel"] = kernel = kernel | 1 if same else kernel
        fields["stride"] = 1 if same else self._number(1, limits.stride)
        fields["padding"] = kernel // 2 if same else self._number(0, kernel)
        if source == IMAGE and "padding_pixel" in self.header:
            fields["padding"] = 0
        fields["channels_out"] = self._channels()
        fields["pool"] = self._chance(0.25)
        if limits.golden_only:
            self._golden_fields(fields)
        shape = _map_of(fields)
        if min(shape) < 1:
            return None
        if source != IMAGE and not fields["pool"] or not fields.get("fires", True):
            fields["residual"] = self._residual(fields["channels_out"], shape, stream=not fields.get("fires", True))
        return fields | self._time(fields)

    def _golden_fields(self, fields: dict[str, Any]) -> None:
        fields["pool_first"] = fields["pool"] and self._chance(0.5)
        if self._chance(0.2):
            fields |= dict(depthwise=True, channels_out=fields["channels_in"])
        if self._chance(0.4):
            fields |= dict(fires=False, pool=False, pool_first=False)
            streams = [x for x in self.infos.values() if x.membrane and (x.height, x.width) == _map_of(fields)]
            if streams and not fields.get("depthwise"):
                fields["channels_out"] = self._choice(streams).channels

    def _channels(self) -> int:
        """Mostly those of a tensor that is there, so that sums and attention come about."""
        if self.infos and self._chance(0.6):
            return self._choice(list(self.infos.values())).channels
        few = self._number(1, min(12, self.limits.channels))
        powers = [1 << i for i in range(self.limits.channels.bit_length()) if 1 << i <= self.limits.channels]
        return int(self._choice([few, self._choice(powers), self._number(1, self.limits.channels)]))

    def _attention(self) -> dict[str, Any] | None:
        """Q, K and V of one shape; the same tensor may be all three."""
        word = self.limits.word if self._chance(0.9) else None
        spikes = {
            k: v
            for k, v in self.infos.items()
            if not (v.summed or v.membrane or (word and v.channels > word and v.channels % word))
        }
        if not spikes:
            return None
        query = self._info(name := self._choice(list(spikes)))
        near = [k for k, v in spikes.items() if (v.height, v.width) == (query.height, query.width)]
        like = [k for k in near if spikes[k].channels == query.channels]
        value = self._choice(near if self.limits.golden_only else like)
        out = spikes[value].channels
        others = [k for k in like if k not in (name, value)]
        key = self._choice(others if others and self._chance(0.7) else like)
        fields: dict[str, Any] = dict(kind="attention", inputs=(name, key, value), channels_out=out)
        fields |= dict(channels_in=query.channels, height_in=query.height, width_in=query.width)
        fields["heads"] = self._heads(query.channels, out)
        fields["pool"] = self._chance(0.2)
        if not fields["pool"]:
            fields["residual"] = self._residual(out, (query.height, query.width))
        return fields | self._time(fields)

    def block(self) -> bool:
        """Q, K and V of one tensor, and their attention, as far as the work allows; False where none is begun."""
        source, word = self._source(), self.limits.word
        info, channels = self._info(source), self._channels()
        if self._chance(0.6) or (word and channels > word and channels % word):
            return False
        fields: dict[str, Any] = dict(inputs=(source,), channels_in=info.channels, channels_out=channels)
        fields |= dict(height_in=info.height, width_in=info.width)
        if self.work + 5 * self._work_of(fields | dict(steps=self.header["steps"])) > self.limits.work:
            return False
        for _ in range(3):
            self.add(fields | self._time(fields))
        names = tuple(layer.name for layer in self.layers[-3:])
        fields |= dict(kind="attention", inputs=names, channels_in=channels, heads=self._heads(channels, channels))
        self.add(fields | self._time(fields))
        return True

    def _heads(self, channels: int, out: int) -> int:
        """Of attention; with a power of two of channels a head where golden is not alone."""
        both = [h for h in range(1, out + 1) if channels % h == 0 and out % h == 0]
        even = [h for h in both if (channels // h).bit_count() == 1]
        return int(self._choice(both if self.limits.golden_only or not even else even))

    def _grown(self) -> dict[str, Any] | None:
        """A sum that grows from Q, K or V of an attention: its place then holds more planes than the others'."""
        attended = {name for layer in self.layers if layer.kind == "attention" for name in layer.inputs}
        if not attended:
            return None
        name = self._choice(sorted(attended))
        info = self.infos[name]
        shape = (info.height, info.width)
        sources = [k for k, x in self.infos.items() if (x.height, x.width) == shape and k != name and not x.membrane]
        if not sources:
            return None
        source = self._choice(sources)
        fields = dict(inputs=(source,), channels_in=self.infos[source].channels, channels_out=info.channels)
        fields |= dict(height_in=info.height, width_in=info.width, residual=name)
        return fields | self._time(fields)

    def _neurons(self) -> dict[str, Any] | None:
        """Neurons of a membrane stream."""
        streams = [name for name, info in self.infos.items() if info.membrane]
        if not streams:
            return None
        info = self._info(source := self._choice(streams))
        fields = dict(kind="neurons", inputs=(source,), channels_in=info.channels, channels_out=info.channels)
        fields |= dict(height_in=info.height, width_in=info.width, whole_map=self._chance(0.3))
        return fields | self._time(fields)

    def _residual(self, channels: int, shape: tuple[int, int], *, stream: bool = False) -> str | None:
        found = [
            name
            for name, info in self.infos.items()
            if (info.channels, info.height, info.width) == (channels, *shape) and info.membrane == stream
        ]
        return str(self._choice(found)) if found and self._chance(0.9 if stream else 0.6) else None

    def _time(self, fields: dict[str, Any]) -> dict[str, Any]:
        """``T_l`` and the neuron."""
        most = self.header["steps"]
        steps = 0 if self._chance(0.1) else most if self._chance(0.5) else self._number(1, most)
        if not fields.get("fires", True):
            return dict(steps=most)
        hard, strict, leak = (self._chance(0.5) for _ in range(3))
        levels = self._number(1, 5) if self.integers else 1
        return dict(steps=steps, neuron=Neuron(hard=hard, strict=strict, leak=leak, levels=levels))

    def _work_of(self, fields: dict[str, Any]) -> int:
        """Of the scanner and of the neurons, see `GraphLimits.work`."""
        info = self._info(fields["inputs"][0])
        height, width = _map_of(fields)
        tiles = -(-fields["channels_out"] // 8)
        read = fields.get("kernel", 1) ** 2 * -(-info.channels // 8) * (1 if info.membrane else info.planes)
        return height * width * tiles * max(fields["steps"], 1) * (read + 4)

    # --- integers

    def add(self, fields: dict[str, Any]) -> None:
        """Give the layer weights, biases and thresholds, and run it."""
        if not self.layers:
            images = self._images(fields)
            self.tensors[IMAGE] = torch.from_numpy(images).to(torch.float32)[None]
        self.work += self._work_of(fields)
        layer = self._drawn(fields)
        for _ in range(self.limits.potential_bits):
            if self._fits(layer):
                break
            layer = _halved(layer)
        if layer.fires:
            layer = self._calibrated(layer)
        runner = self._runner(layer)
        currents = runner.currents(self.tensors)
        if layer.fires:
            self.tensors[layer.name] = runner.finish(runner.fire(currents.to(runner.integer))[0], self.tensors)
        else:
            self.tensors[layer.name] = runner.stream(currents, self.tensors)
        self._append(layer)

    def _images(self, fields: dict[str, Any]) -> np.ndarray:
        probe = self._probe(self._drawn(fields))
        return probe.framed(random_images(probe, CALIBRATION_IMAGES))

    def _append(self, layer: Layer) -> None:
        self.infos[layer.name] = self._shape(layer).output
        self.layers.append(layer)
        self.unread = [name for name in (*self.unread, layer.name) if name not in (*layer.inputs, layer.residual)]

    def _drawn(self, fields: dict[str, Any]) -> Layer:
        """Random weights, biases, shifts; thresholds still zero."""
        kind = fields.get("kind", "accumulate")
        out = fields["channels_out"]
        bits = 4 if self.limits.weight_bits == 4 or self._chance(1 / 3) else 8
        neuron = fields.get("neuron", Neuron())
        name = f"{dict(accumulate='conv', attention='attn').get(kind, kind)}{len(self.layers)}"
        levels = (neuron.levels,) if neuron.levels > 1 and fields.get("fires", True) else ()
        made: dict[str, Any] = dict(fields, name=name, weight_bits=bits)
        made |= dict(threshold=np.zeros((*levels, out), np.int64), scale=np.ones(out))
        made["group"] = {"attention": "attn", "neurons": "mlp"}.get(kind, "sps")
        spread = 3
        if kind == "accumulate":
            made["weight"] = self._weights(fields, bits)
            spread = (2 << bits) * (40 if fields["inputs"][0] == IMAGE else 1)
        if not fields.get("fires", True):
            made["shift"] = self.rng.integers(0, MOST_SHIFT + 1, out)
        return Layer(**made, bias=self.rng.integers(-spread, spread + 1, out) * self._chance(0.8))

    def _weights(self, fields: dict[str, Any], bits: int) -> np.ndarray:
        size = fields.get("kernel", 1)
        shape = (fields["channels_out"], 1 if fields.get("depthwise") else fields["channels_in"], size, size)
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
        rng, style = self.rng, self.rng.random()
        weight = (rng.integers(low, high + 1, shape) + rng.integers(low, high + 1, shape)) // 2 + high // 6
        if style < 0.1:
            weight = np.where(rng.random(shape) < 0.5, low, high)
        elif style < 0.2:
            weight = weight * (rng.random(shape) < 0.2)
        elif style < 0.25:
            weight = np.full(shape, self._choice([low, high]))
        return np.clip(weight, low, high).astype(np.int8)

    def _calibrated(self, layer: Layer) -> Layer:
        """The layer with thresholds at a random share of its currents, and some at the edges, as far as they fit."""
        rng, out = self.rng, layer.channels_out
        currents = self._runner(layer).currents(self.tensors).to(torch.int64)  # (T, B, C, H, W)
        by_channel = np.sort(currents.transpose(0, 2).reshape(out, -1).numpy(), axis=1)
        count = by_channel.shape[1]
        drawn = by_channel[np.arange(out), rng.integers(count // 3, max(count, 1), out)] if count else np.zeros(out)
        base = np.maximum(drawn.astype(np.int64) + layer.bias // 2, 1)
        if layer.neuron.levels > 1:
            return self._fitting(replace(layer, threshold=base + rng.integers(0, 40, layer.threshold.shape).cumsum(0)))
        threshold = base * rng.integers(2, 9, out) // 4
        if self._chance(0.15):  # of any sign, and none at all
            threshold = np.where(rng.random(out) < 0.5, threshold, rng.integers(-20, 2, out))
        layer = self._fitting(replace(layer, threshold=threshold))
        return self._at_the_edge(layer) if self._chance(0.06) else layer

    def _at_the_edge(self, layer: Layer) -> Layer:
        """One channel with the largest bias or threshold of either sign that fits."""
        field, sign = self._choice(["bias", "threshold"]), self._choice([-1, 1])
        channel = self._number(0, layer.channels_out - 1)
        low, high = 0, 1 << self.limits.potential_bits
        best = layer
        while high - low > 1:
            middle = (low + high) // 2
            values = getattr(layer, field).copy()
            values[channel] = sign * middle
            tried = replace(layer, **{field: values})
            fits = self._fits(tried)
            low, high = (middle, high) if fits else (low, middle)
            best = tried if fits else best
        return best

    def _fitting(self, layer: Layer) -> Layer:
        """Bias and thresholds halved until the potentials fit."""
        while not self._fits(layer) and (layer.bias.any() or layer.threshold.any()):
            layer = replace(layer, bias=_half(layer.bias), threshold=_half(layer.threshold))
        return layer

    def _fits(self, layer: Layer) -> bool:
        """Whether accumulators and potentials have the widths of the limits."""
        shape = self._shape(layer)
        return (
            signed_bits(*accumulator_range(layer, shape)) <= self.limits.accumulator_bits
            and signed_bits(*membrane_range(layer, shape)) <= self.limits.potential_bits
        )

    def _shape(self, layer: Layer) -> LayerShape:
        """What follows for the layer; its integers have no influence but where it makes a membrane stream."""
        if layer.name not in self.shapes or not layer.fires:
            probe = Network(layers=(*self.layers, layer), **self.header) if layer.kind == "readout" else None
            self.shapes[layer.name] = (probe or self._probe(layer)).shapes.layers[layer.name]
        return self.shapes[layer.name]

    def _probe(self, layer: Layer) -> Network:
        """The network so far, with the layer and a stand-in readout."""
        spiking = next((x for x in (layer, *self.layers) if x.spiking), None)
        if spiking is None:  # only branches so far: neurons that the readout can see
            spiking = _neurons_of(layer)
            return Network(
                layers=(*self.layers, layer, spiking, stand_in(spiking, 1, self.header["steps"])), **self.header
            )
        return Network(layers=(*self.layers, layer, stand_in(spiking, 1, self.header["steps"])), **self.header)

    def _runner(self, layer: Layer) -> LayerRunner:
        return LayerRunner(self._probe(layer), layer)

    def finished(self) -> Network:
        """The network with its readout, which reads what nobody has read, the newest first."""
        known = [name for name, info in self.infos.items() if not info.membrane]
        if not known:
            self.add(self._neurons() or {})
            known = [self.layers[-1].name]
        fresh = [name for name in known if name in self.unread]
        source = fresh[-1] if fresh else self._choice(known)
        info = self.infos[source]
        classes = self._choice([1, self.limits.classes, self._number(1, self.limits.classes)])
        fields: dict[str, Any] = dict(kind="readout", inputs=(source,), steps=info.steps, channels_in=info.channels)
        fields |= dict(channels_out=classes, height_in=info.height, width_in=info.width)
        bits = self.limits.weight_bits
        bias = self.rng.integers(-500, 501, classes)
        layer = Layer(
            **fields,
            name="head",
            group="head",
            weight=self._weights(fields, bits),
            weight_bits=bits,
            bias=bias,
            threshold=np.zeros(classes, np.int64),
            scale=np.ones(classes),
        )
        while not self._fits(layer):
            layer = _halved(layer)
        return Network(layers=(*self.layers, layer), **self.header)


def _map_of(fields: dict[str, Any]) -> tuple[int, int]:
    """Rows and columns of what the layer makes."""
    if fields.get("whole_map"):
        return 1, 1
    kernel, stride, padding = fields.get("kernel", 1), fields.get("stride", 1), fields.get("padding", 0)
    height, width = ((fields[k] + 2 * padding - kernel) // stride + 1 for k in ("height_in", "width_in"))
    return ((height + 1) // 2, (width + 1) // 2) if fields.get("pool") else (height, width)


def _neurons_of(branch: Layer) -> Layer:
    """Neurons that read a branch's stream."""
    out = branch.channels_out
    return Layer(
        name="neurons",
        kind="neurons",
        inputs=(branch.name,),
        steps=1,
        channels_in=out,
        channels_out=out,
        height_in=branch.height_out,
        width_in=branch.width_out,
        bias=np.zeros(out, np.int64),
        threshold=np.ones(out, np.int64),
        scale=np.ones(out),
    )


def _half(values: np.ndarray) -> np.ndarray:
    """Halves, rounded to zero."""
    return np.sign(values) * (abs(values.astype(np.int64)) // 2)


def _halved(layer: Layer) -> Layer:
    """The layer with half the weights, bias and shifts."""
    weight = None if layer.weight is None else _half(layer.weight).astype(np.int8)
    shift = None if layer.shift is None else layer.shift // 2
    return replace(layer, weight=weight, bias=_half(layer.bias), shift=shift)
