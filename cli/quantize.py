"""`spikeloom quantize`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from spikeloom.cli.console import bars, emit, note, pairs, percent, table
from spikeloom.cli.inputs import (
    checkpoint_provenance,
    folder_for,
    load_checkpoint,
    load_samples,
    time_steps,
    with_steps,
)
from spikeloom.cli.options import DEFAULT_MODEL, AsJson, Data, DataFolder, Images, Output, Steps

EXAMPLE = "Example: spikeloom quantize build/mine/checkpoint.safetensors --bits 4 --scales free"


def quantize(
    checkpoint: Annotated[
        str, typer.Argument(metavar="[CHECKPOINT]", help="Of `spikeloom train`, or a shipped model.")
    ] = DEFAULT_MODEL,
    bits: Annotated[int, typer.Option(help="Of a weight: 8 or 4.")] = 8,
    scales: Annotated[Literal["power-of-two", "free"], typer.Option(help="Of the channels.")] = "power-of-two",
    name: Annotated[str | None, typer.Option(help="Default: the file's, or its folder's.")] = None,
    layer_losses: Annotated[
        bool, typer.Option("--layer-losses", help="Measure the accuracy that each layer alone loses.")
    ] = False,
    steps: Steps = None,
    data: Data = None,
    data_folder: DataFolder = None,
    images: Images = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Turn a trained model into a network of integers, and say what that costs."""
    from dataclasses import replace

    from spikeloom.golden import quantize as golden
    from spikeloom.golden.execute import execute
    from spikeloom.golden.train import accuracy

    model, header, path = load_checkpoint(checkpoint)
    chosen = name or (path.parent.name if path.stem == "checkpoint" else path.stem)
    network = golden.quantize(
        model, weight_bits=bits, scales=scales, name=chosen, provenance=checkpoint_provenance(header, path)
    )
    network = with_steps(network, steps)
    samples = load_samples(data, network, images, folder=data_folder)
    accuracy_float = accuracy_integer = None
    with bars() as shown:
        if samples.labels is not None:
            accuracy_float = accuracy(model, samples.images, samples.labels)
            advance = shown.bar("integer network", len(samples.images))
            execution = execute(network, samples.images, progress=lambda done: advance(done))
            accuracy_integer = execution.accuracy(samples.labels)
            measured = {"accuracy_float": accuracy_float, "accuracy_integer": accuracy_integer}
            measured["images"] = len(samples.images)
            network = replace(network, provenance={**network.provenance, **measured})
        if layer_losses and samples.labels is None:
            raise ValueError("--layer-losses needs images with labels")
        if layer_losses:
            advance_layers = shown.bar("layer by layer", len(network.layers))
            rows = golden.report(model, network, images=samples.images, labels=samples.labels, progress=advance_layers)
        else:
            rows = golden.report(model, network)
    path = output or folder_for(network) / "network.safetensors"
    network.save(path)
    record = {
        "network": path,
        "name": network.name,
        "weight_bits": bits,
        "scales": scales,
        "accuracy_float": accuracy_float,
        "accuracy_integer": accuracy_integer,
        "images": len(samples.images) if samples.labels is not None else 0,
        **time_steps(network),
        "layers": rows,
    }
    if samples.labels is None:
        note("accuracy is not measured: the images have no labels")
    columns = ["layer", "bits", "T_l", "lowest weight", "highest", "clipped", "error"]
    columns += ["accumulator bits", "membrane bits"] + ["accuracy lost"] * layer_losses
    cells = [
        [
            row.name,
            row.weight_bits,
            row.steps,
            row.weight_low,
            row.weight_high,
            percent(row.clipped),
            percent(row.error),
            row.accumulator_bits,
            row.membrane_bits,
            *([percent(row.accuracy_lost)] if layer_losses else []),
        ]
        for row in rows
    ]
    summary = pairs(
        "Quantised",
        [
            ("network", str(path)),
            ("accuracy float", percent(accuracy_float)),
            ("accuracy integer", percent(accuracy_integer)),
            ("T_avg of T_max", f"{network.t_avg:.2f} of {network.steps}"),
        ],
    )
    emit(record, table("Layers", columns, cells), summary, f"Next: spikeloom simulate {path}", as_json=as_json)
