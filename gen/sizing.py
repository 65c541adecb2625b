"""What a planned network needs of a core, and the smallest core that has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from spikeloom.gen.errors import CompileError
from spikeloom.gen.host.pixels import MOST_PADDED_CHANNELS
from spikeloom.gen.plan import LayerPlan, Plan, make_plan
from spikeloom.golden.network import Network
from spikeloom.rtl.core.config import LONGEST_SIDE, CoreConfig
from spikeloom.rtl.core.layouts import WORD_BITS
from spikeloom.rtl.core.registers import region_words

SHAPE = ("lanes", "word", "columns", "banks", "neuron_lanes")
"""Sizes of a core that shape the Plan, rather than follow from it."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """One limit of a core, and what a network needs of it."""

    limit: str
    """A field of `CoreConfig`."""
    least: int
    """The least that it must be."""
    layer: str
    """The layer, or for the activation memory the tensor, that needs most of it."""
    remedy: str
    """What would help."""


Amount = Callable[[LayerPlan], int]


def needs(plan: Plan) -> list[Need]:
    """Every limit of `CoreConfig` that depends on the network, for a core of the plan's lanes and words."""
    network = plan.network
    places = plan.memory.placements
    narrower = "weights of fewer bits or fewer inputs a neuron"
    return [
        _most(plan, "accumulator_width", lambda x: x.widths.accumulator, narrower),
        _most(plan, "potential_width", lambda x: x.widths.membrane, narrower),
        _most(plan, "weight_width", _weight_bits, "quantise to 4 bits"),
        Need(
            limit="weight_rows",
            least=max(plan.config.banks, plan.weight_rows),
            layer=max(plan.layers, key=lambda x: x.weight_rows).name,
            remedy="more lanes, fewer channels, or a larger device",
        ),
        _total(plan, "parameter_words", lambda x: x.parameter_words, "fewer channels or more neuron_lanes"),
        Need(
            limit="activation_words",
            least=plan.activation_words,
            layer=max(places, key=lambda name: places[name].size),
            remedy="earlier pooling, fewer time steps, or a larger device",
        ),
        _most(plan, "membrane_positions", _membrane_positions, "earlier pooling or a larger device"),
        Need(
            limit="program_layers",
            least=plan.program_layers,
            layer=network.layers[-1].name,
            remedy="fewer blocks",
        ),
        Need(
            limit="row_pixels",
            least=network.channels * network.width,
            layer=network.layers[0].name,
            remedy="smaller or grey images",
        ),
        _most(plan, "side", _side, "smaller images or earlier pooling"),
        Need(limit="classes", least=network.classes, layer=network.layers[-1].name, remedy="fewer classes"),
    ]


def check_fits(plan: Plan) -> None:
    """CompileError with the layer, the limit and a remedy where the network does not fit the plan's core."""
    for need in needs(plan):
        given = getattr(plan.config, need.limit)
        if need.least > given:
            raise CompileError(
                f"layer {need.layer!r}: {need.limit} must be at least {need.least}, the core has {given}; "
                f"what would help: {need.remedy}, or a core with {need.limit}={need.least}"
            )
    _check_frame(plan.network)
    _check_regions(plan.config)


def _check_possible(plan: Plan) -> None:
    """CompileError with the layer, the limit and a remedy where no core of these lanes is large enough."""
    most = {"accumulator_width": WORD_BITS, "potential_width": WORD_BITS, "side": LONGEST_SIDE}
    for need in needs(plan):
        if need.least > most.get(need.limit, need.least):
            raise CompileError(
                f"layer {need.layer!r}: {need.limit} must be at least {need.least}, a core of {plan.config.lanes} "
                f"lanes has at most {most[need.limit]}; what would help: {need.remedy}"
            )


