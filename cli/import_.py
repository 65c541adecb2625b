"""`spikeloom import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from spikeloom.cli.console import command_line, dimensions, emit, pairs
from spikeloom.cli.options import AsJson, Output

EXAMPLE = "Example: spikeloom import model_best.pth.tar --heads 12 -o build/mine/checkpoint.safetensors"


def import_(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="Of an official model or SpikingJelly's: .pth, .pth.tar, ...")
    ],
    heads: Annotated[int | None, typer.Option(min=1, help="Of the attention, where the file does not tell.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="T_max. Default: the file's, or 4.")] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Height and width of the images. Default: the file's, 32 or 224.")
    ] = None,
    patch: Annotated[
        int | None, typer.Option(min=1, help="4 or 16, of SpikingJelly's. Default: the file's, or the known model's.")
    ] = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Turn a checkpoint of the official Spikformer or E-SpikeFormer, or of SpikingJelly's, into one of ours.

    No code in it is ever run.
    """
    from spikeloom.flow.exchange import import_checkpoint

    known = {"heads": heads, "steps": steps, "size": size, "patch": patch}
    record = import_checkpoint(checkpoint, output, command=command_line(), **known)
    then = f"Next: spikeloom quantize {record['checkpoint']} --data IMAGES.npz"
    emit(record, pairs("Imported", _summary(record)), then, as_json=as_json)


def _summary(record: dict[str, Any]) -> list[tuple[str, Any]]:
    sources, dead = record["sources"], record["dead_keys"]
    if "levels" in record:
        kind, steps = f"{record['levels']} levels", []
    else:
        kind = f"{record['dialect']} dialect" + ", pooled before the neurons" * record["pool_first"]
        steps = [("T_max", f"{record['t_max']} (from {sources['steps']})")]
    ignored = f"{record['dead_parameters']} in {len(dead)} tensors that nothing uses: norm1, norm2"
    return [
        ("architecture", f"{record['name']}, {kind}"),
        ("classes", record["classes"]),
        ("heads", f"{record['heads']} (from {sources['heads']})"),
        ("MLP ratio", record["mlp_ratio"]),
        *steps,
        ("image", f"{dimensions(record['image_shape'])} (from {sources['size']})"),
        ("mean", f"{record['mean']} (from {sources['normalisation']})"),
        ("std", str(record["std"])),
        ("parameters", record["parameters"]),
        ("ignored", ignored if dead else "nothing"),
        ("checkpoint", str(record["checkpoint"])),
    ]
