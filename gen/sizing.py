"""What a network needs of a core: the smallest size that runs it, and whether a given size does."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from spikeloom.gen.errors import CompileError
from spikeloom.gen.memory_map import map_memory
from spikeloom.golden.network import Layer, Network
from spikeloom.golden.network.widths import widths
from spikeloom.rtl.core.config import CoreConfig


@dataclass(frozen=True, kw_only=True)
class Need:
    """One limit of a core: the least that a network needs, the layer that needs it, and what would help."""

    limit: str
    least: int
    layer: str
    remedy: str


def needs(network: Network, *, lanes: int, neuron_lanes: int) -> list[Need]:
    """Every limit of `CoreConfig` that depends on the network, for a core of these lanes."""
    found = [_widest(network, "accumulator_width", "accumulator"), _widest(network, "potential_width", "membrane")]
    wide = max(network.layers, key=lambda x: x.weight_bits if x.weight is not None else 0)
    found.append(Need(limit="weight_width", least=wide.weight_bits, layer=wide.name, remedy="quantise to 4 bits"))

    def total(limit, per_layer, remedy):
        amounts = {layer.name: per_layer(layer) for layer in network.layers}
        largest = max(amounts, key=lambda name: amounts[name])
        found.append(Need(limit=limit, least=max(1, sum(amounts.values())), layer=largest, remedy=remedy))

    def largest(limit, per_layer, remedy):
        layer = max(network.layers, key=per_layer)
        found.append(Need(limit=limit, least=max(1, per_layer(layer)), layer=layer.name, remedy=remedy))

    def tiles(layer: Layer) -> int:
        return -(-layer.channels_out // lanes)

    def rows(layer: Layer) -> int:
        return 0 if layer.weight is None else tiles(layer) * layer.kernel**2 * layer.channels_in

    total("weight_rows", rows, "more lanes, fewer channels, or a larger device")
    total("parameter_words", lambda x: tiles(x) * lanes // neuron_lanes, "fewer channels or more neuron_lanes")
    memory = map_memory(network, lanes=lanes)
    big = max(memory.placements, key=lambda name: memory.placements[name].size)
    found.append(
        Need(
            limit="activation_words",
            least=memory.words,
            layer=big,
            remedy="earlier pooling, fewer time steps, or a larger device",
        )
    )
    largest(
        "membrane_positions",
        lambda x: 1 if x.kind == "readout" else x.positions,
        "earlier pooling or a larger device",
    )
    found.append(
        Need(
            limit="program_layers",
            least=len(network.layers) + 2,
            layer=network.layers[-1].name,
            remedy="fewer blocks",
        )
    )
    largest("kv_rows", lambda x: _kv_rows(x, lanes), "more heads, so that a head has fewer channels")
    largest("tokens", lambda x: x.positions if x.kind == "attention" else 0, "earlier pooling")
    found.append(
        Need(limit="image_channels", least=network.channels, layer=network.layers[0].name, remedy="grey images")
    )
    found.append(Need(limit="classes", least=network.classes, layer=network.layers[-1].name, remedy="fewer classes"))
    return found


def check_fits(network: Network, config: CoreConfig) -> None:
    """CompileError with the layer, the limit and a remedy where the network does not fit the core."""
    check_supported(network, config.lanes)
    for need in needs(network, lanes=config.lanes, neuron_lanes=config.neuron_lanes):
        given = getattr(config, need.limit)
        if need.least > given:
            raise CompileError(
                f"layer {need.layer!r}: {need.limit} must be at least {need.least}, the core has {given}; "
                f"what would help: {need.remedy}, or a core with {need.limit}={need.least}"
            )


def check_supported(network: Network, lanes: int) -> None:
    """CompileError where the core has no way to compute a layer at all."""
    if network.coding != "planes":
        raise CompileError(f"unary spikes come later: for now the core reads bit-planes, not coding={network.coding!r}")
    for layer in network.layers:
        where = f"layer {layer.name!r}"
        if layer.depthwise:
            raise CompileError(f"{where}: depthwise convolutions come later; golden and `spikeloom energy` have them")
        if layer.pool_first:
            raise CompileError(
                f"{where}: max-pooling before the neurons comes later: for now the core pools spikes; golden and "
                "`spikeloom energy` have it"
            )
        if layer.spiking and layer.neuron.levels > 1:
            raise CompileError(
                f"{where}: integer spikes come later: for now a neuron of the core fires 0 or 1, not "
                f"0..{layer.neuron.levels}; train a Spikformer"
            )
        if not layer.fires:
            raise CompileError(
                f"{where}: membrane shortcuts come later: for now the core adds spikes to spikes; "
                'a Spikformer trained with residual="sew" can be compiled'
            )
        if layer.kind == "attention":
            per_head = layer.channels_in // layer.heads
            if layer.channels_out != layer.channels_in:
                raise CompileError(
                    f"{where}: v must have as many channels as q and k ({layer.channels_in}), not {layer.channels_out}"
                )
            if per_head & (per_head - 1):
                raise CompileError(f"{where}: channels of a head must be a power of two, not {per_head}")
            if layer.channels_in > lanes and layer.channels_in % lanes:
                raise CompileError(
                    f"{where}: attention over {layer.channels_in} channels must fill whole words of {lanes} lanes"
                )
        if layer.direct and layer.residual is not None:
            raise CompileError(f"{where}: the layer that reads the image cannot add a residual")


def smallest_core(network: Network, **chosen: int) -> CoreConfig:
    """The smallest core that runs the network; `chosen` fields (lanes, columns, neuron_lanes ...) are kept."""
    base = asdict(
        CoreConfig(
            **{k: v for k, v in chosen.items() if k in ("lanes", "columns", "neuron_lanes")},
            kv_rows=chosen.get("lanes", CoreConfig.lanes),
        )
    )
    check_supported(network, base["lanes"])
    for need in needs(network, lanes=base["lanes"], neuron_lanes=base["neuron_lanes"]):
        base[need.limit] = need.least
    base["kv_rows"] = max(base["kv_rows"], base["lanes"])
    base["weight_rows"] = _whole_blocks(base["weight_rows"])
    base["potential_width"] = max(base["potential_width"], base["accumulator_width"])
    config = CoreConfig(**{**base, **chosen})
    check_fits(network, config)
    return config


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
    """A core that runs whatever any of the given cores runs; they must agree in lanes and columns.

    Raises
    ------
    CompileError
        for cores that differ in lanes, columns or neuron_lanes.
    """
    first = configs[0]
    for other in configs:
        for name in ("lanes", "columns", "neuron_lanes"):
            if getattr(other, name) != getattr(first, name):
                raise CompileError(f"cores must agree in {name}, not {getattr(first, name)} and {getattr(other, name)}")
    return CoreConfig(**{f.name: max(getattr(c, f.name) for c in configs) for f in fields(CoreConfig)})


def _widest(network: Network, limit: str, which: str) -> Need:
    proven = {name: getattr(value, which) for name, value in widths(network).items()}
    name = max(proven, key=lambda n: proven[n])
    return Need(limit=limit, least=proven[name], layer=name, remedy="weights of fewer bits or fewer inputs a neuron")


def _kv_rows(layer: Layer, lanes: int) -> int:
    return max(lanes, layer.channels_in // layer.heads) if layer.kind == "attention" else lanes
