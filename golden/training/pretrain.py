"""Pre-training of an E-SpikeFormer on hidden patches, by the loop that trains it afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from spikeloom.golden.data.images import Images
from spikeloom.golden.models.architectures import Model
from spikeloom.golden.models.e_spikeformer import ESpikeformer
from spikeloom.golden.training.augment import augment
from spikeloom.golden.training.masked_autoencoder import MaskedAutoencoder
from spikeloom.golden.training.parallel import Processes
from spikeloom.golden.training.progress import Hooks
from spikeloom.golden.training.run_config import RunConfig
from spikeloom.golden.training.training_loop import TrainingLoop

FOLDER = "pretrain"  # in that of the run


def pretrain(
    model: Model,
    run: RunConfig,
    team: Processes,
    device: torch.device,
    train_set: Images,
    test_set: Images,
    folder: Path | None,
    hooks: Hooks,
    *,
    restart: bool,
) -> None:
    """Change the model's weights to those that tell hidden patches from the others, as ``run.pretrain`` says.

    The other arguments are those of `golden.training.train.train_run`; a state of its own, below the run's folder,
    lets it go on after a kill.
    """
    assert isinstance(model, ESpikeformer)
    place = None if folder is None else folder / FOLDER
    model.head.requires_grad_(False)  # nothing of the classes is learned, and data-parallel training must know
    loop = _Pretraining(_own(run), team, device, train_set, test_set, place, model)
    loop.fit(hooks, restart=restart)
    model.head.requires_grad_(True)


def _own(run: RunConfig) -> RunConfig:
    """The configuration of the pre-training as a run."""
    assert run.pretrain is not None
    warm = min(run.train.warmup_epochs, run.pretrain.epochs / 2)
    train = replace(
        run.train,
        epochs=run.pretrain.epochs,
        learning_rate=run.pretrain.learning_rate,
        min_learning_rate=0.0,
        warmup_epochs=warm,
        ema=None,
    )
    return replace(run, train=train)


class _Pretraining(TrainingLoop):
    """The loop with a masked autoencoder around the model: no labels, no accuracy."""

    def made_learner(self) -> torch.nn.Module:
        assert isinstance(self.model, ESpikeformer) and self.run.pretrain is not None
        return MaskedAutoencoder(self.model, self.run.pretrain)

    def loss(self, images: Tensor, labels: Tensor, epoch: int, parallel: torch.nn.Module) -> Tensor:
        with self.precision():
            error: Tensor = parallel(augment(images, self.run.augment))
        return error.float()

    def score(self) -> None:
        return None
