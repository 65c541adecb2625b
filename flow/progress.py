"""How long work says how far it is: bars, which a terminal draws and nobody else needs to."""

from __future__ import annotations

from typing import Protocol


class Advance(Protocol):
    """Moves one bar: a `common.progress.Progress` that may leave out what stays as it is."""

    def __call__(self, done: int | None = None, total: int | None = None, stage: str | None = None) -> None: ...


class Bars(Protocol):
    """Where bars come from; several may move at the same time."""

    def bar(self, text: str, total: int | None = None) -> Advance:
        """A new bar; total: where it ends, if that is known."""
        ...


class Silent:
    """Bars that nobody sees."""

    def bar(self, text: str, total: int | None = None) -> Advance:
        return _nothing


def _nothing(done: int | None = None, total: int | None = None, stage: str | None = None) -> None:
    pass
