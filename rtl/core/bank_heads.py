"""What the events at the heads of the banks do together: rows that go at once, ends that wait for one another."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .ac_array import HELD_SUMS, LATENCY, stages
from .bits import isolated
from .config import CoreConfig
from .layouts import DESCRIPTOR, bank_event, product_write, row_request

HEADS = data.StructLayout({"goes": 1, "waits": 1, "kv": 1})
"""What the head of a bank is, at most one of these: see `BitEmitter`."""


class BankHeads(wiring.Component):
    """Takes up to `banks` events a cycle, one from each bank, and turns them into a request for rows.

    An event with `end` waits for those of all the other banks, then all are taken at once: so a marker is a barrier,
    and costs no cycle where its events are the last. `last` also waits for room for the sums: nothing below ever
    stalls. Events of K go one by one, a cycle for each digit of K^T V, when the word of V is there. `token` waits
    until the rows are written: a row that the next token adds to is not the old one. `clear` writes zeros to all
    rows of K^T V, a cycle each.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR)
    states : In(array of `HEADS`), heads : In(array of `layouts.bank_event`), of the banks; take : Out
    values : In(stream of words), of V: taken with `token`
    sums_taken : In(1), the neurons have taken sums
    requests : Out(layouts.row_request), a cycle later
    cleared : Out(layouts.product_write), rows of K^T V that become zero, likewise
    busy : Out(1), something is taken; holds_sums : Out(1), all wait for the neurons
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "layer": In(DESCRIPTOR),
                "states": In(data.ArrayLayout(HEADS, config.banks)),
                "heads": In(data.ArrayLayout(bank_event(config), config.banks)),
                "take": Out(config.banks),
                "values": In(stream.Signature(config.lanes)),
                "sums_taken": In(1),
                "requests": Out(row_request(config)),
                "cleared": Out(product_write(config)),
                "busy": Out(1),
                "holds_sums": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        banks, marker = range(self.config.banks), self.heads[0].marker
        goes, waits, kv = (Cat(self.states[b][key] for b in banks) for key in ("goes", "waits", "kv"))
        all_wait, done, room = Signal(), Signal(), Signal(init=1)
        turns = Signal()  # the word of V was that of the token before
        adds, offset, first, last = self._add_tokens(m, kv, room & self.values.valid & ~turns)
        written, clears, cleared = self._written(m, adds), Signal(), Signal()
        permits = marker.double | (marker.last & room) | (marker.token & written) | (marker.clear & cleared)
        chosen, before = Signal(self.config.banks), Signal(self.config.banks)
        m.d.sync += [before.eq(chosen), turns.eq(done & marker.token)]
        m.d.comb += [
            chosen.eq(Mux(first, isolated(kv), before)),  # of the events of K the first bank's, to its last digit
            all_wait.eq(waits.all()),
            done.eq(all_wait & permits),
            clears.eq(all_wait & marker.clear & ~cleared),
            self.values.ready.eq(turns),
            self.holds_sums.eq(all_wait & marker.last & ~room),
            self.busy.eq(goes.any() | done | adds | clears),
            *(self.take[b].eq(~(waits[b] | kv[b]) | done | (adds & last & chosen[b])) for b in banks),
        ]
        self._clear(m, clears, cleared, done)
        self._count_sums(m, room, over=done & marker.last)
        request = self.requests
        for b in banks:
            head = self.heads[b]
            m.d.sync += [
                request.banks[b].row.eq(head.row | offset),
                request.banks[b].gates.eq(head.gates),
                request.banks[b].applies.eq(head.applies & (goes[b] | done | (adds & chosen[b]))),
            ]
        m.d.sync += [
            request.tail.eq(Cat((goes[b] | done) & self.heads[b].marker.tail for b in banks).any()),
            request.command.double.eq(done & marker.double),
            request.command.over.eq(done & marker.last),
            request.command.kv.eq(adds),
            request.command.carry.eq(adds & ~first),
        ]
        return m

    def _add_tokens(self, m, kv, may):
        """Whether an event of K goes; the row of its digit, in front of that of its channel; first and last digit."""
        adds, digit, planes = Signal(), Signal.like(self.layer.field.planes), self.layer.field.planes
        offset, first, last = Signal(self.config.row_width), Signal(init=1), Signal(init=1)
        last_but_one, single = Signal.like(digit), Signal(init=1)
        m.d.comb += adds.eq(kv.any() & may)
        m.d.sync += [last_but_one.eq(planes - 2), single.eq(planes == 1)]
        with m.If(adds):
            m.d.sync += [
                digit.eq(Mux(last, 0, digit + 1)),
                first.eq(last),
                last.eq(Mux(last, single, digit == last_but_one)),
                offset.eq(Mux(last, 0, offset + self.layer.tile_rows)),
            ]
        with m.Elif(first):
            m.d.sync += last.eq(single)
        return adds, offset, first, last

    def _written(self, m, adds):
        """All rows of K^T V are written: what is read from now on is the sum."""
        wait = LATENCY + stages(self.config) - 1
        left, written = Signal(range(wait + 1)), Signal(init=1)
        with m.If(adds):
            m.d.sync += [left.eq(wait), written.eq(0)]
        with m.Elif(~written):
            m.d.sync += [left.eq(left - 1), written.eq(left == 1)]
        return written

    def _clear(self, m, clears, cleared, done):
        row, last = Signal(self.config.row_width), Signal(self.config.row_width)
        m.d.sync += [
            last.eq(self.layer.weight_base + self.layer.tile_rows - 1),
            self.cleared.banks.eq(clears.replicate(self.config.banks)),
            self.cleared.row.eq(row),
        ]
        with m.If(clears):
            m.d.sync += [row.eq(row + 1), cleared.eq(row == last)]
        with m.If(done):
            m.d.sync += [row.eq(0), cleared.eq(0)]

    def _count_sums(self, m, room, *, over):
        """`room`: there is a place for one more item's sums; from a register."""
        places, following = Signal(range(HELD_SUMS + 1), init=HELD_SUMS), Signal(range(HELD_SUMS + 2))
        m.d.comb += following.eq(places + self.sums_taken - over)
        m.d.sync += [places.eq(following), room.eq(following != 0)]