def _check_frame(network: Network) -> None:
    """CompileError where the core's registers have no room for the pixel of the images' frame."""
    if len(network.padding_pixel) > MOST_PADDED_CHANNELS:
        raise CompileError(
            f"layer {network.layers[0].name!r}: an image with a frame must have at most {MOST_PADDED_CHANNELS} "
            f"channels, not {network.channels}; what would help: pixels that are not normalised, or fewer channels"
        )


def _check_regions(config: CoreConfig) -> None:
    """CompileError where the host's map has no room for a memory of the core: addresses would reach the next region."""
    try:
        region_words(config)
    except ValueError as error:
        raise CompileError(
            f"the host's region {error}; what would help: 4-bit weights, fewer channels or layers"
        ) from None


def plan_smallest(network: Network, **chosen: int) -> Plan:
    """The plan for the smallest core that runs the network; `chosen` fields of `CoreConfig` are kept.

    Raises
    ------
    CompileError
        for a layer that no core computes, or where a chosen size is too small: the layer, the limit, a remedy.
    ValueError
        for sizes that no core has.
    """
    array: dict[str, Any] = {key: chosen[key] for key in (*SHAPE, "weight_width") if key in chosen}
    array.setdefault("weight_width", max(layer.weight_bits for layer in network.layers if layer.weight is not None))
    trial = CoreConfig(**array)
    plan = make_plan(network, trial)
    _check_possible(plan)
    sizes = asdict(trial) | {need.limit: need.least for need in needs(plan)}
    sizes["weight_rows"] = trial.banks * _whole_blocks(sizes["weight_rows"] // trial.banks)
    accumulator = chosen.get("accumulator_width", sizes["accumulator_width"])
    sizes["potential_width"] = max(sizes["potential_width"], accumulator)
    plan = replace(plan, config=CoreConfig(**(sizes | chosen)))
    check_fits(plan)
    return plan


def smallest_core(network: Network, **chosen: int) -> CoreConfig:
    """The core of `plan_smallest`."""
    return plan_smallest(network, **chosen).config


def _whole_blocks(rows: int) -> int:
    """Rows rounded up to whole block memories, as deep ones as waste no more than a quarter.

    Deep and narrow blocks need no multiplexer between them: 4,096 rows of 256 bits take 64 blocks and 8 LUT4 where
    3,553 take 56 and 1,600.
    """
    for depth in (16384, 8192, 4096, 2048, 1024, 512):
        rounded = -(-rows // depth) * depth
        if rounded <= rows * 5 // 4:
            return rounded
    return rows


def common_core(*configs: CoreConfig) -> CoreConfig:
    """A core that runs whatever any of the given cores runs; they must agree in `SHAPE`.

    Raises
    ------
    CompileError
        for cores that differ in one of these.
    """
    first = configs[0]
    for other in configs:
        for name in SHAPE:
            if getattr(other, name) != getattr(first, name):
                raise CompileError(f"cores must agree in {name}, not {getattr(first, name)} and {getattr(other, name)}")
    return CoreConfig(**{f.name: max(getattr(c, f.name) for c in configs) for f in fields(CoreConfig)})


def _most(plan: Plan, limit: str, amount: Amount, remedy: str) -> Need:
    """What the layer needs that needs most."""
    layer = max(plan.layers, key=amount)
    return Need(limit=limit, least=max(1, amount(layer)), layer=layer.name, remedy=remedy)


def _total(plan: Plan, limit: str, amount: Amount, remedy: str) -> Need:
    """What all layers need together."""
    layer = max(plan.layers, key=amount)
    return Need(limit=limit, least=max(1, sum(map(amount, plan.layers))), layer=layer.name, remedy=remedy)


def _weight_bits(plan: LayerPlan) -> int:
    return 0 if plan.layer.weight is None else plan.layer.weight_bits


def _side(plan: LayerPlan) -> int:
    layer = plan.layer
    return max(layer.height_in, layer.width_in, layer.height_out, layer.width_out, plan.height, plan.width)


def _membrane_positions(plan: LayerPlan) -> int:
    return 1 if plan.readout else plan.positions
