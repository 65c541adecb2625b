"""One at a time in a folder."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

LOCK = ".spikeloom.lock"


class InUseError(RuntimeError):
    """Somebody else works in a folder; one line that says who."""


@contextmanager
def folder_lock(folder: str | os.PathLike[str], work: str) -> Iterator[None]:
    """Keep everybody else out of a folder while the block runs; the end of the process, however it comes, ends it too.

    work: what is done there, for the message to others: "build", "train". The file `LOCK` stays in the folder.

    Raises
    ------
    InUseError
        Where another process, or another thread of this one, works there.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUseError(
                f"{folder} is in use {_holder(folder / LOCK)}: wait for it or choose another folder"
            ) from None
        file.seek(0)
        file.truncate()
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        json.dump({"work": work, "process": os.getpid(), "host": socket.gethostname(), "since": since}, file)
        file.flush()
        yield


def _holder(path: Path) -> str:
    try:
        about = json.loads(path.read_text())
        return f"by process {about['process']} on {about['host']} ({about['work']}, since {about['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "by another process"
