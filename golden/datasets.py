"""Data sets as uint8 images, with a fixed split.

digits: scikit-learn's 1,797 handwritten digits, 8x8 pixels of 0..16 (Alpaydin and Kaynak, UCI repository).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

NAMES = ("digits",)
SPLIT_SEED = 0
TEST_SHARE = 0.2


class Samples(NamedTuple):
    """images: uint8 (n, C, H, W). labels: int64 (n,)."""

    images: np.ndarray
    labels: np.ndarray


def load(name: str, split: Literal["train", "test"]) -> Samples:
    """A part of a data set; "test" is held out: 20 % of each class, always the same images.

    Pixels of the digits are ``min(255, 16 value)``. Raises ValueError for an unknown name or split.
    """
    if name not in NAMES:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(NAMES)}")
    if split not in ("train", "test"):
        raise ValueError(f"split must be train or test, not {split!r}")
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.minimum(255, 16 * digits.images).astype(np.uint8)[:, None]  # (n, 1, 8, 8)
    labels = digits.target.astype(np.int64)
    chosen = train_test_split(
        np.arange(len(labels)), test_size=TEST_SHARE, random_state=SPLIT_SEED, stratify=labels
    )[split == "test"]
    return Samples(images[chosen], labels[chosen])


def describe_split(name: str) -> str:
    """The split in words, for the header of a checkpoint."""
    train, test = load(name, "train"), load(name, "test")
    return (
        f"{name}: {len(train.labels)} training and {len(test.labels)} held-out images, "
        f"stratified, split seed {SPLIT_SEED}"
    )
