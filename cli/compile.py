"""`spikeloom compile`, also called `generate`."""

from __future__ import annotations

from typing import Annotated

import typer

from spikeloom.cli.console import bars, emit, pairs, table
from spikeloom.cli.options import (
    DEFAULT_MODEL,
    AccumulatorWidth,
    AsJson,
    Board,
    Columns,
    Data,
    DataFolder,
    Lanes,
    Model,
    NeuronLanes,
    Output,
    Steps,
)
from spikeloom.common.files import writable_folder
from spikeloom.common.folders import folder_of
from spikeloom.flow.cores import compile_for
from spikeloom.flow.images import load_samples
from spikeloom.flow.models import load_network, time_steps

EXAMPLE = "Example: spikeloom compile build/digits/network.safetensors --lanes 16 -o build/small"
MOST = 10  # images where the user does not say


def compile(
    model: Model = DEFAULT_MODEL,
    lanes: Lanes = None,
    columns: Columns = None,
    neuron_lanes: NeuronLanes = None,
    accumulator_width: AccumulatorWidth = None,
    board: Board = None,
    steps: Steps = None,
    data: Data = None,
    data_folder: DataFolder = None,
    images: Annotated[
        int | None, typer.Option(min=1, metavar="N", help=f"Images in the test vectors. Default: {MOST} at most.")
    ] = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Write Verilog, the Program and test vectors of a network into a folder."""
    from spikeloom.flow.export import export
    from spikeloom.gen.verilog import core_verilog

    network = load_network(model, steps)
    compiled = compile_for(
        network,
        board,
        lanes=lanes,
        columns=columns,
        neuron_lanes=neuron_lanes,
        accumulator_width=accumulator_width,
    )
    samples = load_samples(data, network, images, folder=data_folder, most=MOST)
    folder = writable_folder(output or folder_of(network.name) / "verilog")
    with bars() as shown:
        advance = shown.bar("Verilog and test vectors", 2)
        verilog = core_verilog(compiled.config, compiled.program)
        advance(1)
        manifest = export(compiled, verilog, samples, folder)
        advance(2)
    record = {
        "folder": folder,
        "network": network.name,
        "verilog_bytes": len(verilog),
        "images": len(samples.images),
        **time_steps(network),
        "core": manifest["core"],
        "memory": manifest["memory"],
        "layers": manifest["layers"],
        "files": sorted([*manifest["files"], "manifest.json"]),
    }
    layers = table(
        "Layers", ["layer", "T_l", "tiles"], ((x["name"], x["steps"], x["tiles"]) for x in manifest["layers"])
    )
    core = pairs("Core", manifest["core"].items())
    emit(record, layers, core, f"Wrote {folder}: {', '.join(record['files'])}", as_json=as_json)
