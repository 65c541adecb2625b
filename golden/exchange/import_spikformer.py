"""State dicts of the official Spikformer: the shape that the keys tell, and what they hold for nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from spikeloom.golden.exchange.state_dict import listed

DEAD = re.compile(r"block\.\d+\.norm[12]\.(weight|bias)")
HEADS = {("cifar", 384): 12, ("imagenet", 512): 8}  # of the official cifar10.yml and imagenet/model.py
CHANNELS = 3


def recognise(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Arguments of `official` that the keys and shapes of a state dict tell; ValueError where they tell nothing."""
    if "block.0.attn.q_linear.weight" in shapes:
        dialect, kind = "cifar", "linear"
    elif "block.0.attn.q_conv.weight" in shapes:
        dialect, kind = "imagenet", "conv"
    else:
        raise ValueError(f"it has neither block.0.attn.q_linear nor q_conv; its keys begin with {listed(shapes)}")
    needed = {
        key: shapes.get(f"{key}.weight", ())
        for key in ("patch_embed.proj_conv", "patch_embed.rpe_conv", f"block.0.mlp.fc1_{kind}", "head")
    }
    for key, shape in needed.items():
        if len(shape) < 2:
            raise ValueError(f"missing or empty: '{key}.weight'")
    first, position, hidden, head = needed.values()
    dim = position[0]
    if first[1] != CHANNELS:
        raise ValueError(f"its images have {first[1]} channels, not {CHANNELS}")
    if hidden[0] % dim:
        raise ValueError(f"its MLP has {hidden[0]} channels, no multiple of the width {dim}")
    return {
        "dialect": dialect,
        "depth": 1 + max(int(key.split(".")[1]) for key in shapes if re.match(r"block\.\d+\.", key)),
        "dim": dim,
        "classes": head[0],
        "mlp_ratio": hidden[0] // dim,
        "bias": f"block.0.mlp.fc1_{kind}.bias" in shapes,
    }
