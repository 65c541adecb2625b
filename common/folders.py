"""Where files go unless the user says otherwise: one folder, with one below it for each network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

ENVIRONMENT = "SPIKELOOM_BUILD"
DEFAULT = "build"
MOST_LETTERS = 100
"""Of a folder's name; file systems take 255 bytes."""

_chosen: ContextVar[str | os.PathLike[str] | None] = ContextVar("build_folder", default=None)


def build_folder() -> Path:
    """The folder of everything that is made: the one of `building_in`, else SPIKELOOM_BUILD's, else ``build``."""
    return Path(_chosen.get() or os.environ.get(ENVIRONMENT) or DEFAULT).expanduser()


@contextmanager
def building_in(folder: str | os.PathLike[str] | None) -> Iterator[None]:
    """Another `build_folder` within the block; None leaves it."""
    token = _chosen.set(folder or _chosen.get())
    try:
        yield
    finally:
        _chosen.reset(token)


def folder_of(name: str) -> Path:
    """The folder below `build_folder` of what has this name, whatever characters the name has.

    It never leaves the build folder: ``..`` becomes ``--``.
    """
    kept = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)[:MOST_LETTERS]
    return build_folder() / (kept if kept.strip(".") else "-" * max(1, len(kept)))


def file_in(output: Path | None, folder: Path, name: str) -> Path:
    """The file to write: what the user chose, or in it where that does not end like one, else in the folder."""
    return output if output is not None and output.suffix == Path(name).suffix else (output or folder) / name
