"""Training of Spikformers, with trained time steps, and of E-SpikeFormers: one loop for one core and for many GPUs.

`train` takes a model and a short recipe, and makes the digits model that is shipped; `train_run` takes a whole
`RunConfig` and a folder, in which it keeps a log and what it needs to go on after a kill.
"""

from __future__ import annotations

import contextlib
import csv
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from spikeloom.golden import datasets, training_state
from spikeloom.golden.architectures import Model, make_model
from spikeloom.golden.augment import Augmentation, augment, mix
from spikeloom.golden.files import written_aside
from spikeloom.golden.neurons import compiled_neurons
from spikeloom.golden.parallel import Processes, local_device, processes
from spikeloom.golden.run_config import (
    MASK_GROUPS,
    DataConfig,
    MaskConfig,
    RunConfig,
    TrainConfig,
    check_data,
    differences,
    from_mapping,
)
from spikeloom.golden.spikformer import Spikformer, SpikformerConfig
from spikeloom.golden.threads import torch_threads
from spikeloom.golden.time_mask import mask_loss
from spikeloom.golden.training_state import TrainingState

STATE = "state.safetensors"  # in a run's folder
LOG = "log.csv"
ENOUGH = 16384  # images for the statistics of batch norms and for the training accuracy

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
class Progress:
    """The state after an epoch (1..epochs): mean loss, held-out accuracy (0..1) and mean time steps.

    rate: the learning rate at the end of the epoch. images_per_second: of training, all processes together.
    """

    epoch: int
    epochs: int
    loss: float
    accuracy: float
    t_avg: float
    rate: float = 0.0
    images_per_second: float = 0.0


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

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def train(
    config: SpikformerConfig,
    recipe: Recipe | None = None,
    *,
    progress: Callable[[Progress], None] | None = None,
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
    progress: Callable[[Progress], None] | None = None,
    stepped: Callable[[int, int], None] | None = None,
    start: Spikformer | None = None,
) -> tuple[Model, TrainingReport]:
    """Train as the configuration says and return the model, in evaluation mode, with a report.

    folder: where the run keeps its state after each epoch and `log.csv` (and TensorBoard's events, where
    tensorboard is installed); a run that finds its state there goes on behind the last whole epoch and ends
    with the same weights as one that was never stopped. None keeps nothing. restart: begin anew. progress:
    called after each epoch, and for those that were done before. stepped: called after each step with the
    steps done and all steps. start: the model to begin with, which is changed; one with random weights when None.

    Under torchrun all processes call this, and each gets the model; only the first one writes.
    Raises ValueError where the state in the folder is of another configuration, with the keys that differ.
    """
    if run.finetune is not None and start is None:
        raise ValueError("finetune: a trained model is tuned by `spikeloom quantize CHECKPOINT --finetune EPOCHS`")
    device = local_device(run.train.device)
    with compiled_neurons(run.train.compile), processes(device) as team:
        kept: dict[str, Any] = dict(folder=folder, restart=restart, progress=progress, stepped=stepped)
        return _trained(run, run, team, device, start=start, **kept)


@torch.no_grad()
def accuracy(model: Model, images: np.ndarray, labels: np.ndarray, *, batch: int = 180) -> float:
    """Share of images, uint8 (n, C, H, W), that the model classifies right, in evaluation mode."""
    samples = datasets.Samples(images, labels)
    return _correct(model, samples, np.arange(len(labels)), batch=batch) / len(labels)


