"""Checkpoints of other programs: state dicts of Spikformers and of E-SpikeFormers become our checkpoints.

The Spikformers are the official ones and SpikingJelly 2.x's (`import_spikingjelly`), the E-SpikeFormers the official
ones (`import_e_spikeformer`).

A file is a state dict, or a dictionary that has one under ``state_dict`` (timm's ``.pth.tar``) or ``model``, in
PyTorch's format or safetensors. Nothing in it is ever executed: PyTorch's unpickler is restricted to tensors and
plain values, and to the `argparse.Namespace` in which timm keeps the options of the training.

The keys and shapes tell dialect, depth, width, MLP ratio and classes. They do not tell heads, time steps, image
size and normalisation, nor SpikingJelly's patch size: these come from the caller, from the options of the training, or
from the official configuration, and `Imported.sources` says which.
"""

from __future__ import annotations

import argparse
import os
import pickle
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from spikeloom.golden.exchange import import_e_spikeformer, import_spikingjelly
from spikeloom.golden.models.architectures import Model, ModelConfig, make_model
from spikeloom.golden.models.e_spikeformer_config import ESpikeformerConfig
from spikeloom.golden.models.image_config import CIFAR, CIFAR100, IMAGENET
from spikeloom.golden.models.spikformer_config import Dialect, official

PREFIXES = ("module.", "_orig_mod.")  # of data-parallel and of compiled models
DEAD = re.compile(r"block\.\d+\.norm[12]\.(weight|bias)")
HEADS = {("cifar", 384): 12, ("imagenet", 512): 8}  # of the official cifar10.yml and imagenet/model.py
STEPS = 4
CHANNELS = 3
COUNTER = ".num_batches_tracked"  # older PyTorch has no counters of batches, and nobody needs them
SHOWN = 3  # keys of a kind in an error message

# A part of a key that only this other architecture has, its name, and why it cannot be taken for ours.
OTHERS = (
    (
        "patch_embed.final_stage.",
        "SpikingJelly 2.x's Spike-driven Transformer",
        "its attention has no matrix product",
    ),
    ("mlp.mlp1_conv.", "a Spikingformer", "its shortcuts add membrane currents"),
    ("attn.talking_heads", "a Spike-driven Transformer", "its attention has no matrix product"),
)


class Source(Enum):
    """Where a number comes from that the keys do not tell."""

    OPTION = "the caller"
    ARGS = "the checkpoint's args"
    MODEL = "the known model of this depth and width"
    OFFICIAL = "the official configuration"


Sources = dict[str, Source]  # by what they tell


