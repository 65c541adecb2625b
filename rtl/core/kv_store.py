"""K^T V of one tile and step: rows that are activations instead of weights."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import CoreConfig
from .layouts import event, row_event


class KvStore(wiring.Component):
    """Rows ``M[c][lane] = sum over tokens n of K[n, c] V[n, lane]``, where c and lane belong to one head.

    A `kv` event adds its words of V to row c; an `add` event reads row c for the array, so that the spikes of Q
    select rows of K^T V as the spikes of any layer select weights. A row that no spike of K touched since `clear`
    is zero: its `add` events are dropped and cost no accumulate. Other events pass.

    One event a cycle, but two cycles for a row that the event before has written. Rows lag one cycle.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    head_shift : In, of the descriptor
    events : In(stream of `layouts.event`)
    rows : Out(stream of `layouts.row_event`)
    updated : Out(1), a row is written in this cycle
    dropped : Out(1), an `add` event of an untouched row is dropped in this cycle

    Source
    ------
    Zhou et al., Spikformer (ICLR 2023), self-attention without softmax, reordered to Q (K^T V), which is exact in
    integers.
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "head_shift": In(range(ceil_log2(config.lanes) + 1)),
                "events": In(stream.Signature(event(config))),
                "rows": Out(stream.Signature(row_event(config))),
                "updated": Out(1),
                "dropped": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, incoming = self.config, self.events.payload
        counts = data.ArrayLayout(unsigned(config.count_width), config.lanes)
        m.submodules.memory = store = memory.Memory(
            shape=counts, depth=config.kv_rows, init=[], attrs={"no_rw_check": 1}
        )
        read = store.read_port()
        row, touched = Signal(range(config.kv_rows)), Signal(config.kv_rows)
        known, taken = Signal(), Signal()
        # a kv event: one cycle later its row is written, and the next event must not read that row in the same cycle
        update = Signal(data.StructLayout({"valid": 1, "row": row.shape(), "known": 1, "values": config.lanes}))
        uses_row = incoming.add | incoming.kv
        conflict = update.valid & uses_row & (row == update.row)
        m.d.comb += [
            row.eq(incoming.row),
            known.eq(touched.bit_select(row, 1) & ~incoming.clear),
            self.events.ready.eq((~self.rows.valid | self.rows.ready) & ~conflict),
            taken.eq(self.events.valid & self.events.ready),
            read.addr.eq(row),
            read.en.eq(taken & known & uses_row),
            self.dropped.eq(taken & incoming.add & ~known),
        ]
        m.d.sync += update.valid.eq(taken & incoming.kv)
        with m.If(taken):
            m.d.sync += [
                touched.eq(Mux(incoming.clear, 0, touched) | Mux(incoming.kv, Const(1, config.kv_rows) << row, 0)),
                update.row.eq(row),
                update.known.eq(known),
                update.values.eq(incoming.values & self._same_head(m, row)),
            ]
        self._add(m, update, read.data, store.write_port())
        self._pass_on(m, taken, known, read.data)
        return m

    def _add(self, m, update, old, write):
        """Write the row with the words of V added."""
        m.d.comb += [self.updated.eq(update.valid), write.en.eq(update.valid), write.addr.eq(update.row)]
        for lane in range(self.config.lanes):
            m.d.comb += write.data[lane].eq(Mux(update.known, old[lane], 0) + update.values[lane])

    def _pass_on(self, m, taken, known, elements):
        """What the array gets of an event: the row that was read, or the marker alone, or nothing."""
        incoming, row = self.events.payload, self.rows.payload
        adds = incoming.add & known
        with m.If(taken):
            m.d.sync += [
                self.rows.valid.eq(~incoming.kv & (incoming.marker.double | incoming.marker.last | adds)),
                row.gates.eq(Mux(adds, incoming.gates, 0)),
                row.marker.eq(incoming.marker),
            ]
        with m.Elif(self.rows.ready):
            m.d.sync += self.rows.valid.eq(0)
        for lane in range(self.config.lanes):
            m.d.comb += row.elements[lane].eq(elements[lane])

    def _same_head(self, m, row):
        """Lanes whose channel has the head of channel `row`: they agree in the bits above `head_shift`."""
        bits = ceil_log2(self.config.lanes)
        matters = Signal(bits)
        agrees = [Signal(bits, name="agrees_0"), Signal(bits, name="agrees_1")]  # with a lane's bit of 0, of 1
        m.d.comb += [
            matters.eq(Const((1 << bits) - 1, bits) << self.head_shift),
            agrees[0].eq(~(matters & row)),
            agrees[1].eq(~matters | row),
        ]
        mask = Signal(self.config.lanes)
        for lane in range(self.config.lanes):
            m.d.comb += mask[lane].eq(Cat(agrees[lane >> b & 1][b] for b in range(bits)).all())
        return mask
