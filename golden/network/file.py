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
from spikeloom.common.schema import checked_fields, json_object, shown
from spikeloom.common.versions import check_version, upgrade
from spikeloom.golden.network.layer import TENSORS, Layer

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


def read(path: str | os.PathLike[str], kind: type[Network]) -> dict[str, Any]:
    """The fields of a `Network`, which is the ``kind``, in a file.

    FileNotFoundError; ValueError, with the field's path, for another format, version or bad data.
    """
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
            tensors = {key: _tensor(path, file, key) for key in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is corrupt or not a safetensors file: {error}") from error
    try:
        header = json_object(metadata.get("network"))
        upgrade(header, version, STEPS)
        return _fields(kind, header, tensors)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _tensor(path: Path, file: Any, key: str) -> np.ndarray:
    """ValueError for a type of numbers that numpy does not have, such as bfloat16."""
    try:
        found: np.ndarray = file.get_tensor(key)
    except TypeError:
        kind = file.get_slice(key).get_dtype()
        raise ValueError(f"{path}: tensor {key!r} must hold integers or reals of numpy's, not {kind}") from None
    return found


def _fields(kind: type[Network], header: dict[str, Any], tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """The fields of a `Network` of a header of this version and of the tensors."""
    entries = header.get("layers")
    if not isinstance(entries, list):
        raise ValueError(f"layers must be a list, not {shown(entries)}")
    whole = {key: x for key, x in header.items() if key != "layers"}
    missing = next((key for key in (*FIELDS, "provenance") if key not in whole), None)
    if missing is not None:
        raise ValueError(f"{missing} is missing")
    found = checked_fields(kind, whole, without=("layers",))
    layers = tuple(_layer(entry, tensors, f"layers.{i}") for i, entry in enumerate(entries))
    return {**found, "layers": layers}


def _layer(entry: Any, tensors: dict[str, np.ndarray], path: str) -> Layer:
    """A layer of its entry in the header and of its tensors, which are called by its name."""
    found = checked_fields(Layer, entry, path, without=TENSORS)
    arrays: dict[str, Any] = {key: tensors.get(f"{found['name']}.{key}") for key in TENSORS}
    missing = [key for key in ("bias", "threshold", "scale") if arrays[key] is None]
    if missing:
        raise ValueError(f"layer {found['name']!r}: tensor {missing[0]!r} is missing")
    return Layer(**found, **arrays)


def _from_1(header: dict[str, Any]) -> None:
    """Version 2 names what version 1 left out where it was the usual, or did not know yet."""
    known = {"padding_pixel": [], "frame": 1, "coding": "planes"}
    header |= {key: value for key, value in known.items() if key not in header}
    layers = header.get("layers")
    for layer in layers if isinstance(layers, list) else ():  # what is none is refused when it is checked
        if isinstance(layer, dict):
            usual = {"depthwise": False, "whole_map": False, "pool_first": False, "fires": True}
            layer |= {key: value for key, value in usual.items() if key not in layer}
            if isinstance(layer.get("neuron"), dict):
                layer["neuron"].setdefault("levels", 1)


STEPS = {1: _from_1}
