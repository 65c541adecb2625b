"""`LoadableMemory`: host writes by word, reads by row."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.layouts import WORD_BITS
from spikeloom.rtl.core.loadable_memory import LoadableMemory
from spikeloom.sim.bench import parameters, start

CASES = [
    dict(width=32, depth=1),
    dict(width=7, depth=5),
    dict(width=96, depth=13, latency=2),
    dict(width=256, depth=64),
]


def initial_rows(width, depth):
    source = random.Random(7)
    return [source.getrandbits(width) for _ in range(depth // 2)]


def build(*, width, depth, latency=1):
    return LoadableMemory(width=width, depth=depth, init=initial_rows(width, depth), latency=latency)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reads_what_is_there(dut):
    """Rows from the initial contents, and words written at random; a row comes `latency` cycles after its address."""
    width, depth = parameters()["width"], parameters()["depth"]
    rows = initial_rows(width, depth) + [0] * (depth - depth // 2)
    words = -(-width // WORD_BITS)
    stride = 1 << (words - 1).bit_length()
    await start(dut, reads__enable=0, reads__address=0, writes__enable=0, writes__address=0, writes__data=0)
    coming = [None] * parameters().get("latency", 1)  # what is read now comes after these
    for _ in range(500):
        read, write = random.random() < 0.7, random.random() < 0.4
        row, to, word = random.randrange(depth), random.randrange(depth), random.randrange(words)
        write &= not (read and row == to)
        value = random.getrandbits(WORD_BITS)
        dut.reads__enable.value, dut.reads__address.value = int(read), row
        dut.writes__enable.value, dut.writes__address.value, dut.writes__data.value = (
            int(write),
            to * stride + word,
            value,
        )
        await ReadOnly()
        if coming[0] is not None:
            assert int(dut.reads__data.value) == coming[0]
        coming = coming[1:] + [rows[row] if read else coming[-1]]
        if write:
            mask = (1 << WORD_BITS) - 1 << WORD_BITS * word
            rows[to] = (rows[to] & ~mask | value << WORD_BITS * word) & (1 << width) - 1
        await FallingEdge(dut.clk)
