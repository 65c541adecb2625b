"""What the first convolution of a model sees of 8-bit images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

PIXEL_SCALE = 1 / 256
PIXEL_TOP = 255  # the pixel that is 1.0 before normalisation


class Pixels(nn.Module):
    """Pixels (B, C, H, W) of a floating-point type over 256, or normalised: ``(pixel / 255 - mean) / std``.

    mean, std: of the channels; None where pixels are not normalised.
    """

    def __init__(self, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
        super().__init__()
        self.normalisation = None if mean is None or std is None else (tuple(mean), tuple(std))

    def forward(self, pixels: Tensor) -> Tensor:
        if self.normalisation is None:
            return pixels * PIXEL_SCALE
        mean, std = (pixels.new_tensor(value).view(-1, 1, 1) for value in self.normalisation)
        return (pixels / PIXEL_TOP - mean) / std


class FramedPixels(nn.Module):
    """Pixels over 256 within a frame of one pixel a channel, for models whose normalisation is folded away.

    The first convolution has no padding then: the frame is what it pads with, the mean.
    """

    def __init__(self, pixel: Sequence[float], width: int) -> None:
        super().__init__()
        self.pixel, self.width = tuple(pixel), width

    def forward(self, pixels: Tensor) -> Tensor:
        width = self.width
        height, wide = (n + 2 * width for n in pixels.shape[2:])
        framed = pixels.new_tensor(self.pixel).view(-1, 1, 1).expand(len(pixels), -1, height, wide).clone()
        framed[:, :, width:-width, width:-width] = pixels
        return framed * PIXEL_SCALE
