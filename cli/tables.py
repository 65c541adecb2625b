"""Tables in files: Markdown for people, CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spikeloom.cli.console import number
from spikeloom.common.files import written_aside


class Cells(NamedTuple):
    """A table before it is shown: its rows have as many cells as columns."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def write_tables(path: Path, tables: Sequence[Cells]) -> None:
    """Write them to a .md or .csv file, whole or not at all; in CSV the first column is the table's title."""
    text = _markdown(tables) if path.suffix == ".md" else _csv(tables)
    with written_aside(path) as aside:
        aside.write_text(text)


def _markdown(tables: Sequence[Cells]) -> str:
    parts = []
    for title, columns, rows in tables:
        lines = [f"### {title}", "", _line(columns), _line(["---"] + ["---:"] * (len(columns) - 1))]
        lines += [_line([x if isinstance(x, str) else number(x) for x in row]) for row in rows]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _csv(tables: Sequence[Cells]) -> str:
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    for title, columns, rows in tables:
        writer.writerow(["table", *columns])
        writer.writerows([title, *row] for row in rows)
    return made.getvalue()
