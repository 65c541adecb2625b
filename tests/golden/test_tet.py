"""Temporal efficient training: the loss by hand, and what it does with a model."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from spikeloom.golden.data import datasets
from spikeloom.golden.models.spikformer import Spikformer
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.training.parallel import Processes
from spikeloom.golden.training.run_config import RunConfig, TrainConfig
from spikeloom.golden.training.tet import tet_loss
from spikeloom.golden.training.train import train_run
from spikeloom.golden.training.training_loop import TrainingLoop

SMALL = SpikformerConfig(dim=8, heads=2, steps=3)
RUN = RunConfig(model=SMALL, train=TrainConfig(tet=0.25, epochs=1, batch_size=16, device="cpu"))


def test_the_loss_by_hand():
    scores = torch.tensor([[[2.0, 0.0]], [[0.0, 0.0]]])  # two steps, an image, two classes
    first, second = torch.log1p(torch.exp(torch.tensor(-2.0))), torch.log(torch.tensor(2.0))
    spread = (1 + 1 + 1 + 1) / 4
    loss = tet_loss(scores, torch.tensor([0]), share=0.25)
    assert float(loss) == pytest.approx(float(0.75 * (first + second) / 2 + 0.25 * spread))


def test_of_one_step_without_regulariser_it_is_the_cross_entropy():
    scores, labels = torch.randn(1, 6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    expected = F.cross_entropy(scores[0], labels, label_smoothing=0.1)
    assert torch.allclose(tet_loss(scores, labels, share=0.0, label_smoothing=0.1), expected)


def test_scores_of_the_steps_have_the_usual_ones_for_a_mean():
    torch.manual_seed(0)
    model = Spikformer(SMALL)
    for x in model.modules():
        if isinstance(x, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(x.bias, 0.5, 1.5)
            x.eval()
    images = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    usual = model(images)
    model.by_step = True
    each = model(images)
    assert each.shape == (3, 2, 10) and not torch.equal(each[0], each[2])
    assert torch.allclose(each.mean(0), usual, atol=1e-6)  # tolerance: the order of additions
    assert model.eval()(images).shape == (2, 10)


@pytest.mark.trains
def test_training_takes_it(easy_digits):
    """Loss and gradient of a step are those of the function, and a run ends."""
    torch.manual_seed(0)
    parts = (datasets.load("digits", x) for x in ("train", "test"))
    model = Spikformer(SMALL)
    loop = TrainingLoop(RUN, Processes(), torch.device("cpu"), *parts, None, model)
    images, labels = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8), torch.tensor([1, 2, 3, 4])
    loss = loop.loss(images, labels, 1, model.train())
    assert torch.allclose(loss, tet_loss(model(images), labels, share=0.25, label_smoothing=0.1))
    assert not torch.allclose(loss, F.cross_entropy(model(images).mean(0), labels, label_smoothing=0.1))
    trained, report = train_run(RUN)
    assert 0 <= report.accuracy <= 1 and report.recipe.train.tet == 0.25


def test_it_is_for_fixed_steps():
    with pytest.raises(ValueError, match="train.tet is for a spikformer without trained time steps: set model.dynamic"):
        replace(RUN, model=replace(SMALL, dynamic=True))
