"""The configuration of a training run: typed, frozen, and read from one YAML file.

A file has the sections of `RunConfig`; what it leaves out keeps its default. Unknown keys and values of
another type are errors that name the key by its path, as in ``train.epochs``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Interval

from spikeloom.common.schema import checked, checked_fields, reading
from spikeloom.golden.bounds import LARGEST_SIDE
from spikeloom.golden.data import datasets
from spikeloom.golden.models.architectures import DEFAULT, Architecture, ModelConfig, architecture_of, config_class
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.training.augment import Augmentation
from spikeloom.golden.training.masked_autoencoder import PretrainConfig

MASK_GROUPS = ("sps", "qkv", "attn", "mlp")
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")  # YAML 1.1 takes 1e-3 for a word


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is learned."""

    name: Literal["digits", "fashion", "cifar10", "cifar100", "folder"] = "digits"
    """Of a data set (`golden.data.datasets`)."""
    folder: str | None = None
    """Where its files are, SPIKELOOM_DATA when null."""
    size: Annotated[int, Interval(ge=1, le=LARGEST_SIDE)] = 224
    """Pixels a side to which the images of a folder are brought."""
    train_images: Annotated[int, Interval(ge=1)] | None = None
    """Only so many, evenly spaced, all when null."""
    test_images: Annotated[int, Interval(ge=1)] | None = None
    """The same of the held-out images."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How it is learned, with AdamW."""

    epochs: Annotated[int, Interval(ge=1, le=100_000)] = 40
    """Passes over the training images."""
    batch_size: Annotated[int, Interval(ge=1, le=65_536)] = 64
    """Images a step, of all processes together."""
    learning_rate: Annotated[float, Interval(ge=0, le=100)] = 3e-3
    """The peak; it rises over warmup_epochs, then falls along a cosine to min_learning_rate."""
    min_learning_rate: Annotated[float, Interval(ge=0, le=100)] = 0.0
    """At most learning_rate."""
    warmup_epochs: Annotated[float, Interval(ge=0, le=100_000)] = 1.0
    """See learning_rate."""
    weight_decay: Annotated[float, Interval(ge=0, le=100)] = 0.1
    """Of matrices and kernels alone."""
    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    """Of the cross entropy."""
    clip: Annotated[float, Interval(gt=0)] | None = None
    """Largest norm of all gradients together, null for any."""
    ema: Annotated[float, Interval(ge=0, lt=1)] | None = None
    """Share that the running mean of the weights keeps each step, null for no mean; the mean is what is saved."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of products; potentials are always float32."""
    compile: bool = False
    """Fused neurons (`golden.models.neurons.compiled_neurons`)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU that is there."""
    threads: Annotated[int, Interval(ge=1, le=1024)] = 1
    """Of PyTorch on the CPU; results repeat for equal numbers."""
    seed: Annotated[int, Interval(ge=0, lt=1 << 63)] = 0
    """Of everything random."""

    def __post_init__(self) -> None:
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(f"min_learning_rate must be at most learning_rate, not {self.min_learning_rate!r}")


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """Training of the time masks, where model.dynamic is on."""

    weight: Annotated[float, Interval(ge=0, le=1e6)] = 5e-3
    """Factor of the mask loss."""
    groups: tuple[Literal["sps", "qkv", "attn", "mlp"], ...] = ("qkv", "mlp")
    """Layers that it covers."""
    rate: Annotated[float, Interval(ge=0, le=1e6)] = 0.3
    """Learning rate of the masks over that of the weights."""


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Training with quantised weights (`golden.training.qat`)."""

    checkpoint: str
    """SHA-256 of the file that it starts from."""
    weight_bits: tuple[str, ...]
    """Of each layer, as in "rpe=4"."""
    scales: Literal["power-of-two", "free"] = "power-of-two"
    """Of the channels (`golden.quantization.quantize`)."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run."""

    name: str = "run"
    """Of its folder and of what comes out."""
    architecture: Architecture = DEFAULT
    """That of the model."""
    data: DataConfig = field(default_factory=DataConfig)
    """What is learned."""
    model: ModelConfig = field(default_factory=SpikformerConfig)
    """Its shape and neurons."""
    augment: Augmentation = field(default_factory=Augmentation)
    """What happens to training images."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How it is learned."""
    masks: MaskConfig = field(default_factory=MaskConfig)
    """How time masks are."""
    pretrain: PretrainConfig | None = None
    """What an E-SpikeFormer learns of hidden patches before it learns classes; null for nothing."""
    finetune: FinetuneConfig | None = None
    """Where a trained model is tuned to quantised weights; `spikeloom quantize` fills it in."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.name):
            raise ValueError(f"name must be letters, digits, dots and dashes, not {self.name!r}")
        if architecture_of(self.model) != self.architecture:
            made = architecture_of(self.model)
            raise ValueError(f"architecture must be that of the model, {made}, not {self.architecture!r}")
        if self.pretrain is not None and self.architecture != "e_spikeformer":
            raise ValueError(f"pretrain is for the architecture e_spikeformer, not {self.architecture}")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def load(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> RunConfig:
    """The configuration in a YAML file, with overrides such as ``train.epochs=3``, which win.

    Raises FileNotFoundError; ValueError and TypeError, in one line, with the file or the key.
    """
    given = mapping_in(path)
    given.setdefault("name", Path(path).stem)
    for text in overrides:
        override(given, text)
    return from_mapping(given)


def mapping_in(path: str | os.PathLike[str], names: str | None = None) -> dict[str, Any]:
    """The keys and values in a YAML file, none where it is empty. names: of what it may hold, for the message.

    Raises FileNotFoundError; ValueError for no valid YAML, TypeError for anything but keys and values.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    with reading(path):
        given = parsed(path.read_text(encoding="utf-8"), str(path))
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise TypeError(f"{path} must hold keys and values ({names or _names(RunConfig)}), not {given!r}")
    return given


