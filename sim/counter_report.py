"""The counters of the simulated core beside the operations of golden, and the energy that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from spikeloom.gen.plan import LayerPlan, Plan
from spikeloom.golden.analysis.energy import Energy, update
from spikeloom.golden.analysis.energy_constants import Constants
from spikeloom.golden.analysis.operations import Operations
from spikeloom.golden.network import Layer
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.sim.simulate import SimulationReport


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One quantity, the mean per image, over the layers for which both sides define the same thing."""

    name: str
    """What it is, for people."""
    hardware: float
    """From the core's counters."""
    operations: float
    """From golden."""
    layers: int
    """Layers that count here."""
    of: int
    """Layers that have it."""
    apart: dict[str, tuple[float, float, str]]
    """What both define differently, by layer: (hardware, operations, why)."""

    @property
    def equal(self) -> bool:
        """Whether both are the same, up to the rounding of a mean."""
        return abs(self.hardware - self.operations) <= 1e-9 * max(abs(self.operations), 1)


Counters = Mapping[str, float]  # mean of an image, by the counter's name


@dataclass(frozen=True, kw_only=True)
class _Quantity:
    """What both sides count."""

    name: str
    counted: Callable[[LayerPlan, CoreConfig, Counters], float]
    """By the core."""
    done: Callable[[LayerPlan, Operations], float]
    """By golden."""
    apart: Callable[[LayerPlan, CoreConfig], str] = lambda plan, config: ""
    """Why the core counts a layer in another way; empty where it does not."""
    of: Callable[[Layer], bool] = lambda layer: True
    """Whether a layer has it."""


def compare(report: SimulationReport, plan: Plan, operations: Mapping[str, Operations]) -> list[Comparison]:
    """The counters of a simulation beside the operations of the same images."""
    counters = _means(report)
    return [_compare(quantity, plan, counters, operations) for quantity in _QUANTITIES]


def _compare(
    quantity: _Quantity, plan: Plan, counters: Mapping[str, Counters], operations: Mapping[str, Operations]
) -> Comparison:
    values = {
        layer.name: (
            quantity.counted(layer, plan.config, counters[layer.name]),
            quantity.done(layer, operations[layer.name]),
            quantity.apart(layer, plan.config),
        )
        for layer in plan.layers
        if quantity.of(layer.layer)
    }
    same = [value for value in values.values() if not value[2]]
    return Comparison(
        name=quantity.name,
        hardware=sum(value[0] for value in same),
        operations=sum(value[1] for value in same),
        layers=len(same),
        of=len(values),
        apart={name: value for name, value in values.items() if value[2]},
    )


def _per_head(plan: LayerPlan) -> int:
    return plan.layer.channels_in // plan.layer.heads


def _offered(plan: LayerPlan) -> float:
    """Accumulates if every input spiked."""
    return float(plan.shape.computed_steps * plan.shape.inputs[0].planes * plan.shape.products)


def _weighted(layer: Layer) -> bool:
    return layer.weight is not None


def _attention_lanes(plan: LayerPlan, config: CoreConfig) -> str:
    if plan.digits > 1:
        return f"{plan.digits} digits of {config.weight_width} bits hold an element of K^T V: Q is read for each"
    if plan.layer.kind == "attention" and config.lanes > _per_head(plan):
        return f"{config.lanes} lanes are several heads of {_per_head(plan)} channels: an event occupies them all"
    return ""


def _one_column(plan: LayerPlan, config: CoreConfig) -> str:
    if plan.group > 1:
        return f"{plan.group} positions share a row"
    if plan.layer.direct and plan.layer.padding:
        return "a word of the image has all taps of its row"
    channels = plan.layer.channels_out
    return f"{config.lanes} lanes, {channels} channels" if channels % config.lanes else ""


def _whole_words(plan: LayerPlan, config: CoreConfig) -> str:
    if any(tile.valid % config.neuron_lanes for tile in plan.tiles):
        return f"words of {config.neuron_lanes}, {plan.layer.channels_out} channels"
    return ""


_QUANTITIES = (
    _Quantity(
        name="accumulates",
        counted=lambda plan, config, found: found["sops_done"],
        done=lambda plan, done: done.planes,
        apart=_attention_lanes,
    ),
    _Quantity(
        name="accumulates of K^T V",
        counted=lambda plan, config, found: found["kv_updates"] * min(config.lanes, _per_head(plan)),
        done=lambda plan, done: done.product_planes,
        of=lambda layer: layer.kind == "attention",
    ),
    _Quantity(
        name="accumulates skipped",
        counted=lambda plan, config, found: found["rows_skipped"] * config.lanes,
        done=lambda plan, done: _offered(plan) - done.planes,
        apart=_one_column,
        of=_weighted,
    ),
    _Quantity(
        name="weight words read",
        counted=lambda plan, config, found: found["weight_rows_read"] * config.lanes,
        done=lambda plan, done: done.planes,
        apart=_one_column,
        of=_weighted,
    ),
    _Quantity(
        name="membrane words read",
        counted=lambda plan, config, found: found["membrane_reads"] * config.neuron_lanes,
        done=lambda plan, done: done.membrane_reads,
        apart=_whole_words,
    ),
    _Quantity(
        name="membrane words written",
        counted=lambda plan, config, found: found["membrane_writes"] * config.neuron_lanes,
        done=lambda plan, done: done.membrane_writes,
        apart=_whole_words,
    ),
)


def energy(report: SimulationReport, plan: Plan, constants: Constants) -> Energy:
    """Energy of an image from the core's counters, pJ: all accumulates, no multiplications, no checks.

    Words have the core's widths unless the constants have one. Two things have no counter: updates of neurons, which
    the Program's ``T_l`` decide, and the sums ``K^T V``, a row read and written an update and read an event.
    """
    config, counters = plan.config, _means(report)
    compute = weights = membrane = activations = 0.0
    for layer in plan.network.layers:
        found = counters[layer.name]
        updates = layer.steps * layer.positions * layer.channels_out if layer.spiking else 0
        compute += found["sops_done"] + found["kv_updates"] * config.lanes + update(layer) * updates
        if layer.weight is not None:
            weights += found["weight_rows_read"] * config.lanes
        membrane += (found["membrane_reads"] + found["membrane_writes"]) * config.neuron_lanes
        activations += (found["words_read"] + found["spike_words"]) * config.word
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
