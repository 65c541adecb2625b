"""State dicts of the official E-SpikeFormer: which of them can be taken over, and the shape that the keys tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from spikeloom.golden.models.e_spikeformer_config import CONV_STAGES, DOWNSAMPLES, PRESETS, STAGES, ESpikeformerConfig

MARK = "downsample1_1.encode_conv."  # keys that begin so are of this family
HEADS = 8  # of all official models
CHANNELS = 3
REPARAMETERISED = re.compile(r"attn\.\w+_conv\.0\.(body|conv[12])\.|layer_scale|head_kd")


def is_e_spikeformer(keys: Iterable[str]) -> bool:
    return any(key.startswith(MARK) for key in keys)


def recognise(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Fields of `ESpikeformerConfig` that the keys and shapes of a state dict tell.

    ValueError for a model with RepConv in its attention (Spike-driven Transformer V2, the Large models of V3), and
    for a missing or empty key.
    """
    found = next((key for key in shapes if REPARAMETERISED.search(key)), None)
    if found is not None:
        raise ValueError(
            f"{found!r} is of the Large models of V3, or of V2, whose attention has re-parameterised convolutions; "
            "the Base models can be imported"
        )

    def shape(key: str) -> tuple[int, ...]:
        there = shapes.get(f"{key}.weight", ())
        if len(there) < 2 or 0 in there:
            raise ValueError(f"missing or empty: '{key}.weight'")
        return there

    first, *others = (shape(f"{name}.encode_conv") for name in DOWNSAMPLES)
    if first[1] != CHANNELS:
        raise ValueError(f"its images have {first[1]} channels, not {CHANNELS}")
    depths = []
    for stage in STAGES:
        numbers = [int(key.split(".")[1]) for key in shapes if re.match(rf"{stage}\.\d+\.", key)]
        depths.append(1 + max(numbers, default=-1))
    fields: dict[str, Any] = {
        "dims": tuple(x[0] for x in others),
        "depths": tuple(depths),
        "stem_kernel": first[-1],
        "classes": shape("head")[0],
    }
    last = next((x for x in reversed(STAGES) if depths[STAGES.index(x)]), None)
    convolution = next((x for x in CONV_STAGES if depths[STAGES.index(x)]), None)
    if convolution is not None:
        fields["sep_kernel"] = shape(f"{convolution}.0.Conv.dwconv.0")[-1]
        fields |= _ratios(shape(f"{convolution}.0.Conv.pwconv1.0"), "sep_ratio")
        fields |= _ratios(shape(f"{convolution}.0.conv1"), "mlp_ratio")
    if last is not None and last not in CONV_STAGES:
        fields |= _ratios(shape(f"{last}.0.conv.pwconv1.0"), "sep_ratio")
        fields |= _ratios(shape(f"{last}.0.mlp.fc1_conv"), "mlp_ratio")
        fields |= _ratios(shape(f"{last}.0.attn.v_conv.0"), "value_ratio")
    return fields


def _ratios(shape: tuple[int, ...], key: str) -> dict[str, int]:
    """A layer's channels out over those in, which must be an integer."""
    if shape[0] % shape[1]:
        raise ValueError(f"{key} must be an integer, not {shape[0]} / {shape[1]} channels")
    return {key: shape[0] // shape[1]}


def name_of(config: ESpikeformerConfig) -> str:
    """As the official code names its sizes, E-SpikeFormer-t to -l; the widths of the stages for others."""
    usual = config.depths == ESpikeformerConfig().depths
    size = next((name for name, dims in PRESETS.items() if usual and dims == config.dims), None)
    return f"E-SpikeFormer-{size or '-'.join(map(str, config.dims))}"
