"""What a command prints: tables or one JSON object on standard output, everything else on standard error."""

from __future__ import annotations

import json
import os
import shlex
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
from rich.text import Text

from spikeloom.flow.progress import Advance
from spikeloom.flow.records import percent as percent
from spikeloom.flow.records import plain

PIPED_WIDTH = 132  # at least, where there is no terminal that has one
WIDEST = 1000
LEAST_WRAPPED = 24  # letters of a column that wraps
_held: list[str] | None = None  # JSON waiting for standard output, see `json_alone`


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
    for item in shown:
        if not console.is_terminal:  # nothing is cut or wrapped for a program that reads it
            wanted = console.measure(item, options=console.options.update_width(WIDEST)).maximum
            console.width = max(PIPED_WIDTH, wanted)
        if isinstance(item, str):
            console.print(visible(item), soft_wrap=True, highlight=False, markup=False)
        else:
            console.print(item, highlight=False)


def note(text: str) -> None:
    """A line for people while a command works."""
    Console(stderr=True).print(visible(text), highlight=False, soft_wrap=True, markup=False)


def command_line() -> str:
    """The command as the user typed it, for the headers of files."""
    return shlex.join(["spikeloom", *sys.argv[1:]])


def visible(text: str) -> str:
    """The text without control characters: names and commands in a file's header may hold some that move the cursor
    or rename the terminal's window; line ends and tabs stay."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf") else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def table(title: str | None, columns: Iterable[str], rows: Iterable[Iterable[Any]], *, wraps: str = "") -> Table:
    """A table whose first column is text and whose other columns are right-aligned.

    wraps: the column of long texts, the one that a narrow terminal breaks into lines.
    """
    made = _table(title, rich.box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        long = column == wraps
        made.add_column(
            _text(column),
            justify="left" if long or not index else "right",
            no_wrap=not long,
            overflow="fold" if long else "ellipsis",
            min_width=LEAST_WRAPPED if long else None,
        )
    for row in rows:
        made.add_row(*(_text(cell if isinstance(cell, str) else number(cell)) for cell in row))
    return made


def _table(title: str | None, box: rich.box.Box, *, show_header: bool = True) -> Table:
    shown = title and _text(title)
    return Table(title=shown, title_justify="left", box=box, show_header=show_header, title_style="bold")


def _text(shown: str) -> Text:
    """What is shown as it is, no part of it being a command to the terminal."""
    return Text(visible(shown))


def pairs(title: str | None, rows: Iterable[tuple[str, Any]]) -> Table:
    """A table of names and values."""
    made = Table(
        title=title and _text(title), title_justify="left", box=rich.box.SIMPLE, show_header=False, title_style="bold"
    )
    made.add_column(style="dim")
    made.add_column(overflow="fold")
    for name, value in rows:
        made.add_row(_text(name), _text(value if isinstance(value, str) else number(value)))
    return made


def dimensions(shape: Iterable[int]) -> str:
    """A shape, as 3x32x32."""
    return "x".join(map(str, shape))


def number(value: Any) -> str:
    """A number with separators; a dash for None."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".") if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


class Bars:
    """Progress bars on standard error; several may run at the same time. Away from a terminal only their ends show."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        if not console.is_terminal:
            console.width = PIPED_WIDTH
        self.progress = Progress(
            TextColumn("{task.description:<18}", markup=False),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("<"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.fields[stage]}", markup=False),
            console=console,
        )

    def bar(self, text: str, total: int | None = None) -> Advance:
        """A new bar, see `flow.progress.Advance`."""
        task = self.progress.add_task(visible(text), total=total, stage="")

        def advance(done: int | None = None, total: int | None = None, stage: str | None = None) -> None:
            fields: dict[str, Any] = {} if stage is None else {"stage": visible(stage)}
            if done is not None:
                fields["completed"] = done
            if total is not None:
                fields["total"] = total
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
