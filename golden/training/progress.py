"""What a training run tells while it goes on: to whoever called it, and to TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """The state after an epoch."""

    epoch: int
    """Its number, from 1."""
    epochs: int
    """Of the whole run."""
    loss: float
    """Its mean."""
    accuracy: float | None
    """Of the held-out images, 0..1; None in pre-training, which knows no classes."""
    t_avg: float
    """Mean time steps of the layers."""
    rate: float = 0.0
    """The learning rate at its end."""
    images_per_second: float = 0.0
    """Of training, all processes together."""


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What is told while a run goes on."""

    progress: Callable[[EpochReport], None] | None = None
    """Called after each epoch, and for those that were done before."""
    stepped: Callable[[int, int], None] | None = None
    """Called after each step with the steps done and all steps."""

    def epoch(self, report: EpochReport) -> None:
        if self.progress is not None:
            self.progress(report)

    def step(self, done: int, of: int) -> None:
        if self.stepped is not None:
            self.stepped(done, of)


@contextmanager
def tensorboard(folder: Path | None, done: int) -> Iterator[Callable[[EpochReport], None]]:
    """A function that logs an epoch for TensorBoard; it does nothing where that is not installed.

    folder: None for no log. done: epochs before the first one.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        folder = None
    if folder is None:
        yield lambda state: None
        return
    writer = SummaryWriter(str(folder), purge_step=done + 1)  # type: ignore[no-untyped-call]

    def log(state: EpochReport) -> None:
        for key in ("loss", "accuracy", "t_avg", "rate", "images_per_second"):
            if getattr(state, key) is not None:
                writer.add_scalar(key, getattr(state, key), state.epoch)  # type: ignore[no-untyped-call]
        writer.flush()  # type: ignore[no-untyped-call]

    try:
        yield log
    finally:
        writer.close()  # type: ignore[no-untyped-call]
