"""How alike a layer's inputs are from one time step to the next.

Source: Datta, Liu, Li, Beerel, *Dynamic SpikFormer* (arXiv 2311.16456), section III-B: layers whose inputs hardly
change with the step need few of them. The paper does not say how it averages; here it is the cosine of two steps'
whole input of a layer (all channels and positions), image by image, then the mean over the images.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spikeloom.common.files import written_aside
from spikeloom.golden.analysis.operations import batch_size
from spikeloom.golden.network import Network
from spikeloom.golden.network.execute import check_images, execute

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = "viridis"
NOTHING = "0.88"  # grey of a cell without a value
LIGHT = 0.6  # from which colour on the number is black


@dataclass(frozen=True, kw_only=True, eq=False)
class Similarity:
    """How alike one layer's inputs are at any two of its network's ``T_max`` time steps."""

    layer: str
    """Its name."""
    inputs: tuple[str, ...]
    """Names of the tensors that it reads."""
    steps: int
    """At which they are there."""
    matrix: np.ndarray
    """Cosines, float64 (T, T), 1 on the diagonal; NaN where a step's input was zero in every image, as it is behind the
    steps of the producer."""
    images: np.ndarray
    """int64 (T, T): images that have a value there."""

    @property
    def adjacent(self) -> np.ndarray:
        """Of each step and the next, (T - 1,)."""
        return np.diagonal(self.matrix, 1)

    @property
    def mean(self) -> float | None:
        """Of `adjacent`, where there are values; None without any."""
        known = self.adjacent[~np.isnan(self.adjacent)]
        return float(known.mean()) if len(known) else None


def similarity(
    network: Network, images: np.ndarray, *, batch: int | None = None, progress: Callable[[int], None] | None = None
) -> dict[str, Similarity]:
    """Of each layer by name, in execution order; without those that read the image, which is equal at every step.

    images: uint8 (B, C, H, W), at least one. Layers with several inputs (attention) see them side by side. batch:
    images at a time, no influence on the result. progress: called with the number of images done.
    Raises TypeError or ValueError where the images are not the network's.
    """
    images = check_images(network, images)
    if not len(images):
        raise ValueError("images must be at least one, not 0")
    layers = [layer for layer in network.layers if not layer.direct]
    batch = batch_size(network) if batch is None else batch
    shape = (network.steps, network.steps)
    sums = {layer.name: np.zeros(shape) for layer in layers}
    counts = {layer.name: np.zeros(shape, np.int64) for layer in layers}
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        tensors = execute(network, part, record=True, batch=len(part)).tensors
        for layer in layers:
            cosines = _cosines([tensors[name] for name in layer.inputs], network.steps)
            known = ~np.isnan(cosines)
            sums[layer.name] += np.where(known, cosines, 0).sum(0)
            counts[layer.name] += known.sum(0)
        if progress is not None:
            progress(start + len(part))
    found = {}
    for layer in layers:
        count = counts[layer.name]
        matrix = np.where(count > 0, sums[layer.name] / np.maximum(count, 1), np.nan)
        steps = max(x.steps for x in network.shapes.layers[layer.name].inputs)
        found[layer.name] = Similarity(layer=layer.name, inputs=layer.inputs, steps=steps, matrix=matrix, images=count)
    return found


def _cosines(inputs: list[np.ndarray], steps: int) -> np.ndarray:
    """Cosines (B, T, T) of inputs (T_i, B, C, H, W), side by side; NaN where a step is zero."""
    sides = []
    for x in inputs:
        whole = np.zeros((steps, *x.shape[1:]))
        whole[: len(x)] = x
        sides.append(whole.reshape(steps, x.shape[1], -1))
    joined = np.concatenate(sides, axis=2).swapaxes(0, 1)  # (B, T, values)
    products = joined @ joined.swapaxes(1, 2)
    squares = np.diagonal(products, axis1=1, axis2=2)  # (B, T)
    lengths = np.sqrt(squares[:, :, None] * squares[:, None, :])
    return np.where(lengths > 0, products / np.where(lengths > 0, lengths, 1), np.nan)


def as_csv(found: Mapping[str, Similarity]) -> str:
    """A row a layer and pair of steps, counted from 1; an empty value where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["layer", "step", "other", "similarity", "images"])
    for x in found.values():
        for (step, other), value in np.ndenumerate(x.matrix):
            shown = "" if np.isnan(value) else f"{value:.6f}"
            writer.writerow([x.layer, step + 1, other + 1, shown, x.images[step, other]])
    return text.getvalue()


def draw(
    found: Mapping[str, Similarity], folder: Path, *, kind: Literal["png", "svg"] = "png", title: str = ""
) -> list[Path]:
    """Write a heat map of each layer and one page with all of them; the files, the page first."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    lowest = min([0.0, *(float(np.nanmin(x.matrix)) for x in found.values() if not np.isnan(x.matrix).all())])
    columns = min(len(found), 4)
    rows = -(-len(found) // columns)
    size = (2.6 * columns, 2.75 * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat[len(found) :]:
        axis.axis("off")
    for axis, x in zip(axes.flat, found.values(), strict=False):
        shown = _heat_map(axis, x, lowest)
    figure.colorbar(shown, ax=axes, shrink=0.6, label="cosine similarity")
    figure.suptitle(title or "Inputs of each layer: cosine similarity of time steps")
    written = [_written(figure, folder / f"all-layers.{kind}", kind)]
    for number, x in enumerate(found.values(), 1):
        figure, axis = plt.subplots(figsize=(4.2, 3.6), layout="constrained")
        figure.colorbar(_heat_map(axis, x, lowest), ax=axis, label="cosine similarity")
        written.append(_written(figure, folder / f"{number:02}-{x.layer}.{kind}", kind))
    return written


def _written(figure: Any, path: Path, kind: str) -> Path:
    import matplotlib.pyplot as plt

    with written_aside(path) as aside:
        figure.savefig(aside, format=kind, dpi=120)
    plt.close(figure)
    return path


def _heat_map(axis: Axes, x: Similarity, lowest: float) -> Any:
    """Draw the matrix of a layer, with its numbers."""
    import matplotlib

    colours = matplotlib.colormaps[COLOURS].with_extremes(bad=NOTHING)
    shown = axis.imshow(np.ma.masked_invalid(x.matrix), vmin=lowest, vmax=1, cmap=colours)
    size = 8 if len(x.matrix) <= 4 else 6
    for (row, column), value in np.ndenumerate(x.matrix):
        known = not np.isnan(value)
        dark = known and (value - lowest) / (1 - lowest) < LIGHT
        text = f"{value:.2f}" if known else "–"
        axis.text(column, row, text, ha="center", va="center", fontsize=size, color="white" if dark else "black")
    ticks = range(len(x.matrix))
    axis.set_xticks(ticks, [str(i + 1) for i in ticks])
    axis.set_yticks(ticks, [str(i + 1) for i in ticks])
    axis.set_xlabel("time step", fontsize=8)
    axis.set_ylabel("time step", fontsize=8)
    axis.tick_params(length=0, labelsize=8)
    axis.set_title(x.layer, fontsize=10)
    return shown
