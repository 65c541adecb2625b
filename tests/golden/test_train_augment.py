"""Augmentation: each change does what it says, to the share of images that it says, and keeps the type."""

import numpy as np
import pytest
import torch

from spikeloom.golden.training import augment as module
from spikeloom.golden.training.augment import OPERATIONS, Augmentation, augment, mix


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def noise(count=50, channels=3, side=12):
    return torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8)


def test_nothing_is_the_default_and_draws_no_random_number():
    images, labels = noise(), torch.arange(50) % 10
    state = torch.get_rng_state()
    assert augment(images, Augmentation()) is images
    assert mix(images, labels, 10, Augmentation()) == (images, labels)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "how",
    [
        Augmentation(shift=1), Augmentation(rotation=9, zoom=0.1), Augmentation(crop=2), Augmentation(flip=True),
        Augmentation(operations=2), Augmentation(erase=1.0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_type_shape_and_seed(how, channels):
    images = noise(channels=channels)
    before = images.clone()
    torch.manual_seed(1)
    one = augment(images, how)
    torch.manual_seed(1)
    assert torch.equal(one, augment(images, how))
    assert torch.equal(images, before)  # the data set itself stays as it is
    assert one.dtype == torch.uint8 and one.shape == images.shape and not torch.equal(one, images)


def test_small_moves_stay_small():
    images = torch.zeros(50, 1, 8, 8, dtype=torch.uint8)
    images[:, :, 3, 3] = 200
    far = augment(images, Augmentation(shift=1, rotation=6, zoom=0.06))
    far[:, :, 1:6, 1:6] = 0
    assert not far.any()  # at most a pixel away


def test_crop_takes_a_window_of_the_bordered_image():
    images = noise(200)
    cropped = augment(images, Augmentation(crop=2)).numpy()
    bordered = np.pad(images.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)))
    places = set()
    for before, after in zip(bordered, cropped, strict=True):
        found = [(y, x) for y in range(5) for x in range(5) if np.array_equal(before[:, y : y + 12, x : x + 12], after)]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) == 25  # all of them are drawn


def test_half_of_the_images_are_flipped():
    images = noise(1000)
    flipped = augment(images, Augmentation(flip=True))
    turned = (flipped == images.flip(3)).all(3).all(2).all(1)
    same = (flipped == images).all(3).all(2).all(1)
    assert (turned ^ same).all() and 430 < turned.sum() < 570  # 4.4 standard deviations


