"""`ActivationStore`: a port that reads, and one that reads and writes."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.activation_store import ActivationStore
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.sim.bench import parameters, start

CASES = [
    {"config": dict(lanes=4, neuron_lanes=4, activation_words=2)},
    {"config": dict(lanes=48, neuron_lanes=2, activation_words=37)},
]


def build(*, config):
    return ActivationStore(config=CoreConfig(**config))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def two_ports(dut):
    """Both ports at once, an access each a cycle; words two cycles after their addresses."""
    config = CoreConfig(**parameters()["config"])
    names = "scanner__enable scanner__address writer__enable writer__write writer__address writer__write_data"
    await start(dut, **dict.fromkeys(names.split(), 0))
    words, asked = {}, [(None, None)] * 2  # what each port read in the last cycles
    for _ in range(1000):
        known = list(words)
        scan, access, write = (random.random() < 0.6 for _ in range(3))
        scan, write = scan and bool(words), write or not words
        at = random.choice(known) if words else 0
        to, value = random.randrange(config.activation_words) if write else at, random.getrandbits(config.word)
        scan_at = random.choice(known) if words else 0
        scan = scan and not (access and write and scan_at == to)
        dut.scanner__enable.value, dut.scanner__address.value = int(scan), scan_at
        dut.writer__enable.value, dut.writer__write.value = int(access), int(write)
        dut.writer__address.value, dut.writer__write_data.value = to, value
        await ReadOnly()
        scanned, read = asked.pop(0)
        assert scanned is None or int(dut.scanner__data.value) == scanned
        assert read is None or int(dut.writer__data.value) == read
        asked.append((words[scan_at] if scan else None, words[to] if access and not write else None))
        if access and write:
            words[to] = value
        await FallingEdge(dut.clk)
