"""Deals the bits of spike words to the banks."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .bits import isolated, number, others
from .config import CoreConfig
from .layouts import spike_group, sub_word, sub_word_bits


class BankSplitter(wiring.Component):
    """A group becomes a sub-word for each bank: bit i is of bank ``(i + turn) mod banks``, lowest first.

    Of an image's rows each goes to a bank, the first to bank `turn`. Banks without a bit get nothing, unless a marker
    ends the group: that goes to all of them. A word of more bits than the banks take at once is sent in pieces, those
    without a spike left out.

    A group a cycle, or a piece. Latency 1 cycle, of what is sent in pieces 2.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    groups : In(stream of `layouts.spike_group`)
    room : In(1), all banks can take what is sent in this cycle and the two before
    sub_words : Out(array of `layouts.sub_word`), of the banks; takes : Out, those that take theirs in this cycle
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        self.pieces = config.word // config.banks // sub_word_bits(config)
        super().__init__(
            {
                "groups": In(stream.Signature(spike_group(config))),
                "room": In(1),
                "sub_words": Out(data.ArrayLayout(sub_word(config), config.banks)),
                "takes": Out(config.banks),
            }
        )

    def elaborate(self, platform):
        m = Module()
        group, valid, piece, ends = self._pieces(m)
        banks, bits = self.config.banks, sub_word_bits(self.config)
        marker = group.marker
        marked = marker.double | marker.last | marker.clear | marker.token
        taken = Signal()
        m.d.sync += taken.eq(valid)
        for bank in range(banks):
            into, spikes = self.sub_words[bank], Signal(self._shape(), name=f"spikes_{bank}")
            gates = Signal(self.config.gates, name=f"gates_{bank}")
            with m.Switch(group.turn):
                for turn in range(banks):
                    with m.Case(turn):
                        first = (bank - turn) % banks
                        m.d.comb += gates.eq(group.taps[first])
                        for c, word in enumerate(piece):
                            m.d.comb += spikes[c].eq(Cat(word[first + banks * j] for j in range(bits)))
            with m.If(group.image):  # a single row
                m.d.comb += spikes.eq(gates.any())
            m.d.sync += [
                into.spikes.eq(spikes),
                into.row.eq(group.row + (group.image & (bank < group.turn))),
                into.gates.eq(gates),
                into.image.eq(group.image),
                into.any.eq(spikes.as_value().any()),
                into.kv.eq(group.kv),
                into.end.eq(marked & ends),
                into.marker.eq(marker),
            ]
            m.d.comb += self.takes[bank].eq(taken & (into.any | into.end))
        return m

    def _pieces(self, m):
        """The group at hand, whether it is there, the words of the columns of which a piece is sent, the last piece."""
        config = self.config
        incoming = self.groups.payload
        if self.pieces == 1:
            m.d.comb += self.groups.ready.eq(self.room)
            valid = self.groups.valid & self.room
            return incoming, valid, [incoming.spikes[c] for c in range(config.columns)], 1
        group, valid = Signal(spike_group(config)), Signal()
        bits = config.word // self.pieces
        held, now, later = Signal(), Signal(self.pieces), Signal(self.pieces)
        union = Mux(
            incoming.image,
            1,
            Cat(
                Cat(incoming.spikes[c].word_select(p, bits).any() for c in range(config.columns)).any()
                for p in range(self.pieces)
            ),
        )
        ends = Signal()
        m.d.comb += [
            ends.eq(~later.any()),
            valid.eq(held & self.room),
            self.groups.ready.eq(~held | (self.room & ends)),
        ]
        with m.If(self.groups.ready):
            m.d.sync += [
                held.eq(self.groups.valid),
                group.eq(incoming),
                now.eq(isolated(union)),
                later.eq(others(union)),
            ]
        with m.Elif(self.room):
            m.d.sync += [now.eq(isolated(later)), later.eq(others(later))]
        piece, placed = [], Signal.like(group)
        for c in range(config.columns):
            parts = [group.spikes[c].word_select(p, bits) & now[p].replicate(bits) for p in range(self.pieces)]
            word = parts[0]
            for part in parts[1:]:
                word = word | part
            piece.append(word)
        m.d.comb += [placed.eq(group), placed.row.eq(group.row + (number(now) << ceil_log2(sub_word_bits(config))))]
        return placed, valid, piece, ends

    def _shape(self):
        return data.ArrayLayout(sub_word_bits(self.config), self.config.columns)
