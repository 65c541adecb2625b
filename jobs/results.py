"""The file of results: one JSON line for each job that ended, appended at once."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from spikeloom.common.files import data_hash
from spikeloom.common.schema import checked, reading

Arguments = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Record:
    """A job that ended."""

    key: str
    """Its name."""
    digest: str
    """Of its arguments, see `digest_of`."""
    status: Literal["done", "failed"]
    """How it ended."""
    arguments: dict[str, Any]
    """What the function was called with."""
    result: Any = None
    """What the function returned, as JSON has it; None where the job failed."""
    error: str | None = None
    """Why it failed, in one line; None where it did not."""
    seconds: float = 0.0
    """Of its run, by the wall clock."""
    host: str = ""
    """Name of the worker's machine."""

    @property
    def done(self) -> bool:
        return self.status == "done"


def digest_of(arguments: Arguments) -> str:
    """SHA-256 of the arguments as JSON, in hexadecimal. TypeError where JSON has no such values."""
    text = json.dumps(arguments, sort_keys=True, separators=(",", ":"))
    return data_hash(text)


def read(path: str | os.PathLike[str]) -> list[Record]:
    """The records of a file in the order in which the jobs ended; none where there is no file.

    A last line without its end is what a kill left of a record, and is not read. Raises ValueError, with the
    number of the line, for anything else that is no record.
    """
    path = Path(path)
    if not path.exists():
        return []
    whole = path.read_bytes()
    lines = whole[: whole.rfind(b"\n") + 1].splitlines()
    found = []
    for number, line in enumerate(lines, 1):
        try:
            with reading(f"{path}, line {number}"):
                found.append(checked(Record, json.loads(line)))
        except ValueError:
            raise ValueError(f"{path}, line {number}: no record of a job; delete it and the job runs again") from None
    return found


class ResultsFile:
    """A file of results that is open for appending; see `opened`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._descriptor = path, descriptor

    def append(self, record: Record) -> None:
        """Write a record, so that it is there whatever happens next."""
        left = (json.dumps(asdict(record), allow_nan=False) + "\n").encode()
        while left:
            left = left[os.write(self._descriptor, left) :]
        os.fsync(self._descriptor)


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[ResultsFile]:
    """Open a file of results for one process, and cut off what a kill left of a last record.

    BlockingIOError where another process has it open.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel releases it, also after a kill
        except BlockingIOError:
            raise BlockingIOError(f"another run is writing to {path}; wait for it, or stop it") from None
        os.ftruncate(descriptor, path.read_bytes().rfind(b"\n") + 1)
        yield ResultsFile(path, descriptor)
    finally:
        os.close(descriptor)
