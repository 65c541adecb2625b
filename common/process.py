"""Running other people's programs: to their end, or until we are interrupted, and what to say when one fails."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from .files import disk_is_full

MESSAGE_LINES = 5
_KEPT_LINES = 400
_TICK_SECONDS = 0.2
_ENDING_SECONDS = 0.01  # between looks at a program that has closed its output
_BLOCK = 1 << 16
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ERROR = re.compile(r"\berrors?\b|no space left", re.IGNORECASE)


class ToolError(RuntimeError):
    """A program is missing or failed; one line."""

    def __init__(self, message: str, *, lines: Sequence[str] = (), status: int | None = None) -> None:
        super().__init__(message)
        self.lines = tuple(lines)
        """The last lines that it printed."""
        self.status = status
        """Its exit status; negative for the signal that ended it, None where it did not run."""


def find_tool(name: str, *, install: str, error: type[ToolError] = ToolError) -> str:
    """The path of a program. Raises `error` with the command that installs it."""
    found = shutil.which(name)
    if found is None:
        raise error(f"{name} is not installed: {install}")
    return found


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    folder: str | os.PathLike[str],
    name: str | None = None,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
    on_tick: Callable[[], None] | None = None,
    stop: threading.Event | None = None,
    error: type[ToolError] = ToolError,
) -> list[str]:
    """Run a program in its folder, to its end; return the last lines that it printed, of both its outputs.

    It has a session of its own, and is killed with all its children where this function is left in any way:
    an interrupt, an exception of `on_line` or `on_tick`, `stop`.

    Parameters
    ----------
    command : program and arguments
    folder : path
        Where it works. Name its files relative to it: some programs do not stand certain characters in a path.
    name : str, optional
        What messages call it, instead of the command's own name.
    environment : mapping, optional
        Instead of this process's.
    on_line : function, optional
        Called with each line, without escape sequences.
    on_tick : function, optional
        Called about five times a second, and after the end.
    stop : event, optional
        Set by another thread, ends the program; raises `error`.
    error : exception class
        What to raise.

    Raises
    ------
    ToolError, or `error`
        Where the program cannot be started, fails, or is stopped: the lines that tell an error, in one, or that the
        disk is full.
    """
    name, lines = name or Path(command[0]).name, deque[str](maxlen=_KEPT_LINES)
    stop = stop or threading.Event()
    process = _started(command, folder, environment, error)
    try:
        for line in _lines(process, on_tick or _nothing, stop):
            lines.append(line)
            if on_line is not None:
                on_line(line)
    finally:
        status = _end(process)
    if stop.is_set():
        raise error(f"{name} was stopped", lines=lines, status=status)
    if status:
        reason = "no space left on the disk" if disk_is_full(folder) else failure(lines, status)
        raise error(f"{name} failed: {reason}", lines=lines, status=status)
    return list(lines)


def failure(lines: Sequence[str], status: int) -> str:
    """What of a failed program's last lines tells why, in one line."""
    said = [line.strip() for line in lines if line.strip()]
    errors = [line for line in said if _ERROR.search(line)]
    return " / ".join((errors or said)[-MESSAGE_LINES:]) or f"nothing was said, exit status {status}"


def end_like_interrupt() -> None:
    """Let a polite end of this process (SIGTERM, SIGHUP) be what Ctrl-C is: an exception, which ends its programs."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def _started(
    command: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    environment: Mapping[str, str] | None,
    error: type[ToolError],
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [os.fspath(part) for part in command],
            cwd=folder,
            env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as problem:
        raise error(f"{os.fspath(command[0])} cannot be started: {problem.strerror or problem}") from None


def _lines(process: subprocess.Popen[bytes], on_tick: Callable[[], None], stop: threading.Event) -> Iterator[str]:
    """The lines as they come, until the program has ended; children of it that hold its output do not count."""
    assert process.stdout is not None
    rest, readable = b"", True
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not stop.is_set():
            if readable and selector.select(_TICK_SECONDS):
                block = os.read(process.stdout.fileno(), _BLOCK)
                readable = bool(block)
                *whole, rest = re.split(rb"[\r\n]+", rest + block)
                yield from map(_text, whole)
            elif os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                break
            elif not readable:
                stop.wait(_ENDING_SECONDS)
            on_tick()
    if rest:
        yield _text(rest)
    on_tick()


def _nothing() -> None:
    pass


def _text(line: bytes) -> str:
    return _ESCAPES.sub("", line.decode(errors="replace")).rstrip()


def _end(process: subprocess.Popen[bytes]) -> int:
    """Kill what is left of the session; the exit status. It is asked for last: until then the number is taken."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    status = process.wait()
    if process.stdout is not None:
        process.stdout.close()
    return status
