"""When neurons fire, in real numbers, and which integer thresholds mean the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import nn

from spikeloom.golden.models.spikformer import SpikingLayer
from spikeloom.golden.network import Layer
from spikeloom.golden.quantization.scales import RESOLUTION, Scales


class Firing(Protocol):
    """Neurons of one kind."""

    @property
    def resolution(self) -> float:
        """The least scale of the weights that reach them."""

    def limit(self, input_one: int, scales: Scales) -> float:
        """The largest scale of those weights, for inputs of which so many are 1.0; free ones are parts of it."""

    def thresholds(self, name: str, scale: np.ndarray, real: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Integer thresholds of the layer called so, as `Layer.threshold`.

        scale: (O,), about ``real(1)``. real: what the floating-point model compares, of one integer a channel.
        """

    def hold(self, neurons: nn.Module, layer: Layer) -> None:
        """Make the model's neurons fire as those of the quantised layer."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Neurons that fire where the potential reaches one real threshold, of which every scale is a part."""

    potential: float
    """``V_th``."""
    gain: float
    """How many potentials ``H`` of the integers holds: 2 where half of a current reaches one, or 1."""

    @property
    def value(self) -> float:
        """Of ``H``."""
        return self.gain * self.potential

    @property
    def resolution(self) -> float:
        return self.value * RESOLUTION

    def limit(self, input_one: int, scales: Scales) -> float:
        return self.value * input_one

    def thresholds(self, name: str, scale: np.ndarray, real: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """ValueError where the threshold is no multiple of the scale."""
        exact = self.value / scale
        found = np.rint(exact)
        if not np.allclose(found, exact, rtol=1e-9):
            raise ValueError(f"layer {name!r}: threshold {exact[0]} is no multiple of its scale")
        return found.astype(np.int64)

    def hold(self, neurons: nn.Module, layer: Layer) -> None:
        """All channels have one real threshold; the integer ones differ by the scale alone."""
        assert isinstance(neurons, SpikingLayer)
        real = layer.threshold * layer.scale / self.gain
        if not np.allclose(real, real[0], rtol=1e-12):
            raise ValueError(f"layer {layer.name!r}: its channels have different real thresholds")
        neurons.hold(threshold=float(real[0]), steps=layer.steps)


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Neurons of integer spikes: they round the current, half to even, to 0..count. Any scale has exact thresholds."""

    count: int
    """D."""

    @property
    def resolution(self) -> float:
        return self.count * RESOLUTION

    def limit(self, input_one: int, scales: Scales) -> float:
        return float(self.count) if scales == "free" else np.inf

    def thresholds(self, name: str, scale: np.ndarray, real: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Least integers H at which ``round(real(H))`` is at least 1, 2 ... D: int64 (D, O); (O,) of one level."""
        found = []
        for j in range(1, self.count + 1):
            h = np.ceil((j - 0.5) / scale).astype(np.int64)
            while (short := np.rint(real(h)) < j).any():
                h = h + short
            while (over := np.rint(real(h - 1)) >= j).any():
                h = h - over
            found.append(h)
        return found[0] if self.count == 1 else np.stack(found)

    def hold(self, neurons: nn.Module, layer: Layer) -> None:
        """They are as they are."""
