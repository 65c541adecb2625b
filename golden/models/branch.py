"""The layers of a model as quantisation and recordings see them: the modules of each, and what they did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from spikeloom.golden.models.image_config import Reals

Projection = nn.Conv2d | nn.Conv1d | nn.Linear


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A layer of a model that adds to a membrane stream, with the modules that make it."""

    name: str
    """In the `Network`."""
    group: str
    """Of the mask loss, as `Layer.group`."""
    owner: nn.Module
    """That has the modules below for attributes."""
    projection_name: str | None = None
    """Of the convolution or linear layer; None for attention and for neurons of a stream."""
    norm_name: str | None = None
    """Of the batch norm behind the projection."""
    normalisation: tuple[Reals, Reals] | None = None
    """Mean and standard deviation of the pixels that it reads, if any."""
    neurons: nn.Module | None = None
    """That its currents go to; None where they go to a stream."""

    @property
    def projection(self) -> Projection | None:
        return getattr(self.owner, self.projection_name) if self.projection_name else None

    @property
    def norm(self) -> nn.Module | None:
        return getattr(self.owner, self.norm_name) if self.norm_name else None


def watched(model: nn.Module, images: Tensor, layers: Mapping[str, nn.Module]) -> tuple[Tensor, dict[str, Tensor]]:
    """What the model makes of the images, and what each of the named layers did meanwhile."""
    found: dict[str, Tensor] = {}
    handles = []
    for name, layer in layers.items():

        def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], made: Tensor, name: str = name) -> None:
            found[name] = made

        handles.append(layer.register_forward_hook(keep))
    try:
        return model(images), found
    finally:
        for handle in handles:
            handle.remove()
