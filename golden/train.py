"""Training of small Spikformers, with trained time steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from spikeloom.golden import datasets
from spikeloom.golden.spikformer import Spikformer, SpikformerConfig
from spikeloom.golden.threads import torch_threads
from spikeloom.golden.time_mask import mask_loss

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
        unknown = set(self.mask_groups) - {"sps", "qkv", "attn", "mlp"}
        if unknown:
            raise ValueError(f"mask_groups must be among sps, qkv, attn and mlp, not {sorted(unknown)[0]!r}")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The state after an epoch (1..epochs): mean loss, held-out accuracy (0..1) and mean time steps."""

    epoch: int
    epochs: int
    loss: float
    accuracy: float
    t_avg: float


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """What came out. accuracy: of the held-out images, 0..1. t_per_layer: ``T_l``. seconds: wall clock."""

    accuracy: float
    train_accuracy: float
    t_per_layer: dict[str, int]
    t_avg: float
    parameters: int
    seconds: float
    recipe: Recipe
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
    started = time.monotonic()
    train_set, test_set = (datasets.load(recipe.dataset, split) for split in ("train", "test"))
    shape = (config.channels, config.height, config.width)
    if train_set.images.shape[1:] != shape:
        raise ValueError(f"the images of {recipe.dataset} are {train_set.images.shape[1:]}, not {shape}")
    if config.classes <= train_set.labels.max():
        raise ValueError(f"{recipe.dataset} has more than {config.classes} classes")
    with torch_threads(recipe.threads):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            model = Spikformer(config)
            _fit(model, recipe, train_set, test_set, progress)
            _recalibrate(model, torch.from_numpy(train_set.images), 4 * recipe.batch_size)
        steps = model.time_steps()
        report = TrainingReport(
            accuracy=accuracy(model, test_set.images, test_set.labels),
            train_accuracy=accuracy(model, train_set.images, train_set.labels),
            t_per_layer=steps,
            t_avg=sum(steps.values()) / len(steps),
            parameters=sum(x.numel() for x in model.parameters()),
            seconds=round(time.monotonic() - started, 1),
            recipe=recipe,
            split=datasets.describe_split(recipe.dataset),
        )
    return model, report


@torch.no_grad()
def accuracy(model: Spikformer, images: np.ndarray, labels: np.ndarray, *, batch: int = 180) -> float:
    """Share of images, uint8 (n, C, H, W), that the model classifies right, in evaluation mode."""
    was_training = model.training
    model.eval()
    parts = [model(part).argmax(1) for part in torch.from_numpy(images).split(batch)]
    model.train(was_training)
    return float((torch.cat(parts).numpy() == labels).mean())


def _optimizer(model: Spikformer, recipe: Recipe) -> torch.optim.Optimizer:
    masks = [x for name, x in model.named_parameters() if "time_mask" in name]
    others = [x for name, x in model.named_parameters() if "time_mask" not in name]
    rate = recipe.learning_rate
    return torch.optim.AdamW(
        [
            {"params": [x for x in others if x.dim() > 1], "weight_decay": recipe.weight_decay, "lr": rate},
            {"params": [x for x in others if x.dim() < 2], "weight_decay": 0.0, "lr": rate},
            {"params": masks, "weight_decay": 0.0, "lr": rate * recipe.mask_rate},
        ]
    )


def _fit(
    model: Spikformer,
    recipe: Recipe,
    train_set: datasets.Samples,
    test_set: datasets.Samples,
    progress: Callable[[Progress], None] | None,
) -> None:
    images, labels = torch.from_numpy(train_set.images), torch.from_numpy(train_set.labels)
    optimizer = _optimizer(model, recipe)
    batches = math.ceil(len(images) / recipe.batch_size)
    warm = batches

    def rate(step: int) -> float:
        """Share of the peak learning rate."""
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(recipe.epochs * batches - warm, 1)))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    masks = model.masks(recipe.mask_groups)
    every_mask = model.masks(("sps", "qkv", "attn", "mlp"))
    for epoch in range(1, recipe.epochs + 1):
        model.train()
        total = 0.0
        for chosen in torch.randperm(len(images)).split(recipe.batch_size):
            scores = model(_augmented(images[chosen], recipe))
            loss = F.cross_entropy(scores, labels[chosen], label_smoothing=recipe.label_smoothing)
            total += float(loss.detach()) * len(chosen)
            if masks:
                loss = loss + recipe.mask_weight * mask_loss(masks)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            for mask in every_mask:
                mask.project_()
        model.eval()
        if progress is not None:
            steps = model.time_steps().values()
            progress(
                Progress(
                    epoch=epoch,
                    epochs=recipe.epochs,
                    loss=total / len(images),
                    accuracy=accuracy(model, test_set.images, test_set.labels),
                    t_avg=sum(steps) / len(steps),
                )
            )


def _augmented(images: Tensor, recipe: Recipe) -> Tensor:
    """The images (B, C, H, W), each moved, turned and zoomed a little; uint8, zeros coming in."""
    if not (recipe.shift or recipe.rotation or recipe.zoom):
        return images
    count, _, height, width = images.shape

    def spread(reach: float) -> Tensor:
        return (2 * torch.rand(count) - 1) * reach

    angle, zoom = spread(math.radians(recipe.rotation)), 1 + spread(recipe.zoom)
    theta = torch.zeros(count, 2, 3)  # from the new positions to the old, both in -1..1
    theta[:, 0, 0], theta[:, 0, 1] = angle.cos() * zoom, -angle.sin() * zoom
    theta[:, 1, 0], theta[:, 1, 1] = angle.sin() * zoom, angle.cos() * zoom
    theta[:, 0, 2], theta[:, 1, 2] = spread(2 * recipe.shift / width), spread(2 * recipe.shift / height)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False).round().to(torch.uint8)


@torch.no_grad()
def _recalibrate(model: Spikformer, images: Tensor, batch: int) -> None:
    """Replace the running statistics of the batch norms by those of the final weights over all images."""
    norms = [x for x in model.modules() if isinstance(x, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    model.train()
    for part in images.split(batch):
        model(part)
    model.eval()
    for norm in norms:
        norm.momentum = 0.1