def _trained(
    run: RunConfig,
    recipe: Recipe | RunConfig,
    team: Processes,
    device: torch.device,
    *,
    folder: str | Path | None = None,
    restart: bool = False,
    progress: Callable[[Progress], None] | None = None,
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
        training = _Training(run, team, device, train_set, test_set, place, start)
        training.fit(restart=restart, progress=progress, stepped=stepped)
        model = training.finished()
        steps = model.time_steps()
        shown = training.chosen[datasets.spread_out(len(training.chosen), ENOUGH)]
        report = TrainingReport(
            accuracy=training.held_out_accuracy(),
            train_accuracy=_correct(model, train_set, shown) / len(shown),
            t_per_layer=steps,
            t_avg=sum(steps.values()) / len(steps),
            parameters=sum(x.numel() for x in model.parameters()),
            seconds=round(time.monotonic() - started, 1),
            recipe=recipe,
            split=datasets.describe(run.data.name, train_set, test_set),
        )
    return model.cpu(), report


class _Training:
    """One run of the loop: the model, what changes with it, and the folder that it is kept in."""

    def __init__(
        self,
        run: RunConfig,
        team: Processes,
        device: torch.device,
        train_set: datasets.Images,
        test_set: datasets.Images,
        folder: Path | None,
        start: Spikformer | None = None,
    ) -> None:
        self.run, self.team, self.device, self.folder = run, team, device, folder
        self.train_set, self.test_set = train_set, test_set
        count = len(train_set.labels)
        self.chosen = datasets.spread_out(count, run.data.train_images or count)
        self.model = (start or make_model(run.model)).to(device)
        self.mean: dict[str, Tensor] | None = None
        if run.train.ema is not None:
            self.mean = {key: x.detach().clone() for key, x in self.model.named_parameters()}
        self.optimizer = _optimizer(self.model, run)
        self.batches = math.ceil(len(self.chosen) / run.train.batch_size)
        self.history: list[dict[str, Any]] = []
        if team.rank:  # processes change their images differently
            torch.manual_seed(run.train.seed + 1_000_003 * team.rank)

    def fit(
        self,
        *,
        restart: bool,
        progress: Callable[[Progress], None] | None,
        stepped: Callable[[int, int], None] | None,
    ) -> None:
        done = 0 if restart else self._resume()
        for record in self.history:
            if progress is not None:
                progress(Progress(**record))
        parallel = self.team.wrapped(self.model, self.device)
        with _tensorboard(self.folder if self.team.main else None, done) as log:
            for epoch in range(done + 1, self.run.train.epochs + 1):
                state = self._epoch(epoch, parallel, stepped)
                self.history.append(asdict(state))
                self._save(epoch)
                log(state)
                if progress is not None:
                    progress(state)

    def _epoch(self, epoch: int, parallel: torch.nn.Module, stepped: Callable[[int, int], None] | None) -> Progress:
        train, team = self.run.train, self.team
        started = time.monotonic()
        self.model.train()
        total, seen, step = 0.0, 0, (epoch - 1) * self.batches
        order = team.of_main(torch.randperm(len(self.chosen)), self.device)
        for together in order.split(train.batch_size):
            self._set_rate(step)
            step += 1
            if len(together) >= team.count:
                share = together[team.rank :: team.count]
                total += self._step(share, epoch, parallel) * len(share)
                seen += len(share)
            if stepped is not None:
                stepped(step, train.epochs * self.batches)
        self.model.eval()
        total, all_seen = team.summed(total, seen, device=self.device)
        seconds = time.monotonic() - started
        steps = self.model.time_steps().values()
        return Progress(
            epoch=epoch,
            epochs=train.epochs,
            loss=total / all_seen,
            accuracy=self.held_out_accuracy(),
            t_avg=sum(steps) / len(steps),
            rate=self.optimizer.param_groups[0]["lr"],
            images_per_second=all_seen / seconds,
        )

    def _step(self, share: Tensor, epoch: int, parallel: torch.nn.Module) -> float:
        """Learn from the given images; the loss."""
        run, model = self.run, self.model
        numbers = self.chosen[share.numpy()]
        images = torch.from_numpy(self.train_set.batch(numbers)).to(self.device)
        labels = torch.from_numpy(self.train_set.labels[numbers]).to(self.device)
        images, targets = mix(augment(images, run.augment), labels, run.model.classes, run.augment, epoch=epoch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=run.train.precision == "bfloat16"):
            scores = parallel(images)
        loss = F.cross_entropy(scores.float(), targets, label_smoothing=run.train.label_smoothing)
        shown = float(loss.detach())
        if not math.isfinite(shown):
            raise ValueError(f"the loss became {shown} in epoch {epoch}; lower train.learning_rate")
        masks = model.masks(run.masks.groups)
        if masks:
            loss = loss + run.masks.weight * mask_loss(masks)
        self.optimizer.zero_grad()
        loss.backward()
        if run.train.clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), run.train.clip)
        self.optimizer.step()
        for mask in model.masks((*MASK_GROUPS, "head")):  # which the mask loss does not know
            mask.project_()
        if self.mean is not None and run.train.ema is not None:
            with torch.no_grad():
                for key, x in model.named_parameters():
                    self.mean[key].lerp_(x, 1 - run.train.ema)
        return shown

    def _set_rate(self, step: int) -> None:
        """Linear warm-up, then a cosine."""
        train = self.run.train
        warm = round(train.warmup_epochs * self.batches)
        if step < warm:
            share = (step + 1) / warm
        else:
            share = 0.5 * (1 + math.cos(math.pi * (step - warm) / max(train.epochs * self.batches - warm, 1)))
            lowest = train.min_learning_rate / train.learning_rate if train.min_learning_rate else 0.0
            share = lowest + (1 - lowest) * share if lowest else share
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share

    def held_out_accuracy(self) -> float:
        """Of the held-out images, each process taking its share of them."""
        count, team = len(self.test_set.labels), self.team
        numbers = datasets.spread_out(count, self.run.data.test_images or count)
        correct = _correct(self.model, self.test_set, numbers[team.rank :: team.count])
        return team.summed(correct, device=self.device)[0] / len(numbers)

    def finished(self) -> Model:
        """The model with its mean weights, if there are any, and the batch norms' statistics of those."""
        if self.mean is not None:
            self.model.load_state_dict(self.mean, strict=False)
        if self.run.finetune is None:  # which freezes the batch norms
            numbers = self.chosen[datasets.spread_out(len(self.chosen), ENOUGH)]
            _recalibrate(self.model, self.train_set, numbers, 4 * self.run.train.batch_size)
        return self.model

    def _resume(self) -> int:
        """Take over the state in the folder, if there is one; the epochs that are done."""
        if self.folder is None or not (self.folder / STATE).is_file():
            return 0
        state = training_state.load(self.folder / STATE)
        before, now = from_mapping(state.run).as_dict(), self.run.as_dict()
        changed = [key for key in differences(before, now) if key not in ("train.device", "data.folder")]
        if changed:
            raise ValueError(
                f"{self.folder} holds a run with another {changed[0]}; go on with the same configuration, "
                "choose another folder with -o, or begin anew with --restart"
            )
        self.model.load_state_dict(state.model)
        if state.mean is not None:
            self.mean = {key: x.to(self.device) for key, x in state.mean.items()}
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state.optimizer, "param_groups": groups})
        if self.team.rank < len(state.random):
            torch.set_rng_state(state.random[self.team.rank])
        self.history = state.history
        return state.epoch

    def _save(self, epoch: int) -> None:
        if self.folder is None:
            return
        random = self.team.gathered(torch.get_rng_state(), self.device)
        if self.team.main:
            state = TrainingState(
                model=self.model.state_dict(),
                mean=self.mean,
                optimizer=self.optimizer.state_dict()["state"],
                random=random,
                epoch=epoch,
                history=self.history,
                run=self.run.as_dict(),
            )
            training_state.save(self.folder / STATE, state)
            with written_aside(self.folder / LOG) as aside, open(aside, "w", newline="") as file:
                writer = csv.DictWriter(file, self.history[0])
                writer.writeheader()
                writer.writerows(self.history)
        self.team.wait()


