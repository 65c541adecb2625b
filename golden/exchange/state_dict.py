"""State dicts of other programs: read without running anything in the file, and checked against a model.

A file is a state dict, or a dictionary that has one under ``state_dict`` (timm's ``.pth.tar``) or ``model``, in
PyTorch's format or safetensors. Nothing in it is ever executed: PyTorch's unpickler is restricted to tensors and
plain values, and to the `argparse.Namespace` in which timm keeps the options of the training.
"""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from spikeloom.golden.models.architectures import Model, ModelConfig, make_model

PREFIXES = ("module.", "_orig_mod.")  # of data-parallel and of compiled models
COUNTER = ".num_batches_tracked"  # older PyTorch has no counters of batches, and nobody needs them
SHOWN = 3  # keys of a kind in an error message


@dataclass(frozen=True, kw_only=True, eq=False)
class StateDict:
    """Tensors of a model, as another program saved them."""

    path: Path
    """Its file."""
    tensors: dict[str, Tensor]
    """By key, without the prefix."""
    prefix: str
    """What was stripped from the keys."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the training, where the file has them."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the tensors."""
        return {key: tuple(x.shape) for key, x in self.tensors.items()}


def read_state_dict(path: Path) -> StateDict:
    """The tensors of a file, without the prefix of their keys, and the options of the training; see the module.

    Raises FileNotFoundError, and ValueError in one line for a file that is corrupt, holds code or no state dict.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such checkpoint: {path}")
    with open(path, "rb") as file:
        start = file.read(9)
    zipped_or_pickled = start.startswith((b"PK", b"\x80")) and start[8:] != b"{"  # after a length: safetensors
    whole: Any = _read_torch(path) if zipped_or_pickled else _read_safetensors(path)
    if not isinstance(whole, Mapping):
        raise ValueError(f"{path} holds a {type(whole).__name__}, not a state dict")
    options = whole.get("args")
    for key in ("state_dict", "model"):
        if isinstance(whole.get(key), Mapping):
            whole = whole[key]
            break
    for key, x in whole.items():
        if not isinstance(key, str):
            raise ValueError(f"{path} is no state dict: its key {key!r} must be text")
        if not isinstance(x, Tensor):
            raise ValueError(f"{path} is no state dict: {key!r} is a {type(x).__name__}, not a tensor")
    if not whole:
        raise ValueError(f"{path} holds no tensor")
    tensors, prefix = _without_prefix(dict(whole))
    known = vars(options) if isinstance(options, argparse.Namespace) else {}
    return StateDict(path=path, tensors=tensors, prefix=prefix, options=known)


def _read_torch(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        if code is None:
            raise ValueError(f"{path} is corrupt or no PyTorch checkpoint") from None
        raise ValueError(
            f"{path} holds pickled code ({code[1]}), which is never run: save the state dict alone, "
            "torch.save(model.state_dict(), ...)"
        ) from None
    except (RuntimeError, EOFError, KeyError, zipfile.BadZipFile):
        raise ValueError(f"{path} is corrupt or no PyTorch checkpoint") from None


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            ours = (file.metadata() or {}).get("format", "").startswith("spikeloom.")
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except SafetensorError:
        raise ValueError(f"{path} is corrupt, or neither a PyTorch checkpoint nor a safetensors file") from None
    if ours:
        raise ValueError(f"{path} is a file of SpikeLoom already: give it to spikeloom quantize or info")
    return tensors


def _without_prefix(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The tensors under keys without the prefixes that all of them have, and these."""
    stripped = ""
    while prefix := next((p for p in PREFIXES if all(key.startswith(p) for key in tensors)), ""):
        tensors = {key.removeprefix(prefix): x for key, x in tensors.items()}
        stripped += prefix
    return tensors, stripped


def fitted(config: ModelConfig, tensors: dict[str, Tensor], where: str) -> Model:
    """The model with the tensors; ValueError, with all that does not fit, by name."""
    model = make_model(config)
    wanted = model.state_dict()
    for key, x in wanted.items():
        if key.endswith(COUNTER):
            tensors.setdefault(key, x)
    check_tensors({key: tuple(x.shape) for key, x in wanted.items()}, tensors, where)
    model.load_state_dict(tensors)
    return model.eval()


def check_tensors(wanted: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor], where: str) -> None:
    """ValueError, with all that is missing, unexpected, of a wrong shape or not finite, by name.

    where: the beginning of the message.
    """
    wrong = [
        f"{key!r} {tuple(tensors[key].shape)} instead of {shape}"
        for key, shape in wanted.items()
        if key in tensors and tensors[key].shape != shape
    ]
    complaints = {
        "missing": [repr(key) for key in wanted if key not in tensors and not key.endswith(COUNTER)],
        "unexpected": [repr(key) for key in tensors if key not in wanted],
        "wrong shape": wrong,
        "not finite": [repr(key) for key, x in tensors.items() if not torch.isfinite(x).all()],
    }
    said = [f"{what}: {listed(keys)}" for what, keys in complaints.items() if keys]
    if said:
        raise ValueError(f"{where}: {'; '.join(said)}")


def listed(keys: Iterable[str]) -> str:
    """The first of the keys, and how many more there are."""
    keys = list(keys)
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(keys[:SHOWN]) + more
