"""Where a spike word goes: stored, pooled, or added to a residual."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .config import CoreConfig
from .layouts import DESCRIPTOR, Write, spike_word


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
    read_request, read_address : Out, granted at once; read_data : In one cycle later
    write_enable, write_address, write_data : Out
    idle : Out(1), nothing is left to write
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "layer": In(DESCRIPTOR),
                "words": In(stream.Signature(spike_word(config))),
                "read_request": Out(1),
                "read_address": Out(config.address_width),
                "read_data": In(config.lanes),
                "write_enable": Out(1),
                "write_address": Out(config.address_width),
                "write_data": Out(config.lanes),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layer, word, to = self.layer, self.words.payload, self.words.payload.to
        address = self.config.address_width
        self.out, self.residual = Signal(address), Signal(address)  # of the word at hand
        here = (to.out + to.offset)[:address]
        m.d.comb += self.idle.eq(~self.words.valid)
        with m.FSM():
            with m.State("NEXT"):
                m.d.sync += [self.out.eq(here), self.residual.eq(to.residual + to.offset)]
                with m.If(self.words.valid):
                    with m.Switch(layer.write):
                        with m.Case(Write.STORE):
                            m.d.comb += [
                                self.write_enable.eq(1),
                                self.write_address.eq(here),
                                self.write_data.eq(word.spikes),
                                self.words.ready.eq(1),
                            ]
                        with m.Case(Write.POOL):
                            m.next = "POOL"
                        with m.Case(Write.ADD):
                            m.next = "ADD"
            self._look(m)
            with m.State("POOL"):
                self._pool(m)
            with m.State("ADD"):
                self._add(m)
        return m

    def _look(self, m):
        """What decides about the word's windows, a cycle before it is needed."""
        layer, to = self.layer, self.words.payload.to
        self.more_y, self.more_x = Signal(), Signal()  # there is a high window
        self.edge_y, self.edge_x = Signal(), Signal()  # the low window begins here
        self.silent = Signal()
        m.d.sync += [
            self.more_y.eq(to.y[0] & ((to.y >> 1) + 1 < layer.output_height)),
            self.more_x.eq(to.x[0] & ((to.x >> 1) + 1 < layer.output_width)),
            self.edge_y.eq(to.y == 0),
            self.edge_x.eq(to.x == 0),
            self.silent.eq(self.words.payload.spikes == 0),
        ]

    def _pool(self, m):
        """One window after another: low or high row, low or high column."""
        layer, word = self.layer, self.words.payload
        high_y, high_x = Signal(), Signal()  # the window at hand
        fetched = Signal()
        address = Signal(self.config.address_width)
        first = Signal()
        m.d.comb += [
            address.eq(self.out + Mux(high_x, layer.tiles, 0) + Mux(high_y, layer.output.row, 0)),
            first.eq((high_y | self.edge_y) & (high_x | self.edge_x)),
            self.write_address.eq(address),
            self.read_address.eq(address),
        ]
        with m.If(~first & ~self.silent & ~fetched):
            m.d.comb += self.read_request.eq(1)
            m.d.sync += fetched.eq(1)
        with m.Else():
            m.d.comb += [
                self.write_enable.eq(first | fetched),
                self.write_data.eq(word.spikes | Mux(fetched, self.read_data, 0)),
            ]
            m.d.sync += fetched.eq(0)
            with m.If(self.more_x & ~high_x):
                m.d.sync += high_x.eq(1)
            with m.Elif(self.more_y & ~high_y):
                m.d.sync += [high_x.eq(0), high_y.eq(1)]
            with m.Else():
                m.d.comb += self.words.ready.eq(1)
                m.d.sync += [high_x.eq(0), high_y.eq(0)]
                m.next = "NEXT"

    def _add(self, m):
        """One plane after another, the least significant first."""
        layer, word, to = self.layer, self.words.payload, self.words.payload.to
        plane = Signal.like(layer.output_planes)
        carried = Signal(self.config.lanes)
        fetched = Signal()
        carry, old = Signal(self.config.lanes), Signal(self.config.lanes)
        m.d.comb += [
            carry.eq(Mux(plane == 0, word.spikes, carried)),
            old.eq(Mux(fetched, self.read_data, 0)),
            self.read_address.eq(self.residual),
            self.write_address.eq(self.out),
            self.write_data.eq(old ^ carry),
        ]
        with m.If(to.has_residual & (plane < layer.residual_planes) & ~fetched):
            m.d.comb += self.read_request.eq(1)
            m.d.sync += fetched.eq(1)
        with m.Else():
            m.d.comb += self.write_enable.eq(1)
            m.d.sync += [
                fetched.eq(0),
                carried.eq(old & carry),
                plane.eq(plane + 1),
                self.residual.eq(self.residual + layer.residual.plane),
                self.out.eq(self.out + layer.output.plane),
            ]
            with m.If(plane == layer.output_planes - 1):
                m.d.comb += self.words.ready.eq(1)
                m.d.sync += plane.eq(0)
                m.next = "NEXT"
