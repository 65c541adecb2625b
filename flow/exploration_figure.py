"""The picture of an exploration: what faster cores cost, in cells and in block memories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from spikeloom.common.files import written_aside
from spikeloom.flow.exploration import Exploration, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {1: "C7", 2: "C0", 4: "C2", 8: "C3"}
"""By the number of banks."""


def draw(found: Exploration, path: Path) -> None:
    """Write it, as SVG. Filled points fit the board, hollow ones do not; a line joins those that no other is as good as
    in both of the panel's costs; the names are lanes (by columns) and banks, the star is the best core.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": found.network}):
        figure, (cells, blocks) = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True)
        _panel(cells, found, lambda point: point.cells.cells, "cells: LUT4 and two a CCU2C")
        _panel(blocks, found, lambda point: point.cells.block_rams, "block memories")
        for point in found.front:
            place = (point.cells.cells, point.ms)
            cells.annotate(_name(point), place, xytext=(4, 4), textcoords="offset points", fontsize=7)
        cells.set_ylabel(f"ms an image at {found.clock_mhz:g} MHz")
        cells.set_xscale("log")
        cells.set_yscale("log")
        for axis in (cells.xaxis, cells.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axis.set_minor_formatter(NullFormatter())
        cells.legend(fontsize=8, title="banks", title_fontsize=8)
        figure.suptitle(f"{found.network}: cores for {found.board}", fontsize=11)
        with written_aside(path) as aside:
            figure.savefig(aside, format="svg", metadata={"Date": None}, bbox_inches="tight")
        plt.close(figure)


def _panel(axes: Axes, found: Exploration, cost: Callable[[Point], int], title: str) -> None:
    from spikeloom.gen.explore import front

    for banks, colour in COLOURS.items():
        for fits in (True, False):
            points = [x for x in found.points if x.core.banks == banks and x.fits == fits]
            axes.scatter(
                [cost(x) for x in points],
                [x.ms for x in points],
                s=14,
                facecolors=colour if fits else "none",
                edgecolors=colour,
                label=str(banks) if fits else None,
            )
    line = front(found.points, lambda point: (point.ms, cost(point)))
    axes.plot([cost(x) for x in line], [x.ms for x in line], "-", color="black", alpha=0.4, linewidth=1)
    for point in found.points:
        if found.is_best(point):
            axes.plot(cost(point), point.ms, "*", markersize=14, color="gold", markeredgecolor="black")
    axes.set_xlabel(title)
    axes.grid(alpha=0.3)


def _name(point: Point) -> str:
    """Lanes by columns, and banks."""
    core = point.core
    lanes = f"{core.lanes}" if core.columns == 1 else f"{core.lanes}x{core.columns}"
    return f"{lanes}, {core.banks}"
