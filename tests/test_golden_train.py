"""Training: it learns, repeats, keeps masks prefixes, reports, and refuses what does not fit."""

import pytest
import torch

from spikeloom.golden import train as module
from spikeloom.golden.spikformer import Spikformer, SpikformerConfig
from spikeloom.golden.train import Recipe, train

SMALL = dict(dim=16, heads=2, mlp_ratio=2, neuron="dts", dynamic=True, attention_threshold=1.0)


def test_training_learns_repeats_and_shortens_masks():
    config = SpikformerConfig(**SMALL, initial_steps=3)
    recipe = Recipe(epochs=3, batch_size=32, learning_rate=1e-2, mask_weight=0.05, mask_rate=1.0)
    seen = []
    state = torch.get_rng_state()
    model, report = train(config, recipe, progress=seen.append)
    assert torch.equal(torch.get_rng_state(), state)  # the caller's random numbers are left alone
    assert [x.epoch for x in seen] == [1, 2, 3] and {x.epochs for x in seen} == {3}
    assert seen[-1].loss < seen[0].loss
    assert report.accuracy > 0.4 and report.train_accuracy > 0.4
    steps = model.time_steps()
    assert report.t_per_layer == steps and report.t_avg == sum(steps.values()) / 12
    assert report.t_avg < 3 and min(steps.values()) == 1
    assert steps["sps.0"] >= steps["block.0.q"]  # the mask loss covers qkv and mlp
    assert not model.training
    again, _ = train(config, recipe)
    other, _ = train(config, Recipe(epochs=1, batch_size=32, seed=1))
    first, second, third = (x.state_dict() for x in (model, again, other))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["head.weight"], third["head.weight"])


def test_augmentation_moves_images_and_keeps_their_type():
    torch.manual_seed(0)
    images = torch.zeros(50, 1, 8, 8, dtype=torch.uint8)
    images[:, :, 3, 3] = 200
    same = module._augmented(images, Recipe(shift=0, rotation=0, zoom=0))
    assert torch.equal(same, images)
    moved = module._augmented(images, Recipe(shift=1))
    assert moved.dtype == torch.uint8 and moved.shape == images.shape
    assert not torch.equal(moved, images)
    far = moved.clone()
    far[:, :, 1:6, 1:6] = 0
    assert not far.any()  # at most a pixel away


def test_recalibration_takes_the_statistics_of_all_images():
    torch.manual_seed(0)
    model = Spikformer(SpikformerConfig(dim=16, heads=2))
    images = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
    module._recalibrate(model, images, 20)
    currents = model.patch_embed.proj_conv(images / 256).detach()
    norm = model.patch_embed.proj_bn
    # Tolerance: the average of two halves against the average of all, in float32.
    assert torch.allclose(norm.running_mean, currents.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-6)
    assert norm.num_batches_tracked == 2 and norm.momentum == 0.1 and not model.training


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"the images of digits are \(1, 8, 8\), not \(3, 8, 8\)"):
        train(SpikformerConfig(channels=3))


def test_too_few_classes_are_refused():
    with pytest.raises(ValueError, match="digits has more than 9 classes"):
        train(SpikformerConfig(classes=9))


def test_unknown_data_set_is_refused():
    with pytest.raises(ValueError, match="unknown data set 'x'"):
        train(SpikformerConfig(), Recipe(dataset="x"))


@pytest.mark.parametrize("key", ["epochs", "batch_size", "threads"])
def test_recipe_needs_positive_numbers(key):
    with pytest.raises(ValueError, match=f"{key} must be positive, not 0"):
        Recipe(**{key: 0})


def test_recipe_needs_known_groups():
    with pytest.raises(ValueError, match="mask_groups must be among sps, qkv, attn and mlp, not 'head'"):
        Recipe(mask_groups=("qkv", "head"))
