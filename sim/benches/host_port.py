"""`HostPort`: every register, the regions, pixels and their back-pressure."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.counters import COUNTER_BITS, COUNTERS
from spikeloom.rtl.core.host_port import HostPort
from spikeloom.rtl.core.registers import IDENTITY, Region, Register
from spikeloom.sim.bench import Watch, cycle, idle_cycles, start

CASES = [{"config": dict(lanes=4, neuron_lanes=4, kv_rows=4, classes=10)}]
BUSY, DONE, AWAITING = 1, 2, 4


def build(*, config):
    return HostPort(config=CoreConfig(**config))


async def begin(dut):
    bus = {f"bus__{name}": 0 for name in ("request", "write", "address", "write_data")}
    await start(dut, **bus, busy=0, done=0, image_loaded=0, pixels__ready=0, counts=0, result_data=0)


async def access(dut, address, data=None, *, limit=200):
    """One access; what was read, and the cycles that it took."""
    dut.bus__request.value, dut.bus__write.value = 1, int(data is not None)
    dut.bus__address.value, dut.bus__write_data.value = address, data or 0
    began = cycle()
    while True:
        await ReadOnly()
        if int(dut.bus__acknowledge.value):
            break
        await FallingEdge(dut.clk)
        assert cycle() - began < limit
    value, spent = int(dut.bus__read_data.value), cycle() - began + 1
    await FallingEdge(dut.clk)
    dut.bus__request.value = 0
    await ReadOnly()
    assert not int(dut.bus__acknowledge.value)
    await FallingEdge(dut.clk)
    return value, spent


async def pulse(dut, name):
    getattr(dut, name).value = 1
    await FallingEdge(dut.clk)
    getattr(dut, name).value = 0


def register(index):
    return Region.REGISTERS.address(index)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def registers(dut):
    """Identity, status of a run, counters, and zero where there is nothing; two cycles each."""
    await begin(dut)
    counts = [random.getrandbits(COUNTER_BITS) for _ in COUNTERS]
    dut.counts.value = sum(c << COUNTER_BITS * i for i, c in enumerate(counts))
    assert await access(dut, register(Register.IDENTITY)) == (IDENTITY, 2)
    for i, count in enumerate(counts):
        assert await access(dut, register(Register.COUNTERS + i)) == (count, 2)
    for nothing in (5, Register.COUNTERS - 1, Register.COUNTERS + len(counts), 1 << 19):
        assert await access(dut, register(nothing)) == (0, 2)
    starts = []
    cocotb.start_soon(watch(dut, "start", starts))
    await idle_cycles(dut, 1)
    assert await access(dut, register(Register.STATUS)) == (0, 2)
    await access(dut, register(Register.CONTROL), 0)
    assert not starts
    await access(dut, register(Register.CONTROL), 1)
    assert len(starts) == 1
    dut.busy.value = 1
    assert await access(dut, register(Register.STATUS)) == (BUSY | AWAITING, 2)
    await access(dut, register(Register.CONTROL), 1)
    assert len(starts) == 1  # not while it is busy
    await pulse(dut, "image_loaded")
    assert await access(dut, register(Register.STATUS)) == (BUSY, 2)
    await pulse(dut, "done")
    dut.busy.value = 0
    assert await access(dut, register(Register.STATUS)) == (DONE, 2)
    assert int(dut.finished.value)
    await access(dut, register(Register.CONTROL), 1)
    assert await access(dut, register(Register.STATUS)) == (AWAITING, 2)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def regions(dut):
    """Writes reach the one memory that they are for, once; results come from the result store."""
    await begin(dut)
    writes = {Region.PROGRAM: "program_write", Region.PARAMETERS: "parameter_write", Region.WEIGHTS: "weight_write"}
    seen = []

    async def look():
        address = 0
        while True:
            await FallingEdge(dut.clk)
            dut.result_data.value = address * 77
            await ReadOnly()
            address = int(dut.result_address.value)
            for region, name in writes.items():
                if int(getattr(dut, name).value):
                    seen.append((region, int(dut.write_offset.value), int(dut.write_data.value)))

    cocotb.start_soon(look())
    await idle_cycles(dut, 1)
    sent = []
    for _ in range(40):
        region, offset, word = random.choice(list(Region)), random.getrandbits(20), random.getrandbits(32)
        if region == Region.REGISTERS:
            continue
        await access(dut, region.address(offset), word)
        if region in writes:
            sent.append((region, offset, word))
        await access(dut, region.address(offset))
    assert seen == sent
    for number in range(10):
        assert await access(dut, Region.RESULTS.address(number)) == (number * 77, 2)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(stall=[0.0, 0.7])
async def pixels(dut, stall):
    """Four a word, the low byte first; a full port holds the bus; dropped when no image is awaited."""
    await begin(dut)
    taken = Watch(dut, "pixels")
    cocotb.start_soon(take(dut, stall))
    await access(dut, register(Register.PIXELS), 0x01020304)
    await idle_cycles(dut, 10)
    assert taken.payloads == []
    await access(dut, register(Register.CONTROL), 1)
    words = [random.getrandbits(32) for _ in range(10)]
    spent = [(await access(dut, register(Register.PIXELS), word))[1] for word in words]
    await idle_cycles(dut, 40)
    assert taken.payloads == [word >> 8 * i & 0xFF for word in words for i in range(4)]
    assert spent[0] == 2 and max(spent) > 2
    # What is left over of the last word goes with the image, and a host is never blocked after it.
    dut.pixels__ready.value = 0
    await access(dut, register(Register.PIXELS), 0x55555555)
    await pulse(dut, "image_loaded")
    for _ in range(3):
        assert (await access(dut, register(Register.PIXELS), 0x66666666))[1] == 2
    await idle_cycles(dut, 30)
    assert 0x66 not in taken.payloads[40:]


async def take(dut, stall):
    while True:
        await FallingEdge(dut.clk)
        dut.pixels__ready.value = int(random.random() >= stall)


async def watch(dut, name, cycles):
    while True:
        await FallingEdge(dut.clk)
        await ReadOnly()
        if int(getattr(dut, name).value):
            cycles.append(cycle())
