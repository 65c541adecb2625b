"""`spikeloom simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from spikeloom.cli.console import bars, emit, note, number, pairs, percent, table
from spikeloom.cli.options import (
    DEFAULT_MODEL,
    MOST_SIMULATED,
    AsJson,
    Core,
    Model,
    Output,
    SimulatedImages,
    Source,
    Steps,
)
from spikeloom.common.files import writable_file
from spikeloom.common.folders import folder_of
from spikeloom.flow.models import load_network

EXAMPLE = "Example: spikeloom simulate --images 1 --waves build/wave.fst"


def simulate(
    model: Model = DEFAULT_MODEL,
    *,
    images: SimulatedImages = None,
    core: Core,
    steps: Steps = None,
    source: Source,
    waves: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Record all signals (FST); of one image unless --images."),
    ] = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Run the Verilog on images and compare every spike, class sum and counter with the golden model."""
    from spikeloom.flow.simulation import finished_well, run_recorded
    from spikeloom.sim.verilator import verilator_version

    network = load_network(model, steps)
    if waves is not None and images is None:
        images = 1
    compiled = core.compile(network)
    samples = source.samples(network, images, most=MOST_SIMULATED)
    verilator_version()
    folder = output or folder_of(network.name) / "simulation"
    if waves is not None:
        writable_file(waves)
    with bars() as shown:
        record = run_recorded(compiled, samples, folder, shown, waves=waves)
    record["waves"] = waves
    emit(record, *report(record), *([] if waves is None else [f"Signals: {waves}"]), as_json=as_json)
    if record["first_difference_text"]:
        note(f"first difference: {record['first_difference_text']}")
    if not finished_well(record):
        raise typer.Exit(1)


def report(record: dict[str, Any]) -> list[RenderableType]:
    """Tables of a simulation's record."""
    images = record["images"]
    rows = [
        [
            layer["name"],
            layer["steps"],
            layer["cycles_per_image"],
            round(layer["spikes"] / images),
            round(layer["sops_done"] / images),
            round(layer["sops_skipped"] / images),
        ]
        for layer in record["layers"]
    ]
    columns = ["layer", "T_l", "cycles", "spikes", "accumulates", "skipped"]

    def done(name: str, saved: str) -> str:
        return f"{number(round(record[name] / images))}, {number(round(record[saved] / images))} saved"

    summary = [
        ("images bit-exact", f"{record['images_bit_exact']} of {images}"),
        ("counters as golden", record["counters_match"]),
        ("accuracy integer", percent(record["accuracy_integer"])),
        ("accuracy hardware", percent(record["accuracy_hardware"])),
        ("T_avg of T_max", f"{record['t_avg']:.2f} of {record['t_max']}"),
        ("cycles an image", record["cycles_per_image"]),
        ("weight rows skipped an image", round(record["rows_skipped"] / images)),
        ("membrane reads an image", done("membrane_reads", "membrane_reads_saved")),
        ("membrane writes an image", done("membrane_writes", "membrane_writes_saved")),
        ("cycles a second simulated", record["simulated_cycles_per_second"]),
    ]
    return [table("Layers, per image", columns, rows), pairs("Simulation", summary)]
