"""The configuration of a training run: typed, frozen, and read from one YAML file.

A file has the sections of `RunConfig`; what it leaves out keeps its default. Unknown keys and values of
another type are errors that name the key by its path, as in ``train.epochs``.
"""

from __future__ import annotations

import os
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from spikeloom.golden.data import datasets
from spikeloom.golden.models.architectures import DEFAULT, Architecture, ModelConfig, architecture_of, config_class
from spikeloom.golden.models.spikformer import SpikformerConfig
from spikeloom.golden.training.augment import Augmentation
from spikeloom.golden.training.masked_autoencoder import PretrainConfig

MASK_GROUPS = ("sps", "qkv", "attn", "mlp")
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")  # YAML 1.1 takes 1e-3 for a word


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is learned. name: of a data set (`golden.datasets`). folder: where its files are, SPIKELOOM_DATA
    when null. size: pixels a side to which the images of a folder are brought. train_images, test_images:
    only so many, evenly spaced, all when null.
    """

    name: Literal["digits", "fashion", "cifar10", "cifar100", "folder"] = "digits"
    folder: str | None = None
    size: int = 224
    train_images: int | None = None
    test_images: int | None = None

    def __post_init__(self) -> None:
        for key in ("size", "train_images", "test_images"):
            if getattr(self, key) is not None and getattr(self, key) < 1:
                raise ValueError(f"{key} must be positive, not {getattr(self, key)!r}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How it is learned, with AdamW.

    epochs: passes over the training images. batch_size: images a step, of all processes together.
    learning_rate: the peak; it rises over warmup_epochs, then falls along a cosine to min_learning_rate.
    weight_decay: of matrices and kernels alone. label_smoothing: of the cross entropy. clip: largest norm of
    all gradients together, null for any. ema: share that the running mean of the weights keeps each step,
    null for no mean; the mean is what is saved. precision: of products; potentials are always float32.
    compile: fused neurons (`golden.neurons.compiled_neurons`). device: auto takes a GPU that is there.
    threads: of PyTorch on the CPU; results repeat for equal numbers. seed: of everything random.
    """

    epochs: int = 40
    batch_size: int = 64
    learning_rate: float = 3e-3
    min_learning_rate: float = 0.0
    warmup_epochs: float = 1.0
    weight_decay: float = 0.1
    label_smoothing: float = 0.1
    clip: float | None = None
    ema: float | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size", "threads"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be positive, not {getattr(self, key)!r}")
        for key in ("learning_rate", "min_learning_rate", "warmup_epochs", "weight_decay"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key} must not be negative, not {getattr(self, key)!r}")
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(f"min_learning_rate must be at most learning_rate, not {self.min_learning_rate!r}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in 0..1, not {self.label_smoothing!r}")
        if self.clip is not None and self.clip <= 0:
            raise ValueError(f"clip must be positive, not {self.clip!r}")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise ValueError(f"ema must be in 0..1, not {self.ema!r}")


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """Training of the time masks, where model.dynamic is on. weight: factor of the mask loss. groups: layers
    that it covers. rate: learning rate of the masks over that of the weights.
    """

    weight: float = 5e-3
    groups: tuple[Literal["sps", "qkv", "attn", "mlp"], ...] = ("qkv", "mlp")
    rate: float = 0.3


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Training with quantised weights (`golden.training.qat`). checkpoint: SHA-256 of the file that it starts from.
    weight_bits: of each layer, as in "rpe=4". scales: of the channels (`golden.quantization.quantize`).
    """

    checkpoint: str
    weight_bits: tuple[str, ...]
    scales: Literal["power-of-two", "free"] = "power-of-two"


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run. name: of its folder and of what comes out. architecture: spikformer or e_spikeformer. model: its shape
    and neurons (`SpikformerConfig`, `ESpikeformerConfig`).
    pretrain: what an E-SpikeFormer learns of hidden patches before it learns classes; null for nothing.
    finetune: where a trained model is tuned to quantised weights; `spikeloom quantize` fills it in.
    """

    name: str = "run"
    architecture: Architecture = DEFAULT
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=SpikformerConfig)
    augment: Augmentation = field(default_factory=Augmentation)
    train: TrainConfig = field(default_factory=TrainConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    pretrain: PretrainConfig | None = None
    finetune: FinetuneConfig | None = None

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
    given = parsed(path.read_text(), str(path))
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise TypeError(f"{path} must hold keys and values ({names or _names(RunConfig)}), not {given!r}")
    return given


def from_mapping(given: Mapping[str, Any]) -> RunConfig:
    """A configuration from nested mappings, as YAML or JSON has them."""
    kinds: dict[str, Any] = {}
    if isinstance(given, Mapping):  # the architecture decides what the section `model` can hold
        kinds["model"] = config_class(given.get("architecture", DEFAULT))
        given = {"model": {}, **given}
    found = _read(RunConfig, given, "", kinds)
    assert isinstance(found, RunConfig)
    return found


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
            "augment": {key: recipe[key] for key in ("shift", "rotation", "zoom")},
            "train": {"device": "cpu", **{key: recipe[key] for key in in_training}},
            "masks": {key: recipe[name] for key, name in masks.items()},
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
        """Refuses what SafeLoader overlooks: a key that comes twice."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = [key for i, key in enumerate(keys) if key in keys[:i]]
            if twice:
                raise ValueError(f"{where}: the key {twice[0]!r} comes twice, again in line {node.start_mark.line + 1}")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ValueError(f"{where}{line}: no valid YAML: {problem}") from None


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


def _read(kind: Any, given: Any, path: str, kinds: Mapping[str, Any] | None = None) -> Any:
    """A value of a dataclass from a mapping; path: of its key, with a dot, or empty at the top.

    kinds: of fields whose annotation leaves a choice.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"{path.rstrip('.')} must have keys of its own ({_names(kind)}), not {given!r}")
    hints = {**get_type_hints(kind), **(kinds or {})}
    for key in given:
        if key not in hints:
            raise ValueError(f"{path}{key}: unknown key; allowed: {_names(kind)}")
    values = {key: _value(hints[key], value, f"{path}{key}") for key, value in given.items()}
    missing = [
        x.name for x in fields(kind) if x.name not in given and x.default is MISSING and x.default_factory is MISSING
    ]
    if missing:
        raise ValueError(f"{path}{missing[0]} is missing")
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{path}{error}") from None


