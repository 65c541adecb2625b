"""`spikeloom train`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from spikeloom.cli.console import bars, emit, pairs, percent, table
from spikeloom.cli.options import AsJson, Output

EXAMPLE = "Example: spikeloom train --seed 1 --epochs 40 -o build/mine/checkpoint.safetensors"


def train(
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
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
    """Train a Spikformer with dynamic time steps on the digits; minutes on a CPU."""
    from dataclasses import replace

    from spikeloom.golden import checkpoints
    from spikeloom.golden import train as golden

    changes = {"dim": dim, "depth": depth, "heads": heads, "steps": time_steps, "neuron": neuron}
    given: dict[str, Any] = {key: value for key, value in changes.items() if value is not None}
    if time_steps is not None and golden.DIGITS.initial_steps is not None:
        given["initial_steps"] = min(golden.DIGITS.initial_steps, time_steps)
    if neuron == "spikingjelly":
        given["attention_threshold"] = 0.5
    config = replace(golden.DIGITS, dynamic=not fixed, **given)
    options = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    chosen: dict[str, Any] = {k: v for k, v in (options | {"mask_weight": mask_weight}).items() if v is not None}
    recipe = golden.Recipe(seed=seed, **chosen)
    path = output or Path("build/digits/checkpoint.safetensors")

    with bars() as shown:
        advance = shown.bar("training", recipe.epochs)

        def progress(state: golden.Progress) -> None:
            now = f"accuracy {percent(state.accuracy)}  T_avg {state.t_avg:.2f}  loss {state.loss:.3f}"
            advance(state.epoch, state.epochs, state=now)

        model, report = golden.train(config, recipe, progress=progress)
    about = report.as_dict()
    checkpoints.save(path, model, command=shlex.join(["spikeloom", *sys.argv[1:]]), **about)
    record = {
        "checkpoint": path,
        "accuracy_float": report.accuracy,
        "accuracy_train": report.train_accuracy,
        "t_avg": report.t_avg,
        "t_max": config.steps,
        "t_per_layer": report.t_per_layer,
        "parameters": report.parameters,
        "epochs": recipe.epochs,
        "seed": recipe.seed,
        "seconds": report.seconds,
    }
    summary = pairs(
        "Trained",
        [
            ("checkpoint", str(path)),
            ("held-out accuracy", percent(report.accuracy)),
            ("training accuracy", percent(report.train_accuracy)),
            ("T_avg of T_max", f"{report.t_avg:.2f} of {config.steps}"),
            ("parameters", report.parameters),
            ("seconds", report.seconds),
        ],
    )
    steps = table("Time steps", ["layer", "T_l"], report.t_per_layer.items())
    emit(record, summary, steps, f"Next: spikeloom quantize {path}", as_json=as_json)
