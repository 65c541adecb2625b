"""What a command prints: tables or one JSON object on standard output, everything else on standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import rich.box
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from spikeloom.flow.progress import Advance

PIPED_WIDTH = 132  # where there is no terminal that has one
_held: list[str] | None = None  # JSON waiting for standard output, see `json_alone`


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


def emit(record: dict[str, Any], *shown: RenderableType, as_json: bool) -> None:
    """Finish a command: print the record as one JSON object, or what is shown for people."""
    if as_json:
        line = json.dumps(plain(record))
        if _held is None:
            print(line)
        else:
            _held.append(line)
        return
    console = Console()
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    for item in shown:
        console.print(item, soft_wrap=isinstance(item, str), highlight=False)


def note(text: str) -> None:
    """A line for people while a command works."""
    Console(stderr=True).print(text, highlight=False, soft_wrap=True)


def table(title: str | None, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Table:
    """A table whose first column is text and whose other columns are right-aligned."""
    made = Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, title_style="bold")
    for index, column in enumerate(columns):
        made.add_column(column, justify="right" if index else "left", no_wrap=not index)
    for row in rows:
        made.add_row(*(cell if isinstance(cell, str) else number(cell) for cell in row))
    return made


def pairs(title: str | None, rows: Iterable[tuple[str, Any]]) -> Table:
    """A table of names and values."""
    made = Table(title=title, title_justify="left", box=rich.box.SIMPLE, show_header=False, title_style="bold")
    made.add_column(style="dim")
    made.add_column(overflow="fold")
    for name, value in rows:
        made.add_row(name, value if isinstance(value, str) else number(value))
    return made


def number(value: Any) -> str:
    """A number with separators; a dash for None."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".") if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


class Bars:
    """Progress bars on standard error; several may run at the same time."""

    def __init__(self) -> None:
        self.progress = Progress(
            TextColumn("{task.description:<18}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("<"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.fields[state]}"),
            console=Console(stderr=True),
        )

    def bar(self, text: str, total: int | None = None) -> Advance:
        """A new bar. The result is called with (done, all), and with state="..." to say more."""
        task = self.progress.add_task(text, total=total, state="")

        def advance(done: int | None = None, all_: int | None = None, /, *, state: str | None = None) -> None:
            fields: dict[str, Any] = {} if state is None else {"state": state}
            if done is not None:
                fields["completed"] = done
            if all_ is not None:
                fields["total"] = all_
            self.progress.update(task, **fields)

        return advance


@contextmanager
def bars() -> Iterator[Bars]:
    """Show progress bars while the block runs."""
    made = Bars()
    with made.progress:
        yield made


@contextmanager
def json_alone() -> Iterator[None]:
    """Keep standard output for the JSON object of `emit`; what else is printed goes to standard error."""
    global _held
    sys.stdout.flush()
    original, saved, _held = sys.stdout, os.dup(1), []
    try:
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
        sys.stdout, lines, _held = original, _held, None
        for line in lines or ():
            print(line, flush=True)
