"""What a core wants to see: the shape of its images, their frame, and how pixels lie in the host's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spikeloom.rtl.core.registers import PROGRAM_INFO_WORDS, ProgramInfo

PIXELS_PER_WORD = 4
MOST_PADDED_CHANNELS = (PROGRAM_INFO_WORDS - ProgramInfo.PADDING) * PIXELS_PER_WORD
"""Channels of an image with a frame: more have no room in the core's registers."""


@dataclass(frozen=True, kw_only=True)
class ImageFormat:
    """The images that a Program was made for, and its classes; `words` and `from_words` are what the core holds."""

    channels: int
    """Of the image."""
    height: int
    """Rows that the core takes, the frame among them."""
    width: int
    """Pixels of a row, likewise."""
    frame: int = 0
    """Width of the frame that the host adds on all four sides; 0 where there is none."""
    padding_pixel: tuple[int, ...] = ()
    """The frame's value in each channel, 0..255; empty where there is no frame."""
    classes: int
    """Class sums that are valid."""

    def __post_init__(self) -> None:
        if len(self.padding_pixel) != (self.channels if self.frame else 0):
            raise ValueError(f"padding_pixel must have a number for each channel of a frame, not {self.padding_pixel}")
        if len(self.padding_pixel) > MOST_PADDED_CHANNELS:
            raise ValueError(f"an image with a frame must have at most {MOST_PADDED_CHANNELS} channels")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image without its frame."""
        return self.channels, self.height - 2 * self.frame, self.width - 2 * self.frame

    def framed(self, images: np.ndarray) -> np.ndarray:
        """Images (..., C, H, W) of uint8 as the core takes them: with the frame, unless they have it already.

        Raises
        ------
        TypeError, ValueError
            for other pixels, another shape.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8:
            raise TypeError(f"pixels must be uint8, not {images.dtype}")
        whole = (self.channels, self.height, self.width)
        if images.shape[-3:] == whole:
            return images
        if images.shape[-3:] != self.shape:
            raise ValueError(f"an image must have (channels, height, width) {self.shape}, not {images.shape[-3:]}")
        pixel = np.array(self.padding_pixel, np.uint8)[:, None, None]
        found = np.broadcast_to(pixel, (*images.shape[:-3], *whole)).copy()
        inner = slice(self.frame, -self.frame)
        found[..., inner, inner] = images
        return found

    def words(self, *, program_hash: int = 0) -> list[int]:
        """The core's `registers.ProgramInfo`."""
        pixels = bytes(self.padding_pixel).ljust(MOST_PADDED_CHANNELS, b"\0")
        head = [program_hash, self.channels, self.height, self.width, self.frame, self.classes]
        return head + np.frombuffer(pixels, "<u4").tolist()

    @classmethod
    def from_words(cls, words: Sequence[int]) -> ImageFormat:
        """The inverse of `words`; ValueError for what no Program writes."""
        _, channels, height, width, frame, classes = words[: ProgramInfo.PADDING]
        pixels = np.array(words[ProgramInfo.PADDING :], "<u4").tobytes()
        return cls(
            channels=channels,
            height=height,
            width=width,
            frame=frame,
            padding_pixel=tuple(pixels[:channels]) if frame else (),
            classes=classes,
        )


def pack_pixels(images: np.ndarray) -> np.ndarray:
    """Words of images (..., C, H, W) of uint8, uint32 (..., words): rows by columns by channels, first in the low byte.

    Raises TypeError or ValueError for anything else.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise TypeError(f"pixels must be uint8, not {images.dtype}")
    if images.ndim < 3:
        raise ValueError(f"an image must be (channels, height, width), not {images.shape}")
    pixels = np.moveaxis(images, -3, -1).reshape(*images.shape[:-3], -1)
    spare = -pixels.shape[-1] % PIXELS_PER_WORD
    padded = np.pad(pixels, [(0, 0)] * (pixels.ndim - 1) + [(0, spare)])
    return np.ascontiguousarray(padded).view("<u4")
