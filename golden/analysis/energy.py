"""The energy of an inference, from its counted operations: compute and memory, as Table V of the paper.

All energies are in picojoules an image. `Operations` say how often, `Constants` how much:

    compute      spiking: (synaptic operations + residual additions + (1 + D) neuron updates) * accumulate
                 + image MACs * multiply_accumulate + checks * zero_check
                 not spiking: MACs * multiply_accumulate + (2 neurons + residual additions) * accumulate
    weights      words read * width * sram_bit, and where the weights are outside the chip, all of them once an image
                 * dram_bit
    membrane     words of potentials and of membrane streams, read and written, * width * sram_bit
    activations  bits read and written * sram_bit

A neuron update is an accumulate for the bias and one for each of its D thresholds, compared or subtracted; spikes of 0
and 1 have D = 1. The leak is a shift.
Softmax, normalisation and activation functions of the network that does not spike cost nothing here, in its favour.
A layer that reads the image does multiplications, its pixels being no spikes; a synaptic operation of a value n is
counted in the network's coding. Checks are of all inputs that are spikes.

How often a word is read depends on how much of it an array can use at once (`Reuse`), for all networks alike:

* "none": a row of weights is read for every event that selects it, a bit of the input for each tap that sees it: what
  SpikeLoom's core does with one column. The network that does not spike has an event for each input. In the attention
  rows of V (spiking: for each spike of K; otherwise for each score) or of K^T, and partial sums ``K^T V``, are such
  rows too, and count as activations.
* "full": each weight once at each time step with inputs, each bit of the input once at each step: an array as large as
  the layer. So memory grows with the time steps, as in the paper's table, whose own schedule is not published.

* "stationary": weights stay where they are used: each is read once an image, for all positions and time steps, a bit
  of the input for each tap that sees it. ``K^T V`` stays as well, and is made and read as under "full". It is what the
  paper calls "simple weight stationary", as far as that says.

Membranes are read and written ``T_l - 1`` times a neuron in all: a potential starts at zero and ends unread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from spikeloom.golden.analysis.energy_constants import Constants
from spikeloom.golden.analysis.operations import TOTAL, Operations
from spikeloom.golden.network import Layer, LayerShape, Network
from spikeloom.golden.network.widths import Widths, widths

Reuse = Literal["none", "full", "stationary"]
SCHEDULES: tuple[Reuse, ...] = get_args(Reuse)
_INTEGER_ACTIVATION = 8  # bits of an activation of a network of integers that does not spike


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Energy of an image in one layer, or in all, in pJ; see the module's formulas."""

    compute: float
    """Of additions, multiplications and checks."""
    weights: float
    """Of weights read."""
    membrane: float
    """Of potentials and membrane streams, read and written."""
    activations: float
    """Of all other tensors, and of the sums of the attention, read and written."""

    @property
    def memory(self) -> float:
        """All but `compute`."""
        return self.weights + self.membrane + self.activations

    @property
    def total(self) -> float:
        """All."""
        return self.compute + self.memory


def spiking(
    network: Network,
    counted: Mapping[str, Operations],
    constants: Constants,
    *,
    reuse: Reuse = "none",
    external: bool = False,
) -> dict[str, Energy]:
    """Energy of each layer by name, and of the network under `TOTAL`.

    counted: the network's operations (`operations`). external: the weights come from outside the chip.
    Raises ValueError for another ``reuse``.
    """
    _check(reuse)
    proven, unary = widths(network), network.coding == "unary"
    found = {}
    for layer in network.layers:
        at = _Spiking(
            layer=layer,
            shape=network.shapes.layers[layer.name],
            done=counted[layer.name],
            proven=proven[layer.name],
            constants=constants,
            unary=unary,
            reuse=reuse,
        )
        found[layer.name] = Energy(
            compute=at.compute(),
            weights=at.weights() + _outside(layer, at.done, constants, external),
            membrane=at.membrane(),
            activations=at.activations(),
        )
    return _with_total(found)


def not_spiking(
    network: Network,
    counted: Mapping[str, Operations],
    constants: Constants,
    *,
    reuse: Reuse = "none",
    external: bool = False,
) -> dict[str, Energy]:
    """Energy of a vision transformer of the network's shape: real activations, no time steps, softmax's attention.

    Arguments and result as of `spiking`; time steps of the network have no influence.
    """
    _check(reuse)
    found = {}
    for layer in network.layers:
        at = _NotSpiking(
            layer=layer,
            shape=network.shapes.layers[layer.name],
            done=counted[layer.name],
            constants=constants,
            reuse=reuse,
        )
        found[layer.name] = Energy(
            compute=at.compute(),
            weights=at.weights() + _outside(layer, at.done, constants, external),
            membrane=0.0,
            activations=at.activations(),
        )
    return _with_total(found)


def update(layer: Layer) -> int:
    """Accumulates of an update of one of the layer's neurons."""
    return 1 + layer.neuron.levels


