"""`spikeloom quantize`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spikeloom.cli.console import bars, command_line, emit, note, pairs, percent, table
from spikeloom.cli.options import DEFAULT_MODEL, AsJson, Images, Output, Source, Steps
from spikeloom.flow.models import load_checkpoint
from spikeloom.flow.quantization import CALIBRATION, Quantization, Quantized, Request

if TYPE_CHECKING:
    from spikeloom.golden.quantization.precision import Sensitivity
    from spikeloom.golden.quantization.report import LayerReport

EXAMPLE = "Example: spikeloom quantize build/mine/checkpoint.safetensors --budget 80kB --finetune 2 --scales free"


def quantize(
    checkpoint: Annotated[
        str, typer.Argument(metavar="[CHECKPOINT]", help="Of `spikeloom train`, or a shipped model.")
    ] = DEFAULT_MODEL,
    *,
    bits: Annotated[int | None, typer.Option(help="Of a weight: 8 or 4. Default: 8.")] = None,
    layer_bits: Annotated[
        list[str] | None,
        typer.Option("--layer-bits", metavar="LAYER=BITS", help="Other bits for a layer; may be repeated."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Largest size of all weights, as 80kB or 64KiB: 4 bits where they cost least, by measurement.",
        ),
    ] = None,
    calibration: Annotated[
        int, typer.Option(min=1, metavar="N", help="Training images on which --budget measures.")
    ] = CALIBRATION,
    finetune: Annotated[
        int, typer.Option(min=0, metavar="EPOCHS", help="Train on with the quantised weights; goes on after a kill.")
    ] = 0,
    learning_rate: Annotated[float | None, typer.Option(min=0.0, help="Of --finetune. Default: 0.0005.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin --finetune anew instead of going on.")] = False,
    scales: Annotated[Literal["power-of-two", "free"], typer.Option(help="Of the channels.")] = "power-of-two",
    coding: Annotated[
        Literal["planes", "unary"], typer.Option(help="Of integer spikes in dot products: their bits, or n spikes.")
    ] = "planes",
    name: Annotated[str | None, typer.Option(help="Default: the file's, or its folder's.")] = None,
    layer_losses: Annotated[
        bool, typer.Option("--layer-losses", help="Measure the accuracy that each layer alone loses.")
    ] = False,
    steps: Steps = None,
    source: Source,
    images: Images = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Turn a trained model into a network of integers, and say what that costs.

    The accuracies are of the held-out images, all of them unless --images.
    """
    from spikeloom.golden.quantization.precision import parse_bytes

    if budget is not None and (bits is not None or layer_bits):
        raise typer.BadParameter("--budget chooses the bits: leave out --bits and --layer-bits")
    if finetune and steps:
        raise typer.BadParameter("--finetune keeps the trained time steps: leave out --steps")
    request = Request(
        bits=bits,
        layer_bits=_numbers(layer_bits or []),
        budget=None if budget is None else parse_bytes(budget),
        calibration=calibration,
        finetune=finetune,
        learning_rate=learning_rate,
        restart=restart,
        scales=scales,
        coding=coding,
        name=name,
        layer_losses=layer_losses,
        steps=steps or (),
        data=source.data,
        data_folder=source.data_folder,
        images=images,
        output=output,
        command=command_line(),
    )
    wanted = Quantization(load_checkpoint(checkpoint), request)
    with bars() as shown:
        found = wanted.run(shown)
    if found.accuracy_integer is None:
        note("accuracy is not measured: the images have no labels")
    emit(found.record(), *_tables(found), f"Next: spikeloom simulate {found.path}", as_json=as_json)


def _numbers(layer_bits: list[str]) -> dict[str, int]:
    found = {}
    for text in layer_bits:
        name, equals, number = text.partition("=")
        if not equals or not number.strip().isdecimal():
            raise ValueError(f"--layer-bits must be LAYER=BITS, as in sps.0=8, not {text!r}")
        found[name.strip()] = int(number)
    return found


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
