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


def sites(
    *,
    channels: int,
    height: int,
    width: int,
    stem: Sequence[int],
    pools: Sequence[bool],
    depth: int,
    heads: int,
    hidden: int,
    classes: int,
    framed: bool = False,
    pool_first: bool = False,
    residual: Literal["sew", "ms"] = "sew",
) -> list[Site]:
    """Layers of a Spikformer in execution order.

    stem: channels of each convolution of the embedding, the last is the model's width. pools: which of them
    pool; pool_first: before their neurons. hidden: channels of the MLP. framed: the image comes with a frame one
    pixel wide, which is the first convolution's padding. residual: "sew" adds spikes to spikes, "ms" currents to
    currents, which neurons of their own then turn into spikes. Source: official Spikformer, for "ms" Spikingformer,
    for pool_first SpikingJelly 2.x; the tokens keep their 2-D map.
    """
    if len(stem) != len(pools) or not stem:
        raise ValueError(f"the stem has {len(stem)} stages, but {len(pools)} pooling flags")
    dim = stem[-1]
    if dim % heads:
        raise ValueError(f"{dim} channels cannot be split over {heads} heads")
    found: list[Site] = []
    size = [height, width]

    def add(name: str, group: str, inputs: tuple[str, ...], shape: tuple[int, int], **more: Any) -> str:
        fields = dict(name=name, group=group, inputs=inputs, channels_in=shape[0], channels_out=shape[1])
        fields |= dict(height_in=size[0], width_in=size[1], **more)
        found.append(Site(name=name, fields=fields))
        return name

    x, width_in = IMAGE, channels
    for i, (out, pool) in enumerate(zip(stem, pools, strict=True)):
        inside = framed and not i
        size = [n + 2 * inside for n in size]
        pooling = dict(pool=pool, pool_first=pool and pool_first)
        x = add(f"sps.{i}", "sps", (x,), (width_in, out), kernel=3, padding=int(not inside), **pooling)
        size = [n - 2 * inside for n in size]
        width_in = out
        if pool:
            size = [(n + 1) // 2 for n in size]
    fires = residual == "sew"

    def spikes(name: str, group: str, x: str) -> str:
        """The tensor that a dot product reads: the residual sum itself, or what its neurons fire."""
        return x if fires else add(name, group, (x,), (dim, dim), kind="neurons")

    x = add("rpe", "sps", (x,), (dim, dim), kernel=3, padding=1, fires=fires, residual=x if fires else None)
    for i in range(depth):
        block = f"block.{i}"
        a = spikes(f"{block}.attn_in", "qkv", x)
        qkv = tuple(add(f"{block}.{part}", "qkv", (a,), (dim, dim)) for part in "qkv")
        a = add(f"{block}.attn", "attn", qkv, (dim, dim), kind="attention", heads=heads)
        x = add(f"{block}.proj", "attn", (a,), (dim, dim), fires=fires, residual=x)
        a = spikes(f"{block}.mlp_in", "mlp", x)
        a = add(f"{block}.fc1", "mlp", (a,), (dim, hidden))
        x = add(f"{block}.fc2", "mlp", (a,), (hidden, dim), fires=fires, residual=x)
    add("head", "head", (spikes("head_in", "head", x),), (dim, classes), kind="readout")
    return found


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
