"""Labelled images: all of them in memory, or in a folder and read when asked for."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


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
