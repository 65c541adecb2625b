"""How long work says how far it is: bars, which a terminal draws and nobody else needs to."""

from __future__ import annotations

from typing import Protocol


class Advance(Protocol):
    """Moves one bar: so many done, of so many; state: a few words about it. None leaves what is shown."""

    def __call__(self, done: int | None = None, all_: int | None = None, /, *, state: str | None = None) -> None: ...


class Bars(Protocol):
    """Where bars come from; several may move at the same time."""

    def bar(self, text: str, total: int | None = None) -> Advance: ...


class Silent:
    """Bars that nobody sees."""

    def bar(self, text: str, total: int | None = None) -> Advance:
        return _nothing


def _nothing(done: int | None = None, all_: int | None = None, /, *, state: str | None = None) -> None:
    pass
