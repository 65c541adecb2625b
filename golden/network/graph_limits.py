"""The largest networks that `golden.network.random_graph` may draw."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GraphLimits:
    """The largest network that `random_graph` may draw; what it draws is mostly far smaller."""

    steps: int = 31
    """``T_max``; most networks have at most 6."""
    layers: int = 9
    """Layers before the readout."""
    image_channels: int = 4
    """Channels of the image."""
    channels: int = 40
    """Channels of a layer."""
    size: int = 8
    """Rows and columns of the image; one in eight is a strip of one row or column, four times as long."""
    kernel: int = 5
    """Of a convolution."""
    stride: int = 3
    """Of a convolution."""
    classes: int = 12
    """Class sums."""
    weight_bits: int = 8
    """4, or 8 for layers of either kind."""
    accumulator_bits: int = 20
    """Proven width of a layer's accumulators."""
    potential_bits: int = 24
    """Proven width of a layer's potentials, at least `accumulator_bits`."""
    work: int = 16_000
    """Words of eight channels that all layers read, for each eight channels that they make: bounds the time."""
    word: int | None = None
    """Attention over more channels than this has whole words of it, nine times in ten; None: over any number."""
    golden_only: bool = False
    """Also what only golden computes: membrane shortcuts, integer spikes, depthwise, pooled currents, unary codes."""
