"""Random networks beyond what a core can do: each is refused in one line that says where, or its Program is whole."""

import re

import pytest

from spikeloom.gen.compiler import compile_network
from spikeloom.gen.errors import CompileError
from spikeloom.gen.sizing import smallest_core
from spikeloom.golden.network.graph_limits import GraphLimits
from spikeloom.golden.network.random_graph import random_graph
from spikeloom.rtl.core.layouts import DESCRIPTOR, DESCRIPTOR_WORDS, WORD_BITS, Kind

WIDE = dict(work=10**6, accumulator_bits=26, potential_bits=32)
BEYOND = {
    "steps": GraphLimits(**WIDE, steps=90),
    "kernel": GraphLimits(**WIDE, kernel=20, size=24),
    "stride": GraphLimits(**WIDE, stride=12, size=30),
    "map": GraphLimits(**(WIDE | dict(work=10**7)), size=520, channels=2, image_channels=1, kernel=2, layers=3),
    "classes": GraphLimits(**WIDE, classes=300),
    "potentials": GraphLimits(**(WIDE | dict(accumulator_bits=34, potential_bits=44))),
    "layers of golden": GraphLimits(**WIDE, golden_only=True),
}
NETWORKS = 14


@pytest.mark.parametrize("limit", BEYOND)
def test_refused_or_whole(limit):
    refused = 0
    for seed in range(NETWORKS):
        network, lanes = random_graph(seed, BEYOND[limit]), 8 << seed % 4
        try:
            config = smallest_core(network, lanes=lanes, columns=1 << seed % 3, neuron_lanes=4)
            check_whole(compile_network(network, config).program, network)
        except CompileError as error:
            refused += 1
            assert re.fullmatch(r"(layer '\w+'|the image): .+|unary spikes come later.+", str(error)), (
                seed,
                str(error),
            )
    assert refused >= 1, "nothing was beyond the core"


def check_whole(program, network):
    """The packed descriptors are those of the network, each number as it is there."""
    bits = sum(word << WORD_BITS * i for i, word in enumerate(program.program_words))
    size = DESCRIPTOR_WORDS * WORD_BITS
    found = [
        DESCRIPTOR.from_bits(bits >> size * i & (1 << DESCRIPTOR.size) - 1) for i in range(len(network.layers) + 2)
    ]
    assert found[0].kind == Kind.IMAGE and found[-1].kind == Kind.END
    assert (found[0].width, found[0].height, found[0].tile_tail) == (network.width, network.height, network.channels)
    for layer, made in zip(network.layers, found[1:-1], strict=True):
        assert made.index == network.layers.index(layer)
        assert (made.field.kernel, made.field.stride, made.field.padding) == (layer.kernel, layer.stride, layer.padding)
        assert (made.field.width, made.field.height) == (layer.width_in, layer.height_in)
        if layer.steps:
            assert made.steps == layer.steps and made.positions == layer.positions
