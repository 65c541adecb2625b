"""Checkpoints of other programs: state dicts of Spikformers and of E-SpikeFormers become our checkpoints.

The Spikformers are the official ones and SpikingJelly 2.x's (`import_spikingjelly`), the E-SpikeFormers the official
ones (`import_e_spikeformer`).

The keys and shapes tell dialect, depth, width, MLP ratio and classes. They do not tell heads, time steps, image
size and normalisation, nor SpikingJelly's patch size: these come from the caller, from the options of the training, or
from the official configuration, and `Imported.sources` says which.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from spikeloom.golden.exchange import import_e_spikeformer, import_spikformer, import_spikingjelly
from spikeloom.golden.exchange.state_dict import StateDict, check_tensors, fitted, read_state_dict
from spikeloom.golden.models.architectures import Model
from spikeloom.golden.models.e_spikeformer_config import ESpikeformerConfig
from spikeloom.golden.models.image_config import CIFAR, CIFAR100, IMAGENET
from spikeloom.golden.models.spikformer_config import Dialect, official

STEPS = 4

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
    """What the caller knows of a checkpoint."""

    heads: int | None = None
    """Of the attention."""
    steps: int | None = None
    """``T_max``."""
    size: int | None = None
    """Height and width of the images."""
    patch: int | None = None
    """4 or 16, of SpikingJelly's Spikformers alone."""


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
    state = read_state_dict(path)
    for part, what, why in OTHERS:
        if any(part in key for key in state.tensors):
            raise ValueError(f"{path} is {what}, which cannot be imported: {why}; official Spikformers can be")
    given = Given(heads=heads, steps=steps, size=size, patch=patch)
    if import_spikingjelly.is_spikingjelly(state.tensors):
        return _spikingjelly(state, given)
    if patch is not None:
        raise ValueError(f"{path} is no Spikformer of SpikingJelly, whose patch size can be chosen: leave out --patch")
    if import_e_spikeformer.is_e_spikeformer(state.tensors):
        return _e_spikeformer(state, given)
    return _official(state, given)


def _official(state: StateDict, given: Given) -> Imported:
    try:
        found = import_spikformer.recognise(state.shapes)
    except ValueError as error:
        raise ValueError(f"{state.path} is no official Spikformer: {error}") from None
    chosen, sources = _choose(
        found, given, state.options, import_spikformer.HEADS.get((found["dialect"], found["dim"]))
    )
    with _named(state.path):
        config = official(**{**found, **chosen})
    name = f"Spikformer-{config.depth}-{config.dim}"
    dead = [key for key in state.tensors if import_spikformer.DEAD.fullmatch(key)]
    alive = {key: x for key, x in state.tensors.items() if key not in set(dead)}
    configuration = _configuration(config.dialect)
    return Imported(
        model=fitted(config, alive, f"{state.path} does not fit {name} ({config.dialect})"),
        name=name,
        prefix=state.prefix,
        sources=_in_words(sources, configuration=configuration, model=configuration),
        dead=dead,
        dead_parameters=sum(state.tensors[key].numel() for key in dead),
    )


def _spikingjelly(state: StateDict, given: Given) -> Imported:
    """Pooled before the neurons; what the keys do not tell is that of SpikingJelly's model of this depth and width."""
    try:
        found = import_spikingjelly.recognise(state.shapes)
    except ValueError as error:
        raise ValueError(f"{state.path} is no Spikformer of SpikingJelly: {error}") from None
    preset = import_spikingjelly.PRESETS.get((found["depth"], found["dim"]))
    places = ((Source.OPTION, given.patch), (Source.ARGS, state.options.get("patch_size")))
    patch = _first(*places, (Source.MODEL, preset and preset.patch))
    if patch is None:
        shape = f"depth {found['depth']} and width {found['dim']}"
        raise ValueError(f"{state.path}: the keys do not tell the patch size of {shape}: give it with --patch, 4 or 16")
    if patch[1] not in import_spikingjelly.DIALECTS:
        raise ValueError(f"patch must be 4 or 16, as SpikingJelly's, not {patch[1]}")
    found["dialect"] = import_spikingjelly.DIALECTS[patch[1]]
    chosen, sources = _choose(found, given, state.options, preset.heads if preset else None)
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
    check_tensors(import_spikingjelly.shapes(config), state.tensors, where)
    model = fitted(config, import_spikingjelly.translated(state.tensors, config), where)
    return Imported(model=model, name=name, prefix=state.prefix, sources=words)


def _e_spikeformer(state: StateDict, given: Given) -> Imported:
    """The keys tell all but heads, image size and normalisation; strides and levels are the official ones."""
    if given.steps is not None:
        raise ValueError(f"{state.path} is an E-SpikeFormer, which has one time step: leave out --steps")
    try:
        found = import_e_spikeformer.recognise(state.shapes)
    except ValueError as error:
        raise ValueError(f"{state.path} is no official E-SpikeFormer of the Base size: {error}") from None
    places = ((Source.OPTION, given.size), (Source.ARGS, state.options.get("input_size")))
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
        model=fitted(config, state.tensors, f"{state.path} does not fit {name}"),
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


def _choose(
    found: Mapping[str, Any], given: Given, options: Mapping[str, Any], usual_heads: int | None
) -> tuple[dict[str, Any], Sources]:
    """What the keys do not tell: fields of the configuration, and where each of them comes from.

    options: of the training. usual_heads: of the known model, None where there is none.
    """
    dialect: Dialect = found["dialect"]
    usual = IMAGENET if dialect == "imagenet" else CIFAR100 if found["classes"] == CIFAR100["classes"] else CIFAR
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
    return (
        isinstance(value, list | tuple)
        and len(value) == import_spikformer.CHANNELS
        and all(isinstance(x, float) for x in value)
    )
