"""A Program in one file, to be loaded into a core somewhere else; docs/formats.md has the format."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from spikeloom.common.files import written_aside
from spikeloom.common.versions import check_version
from spikeloom.gen.host.pixels import ImageFormat
from spikeloom.gen.program import Program
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import DESCRIPTOR_VERSION, parameters

FORMAT = "spikeloom.program"
VERSION = 1


def save_program(program: Program, path: str | os.PathLike[str]) -> None:
    """Write the Program, aside and then renamed."""
    config = program.config
    header = {
        "descriptor_version": DESCRIPTOR_VERSION,
        "config": asdict(config),
        "image": asdict(program.image),
        "hash": program.hash,
    }
    tensors = {
        "program_words": np.array(program.program_words, np.uint32),
        "parameter_words": _as_bytes(program.parameter_words, parameters(config).size),
        "weight_rows": _as_bytes(program.weight_rows, config.lanes * config.weight_width),
    }
    metadata = {"format": FORMAT, "version": str(VERSION), "program": json.dumps(header)}
    with written_aside(Path(path)) as aside:
        save_file(tensors, aside, metadata=metadata)


def load_program(path: str | os.PathLike[str]) -> Program:
    """The Program of a file; its `descriptors`, which are for people, stay empty.

    Raises
    ------
    ValueError
        for a file that is no Program, of another version, for other descriptors, or damaged.
    OSError
        where it cannot be read.
    """
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            _check_version(path, metadata)
            header = json.loads(metadata["program"])
            tensors = {name: file.get_tensor(name) for name in ("program_words", "parameter_words", "weight_rows")}
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no Program of spikeloom's: {error}") from error
    program = _program(path, header, tensors)
    if program.hash != header["hash"]:
        raise ValueError(f"{path} is damaged: compile the network again")
    return program


def _check_version(path: str | os.PathLike[str], metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is no Program of spikeloom's")
    check_version(metadata.get("version"), where=str(path), newest=VERSION)


def _program(path: str | os.PathLike[str], header: dict[str, Any], tensors: dict[str, np.ndarray]) -> Program:
    if not isinstance(header, dict) or header.get("descriptor_version") != DESCRIPTOR_VERSION:
        raise ValueError(f"{path} is not for descriptors of version {DESCRIPTOR_VERSION}: compile the network again")
    try:
        image = dict(header["image"])
        return Program(
            descriptors=(),
            program_words=tuple(tensors["program_words"].tolist()),
            parameter_words=tuple(int.from_bytes(row.tobytes(), "little") for row in tensors["parameter_words"]),
            weight_rows=tuple(int.from_bytes(row.tobytes(), "little") for row in tensors["weight_rows"]),
            config=CoreConfig(**header["config"]),
            image=ImageFormat(**image | {"padding_pixel": tuple(image["padding_pixel"])}),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not describe a Program: {error}") from error


def _as_bytes(rows: tuple[int, ...], bits: int) -> np.ndarray:
    """Rows as uint8 (rows, bytes), little-endian."""
    size = -(-bits // 8)
    return np.frombuffer(b"".join(row.to_bytes(size, "little") for row in rows), np.uint8).reshape(-1, size)
