"""`ActivationStore`: two readers of one port, and a writer."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.activation_store import ActivationStore
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.sim.bench import parameters, start

CASES = [
    {"config": dict(lanes=4, neuron_lanes=4, kv_rows=4, activation_words=2)},
    {"config": dict(lanes=32, neuron_lanes=2, activation_words=37)},
]


def build(*, config):
    return ActivationStore(config=CoreConfig(**config))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def writer_goes_first(dut):
    """The scanner is granted a read whenever the writer does not read; data a cycle later."""
    config = CoreConfig(**parameters()["config"])
    names = (
        "scanner__request scanner__address writer__enable writer__address writes__enable writes__address writes__data"
    )
    await start(dut, **dict.fromkeys(names.split(), 0))
    words, wanted = {}, None
    for _ in range(500):
        to, value, write = random.randrange(config.activation_words), random.getrandbits(config.lanes), 0
        known = list(words) or [0]
        scan, writer = (bool(words) and random.random() < 0.6 for _ in range(2))
        scan_at, writer_at = random.choice(known), random.choice(known)
        at = writer_at if writer else scan_at
        write = random.random() < 0.5 and not ((scan or writer) and to == at)
        dut.scanner__request.value, dut.scanner__address.value = int(scan), scan_at
        dut.writer__enable.value, dut.writer__address.value = int(writer), writer_at
        dut.writes__enable.value, dut.writes__address.value, dut.writes__data.value = int(write), to, value
        await ReadOnly()
        assert int(dut.scanner__grant.value) == (not writer)
        if wanted is not None:
            assert int(dut.scanner__data.value) == int(dut.writer__data.value) == wanted
        wanted = words[at] if scan or writer else None
        if write:
            words[to] = value
        await FallingEdge(dut.clk)
