"""What a training run needs to go on after it was killed: one safetensors file, no pickle.

Tensors are called ``model.…``, ``mean.…`` (the running mean of the weights), ``optimizer.NUMBER.KEY`` and
``random.RANK`` (the state of each process's random numbers); the header holds the rest as JSON.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Interval
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from spikeloom.common.files import written_aside
from spikeloom.common.schema import checked_fields, json_object
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
    epoch: Annotated[int, Interval(ge=0)]
    """That is done."""
    history: list[dict[str, Any]]
    """A record of each epoch."""
    run: dict[str, Any]
    """The configuration, as JSON has it."""


TENSORS = ("model", "mean", "optimizer", "random")
_OPTIMIZER = re.compile(r"optimizer\.(\d{1,9})\.(\w+)")


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
    """The state in a file. ValueError, in one line, where it is none, is corrupt, or lacks what a run goes on with."""
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
    try:
        header = checked_fields(TrainingState, json_object(metadata.get("state")), without=TENSORS)
        return TrainingState(
            model=_below(tensors, "model."),
            mean=_below(tensors, "mean.") or None,
            optimizer=_optimizer(tensors),
            random=_random(tensors),
            **header,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}; begin anew with --restart") from None


def _optimizer(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    found: dict[int, dict[str, Tensor]] = {}
    for key, x in tensors.items():
        if key.startswith("optimizer."):
            parts = _OPTIMIZER.fullmatch(key)
            if parts is None:
                raise ValueError(f"tensor {key!r} must be called optimizer.NUMBER.KEY")
            found.setdefault(int(parts[1]), {})[parts[2]] = x
    if not found:
        raise ValueError("the optimizer's tensors are missing")
    wanted = set().union(*found.values())
    for number, values in found.items():
        for name in sorted(wanted - set(values)):
            raise ValueError(f"tensor 'optimizer.{number}.{name}' is missing")
    return found


def _random(tensors: dict[str, Tensor]) -> list[Tensor]:
    """The states of the random numbers, in the order of the processes."""
    states, size = _below(tensors, "random."), torch.get_rng_state().shape
    if not states:
        raise ValueError("the states of the random numbers are missing")
    for rank in range(len(states)):
        state = states.get(str(rank))
        if state is None:
            raise ValueError(f"tensor 'random.{rank}' is missing")
        if state.is_floating_point() or state.shape != size:
            raise ValueError(f"tensor 'random.{rank}' must hold {size[0]} bytes")
    return [states[str(rank)].to(torch.uint8) for rank in range(len(states))]


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): x for key, x in tensors.items() if key.startswith(prefix)}
