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

Membranes are read and written ``T_l - 1`` times a neuron in both: a potential starts at zero and ends unread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from spikeloom.golden.analysis.operations import TOTAL, Operations, operations
from spikeloom.golden.network import Layer, LayerShape, Network
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.widths import widths

Reuse = Literal["none", "full"]
EQUAL_ACCURACY = 0.01  # accuracies that differ by more are not called equal
_INTEGER_ACTIVATION = 8  # bits of an activation of a network of integers that does not spike


@dataclass(frozen=True, kw_only=True)
class Constants:
    """Energies of one technology and number type, in pJ.

    accumulate: of an addition to an accumulator. multiply_accumulate, zero_check: of one. sram_bit, dram_bit: of a bit
    read or written in an on-chip memory and outside the chip. word_bits: of weights, potentials, partial sums and
    activations that are no spikes; None: weights and potentials as wide as the network's, activations of 8 bits.
    """

    name: str
    accumulate: float
    multiply_accumulate: float
    zero_check: float
    sram_bit: float
    dram_bit: float
    word_bits: int | None


# Horowitz, Computing's energy problem (ISSCC 2014), 45 nm, 0.9 V: an 8 kB SRAM takes 10 pJ for 64 bits.
_SRAM_BIT = 10 / 64
# DRAM as in Prosperity (HPCA 2025), 12.45 pJ a bit.
_DRAM_BIT = 12.45

