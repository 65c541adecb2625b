"""`spikeloom nir`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from spikeloom.cli.console import emit, note, pairs, table
from spikeloom.cli.options import DEFAULT_MODEL, AsJson, Model, Output, Steps
from spikeloom.common.folders import file_in, folder_of
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
    from spikeloom.golden.exchange.nir import export_nir

    network = load_network(model, steps)
    made = export_nir(network, partial=partial, dt=dt)
    path = file_in(output, folder_of(network.name), "network.nir")
    made.save(path)
    written = [layer.name for layer in network.layers if layer.name not in made.left_out]
    nodes = {key: type(node).__name__ for key, node in made.graph.nodes.items()}
    record = {
        "file": path,
        "network": network.name,
        "layers": written,
        "left_out": made.left_out,
        "nodes": nodes,
        "dt": dt,
    }
    shown = [table("Nodes", ["node", "kind"], list(nodes.items()))]
    if made.left_out:
        shown.append(table("Left out", ["layer", "why"], list(made.left_out.items())))
    summary = [("file", str(path)), ("layers written", f"{len(written)} of {len(network.layers)}")]
    emit(record, *shown, pairs("Exported", summary), as_json=as_json)
    if made.left_out:
        note(f"the file is a part of the network: {len(made.left_out)} layers are left out, and the file lists them")


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
    from spikeloom.golden.exchange.nir import import_nir

    network = import_nir(
        file,
        steps=time_steps,
        name=name or file.stem,
        dt=dt,
        pixel_scale=pixel_scale,
        weight_bits=bits,
        scales=scales,
    )
    path = file_in(output, folder_of(network.name), "network.safetensors")
    network.save(path)
    layers: list[dict[str, Any]] = [
        {
            "name": layer.name,
            "kind": layer.kind,
            "neuron": "" if layer.kind == "readout" else "LIF" if layer.neuron.leak else "IF",
            "shape_in": [layer.channels_in, layer.height_in, layer.width_in],
            "shape_out": [layer.channels_out, layer.height_out, layer.width_out],
            "kernel": layer.kernel,
            "stride": layer.stride,
            "weight_bits": layer.weight_bits,
        }
        for layer in network.layers
    ]
    record = {"network": path, "name": network.name, "t_max": network.steps, "layers": layers}
    rows = [
        [
            x["name"],
            x["neuron"] or x["kind"],
            "x".join(map(str, x["shape_in"])),
            "x".join(map(str, x["shape_out"])),
            x["kernel"],
            x["stride"],
            x["weight_bits"],
        ]
        for x in layers
    ]
    columns = ["layer", "neurons", "in", "out", "kernel", "stride", "bits"]
    summary = pairs("Imported", [("network", str(path)), ("time steps", network.steps), ("classes", network.classes)])
    emit(record, table("Layers", columns, rows), summary, f"Next: spikeloom simulate {path}", as_json=as_json)
    note("the input is one image, the same at every time step; inputs that change with time are not taken")
