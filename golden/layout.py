"""The graph of a Spikformer as the layers of a `Network`: names, order and geometry, without weights.

Quantisation and random networks fill in the tensors. `NEURONS` are the two kinds of trained neurons in
integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
) -> list[Site]:
    """Layers of a Spikformer in execution order.

    stem: channels of each convolution of the embedding, the last is the model's width. pools: which of them
    pool. hidden: channels of the MLP. framed: the image comes with a frame one pixel wide, which is the first
    convolution's padding. Source: official Spikformer; the tokens keep their 2-D map.
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
        x = add(f"sps.{i}", "sps", (x,), (width_in, out), kernel=3, padding=int(not inside), pool=pool)
        size = [n - 2 * inside for n in size]
        width_in = out
        if pool:
            size = [(n + 1) // 2 for n in size]
    x = add("rpe", "sps", (x,), (dim, dim), kernel=3, padding=1, residual=x)
    for i in range(depth):
        block = f"block.{i}"
        qkv = tuple(add(f"{block}.{part}", "qkv", (x,), (dim, dim)) for part in "qkv")
        a = add(f"{block}.attn", "attn", qkv, (dim, dim), kind="attention", heads=heads)
        x = add(f"{block}.proj", "attn", (a,), (dim, dim), residual=x)
        a = add(f"{block}.fc1", "mlp", (x,), (dim, hidden))
        x = add(f"{block}.fc2", "mlp", (a,), (hidden, dim), residual=x)
    add("head", "head", (x,), (dim, classes), kind="readout")
    return found
