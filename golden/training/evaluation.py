"""What a trained model is judged by, and the last touch before: accuracies, and the statistics of batch norms."""

from __future__ import annotations

import numpy as np
import torch

from spikeloom.golden.data.images import Images, Samples
from spikeloom.golden.models.architectures import Model


@torch.no_grad()
def accuracy(model: Model, images: np.ndarray, labels: np.ndarray, *, batch: int = 180) -> float:
    """Share of images, uint8 (n, C, H, W), that the model classifies right, in evaluation mode."""
    samples = Samples(images, labels)
    return count_correct(model, samples, np.arange(len(labels)), batch=batch) / len(labels)


@torch.no_grad()
def count_correct(model: Model, images: Images, numbers: np.ndarray, *, batch: int = 180) -> int:
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
def recalibrate(model: Model, images: Images, numbers: np.ndarray, batch: int) -> None:
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
