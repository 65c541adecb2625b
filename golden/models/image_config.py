"""What the configurations of all models share: the images, the classes, and how pixels are normalised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Interval

from spikeloom.common.schema import Checked
from spikeloom.golden.bounds import LARGEST_SIDE, MOST_CHANNELS, MOST_CLASSES

Reals = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ImageConfig(Checked):
    """Images and classes of a model."""

    channels: Annotated[int, Interval(ge=1, le=MOST_CHANNELS)] = 1
    """Of the 8-bit image."""
    height: Annotated[int, Interval(ge=1, le=LARGEST_SIDE)] = 28
    """Rows of the image."""
    width: Annotated[int, Interval(ge=1, le=LARGEST_SIDE)] = 28
    """Columns of the image."""
    classes: Annotated[int, Interval(ge=1, le=MOST_CLASSES)] = 10
    """Of the readout."""
    mean: Reals | None = None
    """Of the channels; where given, the model sees ``(pixel / 255 - mean) / std`` instead of ``pixel / 256``, and
    pads with zeros, the mean."""
    std: Reals | None = None
    """Given together with the mean."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std must be given together")
        for key, value in (("mean", self.mean), ("std", self.std)):
            if value is None:
                continue
            if len(value) != self.channels:
                raise ValueError(f"{key} must have {self.channels} numbers, one a channel, not {len(value)}")
            if not all(0 <= x <= 1 for x in value) or (key == "std" and 0 in value):
                raise ValueError(f"{key} must be in 0..1, of pixels in 0..1, not {value}")

    @property
    def normalisation(self) -> tuple[Reals, Reals] | None:
        """Mean and standard deviation, None where pixels are not normalised."""
        return None if self.mean is None or self.std is None else (self.mean, self.std)


# Of the official models.
CIFAR: dict[str, Any] = dict(
    channels=3, height=32, width=32, classes=10, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)
)
CIFAR100: dict[str, Any] = CIFAR | dict(classes=100, mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761))
IMAGENET: dict[str, Any] = dict(
    channels=3, height=224, width=224, classes=1000, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)
