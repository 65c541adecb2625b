"""`MembraneStore`: a memory with enables."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import potentials
from spikeloom.rtl.core.membrane_store import MembraneStore
from spikeloom.sim.bench import parameters, start

CASES = [
    {"config": dict(lanes=4, neuron_lanes=4, membrane_positions=1)},
    {"config": dict(lanes=8, neuron_lanes=2, membrane_positions=5, potential_width=21)},
]


def build(*, config):
    return MembraneStore(config=CoreConfig(**config))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reads_what_was_written(dut):
    """Data two cycles after the address, until those of the next read."""
    config = CoreConfig(**parameters()["config"])
    ports = dict(reads__enable=0, reads__address=0, writes__enable=0, writes__address=0, writes__data=0)
    await start(dut, **ports)
    words, coming, wanted = {}, None, None
    for _ in range(400):
        to, at = random.randrange(config.membrane_words), random.choice(list(words) or [0])
        write, value = random.random() < 0.5, random.getrandbits(potentials(config).size)
        read = at in words and random.random() < 0.5 and not (write and to == at)
        dut.reads__enable.value, dut.reads__address.value = int(read), at
        dut.writes__enable.value, dut.writes__address.value, dut.writes__data.value = int(write), to, value
        await ReadOnly()
        if wanted is not None:
            assert int(dut.reads__data.value) == wanted
        wanted = coming
        if read:
            coming = words[at]
        if write:
            words[to] = value
        await FallingEdge(dut.clk)
