"""Images for a network: of a data set, a folder, a file, or random ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spikeloom.golden.data.origin import trained_on

if TYPE_CHECKING:
    from spikeloom.golden.network import Network

RANDOM_IMAGES = 16
MOST_RANDOM = 100_000


class Samples(NamedTuple):
    """images: uint8 (n, C, H, W). labels: int64 (n,), None where there are none."""

    images: np.ndarray
    labels: np.ndarray | None

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.images.shape[1:]))
        return f"<Samples: {len(self.images)} images of {shape}, {'without' if self.labels is None else 'with'} labels>"

    def first(self, count: int | None) -> Samples:
        """The first images; all where count is None."""
        if count is None:
            return self
        if count > len(self.images):
            raise ValueError(f"--images must be at most {len(self.images)}, the images there are, not {count}")
        return Samples(self.images[:count], None if self.labels is None else self.labels[:count])


def load_samples(
    data: str | None,
    network: Network,
    count: int | None = None,
    *,
    folder: Path | None = None,
    most: int | None = None,
) -> Samples:
    """Images (and labels) for a network; ValueError where they do not have its size.

    data: what the user typed after --data; None takes the data set that the network was trained on, the digits
    where it does not say. folder: of a data set's files, SPIKELOOM_DATA when None, then the one of the training.
    count: only the first ones, or of a folder for each class evenly spaced ones. most: the same where count is
    None and there are more.
    """
    data, folder = named_data(data, network.provenance, folder)
    if data == "random":
        from spikeloom.golden.network.random_network import random_images

        if count is not None and count > MOST_RANDOM:
            raise ValueError(f"--images must be at most {MOST_RANDOM} of random ones, not {count}")
        return Samples(random_images(network, count or RANDOM_IMAGES), None)
    shape = network.image_shape
    if data.endswith(".npz"):
        samples = _read_file(Path(data))
    elif data == "folder":
        samples = _read_image_folder(folder, shape, count, most)
    else:
        samples = _read_known(data, folder)
    if samples.images.ndim != 4 or samples.images.shape[1:] != shape:
        raise ValueError(
            f"network {network.name!r} takes images of shape {shape}, "
            f"not {samples.images.shape[1:]} of {data}; choose others with --data"
        )
    labels = samples.labels
    if labels is not None and len(labels) and not 0 <= labels.min() <= labels.max() < network.classes:
        raise ValueError(
            f"labels of {data} must be in 0..{network.classes - 1}, the classes of {network.name!r}, "
            f"not {labels.min()}..{labels.max()}"
        )
    return samples.first(count if count or most is None else min(most, len(samples.images)))


def named_data(data: str | None, provenance: dict[str, Any], folder: Path | None) -> tuple[str, Path | None]:
    """The data set that is meant and the folder of its files; None takes the one of the training."""
    if data is None:
        data, known = trained_on(provenance)
        if folder is None and (data == "folder" or not os.environ.get("SPIKELOOM_DATA")):
            folder = known
    elif data.startswith("folder:"):
        data, folder = "folder", Path(data.removeprefix("folder:"))
    return data, folder


def training_images(data: str, folder: Path | None, network: Network, count: int) -> Samples:
    """At most so many training images of a data set, evenly spaced; ValueError where they do not have the size."""
    from spikeloom.golden.data import datasets

    if data not in datasets.KNOWN:
        known = ", ".join(datasets.KNOWN)
        raise ValueError(f"training images are needed, of a data set ({known}), not {data!r}: choose one with --data")
    found = datasets.open_images(data, "train", folder, size=network.image_shape[1])
    if found.shape != network.image_shape:
        raise ValueError(
            f"network {network.name!r} takes images of shape {network.image_shape}, not {found.shape} of {data}"
        )
    chosen = datasets.spread_out(len(found.labels), count)
    return Samples(found.batch(chosen), found.labels[chosen])


def _read_known(name: str, folder: Path | None) -> Samples:
    from spikeloom.golden.data import datasets

    if name not in datasets.KNOWN:
        known = [x for x in datasets.KNOWN if x != "folder"]
        raise ValueError(f"--data must be {', '.join(known)}, folder:DIR, random or an .npz file, not {name!r}")
    return Samples(*datasets.load(name, "test", folder))


def _read_image_folder(
    folder: Path | None, shape: tuple[int, int, int], count: int | None, most: int | None
) -> Samples:
    """Held-out images of a folder for each class, in the network's size; evenly spaced ones of them."""
    from spikeloom.golden.data import datasets

    found = datasets.open_images("folder", "test", folder, size=shape[1])
    if count is not None and count > len(found.labels):
        raise ValueError(f"--images must be at most {len(found.labels)}, the images there are, not {count}")
    chosen = datasets.spread_out(len(found.labels), count or most or len(found.labels))
    return Samples(found.batch(chosen), found.labels[chosen])


def _read_file(path: Path) -> Samples:
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("images", "labels") if name in file.files}
            names = file.files
    except Exception as error:  # whatever is in the file, and whatever numpy and zipfile make of it
        objects = "ickle" in str(error)
        why = "it holds Python objects, which are never loaded" if objects else "it does not hold arrays of numbers"
        raise ValueError(f"{path} is corrupt or no .npz file: {why}") from None
    if "images" not in arrays:
        raise ValueError(f"{path} has no array called images; it has {', '.join(names) or 'none'}")
    images, labels = arrays["images"], arrays.get("labels")
    if images.dtype != np.uint8:
        raise TypeError(f"{path}: images must be uint8, not {images.dtype}")
    if labels is not None and labels.shape != images.shape[:1]:
        raise ValueError(f"{path}: labels must have shape ({len(images)},), not {labels.shape}")
    if labels is not None and not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"{path}: labels must be integers, not {labels.dtype}")
    return Samples(images, labels if labels is None else labels.astype(np.int64))
