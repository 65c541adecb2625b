"""Training of Spikformers, with trained time steps, and of E-SpikeFormers: one loop for one core and for many GPUs.

`train` takes a model and a short recipe, and makes the digits model that is shipped; `train_run` takes a whole
`RunConfig` and a folder, in which it keeps a log and what it needs to go on after a kill.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spikeloom.common.files import writable_folder
from spikeloom.common.lock import folder_lock
from spikeloom.golden.data import datasets
from spikeloom.golden.data.origin import class_names
from spikeloom.golden.models.architectures import Model, make_model
from spikeloom.golden.models.neurons import compiled_neurons
from spikeloom.golden.models.spikformer import Spikformer, SpikformerConfig
from spikeloom.golden.threads import torch_threads
from spikeloom.golden.training.augment import Augmentation
from spikeloom.golden.training.parallel import Processes, local_device, processes
from spikeloom.golden.training.pretrain import pretrain
from spikeloom.golden.training.run_config import MASK_GROUPS, DataConfig, MaskConfig, RunConfig, TrainConfig, check_data
from spikeloom.golden.training.training_loop import ENOUGH, EpochReport, TrainingLoop, count_correct

__all__ = ["DIGITS", "EpochReport", "Recipe", "TrainingReport", "accuracy", "train", "train_run"]

# The model that is shipped for the digits. Its attention fires at the integer 8 of Spikformer: this neuron
# does not halve its input, so that its real threshold is 1 and not 0.5.
DIGITS = SpikformerConfig(neuron="dts", attention_threshold=1.0, dynamic=True, initial_steps=3)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained; the defaults make, of `DIGITS`, the model that is shipped.

    dataset: name of the data set. epochs, batch_size: of the training images. learning_rate: the peak of a
    cosine with one epoch of warm-up, for AdamW. weight_decay: of matrices and kernels alone. mask_rate:
    learning rate of the time masks over the other. label_smoothing: of the cross entropy. shift, rotation,
    zoom: largest random change of an image, in pixels, degrees and as a share of its size. mask_weight: the
    factor of the mask loss; mask_groups: the layers that it covers. seed: of everything random. threads: of
    PyTorch while training; results repeat for equal numbers.
    """

    dataset: str = "digits"
    epochs: int = 40
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    mask_rate: float = 0.3
    label_smoothing: float = 0.1
    shift: float = 0.4
    rotation: float = 6.0
    zoom: float = 0.06
    mask_weight: float = 5e-3
    mask_groups: tuple[str, ...] = ("qkv", "mlp")
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size", "threads"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be positive, not {getattr(self, key)!r}")
        unknown = set(self.mask_groups) - set(MASK_GROUPS)
        if unknown:
            raise ValueError(f"mask_groups must be among sps, qkv, attn and mlp, not {sorted(unknown)[0]!r}")

    def run(self, model: SpikformerConfig) -> RunConfig:
        """The same as the configuration of a run."""
        return RunConfig(
            name=self.dataset,
            data=DataConfig(name=self.dataset),  # type: ignore[arg-type]
            model=model,
            augment=Augmentation(shift=self.shift, rotation=self.rotation, zoom=self.zoom),
            train=TrainConfig(
                epochs=self.epochs,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
                label_smoothing=self.label_smoothing,
                device="cpu",
                threads=self.threads,
                seed=self.seed,
            ),
            masks=MaskConfig(
                weight=self.mask_weight,
                groups=self.mask_groups,  # type: ignore[arg-type]
                rate=self.mask_rate,
            ),
        )


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """What came out. accuracy: of the held-out images, 0..1; train_accuracy: of the training images, of at
    most 16,384 of them. t_per_layer: ``T_l``. seconds: wall clock, of the last start alone.
    """

    accuracy: float
    train_accuracy: float
    t_per_layer: dict[str, int]
    t_avg: float
    parameters: int
    seconds: float
    recipe: Recipe | RunConfig
    split: str
    class_names: tuple[str, ...] = ()
    """What the classes are called, in the order of their labels; empty where nobody says."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def train(
    config: SpikformerConfig,
    recipe: Recipe | None = None,
    *,
    progress: Callable[[EpochReport], None] | None = None,
) -> tuple[Spikformer, TrainingReport]:
    """Train a Spikformer and return it, in evaluation mode, with a report.

    progress: called after each epoch. Equal arguments give equal models on one machine.
    Raises ValueError where the data set's images do not have the configuration's shape.
    """
    recipe = recipe or Recipe()
    if recipe.dataset not in datasets.KNOWN:
        raise ValueError(f"unknown data set {recipe.dataset!r}; known: {', '.join(datasets.KNOWN)}")
    model, report = _trained(recipe.run(config), recipe, Processes(), torch.device("cpu"), progress=progress)
    assert isinstance(model, Spikformer)
    return model, report


def train_run(
    run: RunConfig,
    folder: str | Path | None = None,
    *,
    restart: bool = False,
    progress: Callable[[EpochReport], None] | None = None,
    stepped: Callable[[int, int], None] | None = None,
    start: Spikformer | None = None,
) -> tuple[Model, TrainingReport]:
    """Train as the configuration says and return the model, in evaluation mode, with a report.

    folder: where the run keeps its state after each epoch and `log.csv` (and TensorBoard's events, where
    tensorboard is installed); a run that finds its state there goes on behind the last whole epoch and ends
    with the same weights as one that was never stopped; pre-training has a folder of its own in it. None keeps
    nothing. restart: begin anew. progress:
    called after each epoch, and for those that were done before. stepped: called after each step with the
    steps done and all steps. start: the model to begin with, which is changed; one with random weights when None.

    Under torchrun all processes call this, and each gets the model; only the first one writes.
    Raises ValueError where the state in the folder is of another configuration, with the keys that differ; OSError
    where the folder cannot be written; InUseError where another run is at work in it.
    """
    if run.finetune is not None and start is None:
        raise ValueError("finetune: a trained model is tuned by `spikeloom quantize CHECKPOINT --finetune EPOCHS`")
    device = local_device(run.train.device)
    with compiled_neurons(run.train.compile), processes(device) as team, _alone(folder, team):
        kept: dict[str, Any] = dict(folder=folder, restart=restart, progress=progress, stepped=stepped)
        return _trained(run, run, team, device, start=start, **kept)


def _alone(folder: str | Path | None, team: Processes) -> AbstractContextManager[None]:
    """Keep other runs out of the folder, after it was tried; the first process does so for its team."""
    if folder is None or not team.main:
        return nullcontext()
    return folder_lock(writable_folder(folder), "train")


@torch.no_grad()
def accuracy(model: Model, images: np.ndarray, labels: np.ndarray, *, batch: int = 180) -> float:
    """Share of images, uint8 (n, C, H, W), that the model classifies right, in evaluation mode."""
    samples = datasets.Samples(images, labels)
    return count_correct(model, samples, np.arange(len(labels)), batch=batch) / len(labels)


def _trained(
    run: RunConfig,
    recipe: Recipe | RunConfig,
    team: Processes,
    device: torch.device,
    *,
    folder: str | Path | None = None,
    restart: bool = False,
    progress: Callable[[EpochReport], None] | None = None,
    stepped: Callable[[int, int], None] | None = None,
    start: Spikformer | None = None,
) -> tuple[Model, TrainingReport]:
    started = time.monotonic()
    where, size = run.data.folder, run.data.size
    train_set, test_set = (datasets.open_images(run.data.name, split, where, size=size) for split in ("train", "test"))
    check_data(run, train_set, test_set)
    with torch_threads(run.train.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.train.seed)
        place = None if folder is None else Path(folder)
        kept: dict[str, Any] = dict(restart=restart, progress=progress, stepped=stepped)
        model = start or make_model(run.model)
        if run.pretrain is not None and start is None:
            pretrain(model, run, team, device, train_set, test_set, place, **kept)
        training = TrainingLoop(run, team, device, train_set, test_set, place, model)
        training.fit(**kept)
        model = training.finished()
        steps = model.time_steps()
        shown = training.chosen[datasets.spread_out(len(training.chosen), ENOUGH)]
        report = TrainingReport(
            accuracy=training.held_out_accuracy(),
            train_accuracy=count_correct(model, train_set, shown) / len(shown),
            t_per_layer=steps,
            t_avg=sum(steps.values()) / len(steps),
            parameters=sum(x.numel() for x in model.parameters()),
            seconds=round(time.monotonic() - started, 1),
            recipe=recipe,
            split=datasets.describe(run.data.name, train_set, test_set),
            class_names=class_names(run.data.name, train_set),
        )
    return model.cpu(), report
