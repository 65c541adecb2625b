"""The set bits of spike words, one at a time."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import CoreConfig
from .layouts import event, spike_group


class BitEmitter(wiring.Component):
    """One event a cycle for the set bits of the union of a group's columns, lowest first.

    The gates of an image's word are one event. A group without a bit takes one cycle, for its marker. The last event of
    a group has its `last`. Latency 3 cycles.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    groups : In(stream of `layouts.spike_group`)
    events : Out(stream of `layouts.event`)
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "groups": In(stream.Signature(spike_group(config))),
                "events": Out(stream.Signature(event(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        # Each bit is isolated, then numbered, then added to the group's row: registers between.
        holds, held = Signal(), Signal(spike_group(config))
        left = Signal(config.word)  # bits of the union not yet sent
        selects, selected, chosen = Signal(), Signal(config.word), Signal(event(config))
        lowest, rest = Signal(config.word), Signal(config.word)
        free, numbered_free = Signal(), Signal()
        m.d.comb += [
            rest.eq(left & (left - 1)),
            lowest.eq(left & ~(left - 1)),
            numbered_free.eq(~self.events.valid | self.events.ready),
            free.eq(~selects | numbered_free),
            self.groups.ready.eq(~holds | (free & ~rest.any())),
        ]
        with m.If(self.groups.ready):
            union = 0
            for c in range(config.columns):
                union = union | self.groups.payload.spikes[c]
            one = Mux(self.groups.payload.image, union.any(), union)  # an image's word is a single event
            m.d.sync += [holds.eq(self.groups.valid), held.eq(self.groups.payload), left.eq(one)]
        with m.Elif(free):
            m.d.sync += left.eq(rest)
        with m.If(free):
            m.d.sync += [selects.eq(holds), selected.eq(lowest)]
            self._choose(m, chosen, held, left=left, lowest=lowest, rest=rest)
        bits = range(ceil_log2(config.word))
        number = Cat(Cat(selected[i] for i in range(config.word) if i >> b & 1).any() for b in bits)
        with m.If(numbered_free):
            m.d.sync += [
                self.events.valid.eq(selects),
                self.events.payload.eq(chosen),
                self.events.payload.row.eq(chosen.row + number),
            ]
        return m

    def _choose(self, m, chosen, held, *, left, lowest, rest):
        """The event of the lowest bit, but for its number."""
        m.d.sync += [
            chosen.row.eq(held.row),
            chosen.gates.eq(self._gates(held, lowest)),
            chosen.values.eq(held.values),
            chosen.add.eq(left.any() & ~held.kv),
            chosen.kv.eq(left.any() & held.kv),
            chosen.clear.eq(held.clear),
            chosen.marker.eq(held.marker),
            chosen.marker.last.eq(held.marker.last & ~rest.any()),
        ]

    def _gates(self, held, lowest):
        """Of the columns, or of all parts of the lanes of a single one; an image's word has them."""
        config = self.config
        columns = Cat((held.spikes[c] & lowest).any() for c in range(config.columns))
        usual = columns if config.columns > 1 else columns.replicate(config.gates)
        return Mux(held.image, held.spikes[0][: config.gates], usual)
