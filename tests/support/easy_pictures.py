"""Ten kinds of pictures that any small model learns within three epochs, on any CPU and from any seed.

A test that trains decides by what training must do; so it needs a task that leaves no doubt. The real digits in three
epochs do: what comes out then hangs on the rounding of one CPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from spikeloom.golden.data import datasets
from spikeloom.golden.data.images import Samples

TRAIN, TEST = 480, 120  # pictures, as many of each class


def easy_pictures(split: str) -> Samples:
    """8x8 pixels: a bright column (classes 0 to 4) or row (5 to 9), each in its place, on dark noise."""
    labels = np.arange(TRAIN if split == "train" else TEST) % 10
    images = np.random.default_rng(split == "test").integers(0, 64, (len(labels), 1, 8, 8))
    for image, label in zip(images[:, 0], labels, strict=True):
        place = (0, 2, 3, 5, 7)[label % 5]
        if label < 5:
            image[:, place] += 180
        else:
            image[place] += 180
    return Samples(images.astype(np.uint8), labels.astype(np.int64))


@contextmanager
def instead_of_digits() -> Iterator[None]:
    """All that asks for the digits gets the easy pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "_digits", easy_pictures)
        yield
