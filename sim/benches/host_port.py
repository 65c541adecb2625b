"""`HostPort`: every register, the regions and their ends, what is refused, pixels and their back-pressure, abort."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.counters import COUNTER_BITS, COUNTERS
from spikeloom.rtl.core.host_port import HostPort
from spikeloom.rtl.core.registers import (
    IDENTITY,
    MOST_REFUSED,
    REFUSED_SHIFT,
    Control,
    Region,
    Register,
    Status,
    capabilities,
    checksum,
    region_words,
)
from spikeloom.sim.bench import Watch, cycle, idle_cycles, parameters, start

CASES = [
    {"config": dict(lanes=4, neuron_lanes=4, classes=10)},
    {"config": dict(lanes=16, neuron_lanes=2, classes=3, program_layers=3, weight_rows=100)},
]
INFO = [0x1234, 1, 2, 3]


def build(*, config):
    return HostPort(config=CoreConfig(**config), program_info=INFO)


async def begin(dut):
    bus = {f"bus__{name}": 0 for name in ("request", "write", "address", "write_data")}
    await start(dut, **bus, busy=0, done=0, fault=0, image_loaded=0, pixels__ready=0, counts=0, result_data=0)


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


async def status(dut):
    return (await access(dut, register(Register.STATUS)))[0]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def registers(dut):
    """Identity, capabilities, status of a run, counters, and zero where there is nothing; three cycles each."""
    await begin(dut)
    config = CoreConfig(**parameters()["config"])
    counts = [random.getrandbits(COUNTER_BITS - 1) for _ in COUNTERS]  # not the watchdog's
    dut.counts.value = sum(c << COUNTER_BITS * i for i, c in enumerate(counts))
    assert await access(dut, register(Register.IDENTITY)) == (IDENTITY, 3)
    for i, count in enumerate(counts):
        assert await access(dut, register(Register.COUNTERS + i)) == (count, 3)
    for i, value in enumerate(capabilities(config)):
        assert await access(dut, register(Register.CAPABILITIES + i)) == (value, 3)
    known = {*range(6), *range(16, 16 + len(counts)), *range(32, 32 + len(capabilities(config))), *range(64, 80)}
    for nothing in [i for i in range(200) if i not in known] + [1 << bit for bit in range(8, 24)]:
        assert await access(dut, register(nothing)) == (0, 3), nothing
    for region in range(5, 16):
        assert await access(dut, region << 24) == (0, 3)
    starts = []
    cocotb.start_soon(watch(dut, "start", starts))
    await idle_cycles(dut, 1)
    assert await status(dut) == 0
    await access(dut, register(Register.CONTROL), Control.START)
    assert len(starts) == 1
    dut.busy.value = 1
    assert await status(dut) == Status.BUSY | Status.PIXELS
    await access(dut, register(Register.CONTROL), Control.START)
    assert len(starts) == 1  # not while it is busy
    assert await status(dut) == Status.BUSY | Status.PIXELS | 1 << REFUSED_SHIFT
    await pulse(dut, "image_loaded")
    assert await status(dut) == Status.BUSY | 1 << REFUSED_SHIFT
    await pulse(dut, "done")
    dut.busy.value = 0
    assert await status(dut) == Status.DONE | 1 << REFUSED_SHIFT
    assert int(dut.finished.value)
    await access(dut, register(Register.CONTROL), Control.START)
    assert await status(dut) == Status.PIXELS


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def program_info(dut):
    """Initial words, then those of a host; not while busy."""
    await begin(dut)
    for i in range(16):
        assert await access(dut, register(Register.PROGRAM_INFO + i)) == ((INFO + [0] * 12)[i], 3)
    words = [random.getrandbits(32) for _ in range(16)]
    for i, word in enumerate(words):
        await access(dut, register(Register.PROGRAM_INFO + i), word)
    dut.busy.value = 1
    await access(dut, register(Register.PROGRAM_INFO + 5), 77)
    for i, word in enumerate(words):
        assert (await access(dut, register(Register.PROGRAM_INFO + i)))[0] == word
    assert await status(dut) == Status.BUSY | 1 << REFUSED_SHIFT


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def regions(dut):
    """Writes reach the one memory that they are for, once, unless beyond its end or while busy; all else is counted."""
    await begin(dut)
    sizes = region_words(CoreConfig(**parameters()["config"]))
    writes = {Region.PROGRAM: "program_write", Region.PARAMETERS: "parameter_write", Region.WEIGHTS: "weight_write"}
    seen, sent, refused = [], [], 0

    async def look():
        while True:
            await FallingEdge(dut.clk)
            await ReadOnly()
            for region, name in writes.items():
                if int(getattr(dut, name).value):
                    seen.append((region, int(dut.write_offset.value), int(dut.write_data.value)))

    cocotb.start_soon(look())
    await idle_cycles(dut, 1)
    for _ in range(300):
        region, word = random.choice([*writes, Region.RESULTS, 5, 15]), random.getrandbits(32)
        end = sizes.get(region, 0)
        offset = random.choice([0, end - 1, end, end + 1, random.randrange(2 * end + 1), random.getrandbits(24)])
        offset = max(offset, 0)
        dut.busy.value = busy = random.random() < 0.3
        await access(dut, region << 24 | offset, word)
        if region in writes and offset < end and not busy:
            sent.append((region, offset, word))
        else:
            refused += 1
        assert await access(dut, region << 24 | offset) == (0, 3)
    assert seen == sent and len(sent) > 20
    dut.busy.value = 0
    assert await status(dut) == min(refused, MOST_REFUSED) << REFUSED_SHIFT
    total = checksum([(region.address(offset), word) for region, offset, word in sent])
    assert await access(dut, register(Register.CHECKSUM)) == (total, 3)
    while refused < MOST_REFUSED + 3:
        await access(dut, Region.RESULTS.address(), 1)
        refused += 1
    assert await status(dut) == MOST_REFUSED << REFUSED_SHIFT
    await access(dut, register(Register.CONTROL), Control.ABORT)
    assert await status(dut) == 0
    assert await access(dut, register(Register.CHECKSUM)) == (0, 3)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def results(dut):
    """Class sums of this image: zero from its start to its end, and beyond the last class."""
    await begin(dut)
    classes = parameters()["config"]["classes"]

    async def store():
        address = 0
        while True:
            await FallingEdge(dut.clk)
            dut.result_data.value = address * 77 + 5
            await ReadOnly()
            address = int(dut.result_address.value)

    cocotb.start_soon(store())
    await idle_cycles(dut, 1)
    for _ in range(2):
        assert (await access(dut, Region.RESULTS.address(1)))[0] == 0
        await access(dut, register(Register.CONTROL), Control.START)
        assert (await access(dut, Region.RESULTS.address(1)))[0] == 0
        await pulse(dut, "done")
        for number in range(classes):
            assert await access(dut, Region.RESULTS.address(number)) == (number * 77 + 5, 3)
        for number in (classes, classes + 1, 16, 1 << 20):
            assert await access(dut, Region.RESULTS.address(number)) == (0, 3)
        await access(dut, register(Register.CONTROL), Control.START)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def stops(dut):
    """Abort, a bad descriptor and the watchdog: one pulse of abort, nothing awaited, and what STATUS says of it."""
    await begin(dut)
    aborts = []
    cocotb.start_soon(watch(dut, "abort", aborts))
    await idle_cycles(dut, 1)
    await access(dut, register(Register.CONTROL), Control.START)
    dut.busy.value = 1
    await access(dut, register(Register.CONTROL), Control.START | Control.ABORT)
    dut.busy.value = 0
    assert len(aborts) == 1
    assert await status(dut) == 0

    await access(dut, register(Register.CONTROL), Control.START)
    await pulse(dut, "fault")
    assert await status(dut) == Status.BAD_DESCRIPTOR
    await access(dut, register(Register.CONTROL), Control.START)
    assert await status(dut) == Status.PIXELS

    assert await access(dut, register(Register.WATCHDOG)) == (31, 3)
    await access(dut, register(Register.WATCHDOG), 10)
    assert await access(dut, register(Register.WATCHDOG)) == (10, 3)
    dut.busy.value = 1
    dut.counts.value = (1 << 10) - 1 | (1 << COUNTER_BITS + 10)  # the cycles, not the counter beside them
    await idle_cycles(dut, 5)
    assert len(aborts) == 1
    dut.counts.value = 1 << 10
    await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    dut.busy.value = dut.counts.value = 0  # what the abort does
    await idle_cycles(dut, 5)
    assert len(aborts) == 2
    assert await status(dut) == Status.TIMED_OUT
    await access(dut, register(Register.WATCHDOG), 0)
    dut.busy.value, dut.counts.value = 1, (1 << COUNTER_BITS) - 1
    await idle_cycles(dut, 5)
    assert len(aborts) == 2
    await access(dut, register(Register.CONTROL), Control.ABORT)
    dut.busy.value = 0
    assert len(aborts) == 3
    assert await status(dut) == 0

    # The cycles of the image before, which were more than are allowed now, stay to the first cycle of the next.
    await access(dut, register(Register.WATCHDOG), 10)
    dut.counts.value = 1 << 10
    starting = cocotb.start_soon(access(dut, register(Register.CONTROL), Control.START))
    await ReadOnly()
    while not int(dut.start.value):
        await FallingEdge(dut.clk)
        await ReadOnly()
    await FallingEdge(dut.clk)
    dut.busy.value = 1
    await FallingEdge(dut.clk)
    dut.counts.value = 0
    await starting
    await idle_cycles(dut, 5)
    assert len(aborts) == 3
    assert await status(dut) == Status.BUSY | Status.PIXELS


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(stall=[0.0, 0.7])
async def pixels(dut, stall):
    """Four a word, the low byte first; a full port holds the bus; refused when no image is awaited."""
    await begin(dut)
    taken = Watch(dut, "pixels")
    taking = cocotb.start_soon(take(dut, stall))
    await access(dut, register(Register.PIXELS), 0x01020304)
    await idle_cycles(dut, 10)
    assert taken.payloads == []
    assert await status(dut) == 1 << REFUSED_SHIFT
    await access(dut, register(Register.CONTROL), Control.START)
    words = [random.getrandbits(32) for _ in range(10)]
    spent = [(await access(dut, register(Register.PIXELS), word))[1] for word in words]
    await idle_cycles(dut, 40)
    assert taken.payloads == [word >> 8 * i & 0xFF for word in words for i in range(4)]
    assert (set(spent) == {6}) if not stall else max(spent) > 5
    assert await status(dut) == Status.PIXELS
    # The image ends in the middle of a word: the rest goes with it, and a host is not blocked by what it still has.
    word = cocotb.start_soon(access(dut, register(Register.PIXELS), 0x55555555))
    while len(taken.payloads) < 42:
        await FallingEdge(dut.clk)
    await pulse(dut, "image_loaded")
    await word
    for _ in range(3):
        assert (await access(dut, register(Register.PIXELS), 0x66666666))[1] == 3
    await idle_cycles(dut, 30)
    assert len(taken.payloads) < 44 and 0x66 not in taken.payloads[40:]
    assert await status(dut) == 3 << REFUSED_SHIFT
    # A whole word too many is counted, even if it came before the image's end.
    dut.busy.value = 0
    await access(dut, register(Register.CONTROL), Control.START)
    await access(dut, register(Register.PIXELS), 0x77777777)
    taking.cancel()
    dut.pixels__ready.value = 0
    surplus = cocotb.start_soon(access(dut, register(Register.PIXELS), 0x88888888))
    await idle_cycles(dut, 5)
    await pulse(dut, "image_loaded")
    await surplus
    assert await status(dut) == 1 << REFUSED_SHIFT


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def stale_pixels(dut):
    """Pixels of an image that ended without taking them are not the first of the next."""
    for end in ("done", "fault", "image_loaded", "watchdog"):
        await begin(dut)
        taken = Watch(dut, "pixels")
        await access(dut, register(Register.WATCHDOG), 8)
        await access(dut, register(Register.CONTROL), Control.START)
        dut.pixels__ready.value = 1
        word = cocotb.start_soon(access(dut, register(Register.PIXELS), 0x55555555))
        while len(taken.payloads) < 2:
            await FallingEdge(dut.clk)
        dut.pixels__ready.value = 0
        if end == "watchdog":
            dut.busy.value, dut.counts.value = 1, 1 << 8
            await idle_cycles(dut, 3)
            dut.busy.value = dut.counts.value = 0
        else:
            await pulse(dut, end)
        await word
        del taken.payloads[:]
        await access(dut, register(Register.CONTROL), Control.ABORT)
        await access(dut, register(Register.CONTROL), Control.START)
        dut.pixels__ready.value = 1
        await access(dut, register(Register.PIXELS), 0x04030201)
        await idle_cycles(dut, 10)
        assert taken.payloads == [1, 2, 3, 4], end


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
