"""`spikeloom quantize`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikeloom.cli.console import bars, command_line, emit, note, pairs, percent, table
from spikeloom.cli.options import DEFAULT_MODEL, AsJson, Data, DataFolder, Images, Output, Steps, described
from spikeloom.flow.models import load_checkpoint
from spikeloom.flow.quantization import Quantization, Quantized, Request

if TYPE_CHECKING:
    from spikeloom.golden.quantization.precision import Sensitivity
    from spikeloom.golden.quantization.report import LayerReport

EXAMPLE = "Example: spikeloom quantize build/mine/checkpoint.safetensors --budget 80kB --finetune 2 --scales free"


OPTIONS = described(
    bits=typer.Option(help="Of a weight: 8 or 4. Default: 8."),
    layer_bits=typer.Option(metavar="LAYER=BITS", help="Other bits for a layer; may be repeated."),
    budget=typer.Option(
        metavar="SIZE",
        help="Largest size of all weights, as 80kB or 64KiB: 4 bits where they cost least, by measurement.",
    ),
    calibration=typer.Option(min=1, metavar="N", help="Training images on which --budget measures."),
    finetune=typer.Option(min=0, metavar="EPOCHS", help="Train on with the quantised weights; goes on after a kill."),
    learning_rate=typer.Option(min=0.0, help="Of --finetune. Default: 0.0005."),
    restart=typer.Option("--restart", help="Begin --finetune anew instead of going on."),
    scales=typer.Option(help="Of the channels."),
    coding=typer.Option(help="Of integer spikes in dot products: their bits, or n spikes."),
    name=typer.Option(help="Default: the file's, or its folder's."),
    layer_losses=typer.Option("--layer-losses", help="Measure the accuracy that each layer alone loses."),
    steps=Steps,
    data=Data,
    data_folder=DataFolder,
    images=Images,
    output=Output,
)


def quantize(
    checkpoint: Annotated[
        str, typer.Argument(metavar="[CHECKPOINT]", help="Of `spikeloom train`, or a shipped model.")
    ] = DEFAULT_MODEL,
    *,
    request: Annotated[Request, OPTIONS],
    as_json: AsJson = False,
) -> None:
    """Turn a trained model into a network of integers, and say what that costs.

    The accuracies are of the held-out images, all of them unless --images.
    """
    wanted = Quantization(load_checkpoint(checkpoint), request, command=command_line())
    with bars() as shown:
        found = wanted.run(shown)
    if found.accuracy_integer is None:
        note("accuracy is not measured: the images have no labels")
    emit(found.record(), *_tables(found), f"Next: spikeloom simulate {found.path}", as_json=as_json)


def _tables(found: Quantized) -> list[Any]:
    from spikeloom.golden.quantization.precision import weight_bytes

    network = found.network
    summary = [("network", str(found.path))]
    summary += [("tuned checkpoint", str(found.tuned_checkpoint))] if found.tuned_checkpoint is not None else []
    summary += [("accuracy float", percent(found.accuracy_float))]
    summary += [("integer, not tuned", percent(found.accuracy_before))] if found.accuracy_before is not None else []
    summary += [
        ("accuracy integer", percent(found.accuracy_integer)),
        ("weights", f"{weight_bytes(network):,} bytes"),
        ("T_avg of T_max", f"{network.t_avg:.2f} of {network.steps}"),
    ]
    costs = [_sensitivities(found.sensitivities, found.bits)] if found.sensitivities else []
    return [*costs, _layers(found.layers, found.request.layer_losses), pairs("Quantised", summary)]


def _layers(rows: list[LayerReport], layer_losses: bool) -> Any:
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
    return table("Layers", columns, cells)


def _sensitivities(rows: list[Sensitivity], bits: dict[str, int]) -> Any:
    columns = ["layer", "weights", "loss lost at 4 bits", "accuracy lost at 4 bits", "bits", "bytes"]
    cells = [
        [
            row.name,
            row.weights,
            f"{row.loss_lost:.4f}",
            percent(row.accuracy_lost),
            bits[row.name],
            row.bytes(bits[row.name]),
        ]
        for row in rows
    ]
    return table("What 4 bits cost each layer alone", columns, cells)
