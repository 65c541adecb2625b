"""Cycles that random spikes are expected to take, by formula: a hundred cores in a second, to choose among them.

Each unit's cycles follow from the Plan and the probability of a bit; the slowest unit of a tile decides. What
`estimate` follows one by one, queues and their ends, is a constant a tile.
"""

from __future__ import annotations

from math import ceil, comb, sqrt

from spikeloom.gen.estimate import DENSITY, FETCH_CYCLES
from spikeloom.gen.plan import LayerPlan, Plan, Tile
from spikeloom.golden.network import PIXEL_BITS, TensorInfo
from spikeloom.rtl.core.ac_array import LATENCY, stages
from spikeloom.rtl.core.config import CoreConfig

FILL_CYCLES = 25
"""Of a tile, until the first sums are written and after the last: the pipeline's length."""
PIXEL_DENSITY = 0.5
"""Of the bits of random pixels."""
LARGEST = {1: 0.0, 2: 0.564, 4: 1.029, 8: 1.424}
"""Expected largest of so many normal variables, in standard deviations."""
POOLED_WORDS = 2.25
"""That a spike word is ORed into, where windows of 3 x 3 overlap by one; all but the first are read before."""


def coarse_cycles(plan: Plan, density: float = DENSITY) -> int:
    """Expected cycles of an image of random pixels, whose neurons fire with this probability.

    A mean over what `estimate` says of `random_activity`, off by some per cent.
    """
    layers = (_layer_cycles(layer, plan.config, density) for layer in plan.layers)
    return round(sum(layers)) + FETCH_CYCLES + 1


def _layer_cycles(layer: LayerPlan, config: CoreConfig, density: float) -> float:
    tiles = layer.tiles if layer.stored_steps else ()
    return FETCH_CYCLES + 1 + sum(_tile_cycles(layer, number, config, density) for number in range(len(tiles)))


def _tile_cycles(layer: LayerPlan, number: int, config: CoreConfig, density: float) -> float:
    """Of the unit that needs most."""
    scanned = layer.shape.computed_steps
    groups = layer.height * ceil(layer.width / layer.group)
    items = groups * (1 if layer.layer.direct else layer.stored_steps)  # without a scan an item takes one cycle
    scan = items + groups * scanned * max(_item(layer, number, config, density))
    positions = layer.positions * layer.stored_steps
    tile = layer.tiles[number]
    keys = scanned * _keys(layer, number, config, density) if layer.layer.kind == "attention" else 0
    return keys + max(scan, positions * tile.neuron_words, positions * _written(layer, tile)) + FILL_CYCLES


def _item(layer: LayerPlan, number: int, config: CoreConfig, density: float) -> tuple[float, float]:
    """Slots of the scanner and cycles of the array for one group of positions at one step."""
    spec = layer.layer
    kernel, words = spec.kernel, len(layer.scanned(number))
    if spec.direct:
        probability = 1 - (1 - PIXEL_DENSITY) ** layer.group  # one of the positions sees the bit
        each = kernel * spec.channels_in * layer.scan_words
        events = max(1, _most(kernel * kernel * spec.channels_in, probability, config.banks))
        return PIXEL_BITS * (each + 1) - 1, PIXEL_BITS * events
    planes, doubles = _planes(layer.shape.inputs[0], density), 1
    if spec.kind == "attention":  # a plane a digit of K^T V
        planes, doubles = planes * layer.digits, config.weight_width
    inside = layer.shape.taps / layer.positions  # taps that are not in the padding
    rows = inside * min(spec.channels_in, words * config.word)
    events = sum(max(1, _most(rows, 1 - (1 - p) ** config.columns, config.banks)) for p in planes)
    between = len(planes) - 1
    slots = len(planes) * kernel * kernel * words * config.columns + between * doubles
    return slots, events + between * (doubles - 1)


def _planes(info: TensorInfo, density: float) -> list[float]:
    """Probability of a bit of each plane, where a value is the sum of `maximum` neurons."""
    most = info.maximum
    of_value = [comb(most, n) * density**n * (1 - density) ** (most - n) for n in range(most + 1)]
    return [sum(p for n, p in enumerate(of_value) if n >> plane & 1) for plane in range(info.planes)]


def _most(rows: float, probability: float, banks: int) -> float:
    """Expected events of the bank that has most, where each row spikes with that probability."""
    mean = rows / banks * probability
    return mean + LARGEST[banks] * sqrt(mean * (1 - probability))


def _keys(layer: LayerPlan, number: int, config: CoreConfig, density: float) -> float:
    """Cycles to clear K^T V and add all tokens of a step to it."""
    words = len(layer.scanned(number))
    spikes = density * min(layer.layer.channels_in, words * config.word)
    token = max(len(layer.tiles[number].spike_words) + words + 2, spikes * layer.digits + LATENCY + stages(config))
    return layer.digits * layer.digit_rows + layer.positions * token


def _written(layer: LayerPlan, tile: Tile) -> float:
    """Cycles of the writer for a position: its reads and writes of the memory."""
    residual, output = layer.shape.residual, layer.shape.output
    if layer.readout:
        return 0
    accesses: float = 1
    if layer.layer.pool:
        accesses = 2 * POOLED_WORDS - 1
    elif residual is not None:
        accesses = output.planes + min(output.planes, residual.planes)
    return len(tile.spike_words) * accesses
