"""Names of a netlist's cells in the words of the source: components and their signals."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_CELL = re.compile(r"_(?:TRELLIS_\w+?|LUT4|PFUMX|L6MUX21|CCU2C|DP16KD)_[A-Z].*$")
_PIN = re.compile(r"_(?:DI|DO|CE[AB]?|LSR|WRE|WCK|RAD|WAD|DO[AB]\d+|DI[AB]\d+|AD[AB]\d+)(?:_\d+)?$")
_COPY = re.compile(r"\$\d+$")
_ENCLOSING = {"bridged_core", "core", "engine"}  # around everything
_CELLS_OF_A_MEMORY = re.compile(r"part\d+|block_\d+_\d+|cell|\d+")


def in_source_words(cell: str) -> tuple[str, str | None]:
    """Of a cell's name, the component and the signal; None for a memory's cell, and empty where the tools made it up.

    Yosys names a cell after the signal that it drives, or that drives it: ``core.scanner.queue.level_TRELLIS_FF_Q_3``
    is of the register ``level`` in the scanner's queue.
    """
    name = _PIN.sub("", _CELL.sub("", cell.split("$CCU2")[0]))
    if name.startswith("$"):
        return "", ""
    *path, signal = [_COPY.sub("", part) for part in name.split(".")]
    while path and path[0] in _ENCLOSING:
        path.pop(0)
    if not _CELLS_OF_A_MEMORY.fullmatch(signal):
        # the fields of a layout follow the signal's own name
        owner = next((i for i, part in enumerate(path) if "__" in part), len(path))
        path, fields = path[:owner], [*path[owner:], signal]
        return _component(path), ".".join(fields).replace("__", ".") if "$signal" not in signal else "unnamed"
    while path and _CELLS_OF_A_MEMORY.fullmatch(path[-1]):
        path.pop()
    return _component(path), None


def path_in_source_words(cells: Iterable[str]) -> str:
    """``scanner emitter: left -> scanner gatherer -> scanner queue: level``: the ends with their signals."""
    known = [words for words in map(in_source_words, cells) if words != ("", "")]
    if not known:
        return "cells without names"
    between = [component for component, _ in known[1:-1]]
    stops = [_end(*known[0]), *_changes([known[0][0], *between, known[-1][0]]), _end(*known[-1])]
    return " -> ".join(stops)


def _component(path: list[str]) -> str:
    words = " ".join(path).replace("_", " ").split()
    return " ".join(word for i, word in enumerate(words) if i == 0 or word != words[i - 1]) or "core"


def _end(component: str, signal: str | None) -> str:
    return component if signal is None else f"{component}: {signal}"


def _changes(components: list[str]) -> Iterator[str]:
    """What lies between the ends, each component once where it begins."""
    last, end = components[0], components[-1]
    inner = components[1:-1]
    while inner and inner[-1] == end:
        inner.pop()
    for component in inner:
        if component != last:
            yield component
        last = component