@dataclass(frozen=True, kw_only=True)
class Given:
    """What is known of a checkpoint besides its tensors."""

    heads: int | None = None
    """The caller's, as the next three."""
    steps: int | None = None
    """``T_max``."""
    size: int | None = None
    """Height and width of the images."""
    patch: int | None = None
    """4 or 16, of SpikingJelly's Spikformers alone."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the training, where the file has them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _State:
    """A state dict."""

    path: Path
    """Its file."""
    tensors: dict[str, Tensor]
    """By key, without the prefix."""
    prefix: str
    """What was stripped from the keys."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the tensors."""
        return {key: tuple(x.shape) for key, x in self.tensors.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class Imported:
    """A model in evaluation mode and where everything about it comes from."""

    model: Model
    """With the file's tensors."""
    name: str
    """As the papers write it, "Spikformer-4-384", or the code, "E-SpikeFormer-t"."""
    prefix: str
    """What was stripped from the keys."""
    sources: dict[str, str]
    """Where "heads", "steps", "size", "normalisation" and SpikingJelly's "patch" come from, in words."""
    dead: list[str] = field(default_factory=list)
    """Keys of parameters that the official code creates and never uses."""
    dead_parameters: int = 0
    """Their numbers."""


def import_checkpoint(
    path: str | os.PathLike[str],
    *,
    heads: int | None = None,
    steps: int | None = None,
    size: int | None = None,
    patch: int | None = None,
) -> Imported:
    """Read a checkpoint of the official code or of SpikingJelly.

    heads: of the attention. steps: ``T_max``. size: height and width of the images. patch: 4 or 16, of SpikingJelly's
    Spikformers alone. None: see the module.
    Raises FileNotFoundError, and ValueError in one line: for a file that is corrupt or holds code, for another
    architecture, where the heads are needed, and by name for keys that are missing, unexpected or of a wrong shape.
    """
    path = Path(path)
    tensors, options = read_state(path)
    tensors, prefix = _without_prefix(tensors)
    for part, what, why in OTHERS:
        if any(part in key for key in tensors):
            raise ValueError(f"{path} is {what}, which cannot be imported: {why}; official Spikformers can be")
    state = _State(path=path, tensors=tensors, prefix=prefix)
    given = Given(heads=heads, steps=steps, size=size, patch=patch, options=options)
    if import_spikingjelly.is_spikingjelly(tensors):
        return _spikingjelly(state, given)
    if patch is not None:
        raise ValueError(f"{path} is no Spikformer of SpikingJelly, whose patch size can be chosen: leave out --patch")
    if import_e_spikeformer.is_e_spikeformer(tensors):
        return _e_spikeformer(state, given)
    return _official(state, given)


def _official(state: _State, given: Given) -> Imported:
    try:
        found = recognise(state.shapes)
    except ValueError as error:
        raise ValueError(f"{state.path} is no official Spikformer: {error}") from None
    chosen, sources = _choose(found, given, HEADS.get((found["dialect"], found["dim"])))
    with _named(state.path):
        config = official(**{**found, **chosen})
    name = f"Spikformer-{config.depth}-{config.dim}"
    dead = [key for key in state.tensors if DEAD.fullmatch(key)]
    alive = {key: x for key, x in state.tensors.items() if key not in set(dead)}
    configuration = _configuration(config.dialect)
    return Imported(
        model=_model(config, alive, f"{state.path} does not fit {name} ({config.dialect})"),
        name=name,
        prefix=state.prefix,
        sources=_in_words(sources, configuration=configuration, model=configuration),
        dead=dead,
        dead_parameters=sum(state.tensors[key].numel() for key in dead),
    )


def _spikingjelly(state: _State, given: Given) -> Imported:
    """Pooled before the neurons; what the keys do not tell is that of SpikingJelly's model of this depth and width."""
    try:
        found = import_spikingjelly.recognise(state.shapes)
    except ValueError as error:
        raise ValueError(f"{state.path} is no Spikformer of SpikingJelly: {error}") from None
    preset = import_spikingjelly.PRESETS.get((found["depth"], found["dim"]))
    places = ((Source.OPTION, given.patch), (Source.ARGS, given.options.get("patch_size")))
    patch = _first(*places, (Source.MODEL, preset and preset.patch))
    if patch is None:
        shape = f"depth {found['depth']} and width {found['dim']}"
        raise ValueError(f"{state.path}: the keys do not tell the patch size of {shape}: give it with --patch, 4 or 16")
    if patch[1] not in import_spikingjelly.DIALECTS:
        raise ValueError(f"patch must be 4 or 16, as SpikingJelly's, not {patch[1]}")
    found["dialect"] = import_spikingjelly.DIALECTS[patch[1]]
    chosen, sources = _choose(found, given, preset.heads if preset else None)
    words = _in_words(
        sources | {"patch": patch[0]},
        configuration=_configuration(found["dialect"]),
        model=f"SpikingJelly's {preset.name}" if preset else "",
    )
    if sources["normalisation"] is Source.OFFICIAL:
        words["normalisation"] += ", as SpikingJelly's model has none of its own"
    with _named(state.path):
        config = official(**{**found, **chosen}, pool_first=True)
    name = f"Spikformer-{config.depth}-{config.dim}"
    where = f"{state.path} does not fit SpikingJelly's {name}"
    _check_tensors(import_spikingjelly.shapes(config), state.tensors, where)
    model = _model(config, import_spikingjelly.translated(state.tensors, config), where)
    return Imported(model=model, name=name, prefix=state.prefix, sources=words)


def _e_spikeformer(state: _State, given: Given) -> Imported:
    """The keys tell all but heads, image size and normalisation; strides and levels are the official ones."""
    if given.steps is not None:
        raise ValueError(f"{state.path} is an E-SpikeFormer, which has one time step: leave out --steps")
    try:
        found = import_e_spikeformer.recognise(state.shapes)
    except ValueError as error:
        raise ValueError(f"{state.path} is no official E-SpikeFormer of the Base size: {error}") from None
    places = ((Source.OPTION, given.size), (Source.ARGS, given.options.get("input_size")))
    side = _first(*places, (Source.OFFICIAL, IMAGENET["height"]))
    heads = _first((Source.OPTION, given.heads), (Source.OFFICIAL, import_e_spikeformer.HEADS))
    assert side is not None and heads is not None
    sources = {"heads": heads[0], "size": side[0], "normalisation": Source.OFFICIAL}
    image = {key: IMAGENET[key] for key in ("channels", "mean", "std")}
    with _named(state.path):
        config = ESpikeformerConfig(**found, **image, heads=heads[1], height=side[1], width=side[1])
    name = import_e_spikeformer.name_of(config)
    configuration = _configuration("imagenet")
    return Imported(
        model=_model(config, state.tensors, f"{state.path} does not fit {name}"),
        name=name,
        prefix=state.prefix,
        sources=_in_words(sources, configuration=configuration, model=configuration),
    )


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the file where keys or options tell of a model that cannot be, or that no memory holds."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _first(*places: tuple[Source, Any]) -> tuple[Source, int] | None:
    """The first number that is one, and where it comes from."""
    return next(((source, x) for source, x in places if isinstance(x, int)), None)


def _configuration(dialect: str) -> str:
    return f"the official {dialect} configuration"


def _in_words(sources: Sources, *, configuration: str, model: str) -> dict[str, str]:
    """Sources as `Imported` tells them. configuration, model: names of the official one and of the known model."""
    words = {Source.ARGS: Source.ARGS.value, Source.OFFICIAL: configuration, Source.MODEL: model}
    return {key: f"--{key}" if source is Source.OPTION else words[source] for key, source in sources.items()}


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of a file by key, and the options of the training where it has them; see the module."""
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
    return dict(whole), vars(options) if isinstance(options, argparse.Namespace) else {}


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


def recognise(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Arguments of `official` that the keys and shapes of a state dict tell; ValueError where they tell nothing."""
    if "block.0.attn.q_linear.weight" in shapes:
        dialect, kind = "cifar", "linear"
    elif "block.0.attn.q_conv.weight" in shapes:
        dialect, kind = "imagenet", "conv"
    else:
        raise ValueError(f"it has neither block.0.attn.q_linear nor q_conv; its keys begin with {_listed(shapes)}")
    needed = {
        key: shapes.get(f"{key}.weight", ())
        for key in ("patch_embed.proj_conv", "patch_embed.rpe_conv", f"block.0.mlp.fc1_{kind}", "head")
    }
    for key, shape in needed.items():
        if len(shape) < 2:
            raise ValueError(f"missing or empty: '{key}.weight'")
    first, position, hidden, head = needed.values()
    dim = position[0]
    if first[1] != CHANNELS:
        raise ValueError(f"its images have {first[1]} channels, not {CHANNELS}")
    if hidden[0] % dim:
        raise ValueError(f"its MLP has {hidden[0]} channels, no multiple of the width {dim}")
    return {
        "dialect": dialect,
        "depth": 1 + max(int(key.split(".")[1]) for key in shapes if re.match(r"block\.\d+\.", key)),
        "dim": dim,
        "classes": head[0],
        "mlp_ratio": hidden[0] // dim,
        "bias": f"block.0.mlp.fc1_{kind}.bias" in shapes,
    }


def _choose(found: Mapping[str, Any], given: Given, usual_heads: int | None) -> tuple[dict[str, Any], Sources]:
    """What the keys do not tell: fields of the configuration, and where each of them comes from.

    usual_heads: of the known model, None where there is none.
    """
    dialect: Dialect = found["dialect"]
    usual = IMAGENET if dialect == "imagenet" else CIFAR100 if found["classes"] == CIFAR100["classes"] else CIFAR
    options = given.options
    known = {
        "heads": (given.heads, ("num_heads",), (Source.MODEL, usual_heads)),
        "steps": (given.steps, ("time_step", "time_steps", "T"), (Source.OFFICIAL, STEPS)),
        "size": (given.size, ("img_size",), (Source.OFFICIAL, usual["height"])),
    }
    chosen: dict[str, Any] = {}
    sources: Sources = {}
    for key, (option, names, default) in known.items():
        number = _first((Source.OPTION, option), *((Source.ARGS, options.get(name)) for name in names), default)
        if number is None:
            raise ValueError(f"the keys do not tell the number of heads of width {found['dim']}: give it with --heads")
        sources[key], chosen[key] = number
    mean, std = options.get("mean"), options.get("std")
    sources["normalisation"] = Source.ARGS
    if not (_are_channels(mean) and _are_channels(std)):
        mean, std, sources["normalisation"] = usual["mean"], usual["std"], Source.OFFICIAL
    chosen["height"] = chosen["width"] = chosen.pop("size")
    return chosen | {"mean": mean, "std": std}, sources


def _are_channels(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == CHANNELS and all(isinstance(x, float) for x in value)


def _model(config: ModelConfig, tensors: dict[str, Tensor], where: str) -> Model:
    """The model with the tensors; ValueError, with all that does not fit, by name."""
    model = make_model(config)
    wanted = model.state_dict()
    for key, x in wanted.items():
        if key.endswith(COUNTER):
            tensors.setdefault(key, x)
    _check_tensors({key: tuple(x.shape) for key, x in wanted.items()}, tensors, where)
    model.load_state_dict(tensors)
    return model.eval()


def _check_tensors(wanted: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor], where: str) -> None:
    """ValueError, with all that does not fit, by name."""
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
    said = [f"{what}: {_listed(keys)}" for what, keys in complaints.items() if keys]
    if said:
        raise ValueError(f"{where}: {'; '.join(said)}")


def _listed(keys: Iterable[str]) -> str:
    keys = list(keys)
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(keys[:SHOWN]) + more
