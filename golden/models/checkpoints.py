"""Checkpoints of trained models: one safetensors file, with everything about the training in its header.

docs/formats.md has its versions and fields.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from spikeloom.common.files import written_aside
from spikeloom.common.schema import json_object
from spikeloom.common.versions import check_version, upgrade
from spikeloom.golden.models.architectures import DEFAULT, Model, architecture_of, config_from, make_model

FORMAT = "spikeloom.checkpoint"
VERSION = 3


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

    Raises FileNotFoundError; ValueError, in one line, for a file that is corrupt, of another format or version, has a
    header whose values have another type or bounds (with the key), lacks a tensor, has one of another type or shape or
    with NaN, or holds a mask that is no prefix (with the layer's name).
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
        header = json_object(metadata.get("checkpoint"))
        upgrade(header, version, STEPS)
        config = config_from(header)
        with torch.device("meta"):  # shapes without memory: a header may ask for more than there is
            _check_tensors(make_model(config), tensors)
        model = make_model(config)
        model.load_state_dict(tensors)
        model.eval()
        model.time_steps()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return model, header


def _check_tensors(model: Model, tensors: dict[str, Tensor]) -> None:
    """ValueError where the tensors are not those of the model, in type and shape, or hold what is no number."""
    expected = model.state_dict()
    for key, wanted in expected.items():
        if key not in tensors:
            raise ValueError(f"tensor {key!r} is missing")
        found = tensors[key]
        if found.shape != wanted.shape:
            raise ValueError(f"tensor {key!r} must have shape {tuple(wanted.shape)}, not {tuple(found.shape)}")
        if found.dtype != wanted.dtype:
            raise ValueError(f"tensor {key!r} must hold {_name(wanted.dtype)}, not {_name(found.dtype)}")
        if not torch.isfinite(found).all():
            raise ValueError(f"tensor {key!r} must hold finite numbers")
    unknown = sorted(set(tensors) - set(expected))
    if unknown:
        raise ValueError(f"unknown tensor {unknown[0]!r}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _from_1(header: dict[str, Any]) -> None:
    """Version 2 names the architecture, and of Spikformers what version 1 did not know yet."""
    header.setdefault("architecture", DEFAULT)
    if header["architecture"] == DEFAULT and isinstance(header.get("config"), dict):
        known = {"pool_first": False, "residual": "sew", "dialect": "cifar", "bias": False, "mean": None, "std": None}
        header["config"] = {**known, **header["config"]}


def _from_2(header: dict[str, Any]) -> None:
    """Version 3 names leak and gain of a Spikformer's neurons."""
    if header["architecture"] == DEFAULT and isinstance(header.get("config"), dict):
        header["config"] = {"leak": 0.5, "gain": None, **header["config"]}


STEPS = {1: _from_1, 2: _from_2}
