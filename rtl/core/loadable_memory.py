"""Memory with contents in the bitstream that a host can replace."""

from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .layouts import WORD_BITS


class LoadableMemory(wiring.Component):
    """Rows of `width` bits: read a row a cycle, latency 1; written in words of 32 bits.

    Rows start at multiples of `stride` words, the power of two that holds a row. A row must not be read in the
    cycle in which it is written.

    Parameters
    ----------
    width : int, bits of a row
    depth : int, rows
    init : sequence of int, at most `depth`

    Members
    -------
    read_enable, read_address : In; read_data : Out, holds its value while not enabled
    write_enable, write_address, write_data : In, the address counts words

    Raises
    ------
    ValueError
        for more initial rows than `depth`, or a value wider than a row.
    """

    def __init__(self, *, width, depth, init=()):
        init = list(init)
        if len(init) > depth:
            raise ValueError(f"init must have at most {depth} rows, not {len(init)}")
        for row, value in enumerate(init):
            if value < 0 or value >> width:
                raise ValueError(f"row {row} must fit in {width} bits, not {value:#x}")
        self.width, self.depth, self.init = width, depth, init
        self.words = -(-width // WORD_BITS)
        self.stride_bits = ceil_log2(self.words)
        address = max(1, ceil_log2(depth))
        super().__init__(
            {
                "read_enable": In(1),
                "read_address": In(address),
                "read_data": Out(width),
                "write_enable": In(1),
                "write_address": In(address + self.stride_bits),
                "write_data": In(WORD_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # no_rw_check: nothing is read while the host writes, so no collision logic is wanted
        m.submodules.memory = store = memory.Memory(
            shape=self.words * WORD_BITS, depth=self.depth, init=self.init, attrs={"no_rw_check": 1}
        )
        read = store.read_port()
        write = store.write_port(granularity=WORD_BITS)
        m.d.comb += [
            read.en.eq(self.read_enable),
            read.addr.eq(self.read_address),
            self.read_data.eq(read.data),
            write.addr.eq(self.write_address >> self.stride_bits),
            write.data.eq(self.write_data.replicate(self.words)),
        ]
        for word in range(self.words):
            chosen = self.write_address[: self.stride_bits] == word if self.stride_bits else 1
            m.d.comb += write.en[word].eq(self.write_enable & chosen)
        return m
