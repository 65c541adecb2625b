"""A user's mistake becomes one line: the only place that decides what is one."""

from __future__ import annotations

import dis
from types import TracebackType

OURS = "spikeloom."
_NO_MEMORY = "there is not enough memory for that: take fewer images, a smaller batch or a smaller model"


def user_message(error: BaseException) -> str | None:
    """The line to print for a mistake of the user; None for a bug of ours, which deserves its traceback.

    Mistakes are what the command line itself rejects, whatever the operating system says about a file, our
    own kinds of errors, and ValueError, TypeError and KeyError that a `raise` statement of this package has
    raised: the same kinds from anywhere else mean that a check is missing. What needs more memory than there is was
    asked for, too; files that are too deep or no text are told apart where they are read (`common.schema.reading`).
    """
    if _is_out_of_memory(error):
        return _NO_MEMORY
    rejected = getattr(error, "format_message", None)
    if rejected is not None:
        return _one_line(rejected())
    if isinstance(error, OSError):
        return _one_line(_file_message(error))
    ours = type(error).__module__.startswith(OURS)
    if ours or isinstance(error, ValueError | TypeError | KeyError) and _raised_here(error.__traceback__):
        return _one_line(str(error.args[0]) if error.args else type(error).__name__)
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    """Python's and numpy's error; PyTorch's on a GPU, which has a name, and on the CPU, which has a text alone."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or isinstance(error, RuntimeError)
        and "can't allocate memory" in str(error)
    )


def _file_message(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}"


def _raised_here(trace: TracebackType | None) -> bool:
    """Whether the error comes from a `raise` statement of this package."""
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    frame = trace.tb_frame
    if not str(frame.f_globals.get("__name__", "")).startswith(OURS):
        return False
    return dis.opname[frame.f_code.co_code[trace.tb_lasti]] == "RAISE_VARARGS"


def _one_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0].strip() if lines else "failed without a message"
