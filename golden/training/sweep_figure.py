"""The figure of a sweep: what accuracy costs, a line for each method.

Accuracies are those of the integer networks, means over the seeds; costs are time steps, accumulates, cycles of the
core and energy. Of the energy the points are the weight-stationary schedule's, and bars reach to the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from spikeloom.common.files import written_aside
from spikeloom.golden.training.sweep import Sweep, text_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Result = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A cost."""

    title: str
    """With its unit."""
    cost: Callable[[Result], float | None]
    """Of a result; None where it was not measured."""


AXES = (
    Axis(title="mean time steps", cost=lambda x: x["t_avg"]),
    Axis(title="synaptic operations, M", cost=lambda x: x["sops"] / 1e6),
    Axis(title="cycles of the core, thousands", cost=lambda x: x["cycles"] / 1e3 if x.get("cycles") else None),
    Axis(title="energy, uJ", cost=lambda x: _energy(x, reuse="stationary")),
)


def _energy(result: Result, *, reuse: str) -> float | None:
    return result["energy"][reuse] / 1e6 if result.get("energy") else None


def points(
    sweep: Sweep, results: Mapping[str, Result | None], cost: Callable[[Result], float | None]
) -> dict[str, list[tuple[float, float]]]:
    """Costs and accuracies in percent by line, from cheap to dear; lines that have none are left out.

    Runs that differ by the seed alone are one point.
    """
    by_key, found = {job.key: job for job in sweep.jobs}, {}
    for line, keys in sweep.lines.items():
        same: dict[str, list[Result]] = {}
        for key in keys:
            result = results.get(key)
            if result is not None and cost(result) is not None:
                same.setdefault(text_of(by_key[key].changes), []).append(result)
        means = [
            (fmean(float(cost(x) or 0) for x in seeds), 100 * fmean(x["accuracy_integer"] for x in seeds))
            for seeds in same.values()
        ]
        if means:
            found[line] = sorted(means)
    return found


def draw(sweep: Sweep, results: Mapping[str, Result | None], path: Path) -> None:
    """Write the figure, as SVG. It has no panel for a cost that no run has."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = [(axis, lines) for axis in AXES if (lines := points(sweep, results, axis.cost))]
    size = (4.2 * max(len(panels), 1), 3.6)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": sweep.name}):
        figure, axes = plt.subplots(1, max(len(panels), 1), figsize=size, squeeze=False, sharey=True)
        for place, (axis, lines) in zip(axes[0], panels, strict=False):
            for name, found in lines.items():
                place.plot([x for x, _ in found], [y for _, y in found], "o-", color=_colour(sweep, name), label=name)
            if axis is AXES[-1]:
                _bounds(place, sweep, results)
            place.set_xlabel(axis.title)
            place.grid(alpha=0.3)
        axes[0, 0].set_ylabel("accuracy, %")
        if panels:
            axes[0, 0].legend(fontsize=8)
        with written_aside(path) as aside:
            figure.savefig(aside, format="svg", metadata={"Date": None}, bbox_inches="tight")
        plt.close(figure)


def _bounds(place: Axes, sweep: Sweep, results: Mapping[str, Result | None]) -> None:
    """From the energy of full reuse to that of none, at each point."""
    none, full = (points(sweep, results, partial(_energy, reuse=reuse)) for reuse in ("none", "full"))
    for name, found in none.items():
        colour = _colour(sweep, name)
        for (high, accuracy), (low, _) in zip(found, full[name], strict=True):
            place.plot([low, high], [accuracy] * 2, "-", color=colour, alpha=0.3)


def _colour(sweep: Sweep, line: str) -> str:
    """The same in all panels."""
    return f"C{list(sweep.lines).index(line) % 10}"
