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

from spikeloom.common.schema import Checked, checked, checked_fields
from spikeloom.common.strict_yaml import mapping_in, override
from spikeloom.golden.bounds import LARGEST_SIDE
from spikeloom.golden.data import datasets
from spikeloom.golden.data.images import Images
from spikeloom.golden.models.architectures import DEFAULT, Architecture, ModelConfig, architecture_of, config_class
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.training.augment import Augmentation
from spikeloom.golden.training.masked_autoencoder import PretrainConfig

MASK_GROUPS = ("sps", "qkv", "attn", "mlp")


@dataclass(frozen=True, kw_only=True)
class DataConfig(Checked):
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
class TrainConfig(Checked):
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
    tet: Annotated[float, Interval(ge=0, le=1)] | None = None
    """Temporal efficient training (`golden.training.tet`): a cross entropy for each time step, and this share of its
    regulariser; null for the cross entropy of the mean over the steps."""
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
        super().__post_init__()
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(f"min_learning_rate must be at most learning_rate, not {self.min_learning_rate!r}")


@dataclass(frozen=True, kw_only=True)
class MaskConfig(Checked):
    """Training of the time masks, where model.dynamic is on."""

    weight: Annotated[float, Interval(ge=0, le=1e6)] = 5e-3
    """Factor of the mask loss."""
    groups: tuple[Literal["sps", "qkv", "attn", "mlp"], ...] = ("qkv", "mlp")
    """Layers that it covers."""
    rate: Annotated[float, Interval(ge=0, le=1e6)] = 0.3
    """Learning rate of the masks over that of the weights."""
    cost: Literal["steps", "accumulates", "cycles"] = "steps"
    """What the mask loss counts: active steps, as in the paper, or what a step costs those that read it
    (`golden.training.costs`), over the mean of the layers."""
    schedule: Literal["constant", "rise", "fall"] = "constant"
    """Of the weight: it stays, rises from 0 or falls to 0, linearly."""
    epochs: Annotated[int, Interval(ge=1)] | None = None
    """After so many the masks stay as they are; null for never. It is the length of the schedule, too."""
    ahead: Annotated[int, Interval(ge=1)] | None = None
    """Steps that are computed behind the last one that any layer has, where masks have room to grow; none after
    `epochs`. null for all, which is slower and gives those behind a gradient as well."""


@dataclass(frozen=True, kw_only=True)
class SpikeConfig(Checked):
    """A penalty on spikes."""

    weight: Annotated[float, Interval(ge=0, le=1e6)] = 0.0
    """Factor of what the spikes of an image cost, over what a step costs in which every neuron spikes; 0 for no
    penalty."""
    cost: Literal["accumulates", "cycles"] = "accumulates"
    """What they cost (`golden.training.costs`)."""


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(Checked):
    """Training with quantised weights (`golden.training.qat`)."""

    checkpoint: str
    """SHA-256 of the file that it starts from."""
    weight_bits: tuple[str, ...]
    """Of each layer, as in "rpe=4"."""
    scales: Literal["power-of-two", "free"] = "power-of-two"
    """Of the channels (`golden.quantization.quantize`)."""


@dataclass(frozen=True, kw_only=True)
class RunConfig(Checked):
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
    spikes: SpikeConfig = field(default_factory=SpikeConfig)
    """What keeps spikes rare."""
    init: str | None = None
    """A checkpoint, or the name of a model that comes with the package, whose weights and batch norms the run begins
    with. Its time steps may be others; time masks begin as in `model`. null for random weights."""
    pretrain: PretrainConfig | None = None
    """What an E-SpikeFormer learns of hidden patches before it learns classes; null for nothing."""
    finetune: FinetuneConfig | None = None
    """Where a trained model is tuned to quantised weights; `spikeloom quantize` fills it in."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.name):
            raise ValueError(f"name must be letters, digits, dots and dashes, not {self.name!r}")
        if architecture_of(self.model) != self.architecture:
            made = architecture_of(self.model)
            raise ValueError(f"architecture must be that of the model, {made}, not {self.architecture!r}")
        if self.pretrain is not None and self.architecture != "e_spikeformer":
            raise ValueError(f"pretrain is for the architecture e_spikeformer, not {self.architecture}")
        if self.train.tet is not None and (self.architecture != "spikformer" or getattr(self.model, "dynamic", True)):
            raise ValueError("train.tet is for a spikformer without trained time steps: set model.dynamic=false")
        if self.pretrain is not None and self.init is not None:
            raise ValueError("pretrain and init both say what training begins with: leave one out")
        if self.spikes.weight and self.architecture != "spikformer":
            raise ValueError(f"spikes.weight is for the architecture spikformer, not {self.architecture}")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


SECTIONS = tuple(x.name for x in fields(RunConfig))


def load(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> RunConfig:
    """The configuration in a YAML file, with overrides such as ``train.epochs=3``, which win.

    Raises FileNotFoundError; ValueError and TypeError, in one line, with the file or the key.
    """
    given = mapping_in(path, SECTIONS)
    given.setdefault("name", Path(path).stem)
    for text in overrides:
        override(given, text)
    return from_mapping(given)


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


def check_data(config: RunConfig, train: Images, test: Images) -> None:
    """ValueError where the images do not have the model's shape, or too many classes."""
    shape = (config.model.channels, config.model.height, config.model.width)
    if train.shape != shape:
        raise ValueError(f"the images of {config.data.name} are {train.shape}, not {shape}")
    if config.model.classes < datasets.classes_of([train, test]):
        raise ValueError(f"{config.data.name} has more than {config.model.classes} classes")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(x) for x in value] if isinstance(value, list | tuple) else value