@dataclass(frozen=True, kw_only=True)
class _Spiking:
    """The terms of a layer of a spiking network, in pJ, a method each."""

    layer: Layer
    shape: LayerShape
    done: Operations
    proven: Widths
    constants: Constants
    unary: bool
    reuse: Reuse

    def compute(self) -> float:
        done, constants = self.done, self.constants
        multiplied = done.image_macs * constants.multiply_accumulate + self._checks() * constants.zero_check
        added = done.additions + update(self.layer) * done.neuron_updates + self._products() + self._added_events()
        return multiplied + added * constants.accumulate

    def weights(self) -> float:
        width = self.constants.word_bits or self.layer.weight_bits
        return self._weight_reads() * width * self.constants.sram_bit

    def membrane(self) -> float:
        done, width = self.done, self.constants.word_bits or self.proven.membrane
        words = done.membrane_reads + done.membrane_writes + done.stream_reads + done.stream_writes
        return words * width * self.constants.sram_bit

    def activations(self) -> float:
        read = self._attention_bits() if self.layer.kind == "attention" else self._input_bits()
        return (read + self.done.activation_writes) * self.constants.sram_bit

    def _events(self) -> float:
        """Inputs that select a row: pixels, or spikes in the network's coding."""
        if self.layer.direct:
            return self.done.image_macs
        return self.done.unary if self.unary else self.done.planes

    def _added_events(self) -> float:
        """Of them those that are accumulates; pixels are multiplied."""
        return 0.0 if self.layer.direct else self._events()

    def _products(self) -> float:
        """Accumulates of ``K^T V``."""
        return self.done.product_unary if self.unary else self.done.product_planes

    def _checks(self) -> float:
        """Bits looked at for spikes; pixels are none."""
        return 0.0 if self.layer.direct else self.done.checks

    def _weight_reads(self) -> float:
        """Words of weights read on the chip."""
        if self.layer.weight is None:
            return 0.0
        if self.reuse == "none":
            return self._events()
        steps = self.shape.computed_steps
        return self.done.weights * (min(steps, 1) if self.reuse == "stationary" else steps)

    def _input_bits(self) -> float:
        """Bits read of the inputs and the residual."""
        if self.reuse == "full":
            return self.done.activation_reads
        sources = sum(x.values * x.planes for x in self.shape.inputs if not x.membrane)
        residual = self.done.activation_reads - self.shape.computed_steps * sources
        return self.done.checks + residual

    def _attention_bits(self) -> float:
        """Bits that an attention layer reads, and those of its sums ``K^T V`` that it reads and writes."""
        layer, width = self.layer, self.constants.word_bits or self.proven.accumulator
        if self.reuse != "none":
            sums = self.shape.computed_steps * layer.channels_in * (layer.channels_out // layer.heads)
            return self.done.activation_reads + 2 * sums * width
        products = self._products()
        return self.done.checks + products * self.shape.inputs[2].planes + (2 * products + self._events()) * width


@dataclass(frozen=True, kw_only=True)
class _NotSpiking:
    """The terms of a layer of a network of the same shape that does not spike, in pJ, a method each."""

    layer: Layer
    shape: LayerShape
    done: Operations
    constants: Constants
    reuse: Reuse

    def compute(self) -> float:
        neurons = self.layer.positions * self.layer.channels_out if self.layer.spiking else 0
        added = 2 * neurons + self._residual()
        return self.done.macs * self.constants.multiply_accumulate + added * self.constants.accumulate

    def weights(self) -> float:
        width = self.constants.word_bits or self.layer.weight_bits
        return self._weight_reads() * width * self.constants.sram_bit

    def activations(self) -> float:
        made = 0 if self.layer.kind == "readout" else self.shape.output.values
        read = self._attention_bits() if self.layer.kind == "attention" else self._input_bits()
        return (read + (made + self._residual()) * self._width()) * self.constants.sram_bit

    def _width(self) -> int:
        """Bits of an activation."""
        return self.constants.word_bits or _INTEGER_ACTIVATION

    def _residual(self) -> int:
        """Numbers that are read and added."""
        return self.shape.output.values if self.layer.residual is not None else 0

    def _weight_reads(self) -> float:
        """Words of weights read on the chip."""
        if self.layer.weight is None:
            return 0.0
        return self.done.macs if self.reuse == "none" else self.done.weights

    def _input_bits(self) -> int:
        """Bits read of the input: those of pixels have their own width."""
        layer, source = self.layer, self.shape.inputs[0]
        taps = layer.weight is not None and self.reuse != "full"
        numbers = self.shape.taps * layer.channels_in if taps else source.values
        return numbers * (source.planes if layer.direct else self._width())

    def _attention_bits(self) -> int:
        """Bits of Q, of the scores, written and read, and of K and V: a row for each score, or each number once."""
        layer, tokens = self.layer, self.layer.positions
        scores = 2 * tokens * tokens * layer.heads
        both = tokens * (layer.channels_in + layer.channels_out)
        rows = tokens * both if self.reuse == "none" else both
        return self._width() * (scores + tokens * layer.channels_in + rows)


def _outside(layer: Layer, done: Operations, constants: Constants, external: bool) -> float:
    """Energy of all weights read once outside the chip."""
    return done.weights * (constants.word_bits or layer.weight_bits) * constants.dram_bit if external else 0.0


def _check(reuse: str) -> None:
    if reuse not in SCHEDULES:
        raise ValueError(f"reuse must be none, full or stationary, not {reuse!r}")


def _with_total(found: dict[str, Energy]) -> dict[str, Energy]:
    names = ("compute", "weights", "membrane", "activations")
    sums = {name: float(np.sum([getattr(x, name) for x in found.values()])) for name in names}
    return {**found, TOTAL: Energy(**sums)}
