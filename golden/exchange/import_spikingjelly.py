"""State dicts of SpikingJelly 2.x's Spikformers: which they are, and their tensors under the names of our model.

Source: spikingjelly 2.0.0, activation_based/model/spikformer.py and layer/attention.py. Against the official code it
fuses q, k and v into one convolution and one batch norm, pools currents before the neurons (conv, BN, pool, LIF),
computes ``(V K^T) Q``, the same, and has no biases. Its head scores each step, and who uses it averages the scores:
the head is linear, so that this is the score of the mean, which our model computes. Its first convolution pads the
normalised image with zeros, as the official one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from spikeloom.golden.models.spikformer_config import STAGES, Dialect, SpikformerConfig

MARKS = (".attn.qkv_conv_bn.", "patch_embed.stages.0.conv_bn.")  # parts of keys that this family alone has
CHANNELS = 3
FUSED = "qkv"  # in the order of their rows in the fused convolution
DIALECTS: dict[int, Dialect] = {4: "cifar", 16: "imagenet"}  # whose embedding pools as that of the patch size
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A function of SpikingJelly that makes a model, and what it chooses that no key tells."""

    name: str
    heads: int
    patch: int


PRESETS = {  # by depth and width
    (4, 384): Preset(name="spikformer_cifar10", heads=12, patch=4),
    (4, 256): Preset(name="spikformer_ti", heads=8, patch=16),
    (6, 384): Preset(name="spikformer_s", heads=12, patch=16),
}


def is_spikingjelly(keys: Iterable[str]) -> bool:
    return any(mark in key for key in keys for mark in MARKS)


def recognise(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Arguments of `official`, but the dialect, that keys and shapes tell; ValueError for a missing or empty key."""

    def shape(key: str) -> tuple[int, ...]:
        there = shapes.get(f"{key}.weight", ())
        if len(there) < 2 or 0 in there:
            raise ValueError(f"missing or empty: '{key}.weight'")
        return there

    first = shape("patch_embed.stages.0.conv_bn.block.0")
    dim = shape("patch_embed.positional_encoding.conv_bn.block.0")[0]
    hidden, classes = shape("blocks.0.mlp.fc1.0")[0], shape("head")[0]
    if first[1] != CHANNELS:
        raise ValueError(f"its images have {first[1]} channels, not {CHANNELS}")
    if hidden % dim:
        raise ValueError(f"its MLP has {hidden} channels, no multiple of the width {dim}")
    return {
        "depth": 1 + max(int(key.split(".")[1]) for key in shapes if re.match(r"blocks\.\d+\.", key)),
        "dim": dim,
        "classes": classes,
        "mlp_ratio": hidden // dim,
        "bias": False,
    }


def _layers(config: SpikformerConfig) -> Iterator[tuple[str, str, tuple[str, ...], tuple[int, ...]]]:
    """Convolution and batch norm by their keys, our names of both (three of each where fused), and the weight's shape.

    Our names have "{}" for what tells a convolution from its norm.
    """
    before = config.channels
    for i, after in enumerate(config.stem):
        stage = f"patch_embed.stages.{i}.conv_bn.block"
        yield f"{stage}.0", f"{stage}.1", (f"patch_embed.proj_{{}}{i or ''}",), (after, before, 3, 3)
        before = after
    position = "patch_embed.positional_encoding.conv_bn.block"
    yield f"{position}.0", f"{position}.1", ("patch_embed.rpe_{}",), (config.dim, config.dim, 3, 3)
    for i in range(config.depth):
        attn, mlp, ours = f"blocks.{i}.attn", f"blocks.{i}.mlp", f"block.{i}"
        fused = tuple(f"{ours}.attn.{part}_{{}}" for part in FUSED)
        dim, hidden = config.dim, config.hidden
        for layer, names, shape in (
            (f"{attn}.qkv_conv_bn", fused, (len(FUSED) * dim, dim, 1)),
            (f"{attn}.proj_conv_bn", (f"{ours}.attn.proj_{{}}",), (dim, dim, 1)),
            (f"{mlp}.fc1", (f"{ours}.mlp.fc1_{{}}",), (hidden, dim, 1)),
            (f"{mlp}.fc2", (f"{ours}.mlp.fc2_{{}}",), (dim, hidden, 1)),
        ):
            yield f"{layer}.0", f"{layer}.1", names, shape


def shapes(config: SpikformerConfig) -> dict[str, tuple[int, ...]]:
    """Every key of SpikingJelly's state dict of this configuration with its shape, in order."""
    found: dict[str, tuple[int, ...]] = {}
    for convolution, norm, _, shape in _layers(config):
        found[f"{convolution}.weight"] = shape
        found |= {f"{norm}.{key}": () if key == NORM[-1] else shape[:1] for key in NORM}
    return found | {"head.weight": (config.classes, config.dim), "head.bias": (config.classes,)}


def translated(tensors: Mapping[str, Tensor], config: SpikformerConfig) -> dict[str, Tensor]:
    """Tensors that have the keys and shapes of `shapes` (counters may lack) under the keys and shapes of our model."""
    found = {key: tensors[key] for key in ("head.weight", "head.bias")}
    for i, (convolution, norm, names, _) in enumerate(_layers(config)):
        kind = "conv" if i <= STAGES or config.dialect == "imagenet" else "linear"  # the embedding has STAGES + 1
        weights = tensors[f"{convolution}.weight"].chunk(len(names))
        for part, (name, weight) in enumerate(zip(names, weights, strict=True)):
            if kind == "linear":
                weight = weight[..., 0]
            elif ".mlp." in name:
                weight = weight[..., None]  # the official code stores these as two-dimensional convolutions
            found[f"{name.format(kind)}.weight"] = weight
            for key in NORM:
                x = tensors.get(f"{norm}.{key}")
                if x is not None:
                    found[f"{name.format('bn')}.{key}"] = x.chunk(len(names))[part] if x.dim() else x
    return found
