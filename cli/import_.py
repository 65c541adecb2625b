"""`spikeloom import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from spikeloom.cli.console import command_line, emit, pairs
from spikeloom.cli.options import AsJson, Output
from spikeloom.common.folders import file_in, folder_of

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
    from spikeloom.common.files import file_hash
    from spikeloom.golden.exchange.import_checkpoint import import_checkpoint
    from spikeloom.golden.models import checkpoints
    from spikeloom.golden.models.architectures import architecture_of
    from spikeloom.golden.models.e_spikeformer import ESpikeformerConfig

    found = import_checkpoint(checkpoint, heads=heads, steps=steps, size=size, patch=patch)
    config = found.model.config
    path = file_in(output, folder_of(checkpoint.name.split(".")[0]), "checkpoint.safetensors")
    origin = {"file": checkpoint.name, "sha256": file_hash(checkpoint), "sources": found.sources}
    checkpoints.save(path, found.model, command=command_line(), imported=origin)
    shape = (config.channels, config.height, config.width)
    own: dict[str, Any]
    if isinstance(config, ESpikeformerConfig):
        own = {key: getattr(config, key) for key in ("dims", "depths", "strides", "levels")}
        kind, steps_shown = f"{config.levels} levels", []
    else:
        own = {"dialect": config.dialect, "depth": config.depth, "dim": config.dim, "linear_biases": config.bias}
        own["pool_first"] = config.pool_first
        kind = f"{config.dialect} dialect" + ", pooled before the neurons" * config.pool_first
        steps_shown = [("T_max", f"{config.steps} (from {found.sources['steps']})")]
    record = {
        "checkpoint": path,
        "name": found.name,
        "architecture": architecture_of(config),
        **own,
        "heads": config.heads,
        "mlp_ratio": config.mlp_ratio,
        "classes": config.classes,
        "t_max": config.steps,
        "image_shape": shape,
        "mean": config.mean,
        "std": config.std,
        "parameters": sum(x.numel() for x in found.model.parameters()),
        "dead_parameters": found.dead_parameters,
        "dead_keys": found.dead,
        "prefix": found.prefix,
        "sources": found.sources,
        "sha256": origin["sha256"],
    }
    ignored = f"{found.dead_parameters} in {len(found.dead)} tensors that nothing uses: norm1, norm2"
    summary = [
        ("architecture", f"{found.name}, {kind}"),
        ("classes", config.classes),
        ("heads", f"{config.heads} (from {found.sources['heads']})"),
        ("MLP ratio", config.mlp_ratio),
        *steps_shown,
        ("image", f"{'x'.join(map(str, shape))} (from {found.sources['size']})"),
        ("mean", f"{config.mean} (from {found.sources['normalisation']})"),
        ("std", str(config.std)),
        ("parameters", record["parameters"]),
        ("ignored", ignored if found.dead else "nothing"),
        ("checkpoint", str(path)),
    ]
    emit(record, pairs("Imported", summary), f"Next: spikeloom quantize {path} --data IMAGES.npz", as_json=as_json)
