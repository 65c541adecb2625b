"""The file of a `Network`: one safetensors file, its tensors by layer, the graph as JSON in the header.

docs/formats.md has its versions and fields.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from spikeloom.common.files import written_aside
from spikeloom.common.versions import check_version, upgrade
from spikeloom.golden.network.layer import TENSORS, Layer, Neuron

if TYPE_CHECKING:
    from spikeloom.golden.network.network import Network

FORMAT = "spikeloom.network"
VERSION = 2
FIELDS = ("name", "steps", "channels", "height", "width", "pixel_scale", "padding_pixel", "frame", "coding")


def write(path: str | os.PathLike[str], network: Network) -> None:
    """Write the file, whole or not at all."""
    tensors, graph = {}, []
    for layer in network.layers:
        entry = {k: v for k, v in asdict(layer).items() if not isinstance(v, np.ndarray) and v is not None}
        graph.append(entry)
        for key in TENSORS:
            value = getattr(layer, key)
            if value is not None:
                tensors[f"{layer.name}.{key}"] = np.ascontiguousarray(value)
    header = {key: getattr(network, key) for key in FIELDS} | {"layers": graph, "provenance": network.provenance}
    metadata = {"format": FORMAT, "version": str(VERSION), "network": json.dumps(header)}
    with written_aside(path) as aside:
        save_file(tensors, aside, metadata=metadata)


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The fields of the `Network` in a file; errors as of `Network.load`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such network file: {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(f"{path} is not a SpikeLoom network; make one with `spikeloom quantize`")
            version = metadata.get("version")
            check_version(version, where=str(path), newest=VERSION)
            header = json.loads(metadata["network"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, json.JSONDecodeError, KeyError) as error:
        raise ValueError(f"{path} is corrupt or not a safetensors file: {error}") from error
    try:
        upgrade(header, version, STEPS)
        header["padding_pixel"] = tuple(header["padding_pixel"])
        return {**header, "layers": tuple(_layer(entry, tensors) for entry in header["layers"])}
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} does not describe a network: {error}") from error


def _layer(entry: dict[str, Any], tensors: dict[str, np.ndarray]) -> Layer:
    """A layer of its entry in the header and of its tensors, which are called by its name."""
    arrays: dict[str, Any] = {key: tensors.get(f"{entry['name']}.{key}") for key in TENSORS}
    missing = [key for key in ("bias", "threshold", "scale") if arrays[key] is None]
    if missing:
        raise ValueError(f"layer {entry['name']!r}: tensor {missing[0]!r} is missing")
    fields = {**entry, "inputs": tuple(entry["inputs"]), "neuron": Neuron(**entry["neuron"])}
    return Layer(**fields, **arrays)


def _from_1(header: dict[str, Any]) -> None:
    """Version 2 names what version 1 left out where it was the usual, or did not know yet."""
    known = {"padding_pixel": [], "frame": 1, "coding": "planes"}
    header |= {key: value for key, value in known.items() if key not in header}
    for layer in header["layers"]:
        usual = {"depthwise": False, "whole_map": False, "pool_first": False, "fires": True}
        layer |= {key: value for key, value in usual.items() if key not in layer}
        layer["neuron"].setdefault("levels", 1)


STEPS = {1: _from_1}
