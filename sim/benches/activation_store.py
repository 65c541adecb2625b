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
    names = "scan_request scan_address writer_request writer_address write_enable write_address write_data"
    await start(dut, **dict.fromkeys(names.split(), 0))
    words, wanted = {}, None
    for _ in range(500):
        to, value, write = random.randrange(config.activation_words), random.getrandbits(config.lanes), 0
        known = list(words) or [0]
        scan, writer = (bool(words) and random.random() < 0.6 for _ in range(2))
        scan_at, writer_at = random.choice(known), random.choice(known)
        at = writer_at if writer else scan_at
        write = random.random() < 0.5 and not ((scan or writer) and to == at)
        dut.scan_request.value, dut.scan_address.value = int(scan), scan_at
        dut.writer_request.value, dut.writer_address.value = int(writer), writer_at
        dut.write_enable.value, dut.write_address.value, dut.write_data.value = int(write), to, value
        await ReadOnly()
        assert int(dut.scan_grant.value) == (not writer)
        if wanted is not None:
            assert int(dut.read_data.value) == wanted
        wanted = words[at] if scan or writer else None
        if write:
            words[to] = value
        await FallingEdge(dut.clk)
