"""`SumSelector`: any word of any column, two cycles after its sums."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import sums
from spikeloom.rtl.core.sum_selector import SumSelector
from spikeloom.sim.bench import pack, parameters, start, unpack

CASES = [
    {"config": dict(lanes=8, neuron_lanes=8, accumulator_width=9)},
    {"config": dict(lanes=16, columns=2, neuron_lanes=4, accumulator_width=5)},
    {"config": dict(lanes=32, neuron_lanes=2, accumulator_width=7)},
]


def build(*, config):
    return SumSelector(config=CoreConfig(**config))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def chooses_a_word(dut):
    """Sums, column and word change in every cycle; of the two numbers of a lane one is zero."""
    config = CoreConfig(**parameters()["config"])
    await start(dut, sums=0, column=0, word=0)
    low, high = -1 << config.accumulator_width - 1, (1 << config.accumulator_width - 1) - 1
    coming, column, word = [None, None, None], 0, 0
    await FallingEdge(dut.clk)
    for _ in range(300):
        lanes = [[random.randint(low, high) for _ in range(config.lanes)] for _ in range(config.columns)]
        first = word * config.neuron_lanes
        coming = [*coming[1:], lanes[column][first : first + config.neuron_lanes]]
        dut.sums.value = pack(sums(config), lanes)
        column, word = random.randrange(config.columns), random.randrange(config.neuron_words)
        dut.column.value, dut.word.value = column, word
        await ReadOnly()
        if coming[0] is not None:
            pairs = unpack(dut_layout(config), int(dut.chosen.value))
            assert [sorted(pair, key=bool)[-1] for pair in pairs] == coming[0]
            assert all(0 in pair for pair in pairs)
        await FallingEdge(dut.clk)


def dut_layout(config):
    """Of what is chosen."""
    return SumSelector(config=config).chosen.shape()
