"""Weight rows in on-chip memory."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .config import CoreConfig
from .layouts import WORD_BITS, event, row_event
from .loadable_memory import LoadableMemory
from .ports import MemoryWritePort


class WeightStore(wiring.Component):
    """Block memory of weight rows: an event goes in, the event with its row comes out a cycle later.

    One row a cycle. Any other source of rows (flash, external memory) has the same two streams.

    Parameters
    ----------
    config : CoreConfig
    init : sequence of int, rows packed with lane 0 in the low bits; at most `config.weight_rows`

    Members
    -------
    events : In(stream of `layouts.event`); `kv` events never come here
    rows : Out(stream of `layouts.row_event`)
    writes : In(MemoryWritePort), as of `LoadableMemory`; not while events come
    fetched : Out(1), a row is read in this cycle
    """

    def __init__(self, *, config: CoreConfig, init=()):
        self.config = config
        self.memory = LoadableMemory(width=config.lanes * config.weight_width, depth=config.weight_rows, init=init)
        super().__init__(
            {
                "events": In(stream.Signature(event(config))),
                "rows": Out(stream.Signature(row_event(config))),
                "writes": In(MemoryWritePort(len(self.memory.writes.address), WORD_BITS)),
                "fetched": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, incoming, store = self.config, self.events.payload, self.memory
        m.submodules.memory = store
        wiring.connect(m, wiring.flipped(self.writes), store.writes)
        taken = Signal()
        m.d.comb += [
            self.events.ready.eq(~self.rows.valid | self.rows.ready),
            taken.eq(self.events.valid & self.events.ready),
            store.reads.address.eq(incoming.row),
            store.reads.enable.eq(taken & incoming.add),
            self.fetched.eq(store.reads.enable),
        ]
        with m.If(taken):
            m.d.sync += [
                self.rows.valid.eq(1),
                self.rows.payload.gates.eq(incoming.gates & incoming.add.replicate(config.gates)),
                self.rows.payload.marker.eq(incoming.marker),
            ]
        with m.Elif(self.rows.ready):
            m.d.sync += self.rows.valid.eq(0)
        for lane in range(config.lanes):
            weight = store.reads.data.word_select(lane, config.weight_width).as_signed()
            m.d.comb += self.rows.payload.elements[lane].eq(weight)
        return m
