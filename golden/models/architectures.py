"""The architectures that are trained and exported: their names in files, configurations and models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from spikeloom.common.schema import checked
from spikeloom.golden.models.e_spikeformer import ESpikeformer
from spikeloom.golden.models.e_spikeformer_config import ESpikeformerConfig
from spikeloom.golden.models.spikformer import Spikformer
from spikeloom.golden.models.spikformer_config import SpikformerConfig

Architecture = Literal["spikformer", "e_spikeformer"]
ModelConfig = SpikformerConfig | ESpikeformerConfig
Model = Spikformer | ESpikeformer

CONFIGS: dict[str, type[ModelConfig]] = {"spikformer": SpikformerConfig, "e_spikeformer": ESpikeformerConfig}
DEFAULT: Architecture = "spikformer"  # of files that do not say


def config_class(architecture: Any) -> type[ModelConfig]:
    """ValueError for an unknown name."""
    if not isinstance(architecture, str) or architecture not in CONFIGS:
        raise ValueError(f"architecture must be one of {', '.join(CONFIGS)}, not {architecture!r}")
    return CONFIGS[architecture]


def architecture_of(config: ModelConfig) -> str:
    """The name of a configuration's architecture."""
    return next(name for name, kind in CONFIGS.items() if type(config) is kind)


def config_from(header: Mapping[str, Any]) -> ModelConfig:
    """The configuration in a file's header, under "config", with "architecture" where it is not the default.

    ValueError, with the key, for a value that is not as the configuration declares it.
    """
    if "config" not in header:
        raise ValueError("config is missing")
    return checked(config_class(header.get("architecture", DEFAULT)), header["config"], "config")


def make_model(config: ModelConfig) -> Model:
    """A model with random weights."""
    return ESpikeformer(config) if isinstance(config, ESpikeformerConfig) else Spikformer(config)
