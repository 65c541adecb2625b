"""Ports of memories, seen from the component that reads or writes; the memory always has time."""

from amaranth.hdl import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class MemoryReadPort(wiring.Signature):
    """Reads.

    Parameters
    ----------
    address_width : int, bits of an address
    shape : shape-like, of a word

    Members
    -------
    enable : Out(1)
        A word is read in this cycle.
    address : Out(address_width)
        Of the word; means nothing without `enable`.
    data : In(shape)
        The word, as many cycles later as the memory takes: its latency, two where it has an output register, else one.
        It stays until so many cycles after the next read.
    """

    def __init__(self, address_width, shape):
        super().__init__({"enable": Out(1), "address": Out(address_width), "data": In(shape)})


class MemoryWritePort(wiring.Signature):
    """Writes, of whole words or parts of them.

    Parameters
    ----------
    address_width : int, bits of an address
    shape : shape-like, of a word
    granularity : int, bits that are written together; default: the word

    Members
    -------
    enable : Out(word's bits / granularity)
        A bit for each part, the lowest first: it is written at the end of this cycle.
    address : Out(address_width)
        Of the word; means nothing without `enable`.
    data : Out(shape)
        The word; the parts that are not enabled mean nothing.
    """

    def __init__(self, address_width, shape, granularity=None):
        parts = 1 if granularity is None else Shape.cast(shape).width // granularity
        super().__init__({"enable": Out(parts), "address": Out(address_width), "data": Out(shape)})


class MemorySharedPort(wiring.Signature):
    """Reads and writes, one of both in a cycle.

    Parameters
    ----------
    address_width : int, bits of an address
    shape : shape-like, of a word

    Members
    -------
    enable : Out(1)
        A word is read or written in this cycle.
    write : Out(1)
        It is written; means nothing without `enable`.
    address : Out(address_width)
        Of the word; means nothing without `enable`.
    write_data : Out(shape)
        What is written; means nothing without `write`.
    data : In(shape)
        The word that was read, as with `MemoryReadPort`. It stays until the latency after the next access; what comes
        after a write means nothing.
    """

    def __init__(self, address_width, shape):
        super().__init__(
            {
                "enable": Out(1),
                "write": Out(1),
                "address": Out(address_width),
                "write_data": Out(shape),
                "data": In(shape),
            }
        )
