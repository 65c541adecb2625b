"""How a core computes a network: every decision of the compiler, made once and read by all that follows.

The Program, the estimate, the expected counters, the manifest, the sizes of a core and the comparison of spikes read
the `Plan` and derive nothing of this themselves. A new freedom of the core gets its decision here: another loop is a
`Loop` in `LayerPlan.loops`, a part of a tile's inputs belongs to `Tile`, weights that come from outside are another
`LayerPlan.weight_base`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from spikeloom.gen.errors import CompileError
from spikeloom.gen.image_words import ImageWords, image_words
from spikeloom.gen.memory_map import MemoryMap, Placement, map_memory
from spikeloom.gen.support import check_supported
from spikeloom.golden.network import IMAGE, Layer, LayerShape, Network, Neuron
from spikeloom.golden.network.widths import Widths, widths
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import HEAD_WORDS


class Loop(enum.Enum):
    """What a loop of the core goes through."""

    TILE = "tile"
    """Tiles of output channels."""
    STEP = "step"
    """Time steps."""
    POSITION = "position"
    """Groups of output positions that share a weight row, row by row."""


WEIGHTS_STAY = (Loop.TILE, Loop.STEP, Loop.POSITION)
"""A tile's weights are used for all that they are needed for before the next tile's."""
SUMS_STAY = (Loop.TILE, Loop.POSITION, Loop.STEP)
"""For an input that is the same at every step: sums are made once and used for all steps."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """Output channels that the array computes at once."""

    first: int
    """The first of them."""
    valid: int
    """Lanes that have a channel; the others idle."""
    spike_words: range
    """Spike words of a position that hold them."""
    parts: tuple[int, ...]
    """Of each of these, the words of `neuron_lanes` that hold them."""

    @property
    def neuron_words(self) -> int:
        """Words of `neuron_lanes` that hold them: of potentials per position, of parameters that are used."""
        return sum(self.parts)


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerPlan:
    """How the core computes one layer."""

    layer: Layer
    """What it computes."""
    index: int
    """Place of the layer in `Network.layers`."""
    shape: LayerShape
    """What follows for it from the network: tensors' shapes, steps of the producers."""
    widths: Widths
    """Proven bits of its sums and potentials."""
    inputs: tuple[Placement, ...]
    """Where the tensors that it reads lie, in the order of `Layer.inputs`."""
    residual: Placement | None
    """Where the tensor lies that it adds."""
    output: Placement | None
    """Where its tensor goes; None for the readout, whose potentials are the class sums."""
    grows_in_place: bool
    """The output overwrites the residual."""
    loops: tuple[Loop, ...]
    """The order in which it is computed, the outermost loop first."""
    tiles: tuple[Tile, ...]
    """Its output channels."""
    height: int
    """Rows of output positions."""
    width: int
    """Columns of output positions."""
    steps: int
    """Steps in which its neurons run: ``T_l``, but one for a readout that nothing reaches, which has its bias."""
    stored_steps: int
    """Steps that are written: more than `steps` where the residual's later ones are copied or gain a plane."""
    group: int
    """Output positions, adjacent in a row, of an item of the scanner: columns, or parts of the lanes."""
    scan_words: int
    """Spike words that the scanner reads of a position for one tile: all, but those of its heads for attention.

    Where the image is read: slots of a row of the kernel, each with a tap of every bank.
    """
    scan_tail: int
    """Channels in the last of these; of the image where that is read."""
    weight_base: int
    """The first of its rows in each bank of the weight memory; of K^T V that of its most significant digit."""
    tile_rows: int
    """Weight rows of a tile in each bank: ``[tap y][tap x][input channel of the bank]``, none for attention.

    Where the image is read, its rows ``[tap y][channel][tap x]`` are dealt to the banks one by one.
    """
    digits: int
    """Elements of the weights' width that hold one of K^T V, a row each; 0 but for attention."""
    digit_rows: int
    """Rows of a digit of K^T V in each bank, a power of two."""
    parameter_base: int
    """The first of its words in the parameter memory."""
    tile_parameter_words: int
    """Parameter words of a tile, as many as words of potentials of a position."""

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.layer.name

    @property
    def positions(self) -> int:
        """Output positions, before any pooling."""
        return self.height * self.width

    @property
    def readout(self) -> bool:
        """Whether its potentials are the class sums."""
        return self.output is None

    @property
    def neuron(self) -> Neuron:
        """Its neurons; a readout has none: its potentials are kept as they are."""
        return Neuron(hard=True, strict=False, leak=False) if self.readout else self.layer.neuron

    @property
    def weight_rows(self) -> int:
        """Its rows in each bank of the weight memory, but for those of K^T V, which all layers share."""
        return len(self.tiles) * self.tile_rows

    @property
    def parameter_words(self) -> int:
        """Its words in the parameter memory."""
        return len(self.tiles) * self.tile_parameter_words

    def scanned(self, tile: int) -> range:
        """The spike words of a position that the scanner reads for the tile of that number."""
        if self.layer.kind != "attention":
            return range(self.scan_words)
        first = self.tiles[tile].spike_words.start // self.scan_words * self.scan_words
        return range(first, first + self.scan_words)


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """How a core computes a network."""

    network: Network
    """What it computes."""
    config: CoreConfig
    """The core; only its `sizing.SHAPE` and `weight_width` decide anything here, `sizing` checks its other sizes."""
    layers: tuple[LayerPlan, ...]
    """In execution order."""
    memory: MemoryMap = field(repr=False)
    """Where each tensor lies."""
    image_words: ImageWords
    """How the image lies there."""

    def __repr__(self) -> str:
        return (
            f"<Plan: {self.network.name!r} on {self.config.summary}: {len(self.layers)} layers, "
            f"{sum(len(layer.tiles) for layer in self.layers)} tiles>"
        )

    @property
    def word_bits(self) -> int:
        """Channels of a spike word."""
        return self.config.word

    @property
    def by_name(self) -> Mapping[str, LayerPlan]:
        """The layers by name."""
        return {layer.name: layer for layer in self.layers}

    @property
    def image(self) -> Placement:
        """Where the image lies."""
        return self.memory.placements[IMAGE]

    @property
    def activation_words(self) -> int:
        """Spike words that the activation memory must have."""
        return self.memory.words

    @property
    def weight_rows(self) -> int:
        """Rows of all layers, in all banks together."""
        return self.config.banks * (self.product_rows + sum(layer.weight_rows for layer in self.layers))

    @property
    def product_rows(self) -> int:
        """Rows of K^T V in each bank, at its beginning: of the layer that needs most."""
        return max(layer.digits * layer.digit_rows for layer in self.layers)

    @property
    def parameter_words(self) -> int:
        """Parameter words of all layers."""
        return sum(layer.parameter_words for layer in self.layers)

    @property
    def program_layers(self) -> int:
        """Descriptors: the image's, one a layer, the end's."""
        return len(self.layers) + 2


