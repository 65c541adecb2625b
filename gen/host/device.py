"""The host's end of the link: frames of the bridge, and the core behind them.

`docs/host-protocol.md` has the protocol. The transport is pyserial's ``Serial`` with a time-out, or anything
with the same ``read(count)`` (which returns fewer bytes when time is over) and ``write(data)``.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from spikeloom.rtl.core.counters import COUNTERS
from spikeloom.rtl.core.registers import IDENTITY, Region, Register
from spikeloom.rtl.host.uart_bridge import ADDRESS_BITS, Command

MOST_WORDS = 255
"""Words of one frame."""

STATUS_BUSY, STATUS_DONE, STATUS_PIXELS = 1, 2, 4

_HEADER = struct.Struct(">BBI")
_PIXELS_PER_WORD = 4


class HostError(RuntimeError):
    """The board does not answer, or not as it should; one line."""


class Transport(Protocol):
    """What `Device` needs of a serial port."""

    def read(self, size: int = 1, /) -> bytes: ...

    def write(self, data: bytes, /) -> int | None: ...


@dataclass(frozen=True, kw_only=True)
class Inference:
    """What the board says about one image.

    sums: class sums, signed. counters: by name, of this image.
    """

    sums: list[int]
    counters: dict[str, int]

    @property
    def label(self) -> int:
        """Class with the largest sum; the first of equals."""
        return int(np.argmax(self.sums))


def encode_write(address: int, words: Sequence[int], *, fixed: bool = False) -> bytes:
    """Frame that writes words to consecutive addresses, or all to one.

    Raises ValueError for an address or a word out of range, and for no words or more than `MOST_WORDS`.
    """
    _check(address, len(words), fixed=fixed)
    for word in words:
        if not 0 <= word < 1 << 32:
            raise ValueError(f"word must be in range(2**32), not {word!r}")
    command = Command.WRITE_FIXED if fixed else Command.WRITE
    return _HEADER.pack(command, len(words), address) + struct.pack(f">{len(words)}I", *words)


def encode_read(address: int, count: int, *, fixed: bool = False) -> bytes:
    """Frame that asks for words of consecutive addresses, or always of one."""
    _check(address, count, fixed=fixed)
    return _HEADER.pack(Command.READ_FIXED if fixed else Command.READ, count, address)


def decode_words(answer: bytes) -> list[int]:
    """Words of the answer to a read."""
    if len(answer) % 4:
        raise ValueError(f"an answer has four bytes a word, not {len(answer)} bytes")
    return list(struct.unpack(f">{len(answer) // 4}I", answer))


def _check(address: int, count: int, *, fixed: bool) -> None:
    if not 1 <= count <= MOST_WORDS:
        raise ValueError(f"a frame has 1 to {MOST_WORDS} words, not {count!r}")
    if not 0 <= address <= (1 << ADDRESS_BITS) - (1 if fixed else count):
        raise ValueError(f"addresses have {ADDRESS_BITS} bits: {address:#x} and {count} words do not fit")


def pack_pixels(image: np.ndarray) -> list[int]:
    """Words of an image (C, H, W) of uint8: rows by columns by channels, four a word, first in the low byte.

    Raises TypeError or ValueError for anything else.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8:
        raise TypeError(f"pixels must be uint8, not {image.dtype}")
    if image.ndim != 3 or not image.size:
        raise ValueError(f"an image must be (channels, height, width), not {image.shape}")
    pixels = image.transpose(1, 2, 0).tobytes()
    pixels += bytes(-len(pixels) % _PIXELS_PER_WORD)
    return [int(word) for word in np.frombuffer(pixels, dtype="<u4")]


