"""`Counters`: sums of increments."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.counters import COUNTERS, Counters
from spikeloom.sim.bench import parameters, start, unpack

CASES: list[dict] = [{"counters": True}, {"counters": False}]


def build(*, counters):
    return Counters(config=CoreConfig(counters=counters))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def sums(dut):
    """Increments up to their largest; two cycles later the counts show it; a clear drops them up to those beside it.

    A core without counters has cycles alone: all else stays 0.
    """
    has = COUNTERS if parameters()["counters"] else ("cycles",)
    layout = build(counters=True).counts.shape()
    await start(dut, clear=0, increments=0)
    counts = dict.fromkeys(COUNTERS, 0)
    pending, cleared = dict(counts), False
    for _ in range(400):
        clear, bits = random.random() < 0.02, random.getrandbits(sum(COUNTERS.values()))
        if random.random() < 0.2:
            bits = (1 << sum(COUNTERS.values())) - 1
        dut.clear.value, dut.increments.value = int(clear), bits
        await ReadOnly()
        assert unpack(layout, int(dut.counts.value)) == counts
        for name, width in COUNTERS.items():
            if name in has:
                counts[name] = 0 if cleared else counts[name] + pending[name]
            pending[name] = bits & (1 << width) - 1
            bits >>= width
        cleared = clear
        await FallingEdge(dut.clk)