def make_plan(network: Network, config: CoreConfig) -> Plan:
    """Decide how a core of these lanes, word, columns and neuron_lanes computes the network; see `Plan.config`.

    Raises
    ------
    CompileError
        for a layer that the core cannot compute.
    """
    check_supported(network, config.lanes)
    pixels = image_words(network, config)
    memory = map_memory(network, word_bits=config.word, image_words=pixels.words)
    proven = widths(network)
    layers: list[LayerPlan] = []
    weight_rows = max(digits * rows for digits, rows in (_product(layer, config) for layer in network.layers))
    parameter_words = 0
    for index, layer in enumerate(network.layers):
        planned = _plan_layer(
            network,
            config,
            memory,
            index=index,
            group=pixels.groups.get(layer.name, config.columns),
            proven=proven[layer.name],
            weight_base=weight_rows,
            parameter_base=parameter_words,
        )
        layers.append(planned)
        weight_rows += planned.weight_rows
        parameter_words += planned.parameter_words
    return Plan(network=network, config=config, layers=tuple(layers), memory=memory, image_words=pixels)


def _plan_layer(
    network: Network,
    config: CoreConfig,
    memory: MemoryMap,
    *,
    index: int,
    group: int,
    proven: Widths,
    weight_base: int,
    parameter_base: int,
) -> LayerPlan:
    layer = network.layers[index]
    shape = network.shapes.layers[layer.name]
    places = memory.placements
    grows_in_place = layer.name in memory.in_place
    bias_alone = layer.kind == "readout" and not layer.steps  # one position and step, nothing to scan
    words, tail = _scan(layer, config)
    digits, digit_rows = _product(layer, config)
    return LayerPlan(
        layer=layer,
        index=index,
        shape=shape,
        widths=proven,
        inputs=tuple(places[name] for name in layer.inputs),
        residual=None if layer.residual is None else places[layer.residual],
        output=places.get(layer.name),
        grows_in_place=grows_in_place,
        loops=SUMS_STAY if layer.direct else WEIGHTS_STAY,
        tiles=_tiles(layer.channels_out, config),
        height=1 if bias_alone else layer.height_conv,
        width=1 if bias_alone else layer.width_conv,
        steps=1 if bias_alone else layer.steps,
        stored_steps=1 if bias_alone else _stored_steps(layer, shape, grows_in_place),
        group=group,
        scan_words=words,
        scan_tail=tail,
        weight_base=weight_base if layer.weight is not None else max(digits - 1, 0) * digit_rows,
        tile_rows=_tile_rows(layer, config.banks),
        digits=digits,
        digit_rows=digit_rows,
        parameter_base=parameter_base,
        tile_parameter_words=config.neuron_words,
    )


