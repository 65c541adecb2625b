"""What models of all architectures come apart into: the layers of a network to be, in real numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikeloom.golden.models.architectures import ModelConfig
from spikeloom.golden.network import Layer
from spikeloom.golden.quantization.firing import Firing


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A layer with its batch norm folded.

    An integer H of its potentials means ``H * unit / divisor * factor``, computed in this order; unit is that of its
    accumulator, of its stream, or 1.
    """

    fields: Mapping[str, Any]
    """Those of its `Layer` that no rounding decides: name, kind, graph, geometry, time steps, neuron."""
    weight: np.ndarray | None = None
    """float64 (O, I, k, k); None for attention and neurons."""
    bias: np.ndarray | None = None
    """float64 (O,); None without weights."""
    firing: Firing | None = None
    """Its neurons; of a branch those that read its stream; None for the readout."""
    input_one: int = 1
    """The integer that stands for 1.0 in what its dot products read: 256 of pixels, D of integer spikes."""
    divisor: float = 1.0
    """What the model divides a sum by: the positions of a mean, with the time steps for the readout."""
    factor: float = 1.0
    """What it multiplies it with: the scale of the attention."""

    @property
    def name(self) -> str:
        """Of its `Layer`."""
        return str(self.fields["name"])

    @property
    def kind(self) -> str:
        """Of its `Layer`."""
        return str(self.fields.get("kind", "accumulate"))

    @property
    def fires(self) -> bool:
        """False for a branch, which adds to a membrane stream."""
        return bool(self.fields.get("fires", True))

    @property
    def channels(self) -> int:
        """That it makes."""
        return int(self.fields["channels_out"])

    def unit(self, scale: np.ndarray) -> np.ndarray:
        """Real value of one integer of its weights, (O,), from that of its accumulator."""
        return scale * self.input_one

    def weights_of(self, layer: Layer) -> np.ndarray:
        """What the quantised weights of its layer mean, float64 (O, I, k, k)."""
        assert layer.weight is not None
        return layer.weight * self.unit(layer.scale)[:, None, None, None]

    def bias_of(self, layer: Layer) -> np.ndarray:
        """What the quantised bias of its layer means, float64 (O,)."""
        if self.kind == "readout":
            return layer.bias * layer.scale / self.divisor
        return layer.bias * layer.scale / (1 if layer.shift is None else 2.0**layer.shift)


@dataclass(frozen=True, kw_only=True, eq=False)
class Blueprint:
    """A network to be, in real numbers."""

    architecture: str
    """As in `golden.models.architectures`; also the network's name unless it is given one."""
    config: ModelConfig
    """Of the model."""
    steps: int
    """``T_max``."""
    padding: tuple[float, ...]
    """The pixel of each channel that the first convolution pads with; empty where that is the pixel 0."""
    frame: int
    """Width of the frame that holds `padding`, in pixels; without meaning where there is none."""
    parts: tuple[Part, ...]
    """In execution order, the readout last."""

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the image with its frame."""
        frame = 2 * self.frame if self.padding else 0
        return self.config.height + frame, self.config.width + frame
