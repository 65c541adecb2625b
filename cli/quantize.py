"""`spikeloom quantize`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spikeloom.cli.console import Bars, bars, emit, note, pairs, percent, table
from spikeloom.cli.options import DEFAULT_MODEL, AsJson, Data, DataFolder, Images, Output, Steps, file_in
from spikeloom.common.folders import folder_of
from spikeloom.flow.images import load_samples, named_data, training_images
from spikeloom.flow.models import checkpoint_provenance, load_checkpoint, time_steps, with_steps

if TYPE_CHECKING:
    from spikeloom.golden.models.architectures import Model
    from spikeloom.golden.network import Network
    from spikeloom.golden.quantization.precision import Sensitivity
    from spikeloom.golden.quantization.report import LayerReport
    from spikeloom.golden.training.train import EpochReport

EXAMPLE = "Example: spikeloom quantize build/mine/checkpoint.safetensors --budget 80kB --finetune 2 --scales free"
CALIBRATION = 1000


def quantize(
    checkpoint: Annotated[
        str, typer.Argument(metavar="[CHECKPOINT]", help="Of `spikeloom train`, or a shipped model.")
    ] = DEFAULT_MODEL,
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
    data: Data = None,
    data_folder: DataFolder = None,
    images: Images = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Turn a trained model into a network of integers, and say what that costs.

    The accuracies are of the held-out images, all of them unless --images.
    """
    from dataclasses import replace

    from spikeloom.common.files import file_hash, writable_file
    from spikeloom.golden.network.execute import execute
    from spikeloom.golden.quantization import precision
    from spikeloom.golden.quantization.quantize import quantize
    from spikeloom.golden.quantization.report import report
    from spikeloom.golden.training.train import accuracy

    if budget is not None and (bits is not None or layer_bits):
        raise typer.BadParameter("--budget chooses the bits: leave out --bits and --layer-bits")
    if finetune and steps:
        raise typer.BadParameter("--finetune keeps the trained time steps: leave out --steps")
    limit = None if budget is None else precision.parse_bytes(budget)
    trained_model = load_checkpoint(checkpoint)
    model, header = trained_model.model, trained_model.header
    provenance = checkpoint_provenance(header, trained_model.path)
    chosen = name or trained_model.name

    def integers(trained: Any, weight_bits: int | Mapping[str, int], **about: Any) -> Network:
        made = quantize(
            trained,
            weight_bits=weight_bits,
            scales=scales,
            coding=coding,
            name=chosen,
            provenance={**provenance, **about},
        )
        return with_steps(made, steps)

    network = integers(model, bits or 8)
    if layer_bits:
        network = integers(model, _bits_of(network) | _numbers(layer_bits))
    samples = load_samples(data, network, images, folder=data_folder)
    if limit is not None:
        precision.check_budget(network, limit)
    if layer_losses and samples.labels is None:
        raise ValueError("--layer-losses needs images with labels")
    target = writable_file(file_in(output, folder_of(network.name), "network.safetensors"))
    source = named_data(data, network.provenance, data_folder)
    sensitivity: list[Sensitivity] = []
    accuracy_float = accuracy_before = accuracy_integer = tuned_path = None
    with bars() as shown:

        def measure(network: Network, text: str) -> float:
            assert samples.labels is not None
            advance = shown.bar(text, len(samples.images))
            return execute(network, samples.images, progress=lambda done: advance(done)).accuracy(samples.labels)

        if limit is not None:
            part = training_images(*source, network, calibration)
            assert part.labels is not None
            advance_networks = shown.bar("4 bits for a layer")
            sensitivity = precision.sensitivities(
                model, part.images, part.labels, scales=scales, progress=advance_networks
            )
            network = integers(model, precision.choose_bits(sensitivity, limit), budget=limit)
        if samples.labels is not None:
            accuracy_float = accuracy(model, samples.images, samples.labels)
        if finetune:
            if samples.labels is not None:
                accuracy_before = measure(network, "before fine-tuning")
            folder = target.with_name(f"{target.stem}-finetune")
            model, tuned_path = _finetuned(
                model, header, network, source, folder, shown, epochs=finetune, rate=learning_rate, restart=restart
            )
            about = {"finetune_epochs": finetune, "tuned_checkpoint_sha256": file_hash(tuned_path)}
            network = integers(model, _bits_of(network), **about)
        if samples.labels is not None:
            accuracy_integer = measure(network, "integer network")
            measured = {"accuracy_float": accuracy_float, "accuracy_integer": accuracy_integer}
            measured["images"] = len(samples.images)
            network = replace(network, provenance={**network.provenance, **measured})
        if layer_losses:
            advance_layers = shown.bar("layer by layer", len(network.layers))
            rows = report(model, network, images=samples.images, labels=samples.labels, progress=advance_layers)
        else:
            rows = report(model, network)
    network.save(target)
    record = {
        "network": target,
        "name": network.name,
        "weight_bits": bits or (8 if limit is None and not layer_bits else None),
        "bits_per_layer": _bits_of(network),
        "weight_bytes": precision.weight_bytes(network),
        "scales": scales,
        "coding": coding,
        "accuracy_float": accuracy_float,
        "accuracy_before_finetuning": accuracy_before,
        "accuracy_integer": accuracy_integer,
        "images": len(samples.images) if samples.labels is not None else 0,
        "budget": limit,
        "sensitivities": sensitivity,
        "tuned_checkpoint": tuned_path,
        **time_steps(network),
        "layers": rows,
    }
    if samples.labels is None:
        note("accuracy is not measured: the images have no labels")
    summary = [("network", str(target))]
    summary += [("tuned checkpoint", str(tuned_path))] if tuned_path is not None else []
    summary += [("accuracy float", percent(accuracy_float))]
    summary += [("integer, not tuned", percent(accuracy_before))] if accuracy_before is not None else []
    summary += [
        ("accuracy integer", percent(accuracy_integer)),
        ("weights", f"{record['weight_bytes']:,} bytes"),
        ("T_avg of T_max", f"{network.t_avg:.2f} of {network.steps}"),
    ]
    tables = [_layers(rows, layer_losses), pairs("Quantised", summary)]
    if sensitivity:
        tables.insert(0, _sensitivities(sensitivity, _bits_of(network)))
    emit(record, *tables, f"Next: spikeloom simulate {target}", as_json=as_json)


