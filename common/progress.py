"""How long work tells how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called from time to time with what is done, of all, in one unit (images, parameter sets, per cent).

    ``stage`` is what the work is at, in a word or two; empty where there is only one. ``done`` never falls.
    """

    def __call__(self, done: int, total: int, stage: str = "", /) -> None: ...


def silent(done: int, total: int, stage: str = "", /) -> None:
    """The `Progress` of a caller that does not want to know."""
