"""Where a spike word goes: stored, pooled, or added to a residual."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..primitives.ports import MemorySharedPort
from .bits import isolated, others
from .config import CoreConfig
from .layouts import DESCRIPTOR, Write, spike_word

WRITE_LATENCY = 3
"""Cycles from an access's read to its write."""


def _word(config: CoreConfig) -> data.StructLayout:
    """A spike word, and what is still to be done with it."""
    address = config.address_width
    return data.StructLayout(
        {
            "valid": 1,
            "spikes": config.word,
            "output": address,  # its place in the output: in the low window, or in the plane at hand
            "residual": address,  # likewise in the residual
            "has_residual": 1,
            "windows": 4,  # those that it changes: in rows, bit 0 is low in x and y, bit 1 high in x
            "begun": 4,  # windows that hold words already
            "last": 1,  # one access is left, or none
        }
    )


def _access(config: CoreConfig) -> data.StructLayout:
    """One word of memory that a spike word changes."""
    return data.StructLayout(
        {
            "valid": 1,
            "reads": 1,  # what is there matters
            "ends": 1,  # the word's last
            "to": config.address_width,  # is written
            "spikes": config.word,  # to be joined with it; in the end what is written
        }
    )


class ActivationWriter(wiring.Component):
    """Writes spike words, with max-pooling and residual sums on the way: no adder per element.

    STORE: the word is written. POOL (3x3, stride 2, padding 1): the word is ORed into each of the 1, 2 or 4 pooled
    words whose window it is in; the first word of a window (words come in raster order) is written without a read,
    and silence is not ORed. ADD: a ripple increment, from the least significant plane: ``plane ^ carry`` is written,
    ``plane & carry`` carried on; a plane that the residual lacks is not read.

    Each of these is an access: one cycle of the memory's port to write, and if it reads first another,
    `WRITE_LATENCY` cycles before. Accesses follow each other in a pipeline; they wait only for the port, where writes
    go first. A word of which nothing is written takes a cycle.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR), constant from two cycles before words come
    words : In(stream of `layouts.spike_word`)
    memory : Out(MemorySharedPort), of the activation memory
    idle : Out(1), nothing is left to write
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "layer": In(DESCRIPTOR),
                "words": In(stream.Signature(spike_word(config))),
                "memory": Out(MemorySharedPort(config.address_width, config.word)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        coming, held = (Signal(_word(self.config), name=name) for name in ("coming", "held"))
        asked, fetching, fetched, written = (
            Signal(_access(self.config), name=name) for name in ("asked", "fetching", "fetched", "written")
        )
        source = Signal(self.config.address_width)  # of the access that asks
        waits, take, reads, port = Signal(), Signal(), Signal(), self.memory
        pool, adds = Signal(), Signal()
        m.d.sync += [pool.eq(self.layer.write == Write.POOL), adds.eq(self.layer.write == Write.ADD)]
        m.d.comb += [
            port.enable.eq(written.valid | asked.reads),
            port.write.eq(written.valid),
            port.address.eq(Mux(written.valid, written.to, source)),
            port.write_data.eq(written.spikes),
            self.idle.eq(~Cat(x.valid for x in (self.words, coming, held, asked, fetching, fetched, written)).any()),
            take.eq(~held.valid | (held.last & ~waits)),
            self.words.ready.eq(~coming.valid | take),
        ]
        self._prepare(m, coming, pool, adds)
        plane, beyond = self._hold(m, held, coming, take, waits, pool, adds)
        with m.If(pool):
            m.d.comb += reads.eq(held.valid & (isolated(held.windows) & held.begun).any())
        with m.Elif(adds):
            m.d.comb += reads.eq(held.valid & held.has_residual & (plane < self.layer.residual_planes))
        m.d.sync += waits.eq((waits | reads) & fetched.valid)  # the port is taken when the access would read
        to = held.output + beyond
        with m.If(~waits):
            m.d.sync += [
                asked.valid.eq(held.valid & (~pool | held.windows.any())),
                asked.reads.eq(reads),
                asked.ends.eq(held.last),
                asked.to.eq(to),
                asked.spikes.eq(Mux(plane == 0, held.spikes, 0)),  # of a plane above only the carry
                source.eq(Mux(adds, held.residual, to)),
            ]
        self._overtake(m, waits, (asked, fetching, fetched, written))
        self._change(m, fetched, written, adds)
        return m

    def _prepare(self, m, coming, pool, adds):
        """The word that comes: where it goes, and how many accesses it needs."""
        word, to, windows = self.words.payload, self.words.payload.to, Signal(4)
        found, begun = self._windows(m)
        single = Signal()
        m.d.sync += single.eq(~adds | (self.layer.output_planes == 1))
        m.d.comb += windows.eq(found & Mux(word.spikes.any(), 0xF, ~begun))
        with m.If(self.words.ready):
            m.d.sync += [
                coming.valid.eq(self.words.valid),
                coming.spikes.eq(word.spikes),
                coming.output.eq(to.out + to.offset),
                coming.residual.eq(to.residual + to.offset),
                coming.has_residual.eq(to.has_residual),
                coming.windows.eq(windows),
                coming.begun.eq(begun),
                coming.last.eq(Mux(pool, ~others(windows).any(), single)),
            ]

    def _windows(self, m):
        """Of the word that comes, bit by bit as `_word`: the windows that it is in, those that hold words already."""
        layer, to = self.layer, self.words.payload.to
        last = Signal(data.StructLayout(dict.fromkeys("yx", self.config.side_width)))
        m.d.sync += [last.y.eq(layer.output_height - 1), last.x.eq(layer.output_width - 1)]
        more = Signal(data.StructLayout({"y": 1, "x": 1}))  # there is a high window
        m.d.comb += [more.y.eq(to.y[0] & (to.y >> 1 != last.y)), more.x.eq(to.x[0] & (to.x >> 1 != last.x))]
        # the low window of the first row or column begins there, every high one where it is entered
        begins_y, begins_x = Cat(to.y == 0, 1), Cat(to.x == 0, 1)
        places = [(y, x) for y in range(2) for x in range(2)]
        windows = Cat((Cat(1, more.y)[y] & Cat(1, more.x)[x]) for y, x in places)
        begun = Cat(~(begins_y[y] & begins_x[x]) for y, x in places)
        return windows, begun

    def _hold(self, m, held, coming, take, waits, pool, adds):
        """The word at hand, or at its end the one that comes; the plane at hand, and how far the window at hand is."""
        config, layer, plane = self.config, self.layer, Signal.like(self.layer.output_planes)
        windows, before_last = Signal.like(held.windows), Signal.like(plane)
        m.d.sync += before_last.eq(layer.output_planes - 2)
        m.d.comb += windows.eq(Mux(take, coming.windows, others(held.windows)))
        with m.If(take):
            m.d.sync += [held.eq(coming), plane.eq(0)]
        with m.Elif(~waits):
            m.d.sync += [
                held.windows.eq(windows),
                held.residual.eq(held.residual + layer.residual.plane),
                held.last.eq(Mux(pool, ~others(windows).any(), plane == before_last)),
            ]
            with m.If(adds):
                m.d.sync += [plane.eq(plane + 1), held.output.eq(held.output + layer.output.plane)]
        lowest, high = isolated(windows), Signal(data.StructLayout({"x": 1, "y": 1}))
        with m.If(take | ~waits):
            m.d.sync += [high.x.eq((lowest[1] | lowest[3]) & pool), high.y.eq((lowest[2] | lowest[3]) & pool)]
        beyond, diagonal = Signal(config.address_width), Signal(config.address_width)  # to the window high in both
        m.d.sync += diagonal.eq(layer.output.row + layer.output_position)
        in_row, below = Mux(high.x, layer.output_position, 0), Mux(high.x, diagonal, layer.output.row)
        m.d.comb += beyond.eq(Mux(high.y, below, in_row))
        return plane, beyond

    def _overtake(self, m, waits, stages):
        """Accesses on their way to the memory's output. One that reads what an earlier one will write too late for it
        joins the earlier one's spikes, and forgets what is in the memory where that did.

        Only two are so close: the one that was a cycle ahead, and the one that was two.
        """
        asked, fetching, fetched, written = stages
        near, far = Signal(), Signal()
        m.d.sync += [
            fetching.eq(asked),
            fetching.valid.eq(asked.valid & ~waits),
            near.eq(asked.reads & fetching.valid & (asked.to == fetching.to)),
            far.eq(asked.reads & fetched.valid & (asked.to == fetched.to)),
            fetched.eq(fetching),
            fetched.reads.eq(fetching.reads & ~far & (~near | fetched.reads)),
            fetched.spikes.eq(fetching.spikes | Mux(near, fetched.spikes, 0) | Mux(far, written.spikes, 0)),
        ]

    def _change(self, m, fetched, written, adds):
        """Join the spikes with what was in the memory."""
        carried = Signal(self.config.word)
        old, carry = Signal(self.config.word), Signal(self.config.word)
        m.d.comb += [
            old.eq(Mux(fetched.reads, self.memory.data, 0)),
            carry.eq(fetched.spikes | carried),
        ]
        m.d.sync += [
            written.eq(fetched),
            written.spikes.eq(Mux(adds, old ^ carry, old | carry)),
        ]
        with m.If(fetched.valid):
            m.d.sync += carried.eq(old & carry)
        with m.If(~adds | (fetched.valid & fetched.ends)):
            m.d.sync += carried.eq(0)
