"""What the tests of `spikeloom.jobs` let workers do; of a module, so that their processes can import it."""

import os
import signal
import sys
import time
from pathlib import Path


def square(*, number, log=None):
    """The square; a line with the number is added to a log, which shows what ran how often."""
    if log is not None:
        with open(log, "a") as file:
            file.write(f"{number}\n")
    return {"square": number * number}


def slow_square(*, number, log):
    """The same, after a short while for the numbers from 2 on."""
    time.sleep(30 if number >= 2 else 0)
    return square(number=number, log=log)


def dies(*, number, log, times):
    """The square, but the worker is killed the first `times` times, counted by lines in the log."""
    path = Path(log)
    before = path.read_text().split().count(str(number)) if path.exists() else 0
    square(number=number, log=log)
    if before < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"square": number * number, "deaths": before}


def fails(*, how):
    """An exception, an end of the program, or a result that JSON does not have."""
    if how == "error":
        raise ValueError("no good\nsecond line")
    if how == "exit":
        sys.exit("leaving")
    return {"result": float("nan")} if how == "nan" else {1, 2}
