"""Frames of the bridge, as bytes: LiteX's uartbone. `docs/host-protocol.md` has the protocol."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from spikeloom.rtl.core.registers import ADDRESS_BITS
from spikeloom.rtl.host.uart_bridge import Command

MOST_WORDS = 255
"""Words of one frame."""

_HEADER = struct.Struct(">BBI")


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
