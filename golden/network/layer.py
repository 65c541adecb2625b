"""One layer of a `Network`: its fields and the geometry that they alone decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval, Len

from spikeloom.golden.bounds import LARGEST_SIDE, LONGEST_NAME, MOST_LAYER_CHANNELS, MOST_LEVELS, MOST_STEPS

IMAGE = "image"
PIXEL_BITS = 8
GROUPS = ("sps", "qkv", "attn", "mlp", "head")
TENSORS = ("weight", "bias", "threshold", "scale", "shift")  # of a layer
MOST_SHIFT = 7  # of a branch

Kind = Literal["accumulate", "attention", "neurons", "readout"]
Coding = Literal["planes", "unary"]


@dataclass(frozen=True, kw_only=True)
class Neuron:
    """What a layer's neurons do with a potential; see the formulas of `spikeloom.golden.network`."""

    hard: bool = True
    """Reset to zero (SpikingJelly's LIF) instead of subtracting the threshold (the DTS paper's)."""
    strict: bool = False
    """Fire at ``H > threshold`` instead of ``>=``; decides the rounding of the leak."""
    leak: bool = True
    """Halve the potential after each step (tau = 2) instead of keeping it (IF)."""
    levels: Annotated[int, Interval(ge=1, le=MOST_LEVELS)] = 1
    """D, the largest integer that a spike can be; above 1 the other fields have no meaning."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One layer: geometry, neuron, time steps and integer tensors. `rules.check_layer` says what is allowed."""

    name: Annotated[str, Len(1, LONGEST_NAME)]
    """Unique; also the name of the tensor that the layer makes."""
    kind: Kind = "accumulate"
    """"accumulate" (convolution; linear layers are 1x1), "attention", "neurons" or "readout"."""
    group: str = "sps"
    """Of the mask loss: "sps", "qkv", "attn", "mlp" or "head"."""
    inputs: tuple[str, ...]
    """Tensor names; one, or (q, k, v) for attention."""
    steps: Annotated[int, Interval(ge=0, le=MOST_STEPS)]
    """``T_l``, 0 to ``Network.steps``; the readout has at least the steps of its input, and runs those."""
    channels_in: Annotated[int, Interval(ge=1, le=MOST_LAYER_CHANNELS)]
    """Of attention those of q and k."""
    channels_out: Annotated[int, Interval(ge=1, le=MOST_LAYER_CHANNELS)]
    """Of attention those of v."""
    height_in: Annotated[int, Interval(ge=1, le=LARGEST_SIDE)]
    """Rows of the input; tokens keep their two-dimensional map."""
    width_in: Annotated[int, Interval(ge=1, le=LARGEST_SIDE)]
    """Columns of the input."""
    kernel: Annotated[int, Interval(ge=1, le=LARGEST_SIDE)] = 1
    """Rows and columns of the square convolution."""
    stride: Annotated[int, Interval(ge=1, le=LARGEST_SIDE)] = 1
    """Of the convolution, in both directions."""
    padding: Annotated[int, Interval(ge=0, le=LARGEST_SIDE)] = 0
    """Zeros around the input, on each side."""
    depthwise: bool = False
    """Each channel sees itself alone."""
    heads: Annotated[int, Interval(ge=1, le=MOST_LAYER_CHANNELS)] = 1
    """Of attention, else 1."""
    whole_map: bool = False
    """Of kind "neurons": one position, the sum over all of them."""
    pool: bool = False
    """3x3 max-pooling of stride 2 and padding 1 of the spikes."""
    pool_first: bool = False
    """With `pool`: of the currents, before the neurons."""
    residual: str | None = None
    """Name of the tensor added to the spikes, or to the membrane stream."""
    fires: bool = True
    """Makes spikes; a branch of a membrane shortcut does not."""
    neuron: Neuron = Neuron()
    """Without meaning where the layer does not fire."""
    weight_bits: int = 8
    """4 or 8."""
    weight: np.ndarray | None = None
    """int8 (O, I, kernel, kernel), depthwise (O, 1, kernel, kernel); None for attention and neurons."""
    bias: np.ndarray
    """int64 (O,)."""
    threshold: np.ndarray
    """int64 (O,), of integer spikes (D, O); of readouts and branches zeros and unused."""
    scale: np.ndarray
    """float64 (O,): real value of one integer unit of ``acc``."""
    shift: np.ndarray | None = None
    """Of a branch, int64 (O,), 0..7; else None."""

    def __repr__(self) -> str:
        shape_in, shape_out = (
            f"{channels}x{height}x{width}"
            for channels, height, width in (
                (self.channels_in, self.height_in, self.width_in),
                (self.channels_out, self.height_out, self.width_out),
            )
        )
        weights = "" if self.weight is None else f", {self.weight.size:,} weights of {self.weight_bits} bits"
        return f"<Layer {self.name!r}: {self.kind}, {shape_in} to {shape_out}, T_l {self.steps}{weights}>"

    @property
    def direct(self) -> bool:
        """Whether the input is the image: the same at every step, so accumulated once."""
        return self.inputs[0] == IMAGE

    @property
    def spiking(self) -> bool:
        """Whether the layer fires: all but the readout and branches."""
        return self.kind != "readout" and self.fires

    @property
    def reads(self) -> tuple[str, ...]:
        """All tensors that the layer needs: its inputs, then the residual where there is one."""
        return self.inputs if self.residual is None else (*self.inputs, self.residual)

    @property
    def height_conv(self) -> int:
        """Rows of ``W (*) x``, before any pooling."""
        return 1 if self.whole_map else (self.height_in + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def width_conv(self) -> int:
        """Columns of ``W (*) x``, before any pooling."""
        return 1 if self.whole_map else (self.width_in + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def height_neurons(self) -> int:
        """Rows of neurons: those of ``W (*) x``, or where currents are pooled those behind the pooling."""
        return self.height_out if self.pool_first else self.height_conv

    @property
    def width_neurons(self) -> int:
        """Columns of neurons, as `height_neurons`."""
        return self.width_out if self.pool_first else self.width_conv

    @property
    def height_out(self) -> int:
        """Rows of the tensor that the layer makes."""
        return (self.height_conv + 1) // 2 if self.pool else self.height_conv

    @property
    def width_out(self) -> int:
        """Columns of the tensor that the layer makes."""
        return (self.width_conv + 1) // 2 if self.pool else self.width_conv

    @property
    def positions(self) -> int:
        """Positions at which neurons are computed."""
        return self.height_neurons * self.width_neurons

    @property
    def fan_out(self) -> int:
        """Output channels that an input channel adds to at each tap of the convolution."""
        return 1 if self.depthwise else self.channels_out
