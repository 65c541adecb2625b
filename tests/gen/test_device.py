"""The driver's errors, from a board that says what the test wants; tests/sim has it on the simulated design."""

import numpy as np
import pytest

from spikeloom.gen.host.device import Device, _mismatch
from spikeloom.gen.host.link import HostError, open_serial
from spikeloom.gen.host.pixels import ImageFormat
from spikeloom.rtl.bridged_core import serial_divisor
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.registers import CAPABILITIES, IDENTITY, capabilities


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


def device(*answers):
    return Device(Script(*answers), sleep=lambda seconds: None)


def words(*values):
    return b"".join(value.to_bytes(4, "big") for value in values)


IDENTIFIED = words(IDENTITY), words(*capabilities(CoreConfig()))
INFO = words(*ImageFormat(channels=1, height=8, width=8, classes=10).words(program_hash=7))


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
        device(*answers).identify()


def test_identity_in_pieces():
    device(b"S", b"PL", b"1").identify()


def test_short_answer():
    with pytest.raises(HostError, match="the board answered 4 bytes of 8 for address 0x1000000"):
        device(b"1234").read_words(0x1000000, 2)


def test_capabilities():
    """All sizes of a core arrive; one with another map or other descriptors is refused."""
    assert device(*IDENTIFIED).core == CoreConfig()
    values = dict(zip(CAPABILITIES, capabilities(CoreConfig()), strict=True))
    for name in ("map_version", "descriptor_version"):
        message = f"the core has {name} {values[name] - 1}, this driver {values[name]}: build the bitstream again"
        older = words(*(values | {name: values[name] - 1}).values())
        with pytest.raises(HostError, match=message):
            _ = device(IDENTIFIED[0], older).core


def test_without_counters():
    """Such a core says so; whoever asks for a counter is told, and a Program does not care."""
    small = CoreConfig(counters=False)
    board = device(words(IDENTITY), words(*capabilities(small)), words(1234))
    assert board.core == small
    counts = board._counters()
    assert counts == {"cycles": 1234} and counts["cycles"] == 1234
    with pytest.raises(HostError, match="built without counters: it does not count sops_done, only cycles"):
        counts["sops_done"]
    with pytest.raises(KeyError):
        counts["no_such_thing"]
    assert not _mismatch(CoreConfig(), small) and not _mismatch(small, CoreConfig())
    with pytest.raises(ValueError, match="counters must be True or False, not 1"):
        CoreConfig(counters=1)


def test_no_program():
    with pytest.raises(HostError, match="the core holds no Program: load one"):
        device(*IDENTIFIED, bytes(64)).infer(np.zeros((1, 8, 8), np.uint8))


def test_wrong_image():
    for shape in ((1, 16, 16), (3, 8, 8)):
        with pytest.raises(ValueError, match=r"must have \(channels, height, width\) \(1, 8, 8\), not"):
            device(*IDENTIFIED, INFO).infer(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="classes must be the Program's 10, not 4"):
        device(*IDENTIFIED, INFO).infer(np.zeros((1, 8, 8), np.uint8), classes=4)


@pytest.mark.parametrize(
    "status, message",
    [
        (8, "the core stopped at a descriptor that it does not know"),
        (16, "the core's watchdog stopped the image"),
        (0, "the core did not start the image, or forgot it"),
    ],
)
def test_stopped(status, message):
    with pytest.raises(HostError, match=message):
        device(*IDENTIFIED, INFO, words(0), words(status)).infer(np.zeros((1, 8, 8), np.uint8))


def test_refused_pixels():
    with pytest.raises(HostError, match="the core refused 3 writes of the image: does somebody else use it"):
        device(*IDENTIFIED, INFO, words(0), words(2), words(0x302)).infer(np.zeros((1, 8, 8), np.uint8))


def test_disobedient():
    with pytest.raises(HostError, match="the core does not obey an abort: status 0x1"):
        device(words(1)).abort()


def test_wrong_watchdog():
    with pytest.raises(ValueError, match="log2_cycles must be in 0..31, not 32"):
        device().set_watchdog(32)


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
