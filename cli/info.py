"""`spikeloom info`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikeloom.cli.console import emit, note, pairs, percent, table
from spikeloom.cli.options import DEFAULT_MODEL, AsJson, Model, Steps
from spikeloom.flow.models import load_network, time_steps

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
    if support:
        _support(load_network(model, steps), as_json)
        return
    from spikeloom.golden.models.spikformer_layers import collapse
    from spikeloom.golden.network.widths import widths

    network = load_network(model, steps)
    proven = widths(network)
    layers: list[dict[str, Any]] = [
        {
            "name": layer.name,
            "kind": layer.kind,
            "group": layer.group,
            "steps": layer.steps,
            "shape_in": [layer.channels_in, layer.height_in, layer.width_in],
            "shape_out": [layer.channels_out, layer.height_out, layer.width_out],
            "kernel": layer.kernel,
            "pool": layer.pool,
            "pool_first": layer.pool_first,
            "residual": layer.residual,
            "weights": 0 if layer.weight is None else layer.weight.size,
            "weight_bits": layer.weight_bits,
            "accumulator_bits": proven[layer.name].accumulator,
            "membrane_bits": proven[layer.name].membrane,
        }
        for layer in network.layers
    ]
    about = network.provenance
    bypassed = collapse({layer.name: layer.steps for layer in network.spiking})
    record: dict[str, Any] = {
        "name": network.name,
        "image_shape": [network.channels, network.height, network.width],
        "classes": network.classes,
        **time_steps(network),
        "collapse": bypassed,
        "weights": sum(layer["weights"] for layer in layers),
        "layers": layers,
        "provenance": about,
    }
    rows = [
        (
            layer["name"],
            layer["kind"],
            layer["steps"],
            "x".join(map(str, layer["shape_in"])),
            "x".join(map(str, layer["shape_out"])),
            layer["kernel"] if layer["weights"] else None,
            layer["weights"] or None,
            layer["weight_bits"] if layer["weights"] else None,
            layer["accumulator_bits"],
            layer["membrane_bits"],
        )
        for layer in layers
    ]
    columns = ["layer", "kind", "T_l", "in", "out", "kernel", "weights", "bits", "acc", "membrane"]
    summary = [
        ("image", "x".join(map(str, record["image_shape"]))),
        ("classes", network.classes),
        ("weights", record["weights"]),
        ("T_avg of T_max", f"{network.t_avg:.2f} of {network.steps}"),
    ]
    for key, label in (("accuracy_float", "accuracy float"), ("accuracy_integer", "accuracy integer")):
        if key in about:
            summary.append((label, percent(about[key])))
    for key in ("split", "command", "checkpoint_sha256"):
        if key in about:
            summary.append((key.replace("_", " "), str(about[key])))
    emit(record, pairs(network.name, summary), table("Layers", columns, rows), as_json=as_json)
    if bypassed is not None:
        note(f"warning: {bypassed}")


def _support(network: Network, as_json: bool) -> None:
    from spikeloom.flow.support import FEATURES, STAGES, features_of, rows, stages_for

    missing, found = stages_for(network), {x.name for x in features_of(network)}
    record = {
        "support": [{"feature": x.name, **{stage: getattr(x, stage) for stage in STAGES}} for x in FEATURES],
        "network": network.name,
        "features": [x.name for x in FEATURES if x.name in found],
        "missing": missing,
    }
    columns = ["a network with", *STAGES.values(), network.name]
    cells = [[*row, "has it" if row[0] in found else ""] for row in rows()]
    stages = [(STAGES[stage], f"no: {', '.join(names)}" if names else "yes") for stage, names in missing.items()]
    emit(record, table("Support", columns, cells), pairs(f"Stages that take {network.name}", stages), as_json=as_json)


def _boards(as_json: bool) -> None:
    from spikeloom.gen.targets import target, target_names

    found = [target(name) for name in target_names()]
    record = {
        "boards": [
            {
                "name": board.name,
                "device": board.device,
                "luts": board.luts,
                "block_rams": board.block_rams,
                "core": board.core,
            }
            for board in found
        ]
    }
    rows = [(board.name, board.device, board.luts, board.block_rams) for board in found]
    emit(record, table("Boards", ["board", "device", "LUT", "block RAM"], rows), as_json=as_json)
