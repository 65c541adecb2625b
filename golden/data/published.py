"""The files in which data sets are published, in a folder:

* fashion: Fashion-MNIST, `train-images-idx3-ubyte`, `t10k-labels-idx1-ubyte` and so on, plain or `.gz`;
* cifar10: the binary version, `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`;
* cifar100: the binary version, `train.bin` and `test.bin`.

For each, lossless mosaics are read too: `NAME_SPLIT.webp` or `NAME_SPLIT_0.webp`, `..._1.webp`, ..., sheets of images
row by row, with `labels.npz` that holds the labels as arrays called `NAME_SPLIT`. The Python versions of CIFAR are
pickles, which are never loaded.
"""

from __future__ import annotations

import gzip
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from spikeloom.golden.data.images import Samples

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


def read(name: str, root: Path, split: str) -> Samples | None:
    """A part of a data set, "train" or "test"; None where the folder has none of its files.

    ValueError for files that are corrupt and for pickles, FileNotFoundError where some of the files are missing.
    """
    found = _fashion(root, split) if name == "fashion" else _cifar(name, root, split)
    if found is None:
        found = _mosaics(name, root, split)
    if found is None:
        _refuse_pickles(name, root)
    return found


def file_names(name: str, split: str) -> tuple[str, ...]:
    """Of the published files of a part."""
    return tuple(f"{x}[.gz]" for x in _idx_names(split)) if name == "fashion" else _CIFAR_FILES[name, split]


def _places(name: str, root: Path) -> list[Path]:
    return [root / part for part in _USUAL_FOLDERS[name]]


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
