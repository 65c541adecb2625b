"""The graph of a random network: what each layer reads, its geometry, its time steps; no integers."""

from __future__ import annotations

from typing import Any

from spikeloom.golden.network import IMAGE, Layer, Neuron, TensorInfo
from spikeloom.golden.network.dice import Dice
from spikeloom.golden.network.graph_limits import GraphLimits

ATTEMPTS = 12  # to draw a layer that fits its place, before a small one is taken


class Geometry:
    """Draws fields of `Layer`, and knows the tensors so far.

    ``header`` has the fields of the `Network`. Who made a layer of the fields tells it by `note`.
    """

    def __init__(self, dice: Dice, limits: GraphLimits, *, name: str) -> None:
        self.dice, self.limits = dice, limits
        self.integers = limits.golden_only and dice.chance(1 / 4)  # spikes above 1, in a network of one step
        self.header = self._header(name)
        self.infos: dict[str, TensorInfo] = {}
        self.unread: list[str] = []
        self.attended: set[str] = set()
        self.work = 0

    def note(self, layer: Layer, made: TensorInfo) -> None:
        """The network has that layer now, whose tensor others can read."""
        self.infos[layer.name] = made
        self.unread = [name for name in (*self.unread, layer.name) if name not in (*layer.inputs, layer.residual)]
        if layer.kind == "attention":
            self.attended |= {*layer.inputs}

    def last(self) -> str | None:
        """What the readout reads: what nobody has read, the newest first; None where nothing fires."""
        known = [name for name, info in self.infos.items() if not info.membrane]
        fresh = [name for name in known if name in self.unread]
        return fresh[-1] if fresh else self.dice.choice(known) if known else None

    def _header(self, name: str) -> dict[str, Any]:
        limits = self.limits
        steps = self.dice.number(1, limits.steps if self.dice.chance(1 / 16) else min(6, limits.steps))
        height, width = (self.dice.number(1, limits.size) for _ in range(2))
        if self.dice.chance(1 / 8):
            height, width = self.dice.choice(
                [(1, self.dice.number(1, 4 * limits.size)), (self.dice.number(1, 4 * limits.size), 1)]
            )
        channels = self.dice.number(1, limits.image_channels)
        header: dict[str, Any] = dict(name=name, steps=1 if self.integers else steps, channels=channels)
        if self.dice.chance(1 / 4):
            frame = self.dice.number(1, 2)
            height, width = height + 2 * frame, width + 2 * frame
            header |= dict(frame=frame, padding_pixel=tuple(self.dice.number(0, 255) for _ in range(channels)))
        if limits.golden_only and self.dice.chance(1 / 3):
            header["coding"] = "unary"
        return header | dict(height=height, width=width)

    def fields(self) -> dict[str, Any]:
        """A layer that fits where it reads and into what is left of the work."""
        for _ in range(ATTEMPTS):
            fields = self._grown() if self.dice.chance(0.2) else self._attention() if self.dice.chance(0.35) else None
            fields = fields or (self.neurons() if self.dice.chance(0.4) else None)
            fields = fields or self._convolution()
            if fields is not None and self.work + self.work_of(fields) <= self.limits.work:
                return fields
        info = self._info(source := self._source())
        fields = dict(inputs=(source,), channels_in=info.channels, height_in=info.height, width_in=info.width)
        fields |= dict(kernel=1, stride=self.limits.stride, channels_out=1)
        return fields | self.time(fields)

    def _info(self, name: str) -> TensorInfo:
        if name == IMAGE:
            h = self.header
            return TensorInfo(steps=1, channels=h["channels"], height=h["height"], width=h["width"], maximum=255)
        return self.infos[name]

    def _source(self) -> str:
        """A tensor for a dot product: mostly one that nobody has read yet, at times the image."""
        known = [name for name, info in self.infos.items() if not info.membrane]
        if not known or self.dice.chance(0.15):
            return IMAGE
        fresh = [name for name in known if name in self.unread]
        return str(self.dice.choice(fresh if fresh and self.dice.chance(0.7) else known))

    def _convolution(self) -> dict[str, Any] | None:
        limits, source = self.limits, self._source()
        info = self._info(source)
        fields: dict[str, Any] = dict(inputs=(source,), channels_in=info.channels)
        fields |= dict(height_in=info.height, width_in=info.width)
        kernel = self.dice.choice([1, 1, 3, self.dice.number(1, limits.kernel)])
        same = self.dice.chance(0.6)  # the map keeps its size
        fields["kernel"] = kernel = kernel | 1 if same else kernel
        fields["stride"] = 1 if same else self.dice.number(1, limits.stride)
        fields["padding"] = kernel // 2 if same else self.dice.number(0, kernel)
        if source == IMAGE and "padding_pixel" in self.header:
            fields["padding"] = 0
        fields["channels_out"] = self._channels()
        fields["pool"] = self.dice.chance(0.25)
        if limits.golden_only:
            self._golden_fields(fields)
        shape = _map_of(fields)
        if min(shape) < 1:
            return None
        if source != IMAGE and not fields["pool"] or not fields.get("fires", True):
            fields["residual"] = self._residual(fields["channels_out"], shape, stream=not fields.get("fires", True))
        return fields | self.time(fields)

    def _golden_fields(self, fields: dict[str, Any]) -> None:
        fields["pool_first"] = fields["pool"] and self.dice.chance(0.5)
        if self.dice.chance(0.2):
            fields |= dict(depthwise=True, channels_out=fields["channels_in"])
        if self.dice.chance(0.4):
            fields |= dict(fires=False, pool=False, pool_first=False)
            streams = [x for x in self.infos.values() if x.membrane and (x.height, x.width) == _map_of(fields)]
            if streams and not fields.get("depthwise"):
                fields["channels_out"] = self.dice.choice(streams).channels

    def _channels(self) -> int:
        """Mostly those of a tensor that is there, so that sums and attention come about."""
        if self.infos and self.dice.chance(0.6):
            return self.dice.choice(list(self.infos.values())).channels
        few = self.dice.number(1, min(12, self.limits.channels))
        powers = [1 << i for i in range(self.limits.channels.bit_length()) if 1 << i <= self.limits.channels]
        return int(self.dice.choice([few, self.dice.choice(powers), self.dice.number(1, self.limits.channels)]))

    def _attention(self) -> dict[str, Any] | None:
        """Q, K and V of one shape; the same tensor may be all three."""
        word = self.limits.word if self.dice.chance(0.9) else None
        spikes = {
            k: v
            for k, v in self.infos.items()
            if not (v.summed or v.membrane or (word and v.channels > word and v.channels % word))
        }
        if not spikes:
            return None
        query = self._info(name := self.dice.choice(list(spikes)))
        near = [k for k, v in spikes.items() if (v.height, v.width) == (query.height, query.width)]
        like = [k for k in near if spikes[k].channels == query.channels]
        value = self.dice.choice(near if self.limits.golden_only else like)
        out = spikes[value].channels
        others = [k for k in like if k not in (name, value)]
        key = self.dice.choice(others if others and self.dice.chance(0.7) else like)
        fields: dict[str, Any] = dict(kind="attention", inputs=(name, key, value), channels_out=out)
        fields |= dict(channels_in=query.channels, height_in=query.height, width_in=query.width)
        fields["heads"] = self._heads(query.channels, out)
        fields["pool"] = self.dice.chance(0.2)
        if not fields["pool"]:
            fields["residual"] = self._residual(out, (query.height, query.width))
        return fields | self.time(fields)

    def shared_source(self) -> dict[str, Any] | None:
        """What Q, K and V of one tensor have in common, as far as the work allows; None where none are begun."""
        source, word = self._source(), self.limits.word
        info, channels = self._info(source), self._channels()
        if self.dice.chance(0.6) or (word and channels > word and channels % word):
            return None
        fields: dict[str, Any] = dict(inputs=(source,), channels_in=info.channels, channels_out=channels)
        fields |= dict(height_in=info.height, width_in=info.width)
        if self.work + 5 * self.work_of(fields | dict(steps=self.header["steps"])) > self.limits.work:
            return None
        return fields

    def attention_of(self, names: tuple[str, ...], fields: dict[str, Any]) -> dict[str, Any]:
        """Attention of three tensors that were made with `shared_source`'s fields."""
        channels = fields["channels_out"]
        return fields | dict(
            kind="attention", inputs=names, channels_in=channels, heads=self._heads(channels, channels)
        )

    def _heads(self, channels: int, out: int) -> int:
        """Of attention; with a power of two of channels a head where golden is not alone."""
        both = [h for h in range(1, out + 1) if channels % h == 0 and out % h == 0]
        even = [h for h in both if (channels // h).bit_count() == 1]
        return int(self.dice.choice(both if self.limits.golden_only or not even else even))

    def _grown(self) -> dict[str, Any] | None:
        """A sum that grows from Q, K or V of an attention: its place then holds more planes than the others'."""
        if not self.attended:
            return None
        name = self.dice.choice(sorted(self.attended))
        info = self.infos[name]
        shape = (info.height, info.width)
        sources = [k for k, x in self.infos.items() if (x.height, x.width) == shape and k != name and not x.membrane]
        if not sources:
            return None
        source = self.dice.choice(sources)
        fields = dict(inputs=(source,), channels_in=self.infos[source].channels, channels_out=info.channels)
        fields |= dict(height_in=info.height, width_in=info.width, residual=name)
        return fields | self.time(fields)

    def neurons(self) -> dict[str, Any] | None:
        """Neurons of a membrane stream."""
        streams = [name for name, info in self.infos.items() if info.membrane]
        if not streams:
            return None
        info = self._info(source := self.dice.choice(streams))
        fields = dict(kind="neurons", inputs=(source,), channels_in=info.channels, channels_out=info.channels)
        fields |= dict(height_in=info.height, width_in=info.width, whole_map=self.dice.chance(0.3))
        return fields | self.time(fields)

    def _residual(self, channels: int, shape: tuple[int, int], *, stream: bool = False) -> str | None:
        found = [
            name
            for name, info in self.infos.items()
            if (info.channels, info.height, info.width) == (channels, *shape) and info.membrane == stream
        ]
        return str(self.dice.choice(found)) if found and self.dice.chance(0.9 if stream else 0.6) else None

    def time(self, fields: dict[str, Any]) -> dict[str, Any]:
        """``T_l`` and the neuron."""
        most = self.header["steps"]
        steps = 0 if self.dice.chance(0.1) else most if self.dice.chance(0.5) else self.dice.number(1, most)
        if not fields.get("fires", True):
            return dict(steps=most)
        hard, strict, leak = (self.dice.chance(0.5) for _ in range(3))
        levels = self.dice.number(1, 5) if self.integers else 1
        return dict(steps=steps, neuron=Neuron(hard=hard, strict=strict, leak=leak, levels=levels))

    def work_of(self, fields: dict[str, Any]) -> int:
        """Of the scanner and of the neurons, see `GraphLimits.work`."""
        info = self._info(fields["inputs"][0])
        height, width = _map_of(fields)
        tiles = -(-fields["channels_out"] // 8)
        read = fields.get("kernel", 1) ** 2 * -(-info.channels // 8) * (1 if info.membrane else info.planes)
        return height * width * tiles * max(fields["steps"], 1) * (read + 4)


def _map_of(fields: dict[str, Any]) -> tuple[int, int]:
    """Rows and columns of what the layer makes."""
    if fields.get("whole_map"):
        return 1, 1
    kernel, stride, padding = fields.get("kernel", 1), fields.get("stride", 1), fields.get("padding", 0)
    height, width = ((fields[k] + 2 * padding - kernel) // stride + 1 for k in ("height_in", "width_in"))
    return ((height + 1) // 2, (width + 1) // 2) if fields.get("pool") else (height, width)
