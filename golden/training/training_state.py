"""What a training run needs to go on after it was killed: one safetensors file, no pickle.

Tensors are called ``model.…``, ``mean.…`` (the running mean of the weights), ``optimizer.NUMBER.KEY`` and
``random.RANK`` (the state of each process's random numbers); the header holds the rest as JSON.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from spikeloom.common.files import written_aside
from spikeloom.common.versions import check_version

FORMAT = "spikeloom.training_state"
VERSION = 1


@dataclass(kw_only=True)
class TrainingState:
    """A run after an epoch."""

    model: dict[str, Tensor]
    """Parameters and buffers by name."""
    mean: dict[str, Tensor] | None
    """The same of the running mean of the weights; None without one."""
    optimizer: dict[int, dict[str, Tensor]]
    """Its tensors by parameter number."""
    random: list[Tensor]
    """State of each process's random numbers, uint8."""
    epoch: int
    """That is done."""
    history: list[dict[str, Any]]
    """A record of each epoch."""
    run: dict[str, Any]
    """The configuration, as JSON has it."""


def save(path: str | os.PathLike[str], state: TrainingState) -> None:
    """Write it aside, then rename: a kill leaves the state before or this one, never half of it."""
    tensors = {f"model.{key}": x for key, x in state.model.items()}
    tensors |= {f"mean.{key}": x for key, x in (state.mean or {}).items()}
    for number, values in state.optimizer.items():
        tensors |= {f"optimizer.{number}.{key}": x for key, x in values.items()}
    tensors |= {f"random.{rank}": x for rank, x in enumerate(state.random)}
    header = {"epoch": state.epoch, "history": state.history, "run": state.run}
    metadata = {"format": FORMAT, "version": str(VERSION), "state": json.dumps(header)}
    with written_aside(path) as aside:
        save_file({key: x.detach().cpu().contiguous() for key, x in tensors.items()}, aside, metadata=metadata)


def load(path: str | os.PathLike[str]) -> TrainingState:
    """The state in a file. ValueError, in one line, where it is none, corrupt, or of a newer version."""
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is corrupt: {error}; begin anew with --restart") from None
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is no training state; begin anew with --restart")
    check_version(metadata.get("version"), where=str(path), newest=VERSION)
    header = json.loads(metadata["state"])
    optimizer: dict[int, dict[str, Tensor]] = {}
    for key, x in tensors.items():
        if key.startswith("optimizer."):
            _, number, name = key.split(".", 2)
            optimizer.setdefault(int(number), {})[name] = x
    mean = _below(tensors, "mean.")
    states = _below(tensors, "random.")
    return TrainingState(
        model=_below(tensors, "model."),
        mean=mean or None,
        optimizer=optimizer,
        random=[states[str(rank)].to(torch.uint8) for rank in range(len(states))],
        epoch=header["epoch"],
        history=header["history"],
        run=header["run"],
    )


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): x for key, x in tensors.items() if key.startswith(prefix)}
