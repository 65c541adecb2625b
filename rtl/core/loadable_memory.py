"""Memory with contents in the bitstream that a host can replace."""

from amaranth.hdl import Cat, Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2

from ..primitives.block_memory import BlockMemory
from ..primitives.ports import MemoryReadPort, MemoryWritePort
from .layouts import WORD_BITS


class LoadableMemory(wiring.Component):
    """Rows of `width` bits: read a row a cycle, written in words of 32 bits.

    Rows start at multiples of `stride` words, the power of two that holds a row. A row must not be read in the
    cycle in which it is written.

    Parameters
    ----------
    width : int, bits of a row
    depth : int, rows
    init : sequence of int, at most `depth`
    latency : int, cycles from a row's address to the row: 1, or 2 of a block memory with its output register

    Members
    -------
    reads : In(MemoryReadPort), a row
    writes : In(MemoryWritePort), 32 bits of a row; the address counts words

    Raises
    ------
    ValueError
        for more initial rows than `depth`, or a value wider than a row, another latency.
    """

    def __init__(self, *, width, depth, init=(), latency=1):
        init = list(init)
        if latency not in (1, 2):
            raise ValueError(f"latency must be 1 or 2, not {latency!r}")
        if len(init) > depth:
            raise ValueError(f"init must have at most {depth} rows, not {len(init)}")
        for row, value in enumerate(init):
            if value < 0 or value >> width:
                raise ValueError(f"row {row} must fit in {width} bits, not {value:#x}")
        self.width, self.depth, self.init, self.latency = width, depth, init, latency
        self.words = -(-width // WORD_BITS)
        self.stride_bits = ceil_log2(self.words)
        address = max(1, ceil_log2(depth))
        super().__init__(
            {
                "reads": In(MemoryReadPort(address, width)),
                "writes": In(MemoryWritePort(address + self.stride_bits, WORD_BITS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        (self._block_memory if self.latency == 2 else self._memory)(m)
        return m

    def _chosen(self):
        """Enables of the words of a row."""
        word = self.writes.address[: self.stride_bits]
        return Cat(self.writes.enable & (word == i if self.stride_bits else 1) for i in range(self.words))

    def _block_memory(self, m):
        width = self.words * WORD_BITS
        m.submodules.memory = store = BlockMemory(shape=width, depth=self.depth, init=self.init, granularity=WORD_BITS)
        m.d.comb += [
            store.reads.enable.eq(self.reads.enable),
            store.reads.address.eq(self.reads.address),
            self.reads.data.eq(store.reads.data),
            store.writes.enable.eq(self._chosen()),
            store.writes.address.eq(self.writes.address >> self.stride_bits),
            store.writes.data.eq(self.writes.data.replicate(self.words)),
        ]

    def _memory(self, m):
        # no_rw_check: nothing is read while the host writes, so no collision logic is wanted
        m.submodules.memory = store = memory.Memory(
            shape=self.words * WORD_BITS, depth=self.depth, init=self.init, attrs={"no_rw_check": 1}
        )
        read = store.read_port()
        write = store.write_port(granularity=WORD_BITS)
        m.d.comb += [
            read.en.eq(self.reads.enable),
            read.addr.eq(self.reads.address),
            self.reads.data.eq(read.data),
            write.en.eq(self._chosen()),
            write.addr.eq(self.writes.address >> self.stride_bits),
            write.data.eq(self.writes.data.replicate(self.words)),
        ]
