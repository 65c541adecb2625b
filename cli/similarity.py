"""`spikeloom similarity`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from spikeloom.cli.console import bars, emit, pairs, table
from spikeloom.cli.options import DEFAULT_MODEL, AsJson, Model, Output, Source, Steps, at_most
from spikeloom.common.folders import folder_of
from spikeloom.flow.models import load_network

EXAMPLE = "Example: spikeloom similarity build/fashion/checkpoint.safetensors --images 500 -o build/similarity"
MOST = 360  # images where the user does not say


def similarity(
    model: Model = DEFAULT_MODEL,
    *,
    images: Annotated[int | None, at_most(MOST)] = None,
    kind: Annotated[Literal["png", "svg"], typer.Option("--format", help="Of the figures.")] = "png",
    steps: Steps = None,
    source: Source,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Show how alike each layer's inputs are at different time steps: a figure a layer, and a table.

    Where neighbouring steps are nearly equal, fewer of them may do. Best seen on a model without time masks.
    """
    import numpy as np

    from spikeloom.common.files import written_aside
    from spikeloom.golden.analysis import similarity as golden

    network = load_network(model, steps)
    samples = source.samples(network, images, most=MOST)
    folder = output or folder_of(network.name) / "similarity"
    with bars() as shown:
        advance = shown.bar("similarity", len(samples.images))
        found = golden.similarity(network, samples.images, progress=lambda done: advance(done))
    figures = golden.draw(found, folder, kind=kind, title=f"{network.name}: inputs of each layer, by time step")
    with written_aside(folder / "similarity.csv") as aside:
        aside.write_text(golden.as_csv(found))
    layers = [
        {
            "name": x.layer,
            "inputs": x.inputs,
            "input_steps": x.steps,
            "mean_adjacent": x.mean,
            "matrix": [[None if np.isnan(value) else float(value) for value in row] for row in x.matrix],
        }
        for x in found.values()
    ]
    columns = ["layer", "input", "T of input", *(f"{i}, {i + 1}" for i in range(1, network.steps)), "mean"]
    rows = [
        [x.layer, ", ".join(x.inputs), x.steps, *(None if np.isnan(y) else float(y) for y in x.adjacent), x.mean]
        for x in found.values()
    ]
    emit(
        {"model": network.name, "images": len(samples.images), "figures": figures, "layers": layers},
        table("Cosine similarity of neighbouring time steps", columns, rows),
        pairs(None, [("images", len(samples.images)), ("figures", f"{figures[0]}, and {len(figures) - 1} more")]),
        as_json=as_json,
    )
