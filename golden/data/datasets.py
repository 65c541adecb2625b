"""Data sets as uint8 images, with a fixed split.

digits: scikit-learn's 1,797 handwritten digits, 8x8 pixels of 0..16 (Alpaydin and Kaynak, UCI repository);
it needs no files. The others are read from a folder, in the formats in which they are published:

* fashion: Fashion-MNIST, `train-images-idx3-ubyte`, `t10k-labels-idx1-ubyte` and so on, plain or `.gz`;
* cifar10: the binary version, `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`;
* cifar100: the binary version, `train.bin` and `test.bin`;
* folder: `train/CLASS/*` and `val/CLASS/*` (or `test/`), images of any size, as ImageNet is kept.

For the first three, lossless mosaics are read too: `NAME_SPLIT.webp` or `NAME_SPLIT_0.webp`, `..._1.webp`,
..., sheets of images row by row, with `labels.npz` that holds the labels as arrays called `NAME_SPLIT`.
The Python versions of CIFAR are pickles, which are never loaded.
"""

from __future__ import annotations

import gzip
import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

NAMES = ("digits",)  # those that come with the package
KNOWN = (*NAMES, "fashion", "cifar10", "cifar100", "folder")
ENVIRONMENT = "SPIKELOOM_DATA"
SPLIT_SEED = 0
TEST_SHARE = 0.2
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")