class Device:
    """A core behind the bridge.

    Parameters
    ----------
    transport : Transport
    timeout_s : float
        Seconds until an image must be done.
    resynchronise_s : float
        Silence that makes the bridge forget half a frame; longer than its time-out.
    sleep : function
        For waiting; simulations give their own.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        timeout_s: float = 5.0,
        resynchronise_s: float = 0.15,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._transport = transport
        self._timeout_s = timeout_s
        self._resynchronise_s = resynchronise_s
        self._sleep = sleep

    def resynchronise(self) -> None:
        """Make the bridge expect a new frame, whatever was sent before; drop what it still says."""
        self._sleep(self._resynchronise_s)
        while self._transport.read(4096):
            pass

    def identify(self) -> None:
        """Check that a core of ours answers; once more after silence, if not at first.

        Raises HostError.
        """
        identity = None
        for _ in range(2):
            try:
                (identity,) = self.read_words(Region.REGISTERS.address(Register.IDENTITY))
            except HostError:
                identity = None
            if identity == IDENTITY:
                return
            self.resynchronise()
        if identity is None:
            raise HostError("the board does not answer: is it programmed, and are port and baud rate right?")
        raise HostError(f"the board says {identity:#010x}, not {IDENTITY:#010x}: it holds another design")

    def read_words(self, address: int, count: int = 1) -> list[int]:
        """Words of consecutive addresses; HostError where the answer is short."""
        words: list[int] = []
        while len(words) < count:
            part = min(count - len(words), MOST_WORDS)
            self._transport.write(encode_read(address + len(words), part))
            answer = b""
            while len(answer) < 4 * part:
                more = self._transport.read(4 * part - len(answer))
                if not more:
                    raise HostError(f"the board answered {len(answer)} bytes of {4 * part} for address {address:#08x}")
                answer += more
            words += decode_words(answer)
        return words

    def write_words(self, address: int, words: Sequence[int], *, fixed: bool = False) -> None:
        """Write to consecutive addresses, or all to one."""
        for start in range(0, len(words), MOST_WORDS):
            part = words[start : start + MOST_WORDS]
            self._transport.write(encode_write(address if fixed else address + start, part, fixed=fixed))

    def load_words(self, region: Region, words: Iterable[int], *, offset: int = 0) -> None:
        """Fill a memory of the core, e.g. ``Region.WEIGHTS``; only while no image is computed."""
        if self.status() & STATUS_BUSY:
            raise HostError("the core is busy: load a Program between images")
        self.write_words(region.address(offset), list(words))

    def status(self) -> int:
        """`STATUS_BUSY`, `STATUS_DONE`, `STATUS_PIXELS`, ORed."""
        return self.read_words(Region.REGISTERS.address(Register.STATUS))[0]

    def infer(self, image: np.ndarray, *, classes: int) -> Inference:
        """Compute one image (C, H, W) of uint8.

        Raises HostError where the core takes too long, or does not want what it is given.
        """
        words = pack_pixels(image)
        pixels = Region.REGISTERS.address(Register.PIXELS)
        if self.status() & STATUS_PIXELS:  # an image broke off: complete it with anything
            self.write_words(pixels, [0] * len(words), fixed=True)
            self._wait_until(STATUS_DONE, "does not finish an image that was broken off")
        self.write_words(Region.REGISTERS.address(Register.CONTROL), [1])
        if not self.status() & STATUS_PIXELS:
            raise HostError("the core does not ask for pixels: does it hold a Program?")
        self.write_words(pixels, words, fixed=True)
        self._wait_until(
            STATUS_DONE, f"has no result for {len(words)} words of pixels: has the model another image size?"
        )
        return Inference(sums=self._sums(classes), counters=self._counters())

    def _wait_until(self, bit: int, failure: str) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not self.status() & bit:
            if time.monotonic() > deadline:
                raise HostError(f"after {self._timeout_s:g} s the core {failure}")

    def _sums(self, classes: int) -> list[int]:
        words = self.read_words(Region.RESULTS.address(), classes)
        return [word - (1 << 32) if word >> 31 else word for word in words]

    def _counters(self) -> dict[str, int]:
        values = self.read_words(Region.REGISTERS.address(Register.COUNTERS), len(COUNTERS))
        return dict(zip(COUNTERS, values, strict=True))


def open_serial(port: str, *, baud: int = 1_000_000, timeout_s: float = 0.5) -> Transport:
    """A serial port as `Device` needs it; HostError where it cannot be opened."""
    import serial

    try:
        return serial.Serial(port, baudrate=baud, timeout=timeout_s, write_timeout=timeout_s + 5)
    except (serial.SerialException, OSError, ValueError) as error:
        hint = ""
        if "ermission" in str(error):
            hint = "; be in the group that owns it: sudo usermod -aG dialout $USER, then log in again"
        raise HostError(f"cannot open {port}: {error}{hint}") from error
