"""Serial receiver and transmitter, bit by bit; the line's other end is modelled in time, not in clocks."""

import random

import cocotb
import pytest
from cocotb.triggers import FallingEdge, ReadOnly, Timer
from cocotb.utils import get_sim_time

from spikeloom.rtl.host.serial import SerialReceiver, SerialTransmitter
from spikeloom.sim.bench import parameters, receive, run_bench, send, start

CLOCK_NS = 10


def bit_ps():
    return round(parameters()["divisor"] * CLOCK_NS * 1000 * parameters().get("rate", 1.0))


async def drive(dut, level, ps):
    dut.rx.value = level
    await Timer(ps, unit="ps")


async def drive_byte(dut, value, *, stop=1):
    for level in (0, *(value >> bit & 1 for bit in range(8)), stop):
        await drive(dut, level, bit_ps())
    dut.rx.value = 1


async def start_receiver(dut):
    await start(dut, period_ns=CLOCK_NS, rx=1, bytes__ready=0)
    errors = []

    async def watch():
        while True:
            await FallingEdge(dut.clk)
            await ReadOnly()
            if int(dut.error.value):
                errors.append(get_sim_time("ns"))

    cocotb.start_soon(watch())
    return errors


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def receives(dut):
    """All bytes, in random order, with no gap and with gaps of any length."""
    errors = await start_receiver(dut)
    sent = random.sample(range(256), 2048 // parameters()["divisor"])

    async def line():
        for value in sent:
            await drive_byte(dut, value)
            if random.random() < 0.5:
                await Timer(random.randrange(1, 3 * bit_ps()), unit="ps")

    cocotb.start_soon(line())
    assert await receive(dut, "bytes", len(sent), stall=0.3) == sent
    assert not errors


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def ignores_glitch(dut):
    """A low of less than half a bit is no start bit."""
    errors = await start_receiver(dut)
    await drive(dut, 0, bit_ps() // 4)
    await drive(dut, 1, 2 * bit_ps())
    cocotb.start_soon(drive_byte(dut, 0x5A))
    assert await receive(dut, "bytes", 1) == [0x5A]
    assert not errors


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def drops_without_stop(dut):
    """A byte without a stop bit is an error, once, however long the line stays low."""
    errors = await start_receiver(dut)
    dut.bytes__ready.value = 1
    await drive_byte(dut, 0x00, stop=0)
    await drive(dut, 0, 30 * bit_ps())
    await drive(dut, 1, 2 * bit_ps())
    assert len(errors) == 1
    assert not int(dut.bytes__valid.value)
    cocotb.start_soon(drive_byte(dut, 0xC3))
    assert await receive(dut, "bytes", 1) == [0xC3]
    assert len(errors) == 1


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def drops_overrun(dut):
    """A byte that nobody took stays; the next one is lost, with an error."""
    errors = await start_receiver(dut)
    await drive_byte(dut, 0x11)
    assert not errors
    await drive_byte(dut, 0x22)
    assert len(errors) == 1
    assert await receive(dut, "bytes", 1) == [0x11]
    cocotb.start_soon(drive_byte(dut, 0x33))
    assert await receive(dut, "bytes", 1) == [0x33]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def latency(dut):
    """Valid 9.5 bits and 3 cycles after the start edge."""
    await start_receiver(dut)
    await FallingEdge(dut.clk)
    begin = get_sim_time("ns")
    cocotb.start_soon(drive_byte(dut, 0x77))
    while not int(dut.bytes__valid.value):
        await FallingEdge(dut.clk)
    divisor = parameters()["divisor"]
    cycles = round((get_sim_time("ns") - begin) / CLOCK_NS)
    assert cycles == divisor // 2 + 9 * divisor + 3


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def transmits(dut):
    """The line holds each bit for the divisor; bytes follow each other in ten bits and a cycle."""
    divisor = parameters()["divisor"]
    await start(dut, period_ns=CLOCK_NS, bytes__valid=0, bytes__payload=0)
    assert int(dut.tx.value) == 1
    sent = [0x00, 0xFF, 0x55, *random.choices(range(256), k=12)]
    idle = parameters()["idle"]
    cocotb.start_soon(send(dut, "bytes", sent, idle=idle))
    begins = []
    for value in sent:
        levels = []
        while not levels or len(levels) < 10 * divisor:
            await FallingEdge(dut.clk)
            await ReadOnly()
            if levels or not int(dut.tx.value):
                if not levels:
                    begins.append(get_sim_time("ns") // CLOCK_NS)
                levels.append(int(dut.tx.value))
        bits = [0, *(value >> bit & 1 for bit in range(8)), 1]
        assert levels == [bit for bit in bits for _ in range(divisor)]
    if not idle:
        assert {b - a for a, b in zip(begins, begins[1:], strict=False)} == {10 * divisor + 1}


RECEIVER = "receives ignores_glitch drops_without_stop drops_overrun latency".split()


@pytest.mark.parametrize("divisor", [8, 13, 50])
def test_receiver(divisor):
    run_bench(
        SerialReceiver(divisor=divisor),
        module=__name__,
        name="receiver",
        parameters={"divisor": divisor},
        testcase=RECEIVER,
    )


@pytest.mark.parametrize("rate", [0.96, 1.04])
def test_receiver_off_rate(rate):
    run_bench(
        SerialReceiver(divisor=16),
        module=__name__,
        name="receiver",
        parameters={"divisor": 16, "rate": rate},
        testcase="receives",
    )


@pytest.mark.parametrize("divisor, idle", [(4, 0), (7, 0.5), (50, 0.9)])
def test_transmitter(divisor, idle):
    run_bench(
        SerialTransmitter(divisor=divisor),
        module=__name__,
        name="transmitter",
        parameters={"divisor": divisor, "idle": idle},
        testcase="transmits",
    )


@pytest.mark.parametrize("component", [SerialReceiver, SerialTransmitter])
@pytest.mark.parametrize("divisor", [3, 0, 10.0])
def test_wrong_divisor(component, divisor):
    with pytest.raises(ValueError, match=f"divisor must be an integer of at least 4, not {divisor}"):
        component(divisor=divisor)