# Folders below the data folder in which the published archives unpack.
_USUAL_FOLDERS = {
    "fashion": ("", "fashion", "fashion-mnist", "FashionMNIST/raw"),
    "cifar10": ("", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin", "cifar10"),
    "cifar100": ("", "cifar-100-binary", "cifar100/cifar-100-binary", "cifar100"),
}
_CIFAR_FILES = {
    ("cifar10", "train"): tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    ("cifar10", "test"): ("test_batch.bin",),
    ("cifar100", "train"): ("train.bin",),
    ("cifar100", "test"): ("test.bin",),
}
_CIFAR_LABEL_BYTES = {"cifar10": 1, "cifar100": 2}  # CIFAR-100: the coarse label, then the fine one
_PICKLES = {
    "cifar10": ("cifar-10-batches-py", "cifar-10-python.tar.gz", "data_batch_1"),
    "cifar100": ("cifar-100-python", "cifar-100-python.tar.gz"),
}
_TILE = {"fashion": 28, "cifar10": 32, "cifar100": 32}


class Samples(NamedTuple):
    """images: uint8 (n, C, H, W). labels: int64 (n,)."""

    images: np.ndarray
    labels: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return self.images.shape[1:]

    def batch(self, chosen: np.ndarray) -> np.ndarray:
        """The images with the given numbers, uint8 (n, C, H, W); a view where the numbers follow each other."""
        if len(chosen) and (np.diff(chosen) == 1).all():
            return self.images[chosen[0] : chosen[-1] + 1]
        return self.images[chosen]


class ImageFolder:
    """Images of a folder with a subfolder a class, read when asked for.

    The shorter side becomes ``size / 0.875`` pixels, then the middle is cut out: uint8 (3, size, size).
    Classes are numbered in alphabetical order. Raises ValueError where there is no image.
    """

    def __init__(self, path: Path, *, size: int) -> None:
        if size < 1:
            raise ValueError(f"size must be positive, not {size!r}")
        self.size = size
        self.classes = tuple(sorted(x.name for x in path.iterdir() if x.is_dir()))
        found = [
            (file, label)
            for label, name in enumerate(self.classes)
            for file in sorted((path / name).rglob("*"))
            if file.suffix.lower() in IMAGE_ENDINGS
        ]
        if not found:
            raise ValueError(f"{path} has no images in folders named after their classes ({', '.join(IMAGE_ENDINGS)})")
        self.files = tuple(file for file, _ in found)
        self.labels = np.array([label for _, label in found], dtype=np.int64)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return (3, self.size, self.size)

    def batch(self, chosen: np.ndarray) -> np.ndarray:
        """The images with the given numbers, uint8 (n, 3, size, size)."""
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            return np.stack(list(pool.map(self._read, (self.files[i] for i in chosen))))

    def _read(self, file: Path) -> np.ndarray:
        try:
            with Image.open(file) as opened:
                picture = opened.convert("RGB")
        except (OSError, SyntaxError) as error:
            raise ValueError(f"{file} is no image that can be read: {error}") from None
        scale = self.size / 0.875 / min(picture.size)
        wide, high = (max(self.size, round(side * scale)) for side in picture.size)
        picture = picture.resize((wide, high), Image.Resampling.BICUBIC)
        left, top = (wide - self.size) // 2, (high - self.size) // 2
        picture = picture.crop((left, top, left + self.size, top + self.size))
        return np.asarray(picture).transpose(2, 0, 1)


Images = Samples | ImageFolder


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
    found = _fashion(root, split) if name == "fashion" else _cifar(name, root, split)
    if found is None:
        found = _mosaics(name, root, split)
    if found is None:
        _refuse_pickles(name, root)
        raise FileNotFoundError(
            f"no {split}ing files of {name} in {root}: looked for {_wanted(name, split)}; "
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


def _places(name: str, root: Path) -> list[Path]:
    return [root / part for part in _USUAL_FOLDERS[name]]


def _wanted(name: str, split: str) -> str:
    if name == "fashion":
        return ", ".join(f"{x}[.gz]" for x in _idx_names(split))
    return ", ".join(_CIFAR_FILES[name, split])


def _idx_names(split: str) -> tuple[str, str]:
    part = "train" if split == "train" else "t10k"
    return f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"


def _fashion(root: Path, split: str) -> Samples | None:
    for place in _places("fashion", root):
        files = [x for name in _idx_names(split) for x in (place / name, place / f"{name}.gz") if x.is_file()]
        if not files:
            continue
        found = {x.name.removesuffix(".gz"): x for x in reversed(files)}
        if len(found) < 2:
            missing = next(name for name in _idx_names(split) if name not in found)
            raise FileNotFoundError(f"no such file: {place / missing}, plain or .gz")
        images, labels = (_idx(found[name]) for name in _idx_names(split))
        if images.ndim != 3 or labels.ndim != 1:
            dimensions = f"{images.ndim} and {labels.ndim}"
            raise ValueError(f"{place}: images must have 3 dimensions and labels 1, not {dimensions}")
        return Samples(images[:, None], labels.astype(np.int64))  # (n, 1, H, W)
    return None


def _idx(file: Path) -> np.ndarray:
    """The array of bytes in an IDX file (LeCun, MNIST): zeros, type 8, dimensions, sizes, data."""
    try:
        raw = file.read_bytes()
        if file.suffix == ".gz":
            raw = gzip.decompress(raw)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{file} is corrupt: {error}") from None
    if len(raw) < 4 or raw[:3] != b"\0\0\x08":
        raise ValueError(f"{file} is no IDX file of bytes")
    sizes = struct.unpack_from(f">{raw[3]}I", raw, 4) if len(raw) >= 4 + 4 * raw[3] else ()
    data = np.frombuffer(raw, np.uint8, offset=min(len(raw), 4 + 4 * raw[3])).copy()  # writable, as PyTorch wants
    if not sizes or int(np.prod(sizes)) != len(data):
        raise ValueError(f"{file} is cut off or too long: its header says {sizes}, it holds {len(data)} bytes")
    return data.reshape(sizes)


def _cifar(name: str, root: Path, split: str) -> Samples | None:
    names = _CIFAR_FILES[name, split]
    for place in _places(name, root):
        there = [x for x in names if (place / x).is_file()]
        if not there:
            continue
        if len(there) < len(names):
            missing = next(x for x in names if x not in there)
            raise FileNotFoundError(f"no such file: {place / missing}")
        parts = [_cifar_file(place / x, _CIFAR_LABEL_BYTES[name]) for x in names]
        return Samples(np.concatenate([x.images for x in parts]), np.concatenate([x.labels for x in parts]))
    return None


def _cifar_file(file: Path, label_bytes: int) -> Samples:
    record = label_bytes + 3 * 32 * 32
    raw = np.fromfile(file, np.uint8)
    if not len(raw) or len(raw) % record:
        raise ValueError(f"{file} is cut off or of another format: {len(raw)} bytes are no multiple of {record}")
    rows = raw.reshape(-1, record)
    images = np.ascontiguousarray(rows[:, label_bytes:]).reshape(-1, 3, 32, 32)
    return Samples(images, rows[:, label_bytes - 1].astype(np.int64))


def _refuse_pickles(name: str, root: Path) -> None:
    for place in (root, *_places(name, root)) if name in _PICKLES else ():
        for pickle in _PICKLES[name]:
            if (place / pickle).exists():
                raise ValueError(
                    f"{place / pickle} is the Python version of {name}: pickles are never loaded; "
                    "get the binary version"
                )


def _mosaics(name: str, root: Path, split: str) -> Samples | None:
    key, labels_file = f"{name}_{split}", root / "labels.npz"
    single = root / f"{key}.webp"
    sheets = [single] if single.is_file() else []
    while not single.is_file() and (root / f"{key}_{len(sheets)}.webp").is_file():
        sheets.append(root / f"{key}_{len(sheets)}.webp")
    if not sheets or not labels_file.is_file():
        return None
    try:
        with np.load(labels_file, allow_pickle=False) as file:
            labels: Any = file[key] if key in file else None
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{labels_file} is corrupt or no .npz file: {error}") from None
    if labels is None:
        raise ValueError(f"{labels_file} has no array called {key}")
    images = np.concatenate([_tiles(sheet, _TILE[name]) for sheet in sheets])
    if name == "fashion":
        images = images[:, :1]  # a grey sheet comes back with three equal channels
    return Samples(np.ascontiguousarray(images), labels.astype(np.int64))


def _tiles(sheet: Path, size: int) -> np.ndarray:
    """uint8 (n, C, size, size) of a sheet, row by row."""
    try:
        with Image.open(sheet) as opened:
            pixels = np.asarray(opened)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{sheet} is no image that can be read: {error}") from None
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    rows, columns, channels = pixels.shape[0] // size, pixels.shape[1] // size, pixels.shape[2]
    if pixels.shape[:2] != (rows * size, columns * size):
        raise ValueError(f"{sheet}: {pixels.shape[:2]} pixels are no multiple of {size}")
    tiles = pixels.reshape(rows, size, columns, size, channels)
    return tiles.transpose(0, 2, 4, 1, 3).reshape(-1, channels, size, size)


def spread_out(count: int, limit: int) -> np.ndarray:
    """At most ``limit`` of the numbers 0..count - 1, evenly spaced and in order."""
    return np.arange(count) if count <= limit else np.linspace(0, count - 1, limit).astype(np.int64)


def classes_of(parts: Sequence[Images]) -> int:
    """One more than the largest label."""
    return 1 + max(int(x.labels.max()) for x in parts)
