"""A block memory that is read at one port and written at the other."""

from amaranth.hdl import Module, Shape, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2

from .block_grid import BlockGrid
from .family import has_ecp5_cells
from .ports import MemoryReadPort, MemoryWritePort


def checked_init(init, *, width, depth):
    """The initial words as a list. ValueError where they are too many, or one is no unsigned number of `width` bits."""
    init = list(init)
    if len(init) > depth:
        raise ValueError(f"init must have at most {depth} words, not {len(init)}")
    for address, value in enumerate(init):
        if value < 0 or value >> width:
            raise ValueError(f"init[{address}] must fit in {width} bits, not {value:#x}")
    return init


class BlockMemory(wiring.Component):
    """Reads a word a cycle with latency 2, writes a word or parts of it a cycle.

    A word must not be read in the cycle in which it is written: what comes is unknown, and so it is before the first
    read. No reset changes contents or outputs. Portable: a memory with a register behind it; for the ECP5: `Dp16kd`
    cells, those of each part by themselves.

    Parameters
    ----------
    shape : shape-like, of a word
    depth : int, words
    init : sequence of int, at most `depth`; the rest is zero
    granularity : int, bits that are written together; default: the word

    Members
    -------
    reads : In(MemoryReadPort)
    writes : In(MemoryWritePort)

    Raises
    ------
    ValueError
        for a granularity that does not divide the word, too many initial words, or one that does not fit.
    """

    def __init__(self, *, shape, depth, init=(), granularity=None):
        self.width, self.depth = Shape.cast(shape).width, depth
        self.granularity = self.width if granularity is None else granularity
        if self.granularity < 1 or self.width % self.granularity:
            raise ValueError(f"granularity must divide the word's {self.width} bits, not {granularity!r}")
        self.init = checked_init(init, width=self.width, depth=depth)
        address_width = max(1, ceil_log2(depth))
        super().__init__(
            {
                "reads": In(MemoryReadPort(address_width, shape)),
                "writes": In(MemoryWritePort(address_width, shape, self.granularity)),
            }
        )

    def elaborate(self, platform):
        return self._ecp5() if has_ecp5_cells(platform) else self._portable()

    def _portable(self):
        m = Module()
        m.submodules.memory = store = memory.Memory(
            shape=self.width, depth=self.depth, init=self.init, attrs={"no_rw_check": 1}
        )
        read, write = store.read_port(), store.write_port(granularity=self.granularity)
        data = Signal(self.width, reset_less=True)
        m.d.sync += data.eq(read.data)
        m.d.comb += [
            read.en.eq(self.reads.enable),
            read.addr.eq(self.reads.address),
            Value.cast(self.reads.data).eq(data),
            write.en.eq(self.writes.enable),
            write.addr.eq(self.writes.address),
            write.data.eq(self.writes.data),
        ]
        return m

    def _ecp5(self):
        m = Module()
        size = self.granularity
        written, read = Value.cast(self.writes.data), Value.cast(self.reads.data)
        for part, enable in enumerate(self.writes.enable):
            at = slice(part * size, (part + 1) * size)
            init = [word >> at.start & (1 << size) - 1 for word in self.init]
            blocks = BlockGrid(depth=self.depth, width=size, init=init, one_way=True)
            m.submodules[f"part{part}"] = blocks
            m.d.comb += [
                blocks.a.enable.eq(enable),
                blocks.a.write.eq(1),
                blocks.a.address.eq(self.writes.address),
                blocks.a.write_data.eq(written[at]),
                blocks.b.enable.eq(self.reads.enable),
                blocks.b.address.eq(self.reads.address),
                read[at].eq(blocks.b.data),
            ]
        return m
