"""Memory ports: what a component needs of a memory, seen from the component that reads or writes."""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class MemoryReadPort(wiring.Signature):
    """Reads of a memory that always has time.

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
        The word, one cycle later. It stays until the next read.
    """

    def __init__(self, address_width, shape):
        super().__init__({"enable": Out(1), "address": Out(address_width), "data": In(shape)})


class MemoryWritePort(wiring.Signature):
    """Writes to a memory that always has time.

    Parameters
    ----------
    address_width : int, bits of an address
    shape : shape-like, of a word

    Members
    -------
    enable : Out(1)
        The word is written at the end of this cycle.
    address : Out(address_width)
        Of the word; means nothing without `enable`.
    data : Out(shape)
        The word; means nothing without `enable`.
    """

    def __init__(self, address_width, shape):
        super().__init__({"enable": Out(1), "address": Out(address_width), "data": Out(shape)})
