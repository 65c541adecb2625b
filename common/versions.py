"""Versions of our files: a reader refuses what is newer than itself, and brings what is older up to date.

The version of a format is a whole number that grows whenever a reader must know of a change: a field came or went, or
means something else. Whoever raises it adds the step from the version before, so that every older file stays readable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Step = Callable[[dict[str, Any]], None]  # from one version to the next: changes a header in place


def check_version(version: Any, *, where: str, newest: int) -> None:
    """ValueError where a file's version, a number or its text, is newer than ``newest`` or is none.

    where: the file, for the message.
    """
    text = str(version)
    if not (len(text) < 10 and text.isascii() and text.isdecimal() and int(text)):
        raise ValueError(f"{where} has no format version: it must be in 1..{newest}, not {version!r}")
    if int(text) > newest:
        raise ValueError(
            f"{where} was written by a newer version of SpikeLoom, in format {text}; this program reads up to "
            f"{newest}: update SpikeLoom"
        )


def upgrade(header: dict[str, Any], version: Any, steps: Mapping[int, Step]) -> None:
    """Bring the header of a file of that version, which `check_version` has let pass, up to date in place.

    steps: by the version that each begins with.
    """
    for number in range(int(version), 1 + max(steps, default=0)):
        steps[number](header)
