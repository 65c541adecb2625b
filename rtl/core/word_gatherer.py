"""Reads the words of a scan's slots, joins those of the columns and keeps what matters."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..primitives.ports import MemoryReadPort
from .config import CoreConfig
from .image_slicer import ImageSlicer
from .layouts import DESCRIPTOR, HEAD_WORDS, slot, spike_group


class WordGatherer(wiring.Component):
    """Slots become groups: one word of channels of every column, those without a spike dropped.

    A group without a spike is kept for its marker: `last`, `clear`, `double` of sums that are not zero, or `token`
    where K has spiked. Of Q only those spikes are kept whose channel has spiked in K at this step: the other rows of
    K^T V are zero. Of a word of the image only the gates of the slot's taps are left (`ImageSlicer`).

    A slot a cycle. A group leaves five cycles after its last slot.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR), constant while slots come
    slots : In(stream of `layouts.slot`), taken at once
    words : Out(MemoryReadPort), of the activation memory
    groups : Out(stream of `layouts.spike_group`), must be taken at once
    values : Out(stream of a bit a lane), of V: one for each token of which K has spiked, with its first spikes
    rows_offered : Out, channels of the words of receptive fields of which some column is read, in this cycle
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "layer": In(DESCRIPTOR),
                "slots": In(stream.Signature(slot(config))),
                "words": Out(MemoryReadPort(config.address_width, config.word)),
                "groups": Out(stream.Signature(spike_group(config))),
                "values": Out(stream.Signature(config.lanes)),
                "rows_offered": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        now, taken = self.slots.payload, self.slots.valid
        m.d.comb += [
            self.words.enable.eq(taken & now.reads & ~now.again),
            self.words.address.eq(now.address),
            self.slots.ready.eq(1),
        ]
        # two cycles after a slot its word comes, another later it can be cut, another later it is here
        asked, coming, whole, here = (Signal.like(now, name=name) for name in ("asked", "coming", "whole", "here"))
        asks, comes, cuts, valid, word = Signal(), Signal(), Signal(), Signal(), Signal(self.config.word)
        taps = Signal(self.config.gates * self.config.banks)
        m.submodules.slicer = slicer = ImageSlicer(config=self.config)
        found = Mux(coming.reads, self.words.data, 0)
        kept = slicer.kept & (self._channels_of_k(m, whole, here, valid, word) | ~whole.masked.replicate(len(word)))
        m.d.comb += [
            slicer.layer.eq(self.layer),
            slicer.word.eq(Mux(coming.again, slicer.kept, found)),
            slicer.enable.eq(comes),
            slicer.pixel.eq(coming.pixel),
            slicer.positions.eq(coming.positions),
            slicer.taps.eq(coming.channels),
        ]
        m.d.sync += [
            Cat(asks, comes, cuts, valid).eq(Cat(taken, asks, comes, cuts)),
            asked.eq(now),
            coming.eq(asked),
            whole.eq(coming),
            here.eq(whole),
            word.eq(Mux(whole.image, 0, kept)),
            taps.eq(Mux(whole.image, slicer.gates.as_value(), 0)),
        ]
        group = self._join(m, valid, here, word, taps)
        self._keep(m, valid, here, group)
        self._count_rows(m, taken, now)
        return m

    def _channels_of_k(self, m, whole, here, valid, word):
        """Channels that have spiked in K at this step, of the head's word before `here`; K adds its word's."""
        m.submodules.channels = store = memory.Memory(shape=self.config.word, depth=HEAD_WORDS, init=[])
        read, write = store.read_port(domain="comb"), store.write_port()
        seen = Signal(self.config.word)
        m.d.sync += seen.eq(Mux(whole.first, 0, read.data))
        m.d.comb += [
            read.addr.eq(whole.place),
            write.addr.eq(here.place),
            write.data.eq(seen | word),
            write.en.eq(valid & here.kv & here.reads & ~here.value),
        ]
        return read.data

    def _join(self, m, valid, here, word, taps):
        """The words of the columns so far, and the words of V."""
        group, spikes, values = Signal(self.groups.payload.shape()), Mux(here.value, 0, word), Signal(self.config.lanes)
        for c in range(self.config.columns):
            before = Signal(self.config.word, name=f"before_{c}")
            m.d.comb += group.spikes[c].eq(Mux(here.column == c, spikes, Mux(here.column > c, before, 0)))
            with m.If(valid & (here.column == c)):
                m.d.sync += before.eq(spikes)
        for i in range(self.config.tile_words):
            with m.If(valid & here.value & (here.value_word == i)):
                m.d.sync += values.word_select(i, self.config.word).eq(word)
            with m.Elif(valid & here.value & (here.value_word == 0)):  # the last tile may have fewer
                m.d.sync += values.word_select(i, self.config.word).eq(0)
        m.d.comb += [
            self.values.payload.eq(values),
            group.taps.eq(taps),
            *(group[key].eq(here[key]) for key in ("row", "turn", "image", "kv", "marker")),
        ]
        return group

    def _keep(self, m, valid, here, group):
        """A cycle later: the group, if it matters."""
        now, complete, spikes = self.groups.payload, Signal(), Signal()
        marker, dirty = now.marker, Signal()  # the item has sent spikes
        m.d.sync += [
            now.eq(group),
            complete.eq(valid & here.complete),
            spikes.eq(group.spikes.as_value().any() | group.taps.as_value().any()),
        ]
        with m.If(complete):
            m.d.sync += dirty.eq(~(marker.last | marker.token) & (dirty | spikes))
        matters = spikes | marker.last | marker.clear | ((marker.double | marker.token) & dirty)
        m.d.comb += [
            self.groups.valid.eq(complete & matters),
            self.values.valid.eq(complete & now.kv & spikes & ~dirty),
        ]

    def _count_rows(self, m, taken, now):
        seen = Signal()  # a column of the group was read
        with m.If(taken):
            m.d.sync += seen.eq(~now.complete & (seen | now.reads))
        counts = taken & now.complete & ~now.kv & (seen | now.reads)
        m.d.comb += self.rows_offered.eq(Mux(counts, now.channels, 0))
