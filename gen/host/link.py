"""Words to and from a core over the bytes of a transport.

The transport is pyserial's ``Serial`` with a time-out, or anything with the same ``read(count)`` (which returns fewer
bytes when time is over) and ``write(data)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from spikeloom.gen.host.protocol import MOST_WORDS, decode_words, encode_read, encode_write


class HostError(RuntimeError):
    """The board does not answer, or not as it should; one line."""


class Transport(Protocol):
    """What `Link` needs of a serial port."""

    def read(self, size: int = 1, /) -> bytes: ...

    def write(self, data: bytes, /) -> int | None: ...


class Link:
    """The bridge's frames over a transport.

    Parameters
    ----------
    transport : Transport
    resynchronise_s : float
        Silence that makes the bridge forget half a frame; longer than its time-out.
    sleep : function
        Waits seconds.
    """

    def __init__(self, transport: Transport, *, resynchronise_s: float, sleep: Callable[[float], None]) -> None:
        self._transport = transport
        self._resynchronise_s, self._sleep = resynchronise_s, sleep

    def resynchronise(self) -> None:
        """Make the bridge expect a new frame, whatever was sent before; drop what it still says."""
        self._sleep(self._resynchronise_s)
        while self._transport.read(4096):
            pass

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
                    raise HostError(f"the board answered {len(answer)} bytes of {4 * part} for address {address:#09x}")
                answer += more
            words += decode_words(answer)
        return words

    def write_words(self, address: int, words: Sequence[int], *, fixed: bool = False) -> None:
        """Write to consecutive addresses, or all to one."""
        for start in range(0, len(words), MOST_WORDS):
            part = words[start : start + MOST_WORDS]
            self._transport.write(encode_write(address if fixed else address + start, part, fixed=fixed))


def runs(writes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, list[int]]]:
    """Writes to consecutive addresses, joined: the first address and the words."""
    address, words = 0, list[int]()
    for where, word in writes:
        if words and where != address + len(words):
            yield address, words
            words = []
        if not words:
            address = where
        words.append(word)
    if words:
        yield address, words


def open_serial(port: str, *, baud: int = 1_000_000, timeout_s: float = 0.5) -> Transport:
    """A serial port as `Link` needs it; HostError where it cannot be opened."""
    import serial

    try:
        return serial.Serial(port, baudrate=baud, timeout=timeout_s, write_timeout=timeout_s + 5)
    except (serial.SerialException, OSError, ValueError) as error:
        hint = ""
        if "ermission" in str(error):
            hint = "; be in the group that owns it: sudo usermod -aG dialout $USER, then log in again"
        raise HostError(f"cannot open {port}: {error}{hint}") from error
