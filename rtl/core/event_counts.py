"""How many accumulates the events of a cycle make: for the counters, beside the data's path."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import CoreConfig
from .layouts import DESCRIPTOR, Kind, row_request


class EventCounts(wiring.Component):
    """Rows that are applied, and accumulates: of the lanes that are valid in their tile, at the rows' positions.

    ::

        request -> gates of its positions -> a bank's -> all banks' -> times lanes, in parts -> increments

    A request a cycle; its numbers come `LATENCY` cycles later, so that no adder here is in the way of the clock.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR), constant until its last request is counted
    requests : In(layouts.row_request)
    rows : Out, applied: of weights or of K^T V
    weight_rows : Out, of these those of weights
    done : Out, accumulates of the positions that spike
    gated : Out, accumulates gated off at the positions beside these
    """

    LATENCY = 6

    def __init__(self, *, config: CoreConfig):
        self.config = config
        rows = range(config.banks + 1)
        super().__init__(
            {
                "layer": In(DESCRIPTOR),
                "requests": In(row_request(config)),
                "rows": Out(rows),
                "weight_rows": Out(rows),
                "done": Out(16),
                "gated": Out(16),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, layer, request = self.config, self.layer, self.requests
        applied, counts = [], []
        for bank in request.banks:
            positions, one, count, one_later = Signal(config.gates), Signal(), Signal(range(config.gates + 1)), Signal()
            applies = bank.applies & ~request.command.kv
            m.d.sync += [
                positions.eq(Mux(applies, self._positions(bank.gates), 0)),
                one.eq(applies),
                count.eq(sum(positions)),
                one_later.eq(one),
            ]
            applied.append(one_later)
            counts.append(count)
        rows, spiking, tail = Signal.like(self.rows), Signal(range(config.gates * config.banks + 1)), request.tail
        for stage in range(3):
            before, tail = tail, Signal(name=f"tail_{stage}")
            m.d.sync += tail.eq(before)
        m.d.sync += [rows.eq(sum(applied)), spiking.eq(sum(counts))]
        rows_later, spikes, silent, lanes = (Signal.like(x) for x in (rows, spiking, spiking, layer.tile_tail))
        width = ceil_log2(config.columns) if config.columns > 1 else layer.group
        m.d.sync += [
            rows_later.eq(rows),
            spikes.eq(spiking),
            silent.eq((rows << width) - spiking),
            lanes.eq(Mux(tail, layer.tile_tail, config.lanes)),
        ]
        rows_last = Signal.like(rows)
        m.d.sync += [
            rows_last.eq(rows_later),
            self.rows.eq(rows_last),
            self.weight_rows.eq(Mux(layer.kind == Kind.ATTENTION, 0, rows_last)),
        ]
        self._multiply(m, self.done, lanes, spikes)
        self._multiply(m, self.gated, lanes, silent)
        return m

    def _positions(self, gates):
        """Of an event's gates one a position: of a single column the first of each part of the lanes."""
        if self.config.columns > 1:
            return gates
        bits = ceil_log2(len(gates))
        needed = [bits - (i & -i).bit_length() + 1 if i else 0 for i in range(len(gates))]  # log2 of the positions
        return Cat(gate & (self.layer.group >= least) for gate, least in zip(gates, needed, strict=True))

    def _multiply(self, m, product, value, count):
        """In two cycles and without a multiplier: pairs of the count's bits, then their sum."""
        parts = []
        for low in range(0, len(count), 2):
            part = Signal(len(value) + 2)
            m.d.sync += part.eq(sum(Mux(bit, value << i, 0) for i, bit in enumerate(count[low : low + 2])))
            parts.append(part << low)
        m.d.sync += product.eq(sum(parts))
