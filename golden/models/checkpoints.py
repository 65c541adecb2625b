"""Checkpoints of trained models: one safetensors file, with everything about the training in its header.

docs/formats.md has its versions and fields.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from spikeloom.common.files import written_aside
from spikeloom.common.versions import check_version, upgrade
from spikeloom.golden.models.architectures import DEFAULT, Model, architecture_of, config_from, make_model

FORMAT = "spikeloom.checkpoint"
VERSION = 2


def save(path: str | os.PathLike[str], model: Model, **about: Any) -> None:
    """Write the model's parameters and, as JSON, its architecture, configuration and what is told ``about`` it.

    Written aside, then renamed. Raises ValueError where a time mask is no prefix.
    """
    steps = model.time_steps()
    architecture = architecture_of(model.config)
    header = {"architecture": architecture, "config": asdict(model.config), "t_per_layer": steps, **about}
    metadata = {"format": FORMAT, "version": str(VERSION), "checkpoint": json.dumps(header)}
    tensors = {key: x.detach().contiguous() for key, x in model.state_dict().items()}
    with written_aside(path) as aside:
        save_file(tensors, aside, metadata=metadata)


def load(path: str | os.PathLike[str]) -> tuple[Model, dict[str, Any]]:
    """The model, in evaluation mode, and the header's JSON: "architecture", "config", "t_per_layer" and what `save` was
    told.

    Raises FileNotFoundError; ValueError, in one line, for a file that is corrupt, of another format or
    version, lacks a tensor, has one of the wrong shape, or holds a mask that is no prefix (with the layer's
    name).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such checkpoint: {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is corrupt or not a safetensors file: {error}") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is not a SpikeLoom checkpoint; make one with `spikeloom train`")
    version = metadata.get("version")
    check_version(version, where=str(path), newest=VERSION)
    try:
        header = json.loads(metadata["checkpoint"])
        upgrade(header, version, STEPS)
        model = make_model(config_from(header))
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not describe a model: {error}") from error
    expected = model.state_dict()
    for key, wanted in expected.items():
        if key not in tensors:
            raise ValueError(f"{path}: tensor {key!r} is missing")
        if tensors[key].shape != wanted.shape:
            shapes = f"must have shape {tuple(wanted.shape)}, not {tuple(tensors[key].shape)}"
            raise ValueError(f"{path}: tensor {key!r} {shapes}")
    unknown = sorted(set(tensors) - set(expected))
    if unknown:
        raise ValueError(f"{path}: unknown tensor {unknown[0]!r}")
    model.load_state_dict(tensors)
    model.eval()
    try:
        model.time_steps()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return model, header


def _from_1(header: dict[str, Any]) -> None:
    """Version 2 names the architecture, and of Spikformers what version 1 did not know yet."""
    header.setdefault("architecture", DEFAULT)
    if header["architecture"] == DEFAULT:
        known = {"pool_first": False, "residual": "sew", "dialect": "cifar", "bias": False, "mean": None, "std": None}
        header["config"] = {**known, **header["config"]}


STEPS = {1: _from_1}
