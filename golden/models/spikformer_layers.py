"""The graph of a Spikformer as the layers of a `Network`: names, order and geometry, without weights.

Quantisation and random networks fill in the tensors. `NEURONS` are the two kinds of trained neurons in
integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from spikeloom.golden.network import IMAGE, Neuron

NEURONS = {
    "spikingjelly": Neuron(hard=True, strict=False, leak=True),
    "dts": Neuron(hard=False, strict=True, leak=True),
}


@dataclass(frozen=True, kw_only=True)
class Site:
    """A layer to be: its name and the fields of `Layer` known so far."""

    name: str
    fields: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class SpikformerShape:
    """What decides the graph of a Spikformer."""

    channels: int
    """Of the image."""
    height: int
    """Rows of the image, without its frame."""
    width: int
    """Columns of the image, likewise."""
    framed: bool = False
    """The image comes with a frame one pixel wide, which is the first convolution's padding."""
    stem: Sequence[int]
    """Channels of each convolution of the embedding; the last is the model's width."""
    pools: Sequence[bool]
    """Which of them pool."""
    pool_first: bool = False
    """They pool before their neurons."""
    depth: int
    """Blocks."""
    heads: int
    """Of the attention."""
    hidden: int
    """Channels of the MLP."""
    classes: int
    """Of the readout."""
    residual: Literal["sew", "ms"] = "sew"
    """"sew" adds spikes to spikes, "ms" currents to currents, which neurons of their own then turn into spikes."""

    def __post_init__(self) -> None:
        if len(self.stem) != len(self.pools) or not self.stem:
            raise ValueError(f"the stem has {len(self.stem)} stages, but {len(self.pools)} pooling flags")
        if self.dim % self.heads:
            raise ValueError(f"{self.dim} channels cannot be split over {self.heads} heads")

    @property
    def dim(self) -> int:
        """Channels of a token."""
        return self.stem[-1]


def sites(shape: SpikformerShape) -> list[Site]:
    """Layers of a Spikformer in execution order; the tokens keep their 2-D map.

    Source: official Spikformer, for "ms" Spikingformer, for pool_first SpikingJelly 2.x.
    """
    graph = _Graph(shape)
    x = graph.embedding()
    for i in range(shape.depth):
        x = graph.block(f"block.{i}", x)
    graph.add("head", "head", (graph.spikes("head_in", "head", x),), shape.classes, kind="readout")
    return graph.sites


class _Graph:
    """Sites while they are added; each layer is called by its name."""

    def __init__(self, shape: SpikformerShape) -> None:
        self.shape = shape
        self.fires = shape.residual == "sew"
        self.sites: list[Site] = []
        self.size = [shape.height, shape.width]  # that the next layer reads
        self.channels = {IMAGE: shape.channels}  # of each tensor

    def add(self, name: str, group: str, inputs: tuple[str, ...], channels: int, **more: Any) -> str:
        """A layer that makes so many channels."""
        fields = dict(name=name, group=group, inputs=inputs, channels_in=self.channels[inputs[0]])
        fields |= dict(channels_out=channels, height_in=self.size[0], width_in=self.size[1], **more)
        self.sites.append(Site(name=name, fields=fields))
        self.channels[name] = channels
        return name

    def embedding(self) -> str:
        """Convolutions, and the position embedding."""
        shape, x = self.shape, IMAGE
        for i, (channels, pool) in enumerate(zip(shape.stem, shape.pools, strict=True)):
            inside = shape.framed and not i
            self.size = [n + 2 * inside for n in self.size]
            pooling = dict(pool=pool, pool_first=pool and shape.pool_first)
            x = self.add(f"sps.{i}", "sps", (x,), channels, kernel=3, padding=int(not inside), **pooling)
            self.size = [n - 2 * inside for n in self.size]
            if pool:
                self.size = [(n + 1) // 2 for n in self.size]
        residual = x if self.fires else None
        return self.add("rpe", "sps", (x,), shape.dim, kernel=3, padding=1, fires=self.fires, residual=residual)

    def block(self, name: str, x: str) -> str:
        """Attention and MLP, each added to its input."""
        dim, heads = self.shape.dim, self.shape.heads
        a = self.spikes(f"{name}.attn_in", "qkv", x)
        qkv = tuple(self.add(f"{name}.{part}", "qkv", (a,), dim) for part in "qkv")
        a = self.add(f"{name}.attn", "attn", qkv, dim, kind="attention", heads=heads)
        x = self.add(f"{name}.proj", "attn", (a,), dim, fires=self.fires, residual=x)
        a = self.spikes(f"{name}.mlp_in", "mlp", x)
        a = self.add(f"{name}.fc1", "mlp", (a,), self.shape.hidden)
        return self.add(f"{name}.fc2", "mlp", (a,), dim, fires=self.fires, residual=x)

    def spikes(self, name: str, group: str, x: str) -> str:
        """The tensor that a dot product reads: the residual sum itself, or what its neurons fire."""
        return x if self.fires else self.add(name, group, (x,), self.shape.dim, kind="neurons")


def collapsed(steps: Mapping[str, int]) -> list[str]:
    """Names of the layers with ``T_l`` = 0, of all layers' ``T_l`` by name."""
    return [name for name, count in steps.items() if not count]


def collapse(steps: Mapping[str, int]) -> str | None:
    """What layers without time steps mean for a Spikformer with these ``T_l``, in one line; None without any.

    Such a layer never fires and costs nothing. Behind it there are biases, the same for every image.
    """
    names = collapsed(steps)
    if not names:
        return None
    said = [f"T_l = 0 in {len(names)} of {len(steps)} layers, which never fire: {', '.join(names)}"]
    blind = [name for name in names if name.startswith("sps.") or name == "head_in"]
    if blind:
        said.append(f"nothing of an image passes {blind[0]}, so that all images get one class")
    halves = {"attention": ("attn_in", "q", "k", "v", "attn", "proj"), "MLP": ("mlp_in", "fc1", "fc2")}
    for block in dict.fromkeys(name.rpartition(".")[0] for name in names if name.startswith("block.")):
        for half, parts in halves.items():
            silent = [part for part in parts if f"{block}.{part}" in names]
            if silent:
                rest = "" if parts[-1] in silent else f", but for the biases of {parts[-1]}"
                said.append(f"{half} of {block} bypassed{rest}")
    return "; ".join(said)
