"""The host driver: frames, errors, and the real driver against the simulated design, pins and all."""

import struct

import cocotb
import numpy as np
import pytest
from cocotb.task import bridge, resume
from cocotb.triggers import FallingEdge, First, Timer

from spikeloom.gen.host.device import (
    Device,
    HostError,
    decode_words,
    encode_read,
    encode_write,
    open_serial,
    pack_pixels,
)
from spikeloom.rtl.bridged_core import BridgedCore, serial_divisor
from spikeloom.rtl.core.counters import COUNTERS
from spikeloom.rtl.core.registers import Region
from spikeloom.sim.bench import simulate, start
from support.stand_in_core import WORDS, stand_in_verilog

CLOCK_NS = 10
DIVISOR = 8
BAUD = 12_500_000
TIMEOUT_S = 5e-6


class Line:
    """The transport of a simulated board: bytes to and from its pins, in simulated time."""

    def __init__(self, dut):
        self.dut = dut
        self.received = bytearray()
        cocotb.start_soon(self._listen())

    async def _listen(self):
        while True:
            await FallingEdge(self.dut.tx)
            await Timer(DIVISOR * CLOCK_NS // 2, unit="ns")
            value = 0
            for bit in range(8):
                await Timer(DIVISOR * CLOCK_NS, unit="ns")
                value |= int(self.dut.tx.value) << bit
            await Timer(DIVISOR * CLOCK_NS, unit="ns")
            self.received.append(value)

    @resume
    async def write(self, data):
        for value in data:
            for level in (0, *(value >> bit & 1 for bit in range(8)), 1):
                self.dut.rx.value = level
                await Timer(DIVISOR * CLOCK_NS, unit="ns")

    @resume
    async def read(self, size=1):
        for _ in range(40):
            if len(self.received) >= size:
                break
            await Timer(10 * DIVISOR * CLOCK_NS, unit="ns")
        got, self.received = bytes(self.received[:size]), self.received[size:]
        return got

    @resume
    async def sleep(self, seconds):
        await Timer(round(seconds * 1e9), unit="ns")


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def driver_and_design(dut):
    """Identify, load, infer, recover from half a frame and from half an image."""
    await start(dut, period_ns=CLOCK_NS, rx=1)
    line = Line(dut)
    device = Device(line, resynchronise_s=2 * TIMEOUT_S, sleep=line.sleep)

    @bridge
    def session():
        line.write(b"\x01\x05")  # somebody else's half frame
        device.identify()
        device.load_words(Region.WEIGHTS, [7, 0xFFFFFFFF, 9], offset=60)
        assert device.read_words(Region.WEIGHTS.address(59), 4) == [159, 7, 0xFFFFFFFF, 9]

        rng = np.random.default_rng(1)
        for brightest in (256, 4):  # sums of both signs
            image = rng.integers(0, brightest, (1, 8, 8), dtype=np.uint8)
            result = device.infer(image, classes=5)
            total = int(image.astype(int).sum())
            assert result.sums == [total - 1000 * c for c in range(5)]
            assert result.label == 0
            assert result.counters == {name: 16 + i for i, name in enumerate(COUNTERS)}
            device.write_words(Region.REGISTERS.address(1), [1])  # start an image, and leave
            device.write_words(Region.REGISTERS.address(3), [1, 2, 3], fixed=True)

        with pytest.raises(HostError, match="the core is busy: load a Program between images"):
            device.load_words(Region.WEIGHTS, [0])
        small = np.zeros((1, 4, 4), np.uint8)
        slow = Device(line, timeout_s=0.0, sleep=line.sleep)
        with pytest.raises(HostError, match="after 0 s the core does not finish an image that was broken off"):
            slow.infer(small, classes=5)

    done = cocotb.start_soon(session())
    await First(done)
    assert not int(dut.leds.value) & 2
    assert int(dut.leds.value) & 1


def test_driver_and_design():
    simulate(
        BridgedCore(clock_hz=1e9 / CLOCK_NS, baud=BAUD, timeout_s=TIMEOUT_S),
        module=__name__,
        name="soc",
        sources=[stand_in_verilog()],
    )


def test_frames():
    """Byte for byte as the protocol's document has them."""
    assert encode_write(0x400010, [0x01020304, 0xFFFFFFFF]) == bytes.fromhex("01 02 00400010 01020304 ffffffff")
    assert encode_write(3, [5], fixed=True) == bytes.fromhex("03 01 00000003 00000005")
    assert encode_read(0x100000, 10) == bytes.fromhex("02 0a 00100000")
    assert encode_read(3, 255, fixed=True) == bytes.fromhex("04 ff 00000003")
    assert decode_words(struct.pack(">3I", 1, 2, 0x80000000)) == [1, 2, 0x80000000]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: encode_write(0, []), "a frame has 1 to 255 words, not 0"),
        (lambda: encode_read(0, 256), "a frame has 1 to 255 words, not 256"),
        (lambda: encode_write(0, [1 << 32]), "word must be in range.2..32., not 4294967296"),
        (lambda: encode_write(0, [-1]), "word must be in range.2..32., not -1"),
        (lambda: encode_read(1 << 24, 1), "addresses have 24 bits: 0x1000000 and 1 words do not fit"),
        (lambda: encode_read((1 << 24) - 1, 2), "addresses have 24 bits: 0xffffff and 2 words do not fit"),
        (lambda: decode_words(b"abc"), "an answer has four bytes a word, not 3 bytes"),
        (
            lambda: pack_pixels(np.zeros((8, 8), np.uint8)),
            "an image must be .channels, height, width., not .8, 8.",
        ),
    ],
)
def test_wrong_frames(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_pixels():
    """Rows by columns by channels, first in the low byte, the last word padded."""
    image = np.arange(1, 13, dtype=np.uint8).reshape(3, 2, 2)  # 1 2 / 3 4, 5 6 / 7 8, 9 10 / 11 12
    assert pack_pixels(image) == [0x02090501, 0x07030A06, 0x0C08040B]
    assert pack_pixels(image[:1, :1]) == [0x0201]
    assert len(pack_pixels(np.zeros((1, 8, 8), np.uint8))) == WORDS
    with pytest.raises(TypeError, match="pixels must be uint8, not float64"):
        pack_pixels(np.zeros((1, 8, 8)))


class Script:
    """A transport that answers what it was told to."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def read(self, size=1):
        answer = self.answers.pop(0) if self.answers else b""
        assert len(answer) <= size
        return answer

    def write(self, data):
        return len(data)


@pytest.mark.parametrize(
    "answers, message",
    [
        ([], "the board does not answer: is it programmed, and are port and baud rate right?"),
        ([b"SP", b""], "the board does not answer"),
        ([b"SPL2", b"", b"SPL2"], "the board says 0x53504c32, not 0x53504c31: it holds another design"),
    ],
)
def test_wrong_identity(answers, message):
    with pytest.raises(HostError, match=message):
        Device(Script(*answers), sleep=lambda seconds: None).identify()


def test_identity_in_pieces():
    Device(Script(b"S", b"PL", b"1"), sleep=lambda seconds: None).identify()


def test_short_answer():
    with pytest.raises(HostError, match="the board answered 4 bytes of 8 for address 0x100000"):
        Device(Script(b"1234")).read_words(0x100000, 2)


def test_no_program():
    with pytest.raises(HostError, match="the core does not ask for pixels: does it hold a Program"):
        Device(Script(bytes(4), bytes(4))).infer(np.zeros((1, 8, 8), np.uint8), classes=10)


def test_no_port():
    with pytest.raises(HostError, match="cannot open /nowhere/at/all: "):
        open_serial("/nowhere/at/all")


def test_rates():
    assert serial_divisor(clock_hz=50e6, baud=1_000_000) == 50
    assert serial_divisor(clock_hz=50e6, baud=115_200) == 434
    with pytest.raises(ValueError, match="baud must be within 2 % .* not 3500000: .* of 50 MHz is 3571429"):
        serial_divisor(clock_hz=50e6, baud=3_500_000)
    with pytest.raises(ValueError, match="baud must be at most a quarter of the clock .12500000., not 20000000"):
        serial_divisor(clock_hz=50e6, baud=20_000_000)
