"""Where a spike word goes: stored, pooled, or added to a residual."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import CoreConfig
from .layouts import DESCRIPTOR, Write, spike_word
from .ports import MemoryReadPort, MemoryWritePort

_WINDOWS = data.StructLayout({"more_y": 1, "more_x": 1, "edge_y": 1, "edge_x": 1, "silent": 1})
"""Of the word at hand, more: there is a high window; edge: the low one begins here; silent: no spike."""


class ActivationWriter(wiring.Component):
    """Writes spike words, with max-pooling and residual sums on the way: no adder per element.

    STORE: one cycle. POOL (3x3, stride 2, padding 1): the word is ORed into each of the 1, 2 or 4 pooled words whose
    window it is in, two cycles each; the first word of a window (words come in raster order) is written without a
    read, and silence is not ORed (one cycle); one more a word. ADD: a ripple increment, from the least significant
    plane: ``plane ^ carry`` is written, ``plane & carry`` carried on; two cycles a plane, one where the residual has
    none; one more a word.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR), constant while words come
    words : In(stream of `layouts.spike_word`)
    reads : Out(MemoryReadPort), writes : Out(MemoryWritePort), of the activation memory
    idle : Out(1), nothing is left to write
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "layer": In(DESCRIPTOR),
                "words": In(stream.Signature(spike_word(config))),
                "reads": Out(MemoryReadPort(config.address_width, config.lanes)),
                "writes": Out(MemoryWritePort(config.address_width, config.lanes)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layer, word, to = self.layer, self.words.payload, self.words.payload.to
        address = self.config.address_width
        at = Signal(data.StructLayout({"output": address, "residual": address}))  # of the word at hand
        here = (to.out + to.offset)[:address]
        sees = Signal(_WINDOWS)
        m.d.sync += [  # a cycle before it is needed
            sees.more_y.eq(to.y[0] & ((to.y >> 1) + 1 < layer.output_height)),
            sees.more_x.eq(to.x[0] & ((to.x >> 1) + 1 < layer.output_width)),
            sees.edge_y.eq(to.y == 0),
            sees.edge_x.eq(to.x == 0),
            sees.silent.eq(word.spikes == 0),
        ]
        m.d.comb += self.idle.eq(~self.words.valid)
        with m.FSM():
            with m.State("NEXT"):
                m.d.sync += [at.output.eq(here), at.residual.eq(to.residual + to.offset)]
                with m.If(self.words.valid):
                    with m.Switch(layer.write):
                        with m.Case(Write.STORE):
                            m.d.comb += [
                                self.writes.enable.eq(1),
                                self.writes.address.eq(here),
                                self.writes.data.eq(word.spikes),
                                self.words.ready.eq(1),
                            ]
                        with m.Case(Write.POOL):
                            m.next = "POOL"
                        with m.Case(Write.ADD):
                            m.next = "ADD"
            with m.State("POOL"):
                self._pool(m, at, sees)
                with m.If(self.words.ready):
                    m.next = "NEXT"
            with m.State("ADD"):
                self._add(m, at)
                with m.If(self.words.ready):
                    m.next = "NEXT"
        return m

    def _pool(self, m, at, sees):
        """One window after another: low or high row, low or high column."""
        layer, word = self.layer, self.words.payload
        high_y, high_x = Signal(), Signal()  # the window at hand
        fetched = Signal()
        address = Signal(self.config.address_width)
        first = Signal()
        m.d.comb += [
            address.eq(at.output + Mux(high_x, layer.tiles, 0) + Mux(high_y, layer.output.row, 0)),
            first.eq((high_y | sees.edge_y) & (high_x | sees.edge_x)),
            self.writes.address.eq(address),
            self.reads.address.eq(address),
        ]
        with m.If(~first & ~sees.silent & ~fetched):
            m.d.comb += self.reads.enable.eq(1)
            m.d.sync += fetched.eq(1)
        with m.Else():
            m.d.comb += [
                self.writes.enable.eq(first | fetched),
                self.writes.data.eq(word.spikes | Mux(fetched, self.reads.data, 0)),
            ]
            m.d.sync += fetched.eq(0)
            with m.If(sees.more_x & ~high_x):
                m.d.sync += high_x.eq(1)
            with m.Elif(sees.more_y & ~high_y):
                m.d.sync += [high_x.eq(0), high_y.eq(1)]
            with m.Else():
                m.d.comb += self.words.ready.eq(1)
                m.d.sync += [high_x.eq(0), high_y.eq(0)]

    def _add(self, m, at):
        """One plane after another, the least significant first."""
        layer, word, to = self.layer, self.words.payload, self.words.payload.to
        plane = Signal.like(layer.output_planes)
        carried = Signal(self.config.lanes)
        fetched = Signal()
        carry, old = Signal(self.config.lanes), Signal(self.config.lanes)
        m.d.comb += [
            carry.eq(Mux(plane == 0, word.spikes, carried)),
            old.eq(Mux(fetched, self.reads.data, 0)),
            self.reads.address.eq(at.residual),
            self.writes.address.eq(at.output),
            self.writes.data.eq(old ^ carry),
        ]
        with m.If(to.has_residual & (plane < layer.residual_planes) & ~fetched):
            m.d.comb += self.reads.enable.eq(1)
            m.d.sync += fetched.eq(1)
        with m.Else():
            m.d.comb += self.writes.enable.eq(1)
            m.d.sync += [
                fetched.eq(0),
                carried.eq(old & carry),
                plane.eq(plane + 1),
                at.residual.eq(at.residual + layer.residual.plane),
                at.output.eq(at.output + layer.output.plane),
            ]
            with m.If(plane == layer.output_planes - 1):
                m.d.comb += self.words.ready.eq(1)
                m.d.sync += plane.eq(0)
