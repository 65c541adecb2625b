"""Records: what a command found, as JSON can hold it, and how people read a share."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any


def plain(value: Any) -> Any:
    """The value in JSON's own types: numpy's numbers and arrays, dataclasses and paths are converted."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    return value


def percent(share: float | None) -> str:
    """A share, 0 to 1, with two digits; a dash for None."""
    return "-" if share is None else f"{100 * share:.2f} %"
