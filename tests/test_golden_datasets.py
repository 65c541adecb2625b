"""The digits and their split."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from spikeloom.golden import datasets


def test_split_is_fixed_stratified_and_without_overlap():
    train, test = datasets.load("digits", "train"), datasets.load("digits", "test")
    assert train.images.shape == (1437, 1, 8, 8) and test.images.shape == (360, 1, 8, 8)
    assert train.images.dtype == np.uint8 and train.labels.dtype == np.int64
    assert np.bincount(test.labels).min() >= 34 and np.bincount(test.labels).max() <= 37
    keys = [x.tobytes() for x in (*train.images, *test.images)]
    assert len(set(keys)) == 1797
    assert test.labels[:8].tolist() == datasets.load("digits", "test").labels[:8].tolist()


def test_pixels_are_sixteen_times_the_original_below_256():
    original = load_digits()
    wanted = {
        tuple(min(255, 16 * int(p)) for p in image.ravel()): label
        for image, label in zip(original.images, original.target, strict=True)
    }
    for split in ("train", "test"):
        for image, label in zip(*datasets.load("digits", split), strict=True):
            assert wanted[tuple(image.ravel().tolist())] == label
            assert 0 < image.max() <= 255


def test_description_tells_sizes_and_seed():
    expected = "digits: 1437 training and 360 held-out images, stratified, split seed 0"
    assert datasets.describe_split("digits") == expected


def test_unknown_data_set():
    with pytest.raises(ValueError, match="unknown data set 'mnist'; known: digits"):
        datasets.load("mnist", "test")


def test_unknown_split():
    with pytest.raises(ValueError, match="split must be train or test, not 'dev'"):
        datasets.load("digits", "dev")
