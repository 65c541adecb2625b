"""`BlockMemory` in both forms: what it reads, when, and for how long."""

import random

import cocotb
from amaranth.back import verilog
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.primitives.block_memory import BlockMemory
from spikeloom.rtl.primitives.family import ECP5
from spikeloom.sim.bench import parameters, start
from spikeloom.sim.cell_models import DP16KD

# one of each shape of the block memory, with one and more levels, columns and parts
CASES = [
    dict(form="portable", shape=36, depth=1100),
    dict(form="portable", shape=20, depth=1500, granularity=5),
    dict(form="ecp5", shape=36, depth=1100),
    dict(form="ecp5", shape=64, depth=600, granularity=32),
    dict(form="ecp5", shape=20, depth=1500, granularity=5),
    dict(form="ecp5", shape=7, depth=3000),
    dict(form="ecp5", shape=2, depth=12000),
    dict(form="ecp5", shape=1, depth=20000),
    dict(form="ecp5", shape=3, depth=1),
]


def initial_words(shape, depth):
    source = random.Random(7)
    return [source.getrandbits(shape) for _ in range(-(-depth * 3 // 4))]


def in_form(component, form, name):
    """A component's Verilog, with the models of the cells that it names."""
    if form == "portable":
        return component
    return verilog.convert(component, name=name, emit_src=False, platform=ECP5) + DP16KD.read_text()


def build(*, form, shape, depth, granularity=None):
    init = initial_words(shape, depth)
    memory = BlockMemory(shape=shape, depth=depth, init=init, granularity=granularity)
    return in_form(memory, form, "block_memory")


def some_address(depth):
    """Any, but often the first and the last, so that reads meet what was written."""
    near = random.choice((0, 1, 2, 511, 512, 1023, 1024, depth - 2, depth - 1))
    return near if random.random() < 0.7 and 0 <= near < depth else random.randrange(depth)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reads_what_is_there(dut):
    """Initial words, and parts written at random: two cycles after the address, until the next, in spite of resets."""
    shape, depth = parameters()["shape"], parameters()["depth"]
    granularity = parameters().get("granularity") or shape
    words = initial_words(shape, depth)
    words += [0] * (depth - len(words))
    await start(dut, reads__enable=0, reads__address=0, writes__enable=0, writes__address=0, writes__data=0)
    latch = register = None
    for _ in range(500):
        read, write = random.random() < 0.7, random.random() < 0.5
        address, to, value = some_address(depth), some_address(depth), random.getrandbits(shape)
        parts = random.getrandbits(shape // granularity) if write and not (read and address == to) else 0
        dut.reads__enable.value, dut.reads__address.value = int(read), address
        dut.writes__enable.value, dut.writes__address.value, dut.writes__data.value = parts, to, value
        dut.rst.value = int(random.random() < 0.02)
        await ReadOnly()
        if register is not None:
            assert int(dut.reads__data.value) == register
        register = latch
        if read:
            latch = words[address]
        for part in range(shape // granularity):
            if parts >> part & 1:
                mask = (1 << granularity) - 1 << granularity * part
                words[to] = words[to] & ~mask | value & mask
        await FallingEdge(dut.clk)
