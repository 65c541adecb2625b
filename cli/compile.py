"""`spikeloom compile`, also called `generate`."""

from __future__ import annotations

from typing import Annotated

from spikeloom.cli.console import bars, emit, pairs, table
from spikeloom.cli.options import DEFAULT_MODEL, AsJson, Core, Model, Output, Source, Steps, at_most
from spikeloom.common.files import writable_folder
from spikeloom.common.folders import folder_of
from spikeloom.flow.models import load_network, time_steps

EXAMPLE = "Example: spikeloom compile build/digits/network.safetensors --lanes 16 -o build/small"
MOST = 10  # images where the user does not say


def compile(
    model: Model = DEFAULT_MODEL,
    *,
    core: Core,
    steps: Steps = None,
    source: Source,
    images: Annotated[int | None, at_most(MOST, "Images in the test vectors.")] = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Write Verilog, the Program and test vectors of a network into a folder."""
    from spikeloom.flow.export import export
    from spikeloom.gen.verilog import core_verilog

    network = load_network(model, steps)
    compiled = core.compile(network)
    samples = source.samples(network, images, most=MOST)
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
    wrote = f"Wrote {folder}: {', '.join(record['files'])}"
    emit(record, layers, pairs("Core", manifest["core"].items()), wrote, as_json=as_json)