def from_mapping(given: Mapping[str, Any]) -> RunConfig:
    """A configuration from nested mappings, as YAML or JSON has them.

    ValueError, with the key by its path, at the first value that is not as `RunConfig` declares it.
    """
    found = checked_fields(RunConfig, {key: x for key, x in given.items() if key != "model"}, without=("model",))
    kind = config_class(found.get("architecture", DEFAULT))  # decides what the section `model` can hold
    return RunConfig(**found, model=checked(kind, given.get("model", {}), "model"))


def of_header(header: Mapping[str, Any], model: SpikformerConfig) -> RunConfig:
    """The run that made a Spikformer's checkpoint, as its header tells under "recipe"; the defaults where it does not.

    Headers of before, the shipped digits' among them, hold one flat mapping without the model.
    """
    recipe = header.get("recipe") or {}
    if "dataset" not in recipe:
        return from_mapping(recipe) if recipe else RunConfig(model=model)
    in_training = ("epochs", "batch_size", "learning_rate", "weight_decay", "label_smoothing", "seed", "threads")
    masks = {"weight": "mask_weight", "groups": "mask_groups", "rate": "mask_rate"}
    return from_mapping(
        {
            "name": recipe["dataset"],
            "data": {"name": recipe["dataset"]},
            "model": asdict(model),
            "augment": {key: recipe[key] for key in ("shift", "rotation", "zoom") if key in recipe},
            "train": {"device": "cpu", **{key: recipe[key] for key in in_training if key in recipe}},
            "masks": {key: recipe[name] for key, name in masks.items() if name in recipe},
        }
    )


def to_yaml(config: RunConfig) -> str:
    """The whole configuration, with the defaults, as a file that `load` reads."""
    text: str = yaml.safe_dump(_plain(config.as_dict()), sort_keys=False)
    return text


def differences(one: Mapping[str, Any], other: Mapping[str, Any], path: str = "") -> list[str]:
    """Paths of the keys whose values differ."""
    found = []
    for key in dict.fromkeys([*one, *other]):
        a, b = one.get(key), other.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, f"{path}{key}.")
        elif _plain(a) != _plain(b):
            found.append(f"{path}{key}")
    return found


def check_data(config: RunConfig, train: datasets.Images, test: datasets.Images) -> None:
    """ValueError where the images do not have the model's shape, or too many classes."""
    shape = (config.model.channels, config.model.height, config.model.width)
    if train.shape != shape:
        raise ValueError(f"the images of {config.data.name} are {train.shape}, not {shape}")
    if config.model.classes < datasets.classes_of([train, test]):
        raise ValueError(f"{config.data.name} has more than {config.model.classes} classes")


def parsed(text: str, where: str) -> Any:
    """What a YAML text holds. ValueError, in one line, with ``where`` it stands."""

    class Loader(yaml.SafeLoader):  # type: ignore[misc, name-defined]
        """Takes 1e-3 for a number, as YAML 1.2 does, and refuses what SafeLoader overlooks: a key that comes twice, and
        aliases, of which few letters make more than a memory holds.
        """

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                event = self.peek_event()
                refused = f"the alias *{event.anchor} is not taken: write it out"
                raise yaml.composer.ComposerError(None, None, refused, event.start_mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = [key for i, key in enumerate(keys) if key in keys[:i]]
            if twice:
                again = f"the key {twice[0]!r} comes twice, again in line {node.start_mark.line + 1}"
                raise yaml.constructor.ConstructorError(None, None, again, node.start_mark)
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
    try:
        with reading(where):
            return yaml.load(text, Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ValueError(f"{where}{line}: no valid YAML: {problem}") from None
    except ValueError as error:  # a date that is none, or a number of more digits than Python takes
        raise ValueError(str(error) if str(error).startswith(where) else f"{where}: no valid YAML: {error}") from None


def override(given: dict[str, Any], text: str) -> None:
    """Change nested mappings as ``section.key=value`` says. ValueError for another form."""
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ValueError(f"--set must be KEY=VALUE, as in train.epochs=3, not {text!r}")
    place = given
    for i, key in enumerate(keys[:-1]):
        inner = place.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ValueError(f"{'.'.join(keys[: i + 1])} has no keys of its own: {text!r}")
        place = inner
    place[keys[-1]] = parsed(value, f"--set {path}")


def _names(kind: Any) -> str:
    return ", ".join(x.name for x in fields(kind))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(x) for x in value] if isinstance(value, list | tuple) else value
