"""`spikeloom train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikeloom.cli.console import bars, command_line, emit, note, pairs, percent, table
from spikeloom.cli.options import DEFAULT_MODEL, AsJson, Output, TrainingData
from spikeloom.common.files import writable_file
from spikeloom.common.folders import file_in, folder_of

if TYPE_CHECKING:
    from spikeloom.golden.models.architectures import Model
    from spikeloom.golden.training.progress import EpochReport
    from spikeloom.golden.training.run_config import RunConfig
    from spikeloom.golden.training.train import TrainingReport

EXAMPLE = "Example: spikeloom train examples/fashion.yaml --set train.epochs=3 --data ~/data"
CHECKPOINT = "checkpoint.safetensors"


def train(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG.yaml]", help="A run's configuration. Default: the digits model.")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Wins over the file; may be repeated.")
    ] = None,
    data: TrainingData = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew instead of going on.")] = False,
    init: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Begin with the weights of a checkpoint or a shipped model.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random. Default: 0.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0.0, help="Peak of the schedule.")] = None,
    mask_weight: Annotated[
        float | None, typer.Option(min=0.0, help="Factor of the time mask loss: more, fewer steps.")
    ] = None,
    dim: Annotated[int | None, typer.Option(help="Channels of a token.")] = None,
    depth: Annotated[int | None, typer.Option(help="Transformer blocks.")] = None,
    heads: Annotated[int | None, typer.Option(help="Heads of the attention.")] = None,
    time_steps: Annotated[int | None, typer.Option(help="T_max.")] = None,
    neuron: Annotated[str | None, typer.Option(help="spikingjelly or dts.")] = None,
    fixed: Annotated[bool, typer.Option("--fixed", help="No time masks: all layers run T_max steps.")] = False,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Train a Spikformer or an E-SpikeFormer as a configuration file says, or the digits model with dynamic time steps.

    A run with a file goes on where it was stopped. The options from --seed to --fixed are for the digits model
    without a file; `torchrun --nproc-per-node N -m spikeloom.cli.main train CONFIG.yaml` takes N processes.
    """
    shape = {"dim": dim, "depth": depth, "heads": heads, "steps": time_steps, "neuron": neuron}
    learning = {"seed": seed, "epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    masks = {"mask_weight": mask_weight}
    if config is None:
        if change or data is not None or restart or init is not None:
            raise typer.BadParameter("--set, --data, --restart and --init need a configuration file")
        _train_digits(_given(shape), _given(learning), mask_weight, fixed, output, as_json)
        return
    misplaced = [*_given(shape), *_given(learning), *_given(masks), *(["fixed"] if fixed else [])]
    if misplaced:
        name = {"steps": "time-steps"}.get(misplaced[0], misplaced[0].replace("_", "-"))
        raise typer.BadParameter(f"--{name} is for the digits model; with a file, use --set KEY=VALUE")
    _train_run(config, change or [], data, restart, init, output, as_json)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _train_digits(
    shape: dict[str, Any],
    learning: dict[str, Any],
    mask_weight: float | None,
    fixed: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    from spikeloom.golden.training import train as golden
    from spikeloom.golden.training.run_config import from_mapping

    if "steps" in shape and golden.DIGITS.initial_steps is not None:
        shape["initial_steps"] = min(golden.DIGITS.initial_steps, shape["steps"])
    if shape.get("neuron") == "spikingjelly":
        shape["attention_threshold"] = 0.5
    usual = golden.DIGITS_RUN
    given = usual.as_dict()
    given["model"] |= {"dynamic": not fixed} | shape
    given["train"] |= learning
    if mask_weight is not None:
        given["masks"]["weight"] = mask_weight
    run = from_mapping(given)
    path = writable_file(file_in(output, folder_of(DEFAULT_MODEL), CHECKPOINT))
    with bars() as shown:
        advance = shown.bar("training", run.train.epochs)

        def progress(state: EpochReport) -> None:
            advance(state.epoch, state.epochs, stage=_line(state))

        model, report = golden.train_run(run, progress=progress)
    _finish(model, report, run, path, as_json)


def _train_run(
    file: Path,
    changes: list[str],
    data: Path | None,
    restart: bool,
    init: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    from dataclasses import replace

    from spikeloom.golden.training import run_config
    from spikeloom.golden.training import train as golden
    from spikeloom.golden.training.parallel import is_main

    run = run_config.load(file, changes)
    if data is not None:
        run = replace(run, data=replace(run.data, folder=str(data)))
    if init is not None:
        run = replace(run, init=init)
    path = file_in(output, folder_of(run.name), CHECKPOINT)
    if not is_main():
        golden.train_run(run, path.parent, restart=restart)
        return
    writable_file(path)
    with bars() as shown:
        advance = shown.bar(run.name)
        stepping = run.architecture == "spikformer"

        def progress(state: EpochReport) -> None:
            advance(stage=f"epoch {state.epoch} of {state.epochs}  {_line(state, steps=stepping)}")

        model, report = golden.train_run(run, path.parent, restart=restart, progress=progress, stepped=advance)
    _finish(model, report, run, path, as_json)


def _line(state: EpochReport, *, steps: bool = True) -> str:
    """steps: the architecture has time steps."""
    if state.accuracy is None:
        return f"of pre-training  loss {state.loss:.3f}"
    shown = f"T_avg {state.t_avg:.2f}  " if steps else ""
    return f"accuracy {percent(state.accuracy)}  {shown}loss {state.loss:.3f}"


def _finish(model: Model, report: TrainingReport, run: RunConfig, path: Path, as_json: bool) -> None:
    """Write the checkpoint and say what came out."""
    from spikeloom.golden.models import checkpoints
    from spikeloom.golden.models.spikformer_layers import collapse

    about = report.as_dict()
    bypassed = collapse(report.t_per_layer)
    checkpoints.save(path, model, command=command_line(), **about)
    record = {
        "checkpoint": path,
        "accuracy_float": report.accuracy,
        "accuracy_train": report.train_accuracy,
        "t_avg": report.t_avg,
        "t_max": run.model.steps,
        "t_per_layer": report.t_per_layer,
        "collapse": bypassed,
        "parameters": report.parameters,
        "epochs": run.train.epochs,
        "seed": run.train.seed,
        "seconds": report.seconds,
    }
    stepping = run.architecture == "spikformer"
    shown = [
        ("checkpoint", str(path)),
        ("held-out accuracy", f"{percent(report.accuracy)}, batch norms recalibrated after the last epoch"),
        ("training accuracy", percent(report.train_accuracy)),
        *([("T_avg of T_max", f"{report.t_avg:.2f} of {run.model.steps}")] if stepping else []),
        ("parameters", report.parameters),
        ("seconds", report.seconds),
    ]
    steps = [table("Time steps", ["layer", "T_l"], report.t_per_layer.items())] if stepping else []
    emit(record, pairs("Trained", shown), *steps, f"Next: spikeloom quantize {path}", as_json=as_json)
    if bypassed is not None:
        note(f"warning: {bypassed}; model.floor=true keeps one step")
