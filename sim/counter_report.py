"""The counters of the simulated core beside the operations of golden, and the energy that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from spikeloom.gen.compiler import Compiled
from spikeloom.golden.analysis.energy import Constants, Energy, update
from spikeloom.golden.analysis.operations import Operations
from spikeloom.golden.network import Layer
from spikeloom.sim.simulate import SimulationReport


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One quantity, the mean of an image, over the layers for which both sides define the same thing.

    hardware: from the core's counters. operations: from golden. layers: their number, ``of`` all that have it.
    apart: what both define differently, by layer: (hardware, operations, why).
    """

    name: str
    hardware: float
    operations: float
    layers: int
    of: int
    apart: dict[str, tuple[float, float, str]]

    @property
    def equal(self) -> bool:
        """Whether both are the same, up to the rounding of a mean."""
        return abs(self.hardware - self.operations) <= 1e-9 * max(abs(self.operations), 1)


Counters = Mapping[str, float]  # mean of an image, by the counter's name


def compare(report: SimulationReport, compiled: Compiled, operations: Mapping[str, Operations]) -> list[Comparison]:
    """The counters of a simulation beside the operations of the same images."""
    config, network = compiled.config, compiled.network
    counters = _means(report)

    def row(
        name: str,
        layers: list[Layer],
        hardware: Callable[[Layer, Counters], float],
        golden: Callable[[Layer, Operations], float],
        why: Callable[[Layer], str],
    ) -> Comparison:
        values = {
            layer.name: (hardware(layer, counters[layer.name]), golden(layer, operations[layer.name]), why(layer))
            for layer in layers
        }
        same = [value for value in values.values() if not value[2]]
        return Comparison(
            name=name,
            hardware=sum(value[0] for value in same),
            operations=sum(value[1] for value in same),
            layers=len(same),
            of=len(values),
            apart={name: value for name, value in values.items() if value[2]},
        )

    def offered(layer: Layer) -> float:
        shape = network.shapes.layers[layer.name]
        return float(shape.computed_steps * shape.inputs[0].planes * shape.products)

    weighted = [layer for layer in network.layers if layer.weight is not None]
    attention = [layer for layer in network.layers if layer.kind == "attention"]

    def no_reason(_: Layer) -> str:
        return ""

    def attention_lanes(layer: Layer) -> str:
        per_head = layer.channels_in // layer.heads
        if layer.kind == "attention" and config.lanes > per_head:
            return f"{config.lanes} lanes are several heads of {per_head} channels: an event occupies them all"
        return ""

    def one_column(layer: Layer) -> str:
        if config.columns > 1:
            return f"{config.columns} columns share a row"
        return f"{config.lanes} lanes, {layer.channels_out} channels" if layer.channels_out % config.lanes else ""

    def whole_words(layer: Layer) -> str:
        valid = min(layer.channels_out, config.lanes)
        if layer.channels_out % valid % config.neuron_lanes or valid % config.neuron_lanes:
            return f"words of {config.neuron_lanes}, {layer.channels_out} channels"
        return ""

    return [
        row(
            "accumulates",
            list(network.layers),
            lambda _, found: found["sops_done"],
            lambda _, done: done.planes,
            attention_lanes,
        ),
        row(
            "accumulates of K^T V",
            attention,
            lambda layer, found: found["kv_updates"] * min(config.lanes, layer.channels_in // layer.heads),
            lambda _, done: done.product_planes,
            no_reason,
        ),
        row(
            "accumulates skipped",
            weighted,
            lambda layer, found: found["rows_skipped"] * config.lanes,
            lambda layer, done: offered(layer) - done.planes,
            one_column,
        ),
        row(
            "weight words read",
            weighted,
            lambda _, found: found["weight_rows_read"] * config.lanes,
            lambda _, done: done.planes,
            one_column,
        ),
        row(
            "membrane words read",
            list(network.layers),
            lambda _, found: found["membrane_reads"] * config.neuron_lanes,
            lambda _, done: done.membrane_reads,
            whole_words,
        ),
        row(
            "membrane words written",
            list(network.layers),
            lambda _, found: found["membrane_writes"] * config.neuron_lanes,
            lambda _, done: done.membrane_writes,
            whole_words,
        ),
    ]


def energy(report: SimulationReport, compiled: Compiled, constants: Constants) -> Energy:
    """Energy of an image from the core's counters, pJ: all accumulates, no multiplications, no checks.

    Words have the core's widths unless the constants have one. Two things have no counter: updates of neurons, which
    the Program's ``T_l`` decide, and the sums ``K^T V``, a row read and written an update and read an event.
    """
    config, counters = compiled.config, _means(report)
    compute = weights = membrane = activations = 0.0
    for layer in compiled.network.layers:
        found = counters[layer.name]
        updates = layer.steps * layer.positions * layer.channels_out if layer.spiking else 0
        compute += found["sops_done"] + found["kv_updates"] * config.lanes + update(layer) * updates
        if layer.weight is not None:
            weights += found["weight_rows_read"] * config.lanes
        membrane += (found["membrane_reads"] + found["membrane_writes"]) * config.neuron_lanes
        activations += (found["words_read"] + found["spike_words"]) * config.lanes
        if layer.kind == "attention":
            rows = 2 * found["kv_updates"] + found["events"]
            activations += rows * config.lanes * (constants.word_bits or config.accumulator_width)
    return Energy(
        compute=compute * constants.accumulate,
        weights=weights * (constants.word_bits or config.weight_width) * constants.sram_bit,
        membrane=membrane * (constants.word_bits or config.potential_width) * constants.sram_bit,
        activations=activations * constants.sram_bit,
    )


def _means(report: SimulationReport) -> dict[str, dict[str, float]]:
    return {
        layer: {key: float(values.mean()) for key, values in found.items()}
        for layer, found in report.layer_counters.items()
    }
