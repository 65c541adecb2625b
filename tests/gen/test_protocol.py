"""Frames of the host link."""

import struct

import pytest

from spikeloom.gen.host.protocol import decode_words, encode_read, encode_write


def test_frames():
    """Byte for byte as the protocol's document has them."""
    assert encode_write(0x4000010, [0x01020304, 0xFFFFFFFF]) == bytes.fromhex("01 02 04000010 01020304 ffffffff")
    assert encode_write(3, [5], fixed=True) == bytes.fromhex("03 01 00000003 00000005")
    assert encode_read(0x1000000, 10) == bytes.fromhex("02 0a 01000000")
    assert encode_read(3, 255, fixed=True) == bytes.fromhex("04 ff 00000003")
    assert decode_words(struct.pack(">3I", 1, 2, 0x80000000)) == [1, 2, 0x80000000]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: encode_write(0, []), "a frame has 1 to 255 words, not 0"),
        (lambda: encode_read(0, 256), "a frame has 1 to 255 words, not 256"),
        (lambda: encode_write(0, [1 << 32]), "word must be in range.2..32., not 4294967296"),
        (lambda: encode_write(0, [-1]), "word must be in range.2..32., not -1"),
        (lambda: encode_read(1 << 28, 1), "addresses have 28 bits: 0x10000000 and 1 words do not fit"),
        (lambda: encode_read((1 << 28) - 1, 2), "addresses have 28 bits: 0xfffffff and 2 words do not fit"),
        (lambda: decode_words(b"abc"), "an answer has four bytes a word, not 3 bytes"),
    ],
)
def test_wrong_frames(call, message):
    with pytest.raises(ValueError, match=message):
        call()
