"""`spikeloom classify`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from spikeloom.cli.console import bars, emit, note, percent, table
from spikeloom.cli.options import DEFAULT_MODEL, AsJson, Core

EXAMPLE = "Example: spikeloom classify shoe.jpg bag.png --model fashion --invert"


def classify(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="PNG, JPEG, WebP, BMP or .npy, any size.")],
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="MODEL", help="Network, checkpoint or shipped model.")
    ] = DEFAULT_MODEL,
    *,
    on: Annotated[
        Literal["golden", "simulator"], typer.Option(help="The integer network, or the Verilog, simulated.")
    ] = "golden",
    invert: Annotated[
        bool, typer.Option("--invert", help="Swap light and dark: for a drawing or a product on white.")
    ] = False,
    core: Core,
    as_json: AsJson = False,
) -> None:
    """Say what is in pictures: class, confidence and class sums of each."""
    from spikeloom.flow import classify as flow
    from spikeloom.flow.models import load_network

    network = load_network(model)
    pictures = flow.pictures_for(network, images, invert=invert)
    exact = None
    if on == "golden":
        sums = flow.class_sums(network, pictures)
    else:
        compiled = core.compile(network)
        with bars() as shown:
            sums, exact = flow.simulated_sums(compiled, pictures, shown)
    found = flow.answers(network, sums)
    record = {
        "network": network.name,
        "on": on,
        "bit_exact": exact,
        "class_names": flow.class_names(network),
        "images": [{"file": path, **asdict(answer)} for path, answer in zip(images, found, strict=True)],
    }
    rows = [
        [str(path), x.name, percent(x.confidence), " ".join(f"{y:,}" for y in x.sums)]
        for path, x in zip(images, found, strict=True)
    ]
    emit(record, table(network.name, ["image", "class", "confidence", "sums"], rows, wraps="sums"), as_json=as_json)
    if exact is False:
        note("the simulated core is not golden in every spike: see `spikeloom simulate`")
        raise typer.Exit(1)
