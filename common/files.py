"""Files that are whole or not there, folders that can be written, and what identifies a file."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NO_SPACE = "no space left on its disk: free some, or choose another folder"
_TRIED_BYTES = 64 * 1024  # more than what a file system keeps beside an empty file


@contextmanager
def written_aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path to write to, renamed to ``path`` when the block ends well and removed when it does not.

    Makes the folder where it is missing. Raises OSError, with ``path`` in it, where the disk is full.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with _full_disk_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.touch()
            mode = aside.stat().st_mode  # what the user's umask says; safetensors writes private files
            yield aside
            aside.chmod(aside.stat().st_mode | mode)
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file aside, then rename."""
    with written_aside(path) as aside:
        aside.write_text(text)


def file_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def data_hash(data: bytes | str) -> str:
    """SHA-256 of bytes, or of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def writable_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder, made where it is missing, after a file was written into it and removed again.

    To be called before hours of work whose result goes there. Raises OSError, with the folder and the reason in it.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".try-") as file:
            file.write(bytes(_TRIED_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, f"cannot be written: {_reason(error)}", str(folder)) from None
    return folder


def writable_file(path: str | os.PathLike[str]) -> Path:
    """The path, after its folder was tried as in `writable_folder`, and that no folder has its name."""
    path = Path(path)
    writable_folder(path.parent)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder: name a file in it", str(path))
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, "cannot be written: permission denied", str(path))
    return path


def disk_is_full(folder: str | os.PathLike[str]) -> bool:
    """Whether nothing can be written into the folder for want of space: the reason why a tool failed there."""
    try:
        writable_folder(folder)
    except OSError as error:
        return error.errno in _FULL
    return False


@contextmanager
def _full_disk_named(path: Path) -> Iterator[None]:
    """Name the file in the error where the disk is full; some libraries only say so in their own words."""
    try:
        yield
    except Exception as error:
        full = error.errno in _FULL if isinstance(error, OSError) else os.strerror(errno.ENOSPC) in str(error)
        if not full:
            raise
        raise OSError(errno.ENOSPC, f"cannot be written: {_NO_SPACE}", str(path)) from error


def _reason(error: OSError) -> str:
    if error.errno in _FULL:
        return _NO_SPACE
    if isinstance(error, FileExistsError):  # what `mkdir` says of a file
        return "it is a file"
    return (error.strerror or str(error)).lower()
