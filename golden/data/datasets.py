"""Data sets as uint8 images, with a fixed split.

digits: scikit-learn's 1,797 handwritten digits, 8x8 pixels of 0..16 (Alpaydin and Kaynak, UCI repository);
it needs no files. fashion, cifar10 and cifar100 are read from a folder (`golden.data.published`), folder is one of
images by class (`golden.data.images`): `train/CLASS/*` and `val/CLASS/*` (or `test/`), as ImageNet is kept.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from spikeloom.golden.data import published
from spikeloom.golden.data.images import ImageFolder, Images, Samples

NAMES = ("digits",)  # those that come with the package
KNOWN = (*NAMES, "fashion", "cifar10", "cifar100", "folder")
ENVIRONMENT = "SPIKELOOM_DATA"
SPLIT_SEED = 0
TEST_SHARE = 0.2


def load(name: str, split: Literal["train", "test"], folder: str | os.PathLike[str] | None = None) -> Samples:
    """A part of a data set. "test" is held out: as published, or for the digits 20 % of each class.

    folder: where the files are; the environment variable SPIKELOOM_DATA when None. Pixels of the digits are
    ``min(255, 16 value)``. Raises ValueError for an unknown name or split, and for files that are corrupt;
    FileNotFoundError, with what was looked for, where they are missing.
    """
    _check(name, split)
    if name == "folder":
        raise ValueError("the data set folder is read image by image: use open_images")
    if name == "digits":
        return _digits(split)
    root = data_folder(name, folder)
    found = published.read(name, root, split)
    if found is None:
        raise FileNotFoundError(
            f"no {split}ing files of {name} in {root}: looked for {', '.join(published.file_names(name, split))}; "
            f"`spikeloom data download {name} --to {root}` fetches them"
        )
    if len(found.images) != len(found.labels):
        raise ValueError(f"{name} in {root} has {len(found.images)} images but {len(found.labels)} labels")
    return found


def open_images(
    name: str, split: Literal["train", "test"], folder: str | os.PathLike[str] | None = None, *, size: int = 224
) -> Images:
    """What `load` returns, or for "folder" an `ImageFolder` of images of ``size`` pixels a side."""
    if name != "folder":
        return load(name, split, folder)
    _check(name, split)
    root = data_folder(name, folder)
    for part in ("train",) if split == "train" else ("val", "test"):
        if (root / part).is_dir():
            return ImageFolder(root / part, size=size)
    raise FileNotFoundError(f"no folder {root / ('train' if split == 'train' else 'val')} with a folder for each class")


def data_folder(name: str, folder: str | os.PathLike[str] | None = None) -> Path:
    """The folder to look in. ValueError where none is named, FileNotFoundError where it is missing."""
    given = os.fspath(folder) if folder is not None else os.environ.get(ENVIRONMENT, "")
    if not given:
        hint = "" if name == "folder" else f"; `spikeloom data download {name} --to DIR` fetches them"
        raise ValueError(
            f"the data set {name} is read from files: name their folder with --data-folder or in {ENVIRONMENT}{hint}"
        )
    root = Path(given).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"no such folder: {root}")
    return root


def describe(name: str, train: Images, test: Images) -> str:
    """A split in words, for the header of a checkpoint."""
    how = f"stratified, split seed {SPLIT_SEED}" if name == "digits" else "split as published"
    return f"{name}: {len(train.labels)} training and {len(test.labels)} held-out images, {how}"


def describe_split(name: str, folder: str | os.PathLike[str] | None = None) -> str:
    """`describe` for a data set by its name."""
    return describe(name, load(name, "train", folder), load(name, "test", folder))


def _check(name: str, split: str) -> None:
    if name not in KNOWN:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(KNOWN)}")
    if split not in ("train", "test"):
        raise ValueError(f"split must be train or test, not {split!r}")


def _digits(split: str) -> Samples:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.minimum(255, 16 * digits.images).astype(np.uint8)[:, None]  # (n, 1, 8, 8)
    labels = digits.target.astype(np.int64)
    chosen = train_test_split(np.arange(len(labels)), test_size=TEST_SHARE, random_state=SPLIT_SEED, stratify=labels)[
        split == "test"
    ]
    return Samples(images[chosen], labels[chosen])


def spread_out(count: int, limit: int) -> np.ndarray:
    """At most ``limit`` of the numbers 0..count - 1, evenly spaced and in order."""
    return np.arange(count) if count <= limit else np.linspace(0, count - 1, limit).astype(np.int64)


def classes_of(parts: Sequence[Images]) -> int:
    """One more than the largest label."""
    return 1 + max(int(x.labels.max()) for x in parts)
