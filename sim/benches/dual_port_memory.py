"""`DualPortMemory` in both forms: what its ports read, when, and for how long."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.primitives.dual_port_memory import DualPortMemory
from spikeloom.sim.bench import parameters, start
from spikeloom.sim.benches.block_memory import in_form, initial_words, some_address

CASES = [
    dict(form="portable", shape=18, depth=2100),
    dict(form="ecp5", shape=18, depth=2100),
    dict(form="ecp5", shape=40, depth=300),
    dict(form="ecp5", shape=1, depth=20000),
]


def build(*, form, shape, depth):
    return in_form(DualPortMemory(shape=shape, depth=depth, init=initial_words(shape, depth)), form, "dual_port_memory")


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reads_what_is_there(dut):
    """Both ports at random, two cycles after the address; what comes after a write is not looked at."""
    shape, depth = parameters()["shape"], parameters()["depth"]
    words = initial_words(shape, depth)
    words += [0] * (depth - len(words))
    inputs = dict(shared__enable=0, shared__write=0, shared__address=0, shared__write_data=0)
    await start(dut, reads__enable=0, reads__address=0, **inputs)
    latches, registers = [None, None], [None, None]
    for _ in range(500):
        read, access, write = random.random() < 0.7, random.random() < 0.8, random.random() < 0.4
        address, other, value = some_address(depth), some_address(depth), random.getrandbits(shape)
        write &= not (read and address == other)
        dut.reads__enable.value, dut.reads__address.value = int(read), address
        dut.shared__enable.value, dut.shared__write.value = int(access), int(write)
        dut.shared__address.value, dut.shared__write_data.value = other, value
        dut.rst.value = int(random.random() < 0.02)
        await ReadOnly()
        for port, expected in zip((dut.reads__data, dut.shared__data), registers, strict=True):
            if expected is not None:
                assert int(port.value) == expected
        registers = list(latches)
        if read:
            latches[0] = words[address]
        if access:
            latches[1] = None if write else words[other]
        if access and write:
            words[other] = value
        await FallingEdge(dut.clk)