def _finetuned(
    model: Model,
    header: dict[str, Any],
    network: Network,
    source: tuple[str, Path | None],
    folder: Path,
    shown: Bars,
    *,
    epochs: int,
    rate: float | None,
    restart: bool,
) -> tuple[Model, Path]:
    """The model tuned to the network's bits and scales, and its checkpoint in the folder."""

    from spikeloom.golden.models import checkpoints
    from spikeloom.golden.training import qat

    run = qat.finetuning(
        model,
        header,
        network.provenance["checkpoint_sha256"],
        weight_bits=_bits_of(network),
        scales=network.provenance["quantization"]["scales"],
        epochs=epochs,
        learning_rate=qat.LEARNING_RATE if rate is None else rate,
        data=source,
    )
    advance = shown.bar("fine-tuning")

    def progress(state: EpochReport) -> None:
        line = f"integer accuracy {percent(state.accuracy)}  loss {state.loss:.3f}"
        advance(stage=f"epoch {state.epoch} of {state.epochs}  {line}")

    tuned, report = qat.finetune(model, run, folder, restart=restart, progress=progress, stepped=advance)
    about = report.as_dict()
    about["accuracy_integer"] = about.pop("accuracy")
    path = folder / "checkpoint.safetensors"
    checkpoints.save(path, tuned, command=shlex.join(["spikeloom", *sys.argv[1:]]), **about)
    return tuned, path


def _bits_of(network: Network) -> dict[str, int]:
    return {layer.name: layer.weight_bits for layer in network.layers if layer.weight is not None}


def _numbers(layer_bits: list[str]) -> dict[str, int]:
    found = {}
    for text in layer_bits:
        name, equals, number = text.partition("=")
        if not equals or not number.strip().isdecimal():
            raise ValueError(f"--layer-bits must be LAYER=BITS, as in sps.0=8, not {text!r}")
        found[name.strip()] = int(number)
    return found


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
