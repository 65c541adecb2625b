"""The `Network`: its layers, and what is asked of all of them together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval, Len

from spikeloom.golden.bounds import LARGEST_SIDE, LONGEST_NAME, MOST_CHANNELS, MOST_STEPS
from spikeloom.golden.network import file
from spikeloom.golden.network.layer import Coding, Layer
from spikeloom.golden.network.rules import check_image, check_layers
from spikeloom.golden.network.shapes import Shapes, TensorInfo, infer


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """An integer spiking network: image in, one sum a class out; `spikeloom.golden.network` has its semantics.

    Raises ValueError at the first rule that does not hold.
    """

    name: Annotated[str, Len(1, LONGEST_NAME)]
    """For people; no influence on anything."""
    steps: Annotated[int, Interval(ge=1, le=MOST_STEPS)]
    """``T_max``."""
    channels: Annotated[int, Interval(ge=1, le=MOST_CHANNELS)]
    """Of the 8-bit image."""
    height: Annotated[int, Interval(ge=1, le=LARGEST_SIDE)]
    """Rows of the image, with its frame."""
    width: Annotated[int, Interval(ge=1, le=LARGEST_SIDE)]
    """Columns of the image, with its frame."""
    layers: tuple[Layer, ...]
    """In execution order, the readout last."""
    pixel_scale: Annotated[float, Interval(gt=0, le=1e6)] = 1 / 256
    """Real value of one pixel unit (provenance; it is folded into the first layer)."""
    padding_pixel: tuple[int, ...] = ()
    """Of each channel, 0..255, of the frame that `framed` adds to an image; empty where there is no frame."""
    frame: Annotated[int, Interval(ge=1, le=LARGEST_SIDE)] = 1
    """Width of the frame in pixels; without meaning where there is none."""
    coding: Coding = "planes"
    """Of values above 1 in dot products."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Free JSON: hash of the checkpoint, data set, accuracy, command."""
    shapes: Shapes = field(init=False, repr=False)
    """What follows from all of this, inferred when the network is made."""

    def __post_init__(self) -> None:
        check_layers(self.layers, self.steps)
        check_image(
            self.layers,
            channels=self.channels,
            padding_pixel=self.padding_pixel,
            frame=self.frame,
            coding=self.coding,
        )
        size = {"channels": self.channels, "height": self.height, "width": self.width}
        object.__setattr__(self, "shapes", infer(self.layers, steps=self.steps, **size))

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.image_shape))
        weights = sum(layer.weight.size for layer in self.layers if layer.weight is not None)
        average = f"T_avg {self.t_avg:.2f} of" if self.spiking else "T_max"
        return (
            f"<Network {self.name!r}: {len(self.layers)} layers, {weights:,} weights, {shape} pixels to "
            f"{self.classes} classes, {average} {self.steps}>"
        )

    def layer(self, name: str) -> Layer:
        """The layer called `name`; KeyError with the known names."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(f"unknown layer {name!r}; the layers are {', '.join(x.name for x in self.layers)}")

    def tensors(self) -> Mapping[str, TensorInfo]:
        """Shape, steps and maximum of each tensor, by name."""
        return self.shapes.tensors

    @property
    def spiking(self) -> tuple[Layer, ...]:
        """The layers that fire: all but the readout and branches. L of the paper's equation 3."""
        return tuple(layer for layer in self.layers if layer.spiking)

    @property
    def t_avg(self) -> float:
        """Equation 3 of the DTS paper: the mean of ``T_l`` over the spiking layers."""
        return sum(layer.steps for layer in self.spiking) / len(self.spiking)

    @property
    def classes(self) -> int:
        """Sums of the readout."""
        return self.layers[-1].channels_out

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image without its frame."""
        frame = 2 * self.frame if self.padding_pixel else 0
        return self.channels, self.height - frame, self.width - frame

    def framed(self, images: np.ndarray) -> np.ndarray:
        """Images (B, C, H, W) with their frame, where the network wants one and they have the size to get it."""
        if not self.padding_pixel or images.shape[1:] != self.image_shape:
            return images
        pixel = np.array(self.padding_pixel, images.dtype)[:, None, None]
        found = np.tile(pixel, (len(images), 1, self.height, self.width))
        found[:, :, self.frame : -self.frame, self.frame : -self.frame] = images
        return found

    def with_steps(self, steps: Mapping[str, int]) -> Network:
        """The same network with other ``T_l`` for the named layers; the readout follows its input."""
        for name in steps:
            self.layer(name)
        *body, readout = (replace(x, steps=steps.get(x.name, x.steps)) for x in self.layers)
        size = {"channels": self.channels, "height": self.height, "width": self.width}
        read = infer(body, steps=self.steps, **size).tensors[readout.inputs[0]].steps
        return replace(self, layers=(*body, replace(readout, steps=read)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file: tensors, and the graph as JSON in the header; whole or not at all."""
        file.write(path, self)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Network:
        """Read what `save` wrote.

        FileNotFoundError; ValueError, with the file and the field's path, for another format, version or bad data.
        """
        fields = file.read(path, cls)
        try:
            return cls(**fields)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
