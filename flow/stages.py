"""Stages whose results are kept: a stage whose inputs have not changed is not run again."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    return sha256(path.read_bytes())


def code_sha256(*folders: str) -> str:
    """Hash of the sources of subpackages: a change of the program is a change of the inputs."""
    digest = hashlib.sha256()
    for folder in folders:
        spec = importlib.util.find_spec(f"spikeloom.{folder}")
        assert spec is not None and spec.submodule_search_locations
        root = Path(next(iter(spec.submodule_search_locations)))
        for path in sorted(p for p in root.rglob("*") if p.suffix in (".py", ".cpp", ".v", ".md")):
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def versions(*names: str) -> dict[str, str]:
    """Installed versions of packages."""
    return {name: importlib.metadata.version(name) for name in names}


def stage(
    folder: Path,
    name: str,
    *,
    inputs: Mapping[str, Any],
    outputs: Sequence[Path],
    make: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """The result of a stage: what is on record, else what `make` returns, which then goes on record.

    The record, ``<name>.json`` in the folder, holds the inputs, the hashes of the outputs and the result; it
    is written last, so that an interrupted stage runs again. The result tells "cached" and "seconds".
    """
    record = folder / f"{name}.json"
    known = json.loads(json.dumps(inputs))
    try:
        found = json.loads(record.read_text())
        same = found["inputs"] == known and found["outputs"] == _hashes(outputs)
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if same:
        return {**found["result"], "cached": True}
    begin = time.monotonic()
    result = {**make(), "seconds": round(time.monotonic() - begin, 1)}
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"inputs": known, "outputs": _hashes(outputs), "result": result}, indent=2)
    write_text(record, text + "\n")
    return {**json.loads(json.dumps(result)), "cached": False}


def write_text(path: Path, text: str) -> None:
    """Write aside, then rename."""
    aside = path.with_name(f"{path.name}.part")
    aside.write_text(text)
    os.replace(aside, path)


def _hashes(paths: Sequence[Path]) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in paths}
