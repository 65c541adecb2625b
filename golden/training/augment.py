"""Random changes of training images, on whole batches, with torch alone.

The changes are those with which the papers' models are trained: crop and flip, RandAugment (Cubuk et al.,
2020), random erasing (Zhong et al., 2020), mixup (Zhang et al., 2018) and CutMix (Yun et al., 2019), with
timm's ranges; and the small affine ones of the digits. Images stay uint8, so that what is learned is what the
hardware sees, except under mixup. There is no normalisation: the batch norm behind the first convolution
takes its place, and pixels stay integers.

All random numbers come from torch's default generator on the CPU: equal seeds give equal images anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor

from spikeloom.common.schema import Checked

GREYS = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


@dataclass(frozen=True, kw_only=True)
class Augmentation(Checked):
    """What may happen to a training image; the defaults change nothing."""

    shift: Annotated[float, Interval(ge=0, le=4096)] = 0.0
    """Largest random shift of an image, in pixels."""
    rotation: Annotated[float, Interval(ge=0, le=180)] = 0.0
    """Largest random rotation, in degrees."""
    zoom: Annotated[float, Interval(ge=0, le=1)] = 0.0
    """Largest random change of its size, as a share of it."""
    crop: Annotated[int, Interval(ge=0, le=4096)] = 0
    """Pixels of black border around the image before a window of its old size is cut out."""
    flip: bool = False
    """Left and right change sides in half of the images."""
    operations: Annotated[int, Interval(ge=0, le=100)] = 0
    """Of RandAugment, one after the other."""
    magnitude: Annotated[float, Interval(ge=0, le=10)] = 9.0
    """Their strength."""
    spread: Annotated[float, Interval(ge=0, le=100)] = 0.5
    """Standard deviation of the strength from image to image."""
    erase: Annotated[float, Interval(ge=0, le=1)] = 0.0
    """Share of the images in which a rectangle becomes noise."""
    mixup: Annotated[float, Interval(ge=0, le=1000)] = 0.0
    """Parameter of the beta distribution that says how much of another image is blended in; 0 for never. With cutmix
    too, one of the two is drawn a batch.
    """
    cutmix: Annotated[float, Interval(ge=0, le=1000)] = 0.0
    """The same of how much of another image is put in as a rectangle."""
    mix_epochs: Annotated[int, Interval(ge=0)] | None = None
    """After so many epochs images are no longer mixed; None for never."""


def augment(images: Tensor, how: Augmentation) -> Tensor:
    """The images, uint8 (B, C, H, W), each changed on its own; the result has the same type and shape."""
    if how.shift or how.rotation or how.zoom:
        images = _small_affine(images, how)
    if how.crop:
        images = _cropped(images, how.crop)
    if how.flip:
        images = torch.where(_chosen(images, 0.5), images.flip(3), images)
    for _ in range(how.operations):
        images = _random_operation(images, how)
    if how.erase:
        images = _erased(images, how.erase)
    return images


def mix(images: Tensor, labels: Tensor, classes: int, how: Augmentation, *, epoch: int = 1) -> tuple[Tensor, Tensor]:
    """Images mixed with others of the batch, and what to learn of them.

    images: uint8 (B, C, H, W). labels: int64 (B,). Returns them as they are where nothing is to be mixed in
    this epoch (1, 2, ...); else images, floating-point 0..255 after mixup, and class shares (B, classes).
    """
    if not (how.mixup or how.cutmix) or (how.mix_epochs is not None and epoch > how.mix_epochs):
        return images, labels
    cut = bool(how.cutmix) and (not how.mixup or float(torch.rand(())) < 0.5)
    alpha = how.cutmix if cut else how.mixup
    share = float(torch.distributions.Beta(alpha, alpha).sample())  # of the image itself
    others = torch.randperm(len(images)).to(images.device)
    if cut:
        height, width = images.shape[2:]
        side = math.sqrt(1 - share)
        inside = _rectangle(images, torch.tensor([side * height]), torch.tensor([side * width]))[0]
        images = torch.where(inside, images[others], images)
        share = 1 - float(inside.float().mean())
    else:
        images = share * images + (1 - share) * images[others]
    targets = F.one_hot(labels, classes).float()
    return images, share * targets + (1 - share) * targets[others]


def _chosen(images: Tensor, share: float) -> Tensor:
    """A share of the images, bool (B, 1, 1, 1)."""
    return (torch.rand(len(images)) < share).view(-1, 1, 1, 1).to(images.device)


def _warped(images: Tensor, theta: Tensor) -> Tensor:
    """Images seen through affine maps (B, 2, 3) from new positions to old, both in -1..1; zeros come in."""
    grid = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False).round().to(torch.uint8)


def _small_affine(images: Tensor, how: Augmentation) -> Tensor:
    """Each image moved, turned and zoomed a little."""
    count, _, height, width = images.shape

    def spread(reach: float) -> Tensor:
        return (2 * torch.rand(count) - 1) * reach

    angle, zoom = spread(math.radians(how.rotation)), 1 + spread(how.zoom)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = angle.cos() * zoom, -angle.sin() * zoom
    theta[:, 1, 0], theta[:, 1, 1] = angle.sin() * zoom, angle.cos() * zoom
    theta[:, 0, 2], theta[:, 1, 2] = spread(2 * how.shift / width), spread(2 * how.shift / height)
    return _warped(images, theta)


def _cropped(images: Tensor, border: int) -> Tensor:
    count, _, height, width = images.shape
    padded = F.pad(images, (border,) * 4)
    top, left = (torch.randint(0, 2 * border + 1, (count, 1)).to(images.device) for _ in range(2))
    rows = (top + torch.arange(height, device=images.device))[:, :, None]  # (B, H, 1)
    columns = (left + torch.arange(width, device=images.device))[:, None]  # (B, 1, W)
    number = torch.arange(count, device=images.device)[:, None, None]
    return padded[number, :, rows, columns].permute(0, 3, 1, 2).contiguous()  # from (B, H, W, C)


def _rectangle(images: Tensor, heights: Tensor, widths: Tensor) -> Tensor:
    """Where a rectangle of each given size (n,) in pixels lies, at a random place: bool (n, 1, H, W)."""
    inside = []
    for axis, sizes in ((2, heights), (3, widths)):
        length = images.shape[axis]
        sizes = sizes.round().clamp(0, length)
        start = (torch.rand(len(sizes)) * (length - sizes + 1)).floor()
        position = torch.arange(length)
        along = (position >= start[:, None]) & (position < (start + sizes)[:, None])  # (n, length)
        inside.append(along.view((-1, 1, length, 1) if axis == 2 else (-1, 1, 1, length)))
    return (inside[0] & inside[1]).to(images.device)


def _erased(images: Tensor, share: float) -> Tensor:
    """A rectangle of 2 to 33 % of the area becomes noise; its sides differ by a factor of up to 3.3."""
    count, channels, height, width = images.shape
    area = (0.02 + (1 / 3 - 0.02) * torch.rand(count)) * height * width
    ratio = torch.exp((2 * torch.rand(count) - 1) * math.log(1 / 0.3))
    inside = _rectangle(images, (area * ratio).sqrt(), (area / ratio).sqrt())
    noise = torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8).to(images.device)
    return torch.where(inside & _chosen(images, share), noise, images)


# RandAugment. Each operation takes images, uint8, and a strength of each, -1..1, and returns uint8.


def _affine(images: Tensor, **entries: Tensor) -> Tensor:
    theta = torch.eye(2, 3).repeat(len(images), 1, 1)
    for key, value in entries.items():
        theta[:, int(key[1]), int(key[2])] = value
    return _warped(images, theta)


def _rotate(images: Tensor, strength: Tensor) -> Tensor:
    angle = strength * math.radians(30)
    return _affine(images, _00=angle.cos(), _01=-angle.sin(), _10=angle.sin(), _11=angle.cos())


def _blend(images: Tensor, other: Tensor, strength: Tensor) -> Tensor:
    """From ``other`` (strength -1) over the image (0) and beyond it (1), by up to 0.9."""
    factor = (1 + 0.9 * strength).view(-1, 1, 1, 1).to(images.device)
    return (other + factor * (images - other)).round().clamp(0, 255).to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] != 3:
        return images.float().mean(1, keepdim=True)
    weights = torch.tensor(GREYS, device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def _autocontrast(images: Tensor, _strength: Tensor) -> Tensor:
    low, high = (x.float() for x in (images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)))
    stretched = (images - low) * 255 / (high - low).clamp(min=1)
    return torch.where(high > low, stretched, images.float()).round().to(torch.uint8)


def _posterize(images: Tensor, strength: Tensor) -> Tensor:
    """Down to four of the eight bits of a pixel."""
    dropped = (4 * strength.abs()).round().to(torch.uint8).view(-1, 1, 1, 1).to(images.device)
    return (images >> dropped) << dropped


def _solarize(images: Tensor, strength: Tensor) -> Tensor:
    limit = (256 * (1 - strength.abs())).view(-1, 1, 1, 1).to(images.device)
    return torch.where(images >= limit, 255 - images, images)


def _sharpness(images: Tensor, strength: Tensor) -> Tensor:
    kernel = torch.tensor([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]], device=images.device) / 13
    channels = images.shape[1]
    smooth = F.conv2d(
        F.pad(images.float(), (1,) * 4, mode="replicate"), kernel.expand(channels, 1, 3, 3), groups=channels
    )
    return _blend(images, smooth, strength)


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": lambda images, _strength: images,
    "rotate": _rotate,
    "shear x": lambda images, strength: _affine(images, _01=0.3 * strength),
    "shear y": lambda images, strength: _affine(images, _10=0.3 * strength),
    "shift x": lambda images, strength: _affine(images, _02=0.9 * strength),
    "shift y": lambda images, strength: _affine(images, _12=0.9 * strength),
    "brightness": lambda images, strength: _blend(images, torch.zeros((), device=images.device), strength),
    "contrast": lambda images, strength: _blend(images, _grey(images).mean((2, 3), keepdim=True), strength),
    "colour": lambda images, strength: _blend(images, _grey(images), strength),
    "sharpness": _sharpness,
    "autocontrast": _autocontrast,
    "posterize": _posterize,
    "solarize": _solarize,
    "invert": lambda images, _strength: 255 - images,
}


def _random_operation(images: Tensor, how: Augmentation) -> Tensor:
    """One operation of equal chance for each image, with a strength around the magnitude and a random sign."""
    count = len(images)
    drawn = torch.randint(0, len(OPERATIONS), (count,))
    strength = (how.magnitude + how.spread * torch.randn(count)).clamp(0, 10) / 10
    strength = torch.where(torch.rand(count) < 0.5, -strength, strength)
    changed = images.clone()
    for number, operation in enumerate(OPERATIONS.values()):
        rows = (drawn == number).nonzero()[:, 0]
        if len(rows):
            there = rows.to(images.device)
            changed[there] = operation(images[there], strength[rows])
    return changed
