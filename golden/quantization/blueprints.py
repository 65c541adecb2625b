"""The blueprint of a model of any architecture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spikeloom.golden.models.architectures import Model, architecture_of
from spikeloom.golden.quantization.e_spikeformer_parts import e_spikeformer_parts
from spikeloom.golden.quantization.parts import Blueprint
from spikeloom.golden.quantization.spikformer_parts import spikformer_parts

APART: dict[str, Callable[[Any], Blueprint]] = {"spikformer": spikformer_parts, "e_spikeformer": e_spikeformer_parts}


def blueprint(model: Model) -> Blueprint:
    """What the model comes apart into. ValueError where a time mask is no prefix."""
    return APART[architecture_of(model.config)](model)