def test_erasing_fills_one_rectangle_with_noise():
    images = torch.zeros(400, 3, 32, 32, dtype=torch.uint8)
    erased = augment(images, Augmentation(erase=0.25))
    hit = (erased != 0).flatten(1).any(1)
    assert 70 < hit.sum() < 130
    for image in erased[hit].numpy():
        rows, columns = np.nonzero(image.any(0))
        inside = image[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert (inside.any(0)).mean() > 0.99  # noise is black in all channels once in 2**24
        assert 0.01 < inside[0].size / 32**2 < 0.4


def test_mixup_blends_images_and_classes_alike():
    images = torch.zeros(8, 1, 4, 4, dtype=torch.uint8)
    images += (torch.arange(8, dtype=torch.uint8) * 30).view(-1, 1, 1, 1)
    mixed, targets = mix(images, torch.arange(8), 8, Augmentation(mixup=0.5))
    assert torch.allclose(targets.sum(1), torch.ones(8))
    # The grey level of class c is 30 c: shares and pixels tell the same story (float32).
    assert torch.allclose(mixed[:, 0, 0, 0], (targets * 30 * torch.arange(8)).sum(1), atol=1e-3)
    assert 0 < targets[0].max() <= 1


def test_cutmix_shares_are_the_areas():
    images = torch.zeros(8, 1, 16, 16, dtype=torch.uint8) + torch.arange(8, dtype=torch.uint8).view(-1, 1, 1, 1)
    seen = set()
    for _ in range(20):
        mixed, targets = mix(images, torch.arange(8), 8, Augmentation(cutmix=1.0))
        assert mixed.dtype == torch.uint8
        for image, target in zip(mixed, targets, strict=True):
            areas = torch.bincount(image.flatten().long(), minlength=8) / 256
            assert torch.allclose(areas, target, atol=1e-6)
            seen.add(round(float(target.max()), 3))
    assert len(seen) > 10


def test_mixing_stops_after_its_epochs():
    images, labels = noise(8), torch.arange(8)
    how = Augmentation(mixup=1.0, mix_epochs=2)
    assert mix(images, labels, 8, how, epoch=2)[1].dim() == 2
    assert mix(images, labels, 8, how, epoch=3)[1] is labels


def test_one_of_mixup_and_cutmix_is_drawn():
    images, labels = noise(8), torch.arange(8)
    kinds = [mix(images, labels, 8, Augmentation(mixup=1.0, cutmix=1.0))[0].dtype for _ in range(40)]
    assert 8 < kinds.count(torch.uint8) < 32 and set(kinds) == {torch.uint8, torch.float32}


# RandAugment's operations.


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_operations_keep_the_type_and_the_given_images(name, channels):
    images = noise(6, channels)
    before = images.clone()
    changed = OPERATIONS[name](images, torch.tensor([-1.0, -0.5, 0.0, 0.3, 0.7, 1.0]))
    assert changed.dtype == torch.uint8 and changed.shape == images.shape and torch.equal(images, before)
    if name not in ("autocontrast", "invert", "solarize"):
        assert torch.equal(changed[2], images[2])  # strength 0
    if name != "identity" and not (name == "colour" and channels == 1):
        assert not torch.equal(changed[5], images[5])


def test_operations_by_hand():
    one = torch.ones(1)
    image = torch.tensor([[[[10, 200], [60, 110]]]], dtype=torch.uint8)
    assert OPERATIONS["invert"](image, one).flatten().tolist() == [245, 55, 195, 145]
    assert OPERATIONS["posterize"](image, one).flatten().tolist() == [0, 192, 48, 96]
    assert OPERATIONS["solarize"](image, one / 2).flatten().tolist() == [10, 55, 60, 110]
    assert OPERATIONS["autocontrast"](image, one).flatten().tolist() == [0, 255, 67, 134]
    assert OPERATIONS["brightness"](image, -one).flatten().tolist() == [1, 20, 6, 11]
    image[0, 0, 1, 1] = 130
    assert OPERATIONS["contrast"](image, -one).flatten().tolist() == [91, 110, 96, 103]  # towards the mean, 100
    flat = torch.full((1, 3, 4, 4), 77, dtype=torch.uint8)
    assert torch.equal(OPERATIONS["autocontrast"](flat, one), flat)


def test_shift_and_rotation_by_hand():
    images = noise(1, 1, 20)
    shifted = OPERATIONS["shift x"](images, torch.tensor([1 / 9.0]))  # 0.1 of the half width twice: one pixel
    assert torch.equal(shifted[..., :-1], images[..., 1:]) and not shifted[..., -1].any()
    quarter = module._affine(images, _00=torch.zeros(1), _01=-torch.ones(1), _10=torch.ones(1), _11=torch.zeros(1))
    assert torch.equal(quarter, images.rot90(-1, (2, 3))) or torch.equal(quarter, images.rot90(1, (2, 3)))


def test_magnitude_sets_the_strength(monkeypatch):
    seen = []
    monkeypatch.setattr(module, "OPERATIONS", {"only": lambda images, strength: seen.append(strength) or images})
    augment(noise(4000, 1, 2), Augmentation(operations=1, magnitude=6, spread=0.5))
    (strength,) = seen
    assert abs(strength.abs().mean() - 0.6) < 0.005 and abs(strength.abs().std() - 0.05) < 0.005
    assert abs((strength > 0).float().mean() - 0.5) < 0.05