def _tiles(channels: int, config: CoreConfig) -> tuple[Tile, ...]:
    def tile(first: int) -> Tile:
        valid = min(config.lanes, channels - first)
        words = range(first // config.word, -(-(first + valid) // config.word))
        rest = (min(config.word, first + valid - word * config.word) for word in words)
        parts = tuple(-(-channels // config.neuron_lanes) for channels in rest)
        return Tile(first=first, valid=valid, spike_words=words, parts=parts)

    return tuple(tile(first) for first in range(0, channels, config.lanes))


def _scan(layer: Layer, config: CoreConfig) -> tuple[int, int]:
    """`LayerPlan.scan_words` and `LayerPlan.scan_tail`."""
    channels = layer.channels_in
    if layer.direct:
        return -(-layer.kernel // config.banks), channels
    if layer.kind == "attention":  # of the heads that a tile has a part of
        channels = min(channels, max(config.lanes, channels // layer.heads))
    words = -(-channels // config.word)
    return words, channels - (words - 1) * config.word


def _tile_rows(layer: Layer, banks: int) -> int:
    """`LayerPlan.tile_rows`."""
    if layer.weight is None:
        return 0
    taps = layer.kernel**2
    return -(-taps * layer.channels_in // banks) if layer.direct else taps * -(-layer.channels_in // banks)


def _product(layer: Layer, config: CoreConfig) -> tuple[int, int]:
    """`LayerPlan.digits` and `LayerPlan.digit_rows`.

    A digit of w bits holds -2^(w-1) to 2^(w-1) - 1; so digits hold every count from 0 to the number whose digits are
    all the largest.
    """
    if layer.kind != "attention":
        return 0, 0
    words, _ = _scan(layer, config)
    if words > HEAD_WORDS:
        raise CompileError(
            f"layer {layer.name!r}: the heads of a tile must have at most {HEAD_WORDS} spike words, not {words} of "
            f"{config.word} channels; what would help: wider spike words, or more heads"
        )
    most = (1 << config.weight_width - 1) - 1
    digits, largest = 1, most
    while largest < layer.positions:
        digits, largest = digits + 1, (largest << config.weight_width) + most
    return digits, 1 << (words * config.word // config.banks - 1).bit_length()


def _stored_steps(layer: Layer, shape: LayerShape, grows_in_place: bool) -> int:
    """`LayerPlan.stored_steps`."""
    if shape.residual is None or (grows_in_place and shape.residual.planes == shape.output.planes):
        return layer.steps
    return max(layer.steps, shape.residual.steps)