def _value(kind: Any, given: Any, path: str) -> Any:
    if is_dataclass(kind):
        return _read(kind, given, f"{path}.")
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if given is None:
            return None
        return _value(next(x for x in inner if x is not type(None)), given, path)
    if origin is Literal:
        if given not in inner or isinstance(given, bool):
            raise ValueError(f"{path} must be one of {', '.join(map(str, inner))}, not {given!r}")
        return given
    if origin is tuple:
        return _items(inner, given, path)
    if kind is float and isinstance(given, str) and _FLOAT.fullmatch(given):
        given = float(given)
    if kind is float and isinstance(given, int) and not isinstance(given, bool):
        given = float(given)
    if not isinstance(given, kind) or (kind is not bool and isinstance(given, bool)):
        called = {int: "an integer", float: "a number", bool: "true or false", str: "text"}[kind]
        raise TypeError(f"{path} must be {called}, not {given!r}")
    return given


def _items(inner: tuple[Any, ...], given: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(given, list | tuple):
        raise TypeError(f"{path} must be a list, not {given!r}")
    kinds = [inner[0]] * len(given) if inner[-1] is Ellipsis else list(inner)
    if len(kinds) != len(given):
        raise ValueError(f"{path} must have {len(kinds)} items, not {len(given)}")
    return tuple(_value(kind, item, f"{path}[{i}]") for i, (kind, item) in enumerate(zip(kinds, given, strict=True)))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(x) for x in value] if isinstance(value, list | tuple) else value
