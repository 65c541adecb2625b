"""One's own pictures for a network: files of any size, grey or in colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".npy")
CROPPED = 0.875
"""Of the shorter side, in `golden.data.images.ImageFolder`."""
MOST_PIXELS = 50_000_000
"""Of a file: a picture that takes more memory is refused before it is read."""


def read_pictures(
    paths: Sequence[str | Path], shape: tuple[int, int, int], *, part: float = 1.0, invert: bool = False
) -> np.ndarray:
    """Pictures as a network takes them, uint8 (n, C, H, W); shape: its (C, H, W), `Network.image_shape`.

    A picture of another size is scaled until `part` of its shorter side fits, and the middle is taken: `CROPPED` is
    what models of image folders were trained with. What is transparent becomes black; grey becomes three equal
    channels and colour becomes grey where the network wants that. A .npy file holds uint8 (H, W), (H, W, 3) or
    (C, H, W). invert: swap light and dark, for drawings on white paper: the digits and the clothes of the data sets
    are light on dark.

    The pixels' normalisation and the frame are the network's, see `Network.framed`: neither is done here.

    Raises
    ------
    FileNotFoundError
    ValueError
        For no pictures, and with the file's name for one that cannot be read.
    """
    if not paths:
        raise ValueError("no picture is given")
    found = np.stack([_fitted(_opened(Path(path)), shape, part) for path in paths])
    return 255 - found if invert else found


def _opened(path: Path) -> Image.Image:
    """The picture, upright, in mode L or RGB."""
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    if path.suffix.lower() == ".npy":
        return _from_array(path)
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise ValueError(f"{opened.width} x {opened.height} pixels are more than {MOST_PIXELS:,}")
            upright = ImageOps.exif_transpose(opened)
            grey = upright.mode in ("1", "L", "LA", "I", "I;16", "F")
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", upright.size, "black"), upright)
            elif upright.mode in ("I", "I;16"):  # 16 bits, of which Pillow would cut off the upper half
                upright = Image.fromarray((np.asarray(upright).clip(0, 65535) >> 8).astype(np.uint8))
            return upright.convert("L" if grey else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is no picture that can be read: {error}") from None


def _from_array(path: Path) -> Image.Image:
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")
        pixels = np.asarray(array) if array.size <= MOST_PIXELS else None
    except Exception:  # whatever is in the file, and whatever numpy makes of it
        raise ValueError(f"{path} is corrupt or no .npy file of numbers") from None
    if pixels is None:
        raise ValueError(f"{path} has more than {MOST_PIXELS:,} numbers")
    if pixels.dtype != np.uint8:
        raise TypeError(f"{path}: pixels must be uint8, not {pixels.dtype}")
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 3):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim not in (2, 3) or pixels.ndim == 3 and pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"{path}: a picture must be (H, W), (H, W, 3) or (C, H, W), not {array.shape}")
    return Image.fromarray(np.ascontiguousarray(pixels))


def _fitted(picture: Image.Image, shape: tuple[int, int, int], part: float) -> np.ndarray:
    """uint8 (C, H, W)."""
    channels, height, width = shape
    if channels not in (1, 3):
        raise ValueError(f"pictures have 1 or 3 channels, the network takes {channels}")
    picture = picture.convert("L" if channels == 1 else "RGB")
    if picture.size != (width, height):
        scale = max(width / picture.width, height / picture.height) / part
        wide, high = max(width, round(picture.width * scale)), max(height, round(picture.height * scale))
        left, top = (wide - width) // 2, (high - height) // 2
        picture = picture.resize((wide, high), Image.Resampling.BICUBIC)
        picture = picture.crop((left, top, left + width, top + height))
    pixels = np.asarray(picture)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
