"""The bridge against a bus that the bench models: frames good, broken and wrong, from a host in time."""

import random
import struct

import cocotb
import pytest
from cocotb.triggers import FallingEdge, ReadOnly, RisingEdge, Timer

from spikeloom.rtl.host.uart_bridge import UartBridge
from spikeloom.sim.bench import parameters, run_bench, start

CLOCK_NS = 10
DIVISOR = 6
TIMEOUT = 400
BYTE_NS = 10 * DIVISOR * CLOCK_NS
SILENCE_NS = (TIMEOUT + 20 * DIVISOR) * CLOCK_NS

WRITE, READ, WRITE_FIXED, READ_FIXED = 1, 2, 3, 4


class Bus:
    """A device of 2^28 words that acknowledges late; `log` has every access."""

    def __init__(self, dut):
        self.dut = dut
        self.words = {}
        self.log = []
        self.slow = 0.0
        self.dead = False

    async def run(self):
        dut = self.dut
        while True:
            await FallingEdge(dut.clk)
            dut.host__acknowledge.value = 0
            dut.host__read_data.value = random.getrandbits(32)
            await ReadOnly()
            if not int(dut.host__request.value):
                await RisingEdge(dut.host__request)
                continue
            if self.dead or random.random() < self.slow:
                continue
            address, write = int(dut.host__address.value), int(dut.host__write.value)
            await FallingEdge(dut.clk)
            if write:
                self.words[address] = int(dut.host__write_data.value)
            value = self.words.get(address, 0xDEAD0000 | address & 0xFFFF)
            dut.host__acknowledge.value = 1
            dut.host__read_data.value = value
            self.log.append((write, address, value))


