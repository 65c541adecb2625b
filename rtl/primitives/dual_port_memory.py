"""A block memory with one port for reads and another for reads and writes."""

from amaranth.hdl import Module, Shape, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2

from .block_grid import BlockGrid
from .block_memory import checked_init
from .family import has_ecp5_cells
from .ports import MemoryReadPort, MemorySharedPort


class DualPortMemory(wiring.Component):
    """Reads a word a cycle at one port; reads or writes one a cycle at the other. Latency 2 at both.

    A word must not be read in the cycle in which the other port writes it: what comes is unknown, and so it is before
    the first read. No reset changes contents or outputs. Portable: a memory with registers behind it; for the ECP5:
    `Dp16kd` cells.

    Parameters
    ----------
    shape : shape-like, of a word
    depth : int, words
    init : sequence of int, at most `depth`; the rest is zero

    Members
    -------
    reads : In(MemoryReadPort)
    shared : In(MemorySharedPort)

    Raises
    ------
    ValueError
        for too many initial words, or one that does not fit.
    """

    def __init__(self, *, shape, depth, init=()):
        self.width, self.depth = Shape.cast(shape).width, depth
        self.init = checked_init(init, width=self.width, depth=depth)
        address_width = max(1, ceil_log2(depth))
        super().__init__(
            {"reads": In(MemoryReadPort(address_width, shape)), "shared": In(MemorySharedPort(address_width, shape))}
        )

    def elaborate(self, platform):
        return self._ecp5() if has_ecp5_cells(platform) else self._portable()

    def _portable(self):
        m = Module()
        m.submodules.memory = store = memory.Memory(
            shape=self.width, depth=self.depth, init=self.init, attrs={"no_rw_check": 1}
        )
        first, second, write = store.read_port(), store.read_port(), store.write_port()
        writes = self.shared.enable & self.shared.write
        m.d.comb += [
            first.en.eq(self.reads.enable),
            first.addr.eq(self.reads.address),
            second.en.eq(self.shared.enable & ~self.shared.write),
            second.addr.eq(self.shared.address),
            write.en.eq(writes),
            write.addr.eq(self.shared.address),
            write.data.eq(self.shared.write_data),
        ]
        for port, data in ((self.reads, first.data), (self.shared, second.data)):
            register = Signal(self.width, reset_less=True)
            m.d.sync += register.eq(data)
            m.d.comb += Value.cast(port.data).eq(register)
        return m

    def _ecp5(self):
        m = Module()
        m.submodules.blocks = blocks = BlockGrid(depth=self.depth, width=self.width, init=self.init, one_way=False)
        m.d.comb += [
            blocks.a.enable.eq(self.reads.enable),
            blocks.a.address.eq(self.reads.address),
            Value.cast(self.reads.data).eq(blocks.a.data),
            blocks.b.enable.eq(self.shared.enable),
            blocks.b.write.eq(self.shared.write),
            blocks.b.address.eq(self.shared.address),
            blocks.b.write_data.eq(self.shared.write_data),
            Value.cast(self.shared.data).eq(blocks.b.data),
        ]
        return m
