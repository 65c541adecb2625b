"""A short queue whose head is in registers."""

from amaranth.hdl import Module, Mux, Shape, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

DEPTH = 16  # of a distributed memory


class BankQueue(wiring.Component):
    """First in, first out; nothing of it is on a long path.

    Whoever writes sees to it that there is room: at most `DEPTH` wait behind the head. `take` replaces the head, by
    nothing where nothing waits. What is written can be the head two cycles later.

    Parameters
    ----------
    layout : of what waits

    Members
    -------
    write : In(1), entry : In(layout)
    take : In(1)
    coming : Out(1), following : Out(layout), what `take` makes the head
    valid : Out(1), head : Out(layout)
    count : Out, how many wait behind the head; one that left in the cycle before still counts
    """

    def __init__(self, *, layout):
        self.layout = layout
        super().__init__(
            {
                "write": In(1),
                "entry": In(layout),
                "take": In(1),
                "coming": Out(1),
                "following": Out(layout),
                "valid": Out(1),
                "head": Out(layout),
                "count": Out(range(DEPTH + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = memory.Memory(shape=Shape.cast(self.layout).width, depth=DEPTH, init=[])
        write, read = store.write_port(), store.read_port(domain="comb")
        first, free = Signal(ceil_log2(DEPTH)), Signal(ceil_log2(DEPTH))
        pops, left = Signal(), Signal()
        m.d.comb += [
            write.addr.eq(free),
            write.data.eq(self.entry),
            write.en.eq(self.write),
            read.addr.eq(first),
            self.following.eq(read.data),
            pops.eq(self.take & self.coming),
        ]
        m.d.sync += [
            free.eq(free + self.write),
            first.eq(first + pops),
            self.coming.eq(self.write | Mux(pops, (first + 1)[: len(first)] != free, self.coming)),
            left.eq(pops),
        ]
        with m.If(self.write & ~left):
            m.d.sync += self.count.eq(self.count + 1)
        with m.If(~self.write & left):
            m.d.sync += self.count.eq(self.count - 1)
        with m.If(self.take):
            m.d.sync += [self.valid.eq(self.coming), self.head.eq(read.data)]
        return m
