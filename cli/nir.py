"""`spikeloom nir`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from spikeloom.cli.console import dimensions, emit, note, pairs, table
from spikeloom.cli.options import DEFAULT_MODEL, AsJson, Model, Output, Steps
from spikeloom.flow.models import load_network

EXPORT_EXAMPLE = "Example: spikeloom nir export build/net/network.safetensors -o net.nir"
IMPORT_EXAMPLE = "Example: spikeloom nir import cnn.nir --time-steps 8 -o build/cnn/network.safetensors"

app = typer.Typer(
    help="Read and write NIR, the format that spiking simulators and chips share.",
    epilog="Example: spikeloom nir import cnn.nir; both commands know --json.",
    no_args_is_help=True,
)


@app.command("export", epilog=EXPORT_EXAMPLE)
def export(
    model: Model = DEFAULT_MODEL,
    partial: Annotated[
        bool, typer.Option("--partial", help="Only the layers before the first that NIR cannot express; list the rest.")
    ] = False,
    dt: Annotated[float, typer.Option(help="Time step, in the unit that tau and r shall have.")] = 1.0,
    steps: Steps = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: build/<network>/network.nir.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a network as a NIR graph; refuse, with the whole list, where NIR cannot express it."""
    from spikeloom.flow.exchange import export_nir

    network = load_network(model, steps)
    record = export_nir(network, output, partial=partial, dt=dt)
    left_out = record["left_out"]
    shown = [table("Nodes", ["node", "kind"], record["nodes"].items())]
    if left_out:
        shown.append(table("Left out", ["layer", "why"], left_out.items()))
    written = f"{len(record['layers'])} of {len(network.layers)}"
    summary = [("file", str(record["file"])), ("layers written", written)]
    emit(record, *shown, pairs("Exported", summary), as_json=as_json)
    if left_out:
        note(f"the file is a part of the network: {len(left_out)} layers are left out, and the file lists them")


@app.command("import", epilog=IMPORT_EXAMPLE)
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .nir file: a chain with IF or LIF neurons.")],
    time_steps: Annotated[
        int | None, typer.Option(min=1, metavar="T", help="Time steps. Default: the file's, if we wrote it, or 4.")
    ] = None,
    dt: Annotated[
        float | None, typer.Option(help="Time step in the unit of tau and r. Default: the file's, or 1.")
    ] = None,
    pixel_scale: Annotated[
        float | None, typer.Option(help="Real input value of the pixel 1. Default: the file's, or 1/256.")
    ] = None,
    bits: Annotated[int, typer.Option(help="Of a weight: 8 or 4.")] = 8,
    scales: Annotated[Literal["power-of-two", "free"], typer.Option(help="Of the channels.")] = "power-of-two",
    name: Annotated[str | None, typer.Option(help="Default: the file's.")] = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Turn a NIR graph into a network of integers; name every node that cannot be taken."""
    from spikeloom.flow.exchange import import_nir

    options = {"steps": time_steps, "dt": dt, "pixel_scale": pixel_scale, "weight_bits": bits, "scales": scales}
    network, record = import_nir(file, output, name=name, **options)
    path = record["network"]
    summary = [("network", str(path)), ("time steps", network.steps), ("classes", network.classes)]
    then = f"Next: spikeloom simulate {path}"
    emit(record, _imported(record["layers"]), pairs("Imported", summary), then, as_json=as_json)
    note("the input is one image, the same at every time step; inputs that change with time are not taken")


def _imported(layers: list[dict[str, Any]]) -> Table:
    columns = ["layer", "neurons", "in", "out", "kernel", "stride", "bits"]
    rows = [
        [
            x["name"],
            x["neuron"] or x["kind"],
            dimensions(x["shape_in"]),
            dimensions(x["shape_out"]),
            x["kernel"],
            x["stride"],
            x["weight_bits"],
        ]
        for x in layers
    ]
    return table("Layers", columns, rows)
