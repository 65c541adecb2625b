"""Where a spike word goes: stored, pooled, or added to a residual."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..primitives.ports import MemorySharedPort
from .config import CoreConfig
from .layouts import DESCRIPTOR, Write, spike_word

WRITE_LATENCY = 3
"""Cycles from an access's read to its write."""


def _held(config: CoreConfig) -> data.StructLayout:
    """The word at hand, and what is still to be done with it."""
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
            "plane": DESCRIPTOR["output_planes"].shape,
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
    layer : In(layouts.DESCRIPTOR), constant from a cycle before words come
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
        held = Signal(_held(self.config))
        asked, fetching, fetched, written = (
            Signal(_access(self.config), name=name) for name in ("asked", "fetching", "fetched", "written")
        )
        source = Signal(self.config.address_width)  # of the access that asks
        waits, port = Signal(), self.memory
        m.d.comb += [
            waits.eq(asked.valid & asked.reads & written.valid),
            port.enable.eq(written.valid | (asked.valid & asked.reads)),
            port.write.eq(written.valid),
            port.address.eq(Mux(written.valid, written.to, source)),
            port.write_data.eq(written.spikes),
            self.idle.eq(~Cat(x.valid for x in (self.words, held, asked, fetching, fetched, written)).any()),
        ]
        self._take_word(m, held, waits)
        with m.If(~waits):
            self._ask(m, held, asked, source)
        self._overtake(m, waits, (asked, fetching, fetched, written))
        self._change(m, fetched, written)
        return m

    def _take_word(self, m, held, waits):
        """Hold the next word when the one at hand has no access left."""
        layer, word, to = self.layer, self.words.payload, self.words.payload.to
        last = Signal()
        with m.Switch(layer.write):
            with m.Case(Write.POOL):
                m.d.comb += last.eq(~_without_lowest(held.windows).any())
            with m.Case(Write.ADD):
                m.d.comb += last.eq(held.plane == layer.output_planes - 1)
            with m.Default():
                m.d.comb += last.eq(1)
        m.d.comb += self.words.ready.eq(~held.valid | (last & ~waits))
        with m.If(self.words.ready):
            windows, begun = self._windows(m)
            m.d.sync += [
                held.valid.eq(self.words.valid),
                held.spikes.eq(word.spikes),
                held.output.eq(to.out + to.offset),
                held.residual.eq(to.residual + to.offset),
                held.has_residual.eq(to.has_residual),
                held.plane.eq(0),
                held.windows.eq(windows & Mux(word.spikes.any(), 0xF, ~begun)),
                held.begun.eq(begun),
            ]
        with m.Elif(~waits):
            m.d.sync += [
                held.windows.eq(_without_lowest(held.windows)),
                held.plane.eq(held.plane + 1),
                held.residual.eq(held.residual + layer.residual.plane),
            ]
            with m.If(layer.write == Write.ADD):
                m.d.sync += held.output.eq(held.output + layer.output.plane)

    def _windows(self, m):
        """Of the word that comes, bit by bit as `_held`: the windows that it is in, those that hold words already."""
        layer, to = self.layer, self.words.payload.to
        more = Signal(data.StructLayout({"y": 1, "x": 1}))  # there is a high window
        m.d.comb += [
            more.y.eq(to.y[0] & ((to.y >> 1) + 1 < layer.output_height)),
            more.x.eq(to.x[0] & ((to.x >> 1) + 1 < layer.output_width)),
        ]
        # the low window of the first row or column begins there, every high one where it is entered
        begins_y, begins_x = Cat(to.y == 0, 1), Cat(to.x == 0, 1)
        places = [(y, x) for y in range(2) for x in range(2)]
        windows = Cat((Cat(1, more.y)[y] & Cat(1, more.x)[x]) for y, x in places)
        begun = Cat(~(begins_y[y] & begins_x[x]) for y, x in places)
        return windows, begun

    def _ask(self, m, held, asked, source):
        """The next access of the word at hand, which reads at `source`."""
        layer, address = self.layer, Signal(self.config.address_width)
        diagonal = Signal(self.config.address_width)  # to the window that is high in both
        m.d.sync += diagonal.eq(layer.output.row + layer.output_position)
        lowest = held.windows & ~_without_lowest(held.windows)
        m.d.comb += address.eq(held.output)
        m.d.sync += [
            asked.valid.eq(held.valid),
            asked.reads.eq(0),
            asked.ends.eq(held.plane == layer.output_planes - 1),
            asked.to.eq(address),
            asked.spikes.eq(held.spikes),
            source.eq(address),
        ]
        with m.If(layer.write == Write.POOL):
            high_x, high_y = lowest[1] | lowest[3], lowest[2] | lowest[3]
            in_row, below = Mux(high_x, layer.output_position, 0), Mux(high_x, diagonal, layer.output.row)
            m.d.comb += address.eq(held.output + Mux(high_y, below, in_row))
            m.d.sync += [asked.valid.eq(held.valid & lowest.any()), asked.reads.eq((lowest & held.begun).any())]
        with m.If(layer.write == Write.ADD):
            m.d.sync += [
                asked.reads.eq(held.has_residual & (held.plane < layer.residual_planes)),
                source.eq(held.residual),
            ]
            with m.If(held.plane != 0):
                m.d.sync += asked.spikes.eq(0)  # only the carry

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

    def _change(self, m, fetched, written):
        """Join the spikes with what was in the memory."""
        adds, carried = Signal(), Signal(self.config.word)
        old, carry = Signal(self.config.word), Signal(self.config.word)
        m.d.comb += [
            old.eq(Mux(fetched.reads, self.memory.data, 0)),
            carry.eq(fetched.spikes | carried),
        ]
        m.d.sync += [
            adds.eq(self.layer.write == Write.ADD),
            written.eq(fetched),
            written.spikes.eq(Mux(adds, old ^ carry, old | carry)),
        ]
        with m.If(fetched.valid):
            m.d.sync += carried.eq(old & carry)
        with m.If(~adds | (fetched.valid & fetched.ends)):
            m.d.sync += carried.eq(0)


def _without_lowest(bits):
    """The set bits but the lowest."""
    return (bits & (bits - 1))[: len(bits)]
