"""`ResultStore`: words in, classes out."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import WORD_BITS, potentials
from spikeloom.rtl.core.result_store import ResultStore
from spikeloom.sim.bench import pack, parameters, start

CASES = [
    {"config": dict(lanes=4, neuron_lanes=1, classes=1)},
    {"config": dict(lanes=8, neuron_lanes=4, classes=10, potential_width=21)},
    {"config": dict(neuron_lanes=8, classes=100, potential_width=32)},
]


def build(*, config):
    return ResultStore(config=CoreConfig(**config))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def sign_extended(dut):
    """Each class a cycle after its address, signed."""
    config = CoreConfig(**parameters()["config"])
    await start(dut, writes__enable=0, writes__address=0, writes__data=0, read_address=0)
    top = 1 << config.potential_width - 1
    for _ in range(2):
        sums = []
        for word in range(config.result_words):
            row = [random.choice((-top, -1, top - 1, random.randrange(-top, top))) for _ in range(config.neuron_lanes)]
            sums += row
            dut.writes__enable.value, dut.writes__address.value = 1, word
            dut.writes__data.value = pack(potentials(config), row)
            await FallingEdge(dut.clk)
        dut.writes__enable.value = 0
        for number in random.sample(range(config.classes), config.classes):
            dut.read_address.value = number
            await FallingEdge(dut.clk)
            await ReadOnly()
            assert int(dut.read_data.value) == sums[number] % (1 << WORD_BITS)
            await FallingEdge(dut.clk)