CONSTANTS = {
    constants.name: constants
    for constants in (
        # Datta et al., arXiv 2311.16456, Table V: FP32 on a 28 nm Kintex-7; a MAC is 7.4 accumulates. Its constants of
        # memories are not known to us: those of Horowitz and Prosperity take their place.
        Constants(
            name="paper",
            accumulate=1.8,
            multiply_accumulate=13.32,
            zero_check=0.05,
            sram_bit=_SRAM_BIT,
            dram_bit=_DRAM_BIT,
            word_bits=32,
        ),
        # Horowitz, FP32: addition 0.9, multiplication 3.7: what the Spikformer papers take. A check is not in them.
        Constants(
            name="fp32",
            accumulate=0.9,
            multiply_accumulate=4.6,
            zero_check=0.0,
            sram_bit=_SRAM_BIT,
            dram_bit=_DRAM_BIT,
            word_bits=32,
        ),
        # Horowitz, integers: 32-bit addition 0.1, 8-bit multiplication 0.2: what both networks cost once quantised.
        Constants(
            name="int8",
            accumulate=0.1,
            multiply_accumulate=0.3,
            zero_check=0.0,
            sram_bit=_SRAM_BIT,
            dram_bit=_DRAM_BIT,
            word_bits=None,
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Energy of an image in one layer, or in all, in pJ; see the module's formulas."""

    compute: float
    weights: float
    membrane: float
    activations: float

    @property
    def memory(self) -> float:
        return self.weights + self.membrane + self.activations

    @property
    def total(self) -> float:
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
    proven = widths(network)
    found = {}
    for layer in network.layers:
        shape = network.shapes.layers[layer.name]
        done = counted[layer.name]
        events, products = done.planes, done.product_planes
        if network.coding == "unary":
            events, products = done.unary, done.product_unary
        events, checks = (done.image_macs, 0.0) if layer.direct else (events, done.checks)
        compute = done.image_macs * constants.multiply_accumulate + checks * constants.zero_check
        additions = done.additions + update(layer) * done.neuron_updates + products + (0 if layer.direct else events)
        weight, word = constants.word_bits or layer.weight_bits, constants.word_bits or proven[layer.name].membrane
        reads = 0.0
        if layer.weight is not None:
            reads = events if reuse == "none" else done.weights * shape.computed_steps
        if layer.kind == "attention":
            sums = constants.word_bits or proven[layer.name].accumulator
            bits = _attention_bits(layer, shape, done, events, products, sums, reuse)
        else:
            residual = done.activation_reads - _input_bits(shape)
            bits = done.checks + residual if reuse == "none" else done.activation_reads
        outside = done.weights * weight * constants.dram_bit if external else 0.0
        words = done.membrane_reads + done.membrane_writes + done.stream_reads + done.stream_writes
        found[layer.name] = Energy(
            compute=compute + additions * constants.accumulate,
            weights=reads * weight * constants.sram_bit + outside,
            membrane=words * word * constants.sram_bit,
            activations=(bits + done.activation_writes) * constants.sram_bit,
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
    real = constants.word_bits or _INTEGER_ACTIVATION
    found = {}
    for layer in network.layers:
        done, shape = counted[layer.name], network.shapes.layers[layer.name]
        weight = constants.word_bits or layer.weight_bits
        outputs = layer.channels_out * layer.height_out * layer.width_out
        added = outputs if layer.residual is not None else 0
        neurons = layer.positions * layer.channels_out if layer.spiking else 0
        inputs = layer.channels_in * layer.height_in * layer.width_in * real
        reads = 0.0
        if layer.kind == "attention":
            tokens = layer.positions
            rows = tokens * tokens * (layer.channels_in + layer.channels_out)  # of K^T and of V
            both = tokens * (layer.channels_in + layer.channels_out)
            scores = 2 * tokens * tokens * layer.heads  # written and read
            inputs = real * (scores + tokens * layer.channels_in + (rows if reuse == "none" else both))
        elif layer.weight is not None:
            reads = done.macs if reuse == "none" else done.weights
            if reuse == "none":
                inputs = shape.taps * layer.channels_in * real
            if layer.direct:
                inputs = inputs // real * shape.inputs[0].planes
        outside = done.weights * weight * constants.dram_bit if external else 0.0
        made = 0 if layer.kind == "readout" else outputs
        found[layer.name] = Energy(
            compute=done.macs * constants.multiply_accumulate + (2 * neurons + added) * constants.accumulate,
            weights=reads * weight * constants.sram_bit + outside,
            membrane=0.0,
            activations=(inputs + (made + added) * real) * constants.sram_bit,
        )
    return _with_total(found)


def warnings(accuracies: Sequence[tuple[str, float | None]]) -> list[str]:
    """What stands in the way of calling a comparison one at equal accuracy, a line each. The first is compared with."""
    (reference, wanted), *others = accuracies
    if wanted is None:
        return ["no accuracy is known: the images have no labels, so nothing here is a comparison at equal accuracy"]
    return [
        f"{name} is {100 * abs(found - wanted):.1f} points {'below' if found < wanted else 'above'} {reference}: "
        "no comparison at equal accuracy"
        for name, found in others
        if found is not None and round(abs(found - wanted), 9) > EQUAL_ACCURACY
    ]


def update(layer: Layer) -> int:
    """Accumulates of an update of one of the layer's neurons."""
    return 1 + layer.neuron.levels


def _check(reuse: str) -> None:
    if reuse not in ("none", "full"):
        raise ValueError(f"reuse must be none or full, not {reuse!r}")


def _input_bits(shape: LayerShape) -> int:
    """Bits of the input tensors at the steps that the layer reads, without the residual."""
    return shape.computed_steps * sum(x.values * x.planes for x in shape.inputs if not x.membrane)


def _attention_bits(
    layer: Layer,
    shape: LayerShape,
    done: Operations,
    events: float,
    products: float,
    width: int,
    reuse: Reuse,
) -> float:
    """Bits that an attention layer reads, and those of its sums ``K^T V``, ``width`` wide, that it reads and writes."""
    if reuse == "full":
        sums = shape.computed_steps * layer.channels_in * (layer.channels_out // layer.heads)
        return done.activation_reads + 2 * sums * width
    return done.checks + products * shape.inputs[2].planes + (2 * products + events) * width


def _with_total(found: dict[str, Energy]) -> dict[str, Energy]:
    names = ("compute", "weights", "membrane", "activations")
    sums = {name: float(np.sum([getattr(x, name) for x in found.values()])) for name in names}
    return {**found, TOTAL: Energy(**sums)}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network of the table: what it did, and its energies.

    kind: "non-spiking", "plain" (all ``T_l`` are ``T_max``) or "dynamic". accuracy: on the images, 0..1; None where it
    is not known. t_avg: None without time steps. operations: by layer and `TOTAL`, of
    a spiking network. energies: by constants' name, layer
    and `TOTAL`.
    """

    name: str
    kind: Literal["non-spiking", "plain", "dynamic"]
    accuracy: float | None
    t_avg: float | None
    t_max: int
    operations: dict[str, Operations]
    energies: dict[str, dict[str, Energy]]

    def relative(self, other: Row, constants: str) -> tuple[float, float, float]:
        """Compute, memory and total as multiples of the other row's."""
        own, reference = self.energies[constants][TOTAL], other.energies[constants][TOTAL]
        return tuple(  # type: ignore[return-value]
            getattr(own, key) / getattr(reference, key) if getattr(reference, key) else float("nan")
            for key in ("compute", "memory", "total")
        )


def is_dynamic(network: Network) -> bool:
    """Whether any layer fires at fewer than all time steps."""
    return any(layer.steps < network.steps for layer in network.spiking)


def full_steps(network: Network) -> Network:
    """The same network with ``T_l = T_max`` everywhere: a plain Spikformer, though one trained with masks."""
    plain = network.with_steps({layer.name: network.steps for layer in network.spiking})
    return replace(plain, name=f"{network.name}, all T_l = {network.steps}")


def measure(
    network: Network,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    reuse: Reuse = "none",
    external: bool = False,
    batch: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Row:
    """A spiking network's row, from its operations on the images; arguments as of `operations` and `spiking`."""
    counted = operations(network, images, batch=batch, progress=progress)
    return Row(
        name=network.name,
        kind="dynamic" if is_dynamic(network) else "plain",
        accuracy=None if labels is None else execute(network, images).accuracy(labels),
        t_avg=network.t_avg,
        t_max=network.steps,
        operations=counted,
        energies={
            name: spiking(network, counted, constants, reuse=reuse, external=external)
            for name, constants in CONSTANTS.items()
        },
    )


def without_spikes(network: Network, row: Row, *, reuse: Reuse = "none", external: bool = False) -> Row:
    """The row of a vision transformer of the network's shape, which nobody has trained here: no accuracy."""
    return Row(
        name="non-spiking ViT",
        kind="non-spiking",
        accuracy=None,
        t_avg=None,
        t_max=1,
        operations={},
        energies={
            name: not_spiking(network, row.operations, constants, reuse=reuse, external=external)
            for name, constants in CONSTANTS.items()
        },
    )