@contextlib.contextmanager
def _tensorboard(folder: Path | None, done: int) -> Any:
    """A function that logs an epoch for TensorBoard; it does nothing where that is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        folder = None
    if folder is None:
        yield lambda state: None
        return
    writer = SummaryWriter(str(folder), purge_step=done + 1)  # type: ignore[no-untyped-call]

    def log(state: Progress) -> None:
        for key in ("loss", "accuracy", "t_avg", "rate", "images_per_second"):
            writer.add_scalar(key, getattr(state, key), state.epoch)  # type: ignore[no-untyped-call]
        writer.flush()  # type: ignore[no-untyped-call]

    try:
        yield log
    finally:
        writer.close()  # type: ignore[no-untyped-call]


def _optimizer(model: Model, run: RunConfig) -> torch.optim.Optimizer:
    masks = [x for name, x in model.named_parameters() if "time_mask" in name]
    others = [x for name, x in model.named_parameters() if "time_mask" not in name]
    rate, decay = run.train.learning_rate, run.train.weight_decay
    groups: list[dict[str, Any]] = [
        {"params": [x for x in others if x.dim() > 1], "weight_decay": decay, "peak": rate},
        {"params": [x for x in others if x.dim() < 2], "weight_decay": 0.0, "peak": rate},
        {"params": masks, "weight_decay": 0.0, "peak": rate * run.masks.rate},
    ]
    return torch.optim.AdamW(groups, lr=rate)


@torch.no_grad()
def _correct(model: Model, images: datasets.Images, numbers: np.ndarray, *, batch: int = 180) -> int:
    """How many of the images with the given numbers the model classifies right, in evaluation mode."""
    was_training, device = model.training, model.head.weight.device
    model.eval()
    correct = 0
    for begin in range(0, len(numbers), batch):
        part = numbers[begin : begin + batch]
        scores = model(torch.from_numpy(images.batch(part)).to(device))
        correct += int((scores.argmax(1).cpu().numpy() == images.labels[part]).sum())
    model.train(was_training)
    return correct


@torch.no_grad()
def _recalibrate(model: Model, images: datasets.Images, numbers: np.ndarray, batch: int) -> None:
    """Replace the running statistics of the batch norms by those of the final weights over the images."""
    norms = [x for x in model.modules() if isinstance(x, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    model.train()
    for begin in range(0, len(numbers), batch):
        part = images.batch(numbers[begin : begin + batch])
        model(torch.from_numpy(part).to(model.head.weight.device))
    model.eval()
    for norm in norms:
        norm.momentum = 0.1