class Host:
    """The other end of the line."""

    def __init__(self, dut):
        self.dut = dut
        self.received = bytearray()

    async def send(self, data, *, gap=0.0, rest_ns=None):
        for value in data:
            for level in (0, *(value >> bit & 1 for bit in range(8)), 1):
                self.dut.rx.value = level
                await Timer(DIVISOR * CLOCK_NS, unit="ns")
            if random.random() < gap:
                await Timer(random.randrange(1, TIMEOUT * CLOCK_NS // 2), unit="ns")
        if rest_ns:
            await Timer(rest_ns, unit="ns")

    async def listen(self):
        while True:
            await FallingEdge(self.dut.tx)
            await Timer(DIVISOR * CLOCK_NS // 2, unit="ns")
            value = 0
            for bit in range(8):
                await Timer(DIVISOR * CLOCK_NS, unit="ns")
                value |= int(self.dut.tx.value) << bit
            await Timer(DIVISOR * CLOCK_NS, unit="ns")
            assert int(self.dut.tx.value) == 1
            self.received.append(value)

    async def answer(self, count):
        while len(self.received) < count:
            await Timer(BYTE_NS, unit="ns")
        got, self.received = bytes(self.received), bytearray()
        assert len(got) == count
        return got


def frame(command, address, *words, length=None):
    length = len(words) if length is None else length
    return struct.pack(f">BBI{len(words)}I", command, length, address, *words)


async def begin(dut):
    await start(dut, period_ns=CLOCK_NS, rx=1, host__acknowledge=0, host__read_data=0)
    bus, host = Bus(dut), Host(dut)
    cocotb.start_soon(bus.run())
    cocotb.start_soon(host.listen())
    return bus, host


async def check_alive(bus, host):
    """After whatever came before: a write and a read work, and nothing else happens."""
    bus.log.clear()
    host.received.clear()
    word, address = random.getrandbits(32), random.getrandbits(28)
    await host.send(frame(WRITE, address, word) + frame(READ, address, length=1))
    assert await host.answer(4) == struct.pack(">I", word)
    assert bus.log == [(1, address, word), (0, address, word)]


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def random_frames(dut):
    """All commands, lengths up to 255, slow buses, gaps between bytes below the time-out."""
    bus, host = await begin(dut)
    bus.slow = parameters()["slow"]
    for length in [1, 2, 255, *(random.randrange(1, 12) for _ in range(20))]:
        command = random.choice([WRITE, READ, WRITE_FIXED, READ_FIXED])
        address = random.choice([random.getrandbits(28), 0, 0xFFFFFFF - length])
        step = command in (WRITE, READ)
        bus.log.clear()
        if command in (WRITE, WRITE_FIXED):
            words = [random.getrandbits(32) for _ in range(length)]
            await host.send(frame(command, address, *words), gap=parameters()["gap"])
            await Timer(BYTE_NS, unit="ns")
            wanted = [(1, address + i * step, word) for i, word in enumerate(words)]
            assert not host.received
        else:
            memory = bus.words.copy()
            await host.send(frame(command, address, length=length), gap=parameters()["gap"])
            addresses = [address + i * step for i in range(length)]
            words = [memory.get(a, 0xDEAD0000 | a & 0xFFFF) for a in addresses]
            assert await host.answer(4 * length) == struct.pack(f">{length}I", *words)
            wanted = [(0, a, word) for a, word in zip(addresses, words, strict=True)]
        assert bus.log == wanted


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def truncated_frames(dut):
    """A frame that stops anywhere does what its whole words say, and the next one after silence is good."""
    bus, host = await begin(dut)
    whole = frame(WRITE, 0xA123456, 0xAABBCCDD, 0x11223344)
    for cut in range(1, len(whole)):
        bus.log.clear()
        await host.send(whole[:cut], rest_ns=SILENCE_NS)
        assert bus.log == [(1, 0xA123456, 0xAABBCCDD)] * (cut >= 10)
        await check_alive(bus, host)
    for cut in range(1, 6):
        bus.log.clear()
        await host.send(frame(READ, 0x10, length=3)[:cut], rest_ns=SILENCE_NS)
        assert not bus.log and not host.received
        await check_alive(bus, host)


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def no_timeout_within_pauses(dut):
    """Pauses a little shorter than the time-out between all bytes do not break a frame."""
    bus, host = await begin(dut)
    for value in frame(WRITE, 5, 0xCAFEF00D):
        await host.send([value], rest_ns=(TIMEOUT - 12 * DIVISOR) * CLOCK_NS)
    assert bus.log == [(1, 5, 0xCAFEF00D)]


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def wrong_frames(dut):
    """Nothing happens for a wrong command, length or address; what follows at once is discarded too."""
    bus, host = await begin(dut)
    good = frame(WRITE, 1, 2)
    for wrong in [
        *(frame(command, 0, 1) for command in (0, 5, 6, 0x80, 0xFF)),
        frame(WRITE, 0, length=0),
        frame(READ, 0, length=0),
        frame(WRITE, 0x10000000, 7),
        frame(READ, 0xFF000000, length=1),
    ]:
        bus.log.clear()
        await host.send(wrong + good, rest_ns=SILENCE_NS)
        assert not bus.log and not host.received, wrong
        await check_alive(bus, host)


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def broken_bytes(dut):
    """A missing stop bit ends the frame: no word from then on is written."""
    bus, host = await begin(dut)
    for whole in range(0, 12):
        bus.log.clear()
        await host.send(frame(WRITE, 9, 1, 2)[:whole])
        dut.rx.value = 0
        await Timer(12 * DIVISOR * CLOCK_NS, unit="ns")
        dut.rx.value = 1
        await Timer(2 * BYTE_NS, unit="ns")
        await host.send(bytes([0, 0, 0, 0]) * 3, rest_ns=SILENCE_NS)
        assert bus.log == [(1, 9, 1)] * (whole >= 10)
        await check_alive(bus, host)


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def dead_bus(dut):
    """An access that nobody acknowledges ends after the time-out; a byte lost meanwhile ends the frame."""
    bus, host = await begin(dut)
    for data in (frame(WRITE, 3, 4, 5), frame(READ, 3, length=2)):
        bus.dead = True
        bus.log.clear()
        await host.send(data, rest_ns=2 * SILENCE_NS)
        assert not int(dut.host__request.value)
        bus.dead = False
        assert not bus.log and not host.received
        await check_alive(bus, host)


@cocotb.test(timeout_time=500, timeout_unit="ms")
async def noise(dut):
    """Random levels of random lengths; after silence all is well."""
    bus, host = await begin(dut)
    for _ in range(parameters()["rounds"]):
        for _ in range(random.randrange(100)):
            dut.rx.value = random.getrandbits(1)
            await Timer(random.randrange(1, 20 * DIVISOR * CLOCK_NS // 2), unit="ns")
        dut.rx.value = 1
        await Timer(SILENCE_NS + 256 * 5 * BYTE_NS * bool(int(dut.host__request.value)), unit="ns")
        length = -1
        while length != len(host.received):  # noise may have been a read
            length = len(host.received)
            await Timer(SILENCE_NS, unit="ns")
        await check_alive(bus, host)


def run(testcase, **values):
    run_bench(
        UartBridge(divisor=DIVISOR, timeout=TIMEOUT),
        module=__name__,
        name="bridge",
        parameters=values,
        testcase=testcase,
    )


@pytest.mark.parametrize("slow, gap", [(0.0, 0.0), (0.9, 0.2)])
def test_random_frames(slow, gap):
    run("random_frames", slow=slow, gap=gap)


def test_recovery():
    run(
        "truncated_frames no_timeout_within_pauses wrong_frames broken_bytes dead_bus noise".split(),
        rounds=20,
    )


@pytest.mark.parametrize("timeout", [0, 120, 500.0])
def test_wrong_timeout(timeout):
    with pytest.raises(ValueError, match=f"timeout must be above 20 . divisor = 120 cycles, not {timeout}"):
        UartBridge(divisor=6, timeout=timeout)


def test_wrong_divisor():
    with pytest.raises(ValueError, match="divisor must be an integer of at least 4, not 3"):
        UartBridge(divisor=3, timeout=1000)
