"""`spikeloom info`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from spikeloom.cli.console import dimensions, emit, note, pairs, percent, table
from spikeloom.cli.options import DEFAULT_MODEL, AsJson, Model, Steps
from spikeloom.flow import description as flow
from spikeloom.flow.models import load_network

if TYPE_CHECKING:
    from spikeloom.golden.network import Network

EXAMPLE = "Example: spikeloom info build/digits/network.safetensors"


def info(
    model: Model = DEFAULT_MODEL,
    boards: Annotated[bool, typer.Option("--boards", help="List the boards that `build` knows instead.")] = False,
    support: Annotated[
        bool, typer.Option("--support", help="What each stage of the flow supports, and what the model lacks, instead.")
    ] = False,
    steps: Steps = None,
    as_json: AsJson = False,
) -> None:
    """Describe a model: layers, shapes, time steps, number ranges, where it comes from."""
    if boards:
        _boards(as_json)
        return
    network = load_network(model, steps)
    if support:
        _support(network, as_json)
        return
    record = flow.description(network)
    emit(record, pairs(network.name, _summary(record)), _layers(record["layers"]), as_json=as_json)
    if record["collapse"] is not None:
        note(f"warning: {record['collapse']}")


def _summary(record: dict[str, Any]) -> list[tuple[str, Any]]:
    about = record["provenance"]
    rows = [
        ("image", dimensions(record["image_shape"])),
        ("classes", record["classes"]),
        ("weights", record["weights"]),
        ("T_avg of T_max", f"{record['t_avg']:.2f} of {record['t_max']}"),
    ]
    for key in ("accuracy_float", "accuracy_integer"):
        if key in about:
            rows.append((key.replace("_", " "), percent(about[key])))
    for key in ("split", "command", "checkpoint_sha256"):
        if key in about:
            rows.append((key.replace("_", " "), str(about[key])))
    return rows


def _layers(layers: list[dict[str, Any]]) -> Table:
    columns = ["layer", "kind", "T_l", "in", "out", "kernel", "weights", "bits", "acc", "membrane"]
    rows = [
        (
            layer["name"],
            layer["kind"],
            layer["steps"],
            dimensions(layer["shape_in"]),
            dimensions(layer["shape_out"]),
            layer["kernel"] if layer["weights"] else None,
            layer["weights"] or None,
            layer["weight_bits"] if layer["weights"] else None,
            layer["accumulator_bits"],
            layer["membrane_bits"],
        )
        for layer in layers
    ]
    return table("Layers", columns, rows)


def _support(network: Network, as_json: bool) -> None:
    from spikeloom.flow.support import STAGES, rows

    record = flow.support(network)
    columns = ["a network with", *STAGES.values(), network.name]
    cells = [[*row, "has it" if row[0] in record["features"] else ""] for row in rows()]
    stages = [
        (STAGES[stage], f"no: {', '.join(names)}" if names else "yes") for stage, names in record["missing"].items()
    ]
    emit(record, table("Support", columns, cells), pairs(f"Stages that take {network.name}", stages), as_json=as_json)


def _boards(as_json: bool) -> None:
    found = flow.boards()
    rows = [[board[key] for key in ("name", "device", "luts", "block_rams")] for board in found]
    emit({"boards": found}, table("Boards", ["board", "device", "LUT", "block RAM"], rows), as_json=as_json)
