"""The set bits of a bank's sub-words, one at a time."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .bank_queue import DEPTH, BankQueue
from .bits import isolated, number, others
from .config import CoreConfig
from .layouts import bank_event, sub_word

SUB_WORDS_IN_FLIGHT = 10  # from the count of the queue to that of what the cursor still sends
EVENTS_IN_FLIGHT = 3  # from the emitter's step to the count of its events


class BitEmitter(wiring.Component):
    """One event a cycle for the set bits of the union of a sub-word's columns, lowest first.

    ::

        sub-words -> queue -> at hand -> one hot -> number -> row -> queue -> head

    The gates of an image's row are its only event's. A sub-word without a bit takes one cycle, for its marker. The
    last event of a sub-word with `end` has `end`. A sub-word can be at the head eight cycles after it is taken.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    takes : In(1), sub_word : In(layouts.sub_word)
    room : Out(1), the sub-words of `SUB_WORDS_IN_FLIGHT` cycles can be taken
    take : In(1), the head is done with: the next event takes its place
    goes, waits, kv : Out(1), the head is an event that goes by itself, one that ends something, one of K: at most one
    head : Out(layouts.bank_event)
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "takes": In(1),
                "sub_word": In(sub_word(config)),
                "room": Out(1),
                "take": In(1),
                "goes": Out(1),
                "waits": Out(1),
                "kv": Out(1),
                "head": Out(bank_event(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = BankQueue(layout=sub_word(self.config))
        m.submodules.events = events = BankQueue(layout=bank_event(self.config))
        m.d.comb += [words.write.eq(self.takes), words.entry.eq(self.sub_word)]
        m.d.sync += self.room.eq(words.count <= DEPTH - SUB_WORDS_IN_FLIGHT)
        room, step = Signal(init=1), Signal()
        chosen, one_hot, ends = self._bits(m, words, room, step)
        self._events(m, events, step, chosen, one_hot, ends)
        # what the head is, a cycle ahead
        following = events.following
        m.d.comb += [events.take.eq(self.take), self.head.eq(events.head)]
        with m.If(self.take):
            m.d.sync += [
                self.goes.eq(events.coming & ~following.end & ~following.kv),
                self.waits.eq(events.coming & following.end),
                self.kv.eq(events.coming & following.kv & ~following.end),
            ]
        # events on their way or in the queue; one that leaves is noticed a cycle late: no path from the heads to here
        level, left = Signal(range(DEPTH + 1)), Signal()
        m.d.sync += [left.eq(self.take & events.coming), room.eq(level <= DEPTH - EVENTS_IN_FLIGHT)]
        with m.If(step & ~left):
            m.d.sync += level.eq(level + 1)
        with m.If(~step & left):
            m.d.sync += level.eq(level - 1)
        return m

    def _bits(self, m, words, room, step):
        """The sub-word at hand, its lowest bit left, and whether that is the last. `step`: the bit goes on."""
        after, at_hand = Signal(sub_word(self.config)), Signal(sub_word(self.config))
        bits = len(after.spikes[0])
        ready = Signal(_bit_set(bits))  # of `after`, made ready ahead of time
        now = Signal(_bit_set(bits))
        after_valid, valid, load, moves = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            step.eq(valid & room),
            load.eq(~valid | (room & now.single)),
            moves.eq(~after_valid | load),
            words.take.eq(~words.valid | moves),
        ]
        union = words.head.spikes[0]
        for c in range(1, self.config.columns):
            union = union | words.head.spikes[c]
        with m.If(moves):
            m.d.sync += [after_valid.eq(words.valid), after.eq(words.head), *_split(ready, union)]
        with m.If(load):
            m.d.sync += [valid.eq(after_valid), at_hand.eq(after), now.eq(ready)]
        with m.Elif(step):
            m.d.sync += _split(now, now.rest)
        return at_hand, now.lowest, now.single

    def _events(self, m, events, step, chosen, one_hot, ends):
        """Two stages: the bit's number, then its row."""
        columns = self.config.columns
        place, event, valid = Signal(range(len(one_hot))), Signal(bank_event(self.config)), Signal()
        row = Signal.like(chosen.row)
        gates = Cat((chosen.spikes[c] & one_hot).any() for c in range(columns))
        if columns == 1:
            gates = chosen.any.replicate(self.config.gates)
        m.d.sync += [
            valid.eq(step),
            place.eq(number(one_hot)),
            row.eq(chosen.row),
            event.gates.eq(Mux(chosen.image, chosen.gates, gates)),
            event.applies.eq(chosen.any),
            event.kv.eq(chosen.kv),
            event.end.eq(chosen.end & ends),
            event.marker.eq(chosen.marker),
        ]
        placed = Signal.like(event)
        m.d.sync += [events.write.eq(valid), placed.eq(event), placed.row.eq(row + place)]
        m.d.comb += events.entry.eq(placed)


def _bit_set(bits):
    """Bits of which the lowest is taken first."""
    return data.StructLayout({"lowest": bits, "rest": bits, "single": 1})


def _split(into, bits):
    """Assignments: the lowest of the bits, the others, whether there are none of these."""
    return [into.lowest.eq(isolated(bits)), into.rest.eq(others(bits)), into.single.eq(~others(bits).any())]
