"""Results that are kept: work whose inputs have not changed is not done again."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .files import file_hash, write_text

FORMAT = 1
_SOURCES = (".py", ".cpp", ".v", ".md")
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A result, made now or before."""

    result: dict[str, Any]
    """What the work returned, in JSON's types."""
    seconds: float
    """That the work took when it was done."""
    cached: bool
    """That it was not done this time."""


def kept(
    record: Path, *, inputs: Mapping[str, Any], outputs: Iterable[Path] = (), make: Callable[[], Mapping[str, Any]]
) -> Kept:
    """The result on record, else what `make` returns, which then goes on record.

    Parameters
    ----------
    record : path
        A JSON file with the inputs, the hashes of the outputs and the result. It is removed before the work and
        written last, aside and renamed: work that failed or was interrupted leaves none.
    inputs : mapping
        Everything that the result depends on, in JSON's types: hashes of files, parameters, versions of tools.
    outputs : paths
        Files in the record's folder or below that the work leaves; one that is missing or altered makes it run again.
    make : function
        Does the work; returns the result, in JSON's types.
    """
    record, outputs = Path(record), list(outputs)
    if (found := on_record(record, inputs=inputs, outputs=outputs)) is not None:
        return found
    record.unlink(missing_ok=True)
    begin = time.monotonic()
    result = dict(make())
    seconds = round(time.monotonic() - begin, 1)
    entry = {
        "format": FORMAT,
        "inputs": inputs,
        "outputs": _hashes(record.parent, outputs),
        "result": result,
        "seconds": seconds,
    }
    write_text(record, json.dumps(entry, indent=2) + "\n")
    return Kept(result=_as_json(result), seconds=seconds, cached=False)


def on_record(record: Path, *, inputs: Mapping[str, Any], outputs: Iterable[Path] = ()) -> Kept | None:
    """The result on record if it is of these inputs and its outputs are whole; see `kept`."""
    try:
        entry = json.loads(record.read_text())
        same = (
            entry["format"] == FORMAT
            and entry["inputs"] == _as_json(inputs)
            and entry["outputs"] == _hashes(record.parent, outputs)
        )
        return Kept(result=dict(entry["result"]), seconds=float(entry["seconds"]), cached=True) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def code_hash(*folders: str) -> str:
    """Hash of the sources below folders of this package: a change of the program is a change of the inputs.

    Raises ValueError for a folder that has none.
    """
    digest = hashlib.sha256()
    for folder in folders:
        paths = sorted(path for path in (_PACKAGE / folder).rglob("*") if path.suffix in _SOURCES)
        if not paths:
            raise ValueError(f"the package has no sources below {folder!r}")
        for path in paths:
            digest.update(f"{path.relative_to(_PACKAGE)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def versions(*names: str) -> dict[str, str]:
    """Installed versions of distributions."""
    return {name: importlib.metadata.version(name) for name in names}


def _hashes(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    return {os.path.relpath(path, folder): file_hash(path) for path in paths}


def _as_json(value: Mapping[str, Any]) -> dict[str, Any]:
    """The value as it comes back from a file: tuples are lists, keys are strings."""
    return json.loads(json.dumps(value))  # type: ignore[no-any-return]
