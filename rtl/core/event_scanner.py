"""From work items to requests for weight rows: reads spike words, drops zero words, emits the set bits of the rest."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from ..primitives.ports import MemoryReadPort
from .bank_heads import BankHeads
from .bank_queue import DEPTH, BankQueue
from .bank_splitter import BankSplitter
from .bit_emitter import SUB_WORDS_IN_FLIGHT, BitEmitter
from .config import CoreConfig
from .layouts import DESCRIPTOR, product_write, row_request, spike_group, work_item
from .scan_cursor import ScanCursor
from .word_gatherer import WordGatherer

FIFO_DEPTH = 16  # as a distributed memory is deep
IN_FLIGHT = 8  # from the count of the queue to that of the words of what the cursor still sends


class EventScanner(wiring.Component):
    """Emits the events of one work item after another: what costs is spikes, not positions.

    ::

        items -> ScanCursor -> slots -> WordGatherer -> groups -> BankSplitter -> sub-words
        sub-words -> a BitEmitter for each bank -> events -> BankHeads -> requests

    FIELD: for each plane, most significant first, tap, and channel word, the set bits of the word of each column
    become events. Channel c at tap k is of bank ``(c + k) mod banks``, and its row is
    ``item.row + k * ceil(channels / banks) + c // banks``. Between planes a `double`. KV: the set bits of the K words
    become `kv` events with the V words. NONE: nothing. FIELD and NONE hand the sums over at their end.

    One word read and an event of each bank a cycle, side by side; one cycle more an item.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR), constant from a cycle before the first item on
    items : In(stream of `layouts.work_item`)
    words : Out(MemoryReadPort), of the activation memory
    sums_taken : In(1), the neurons have taken sums
    requests : Out(layouts.row_request), value : Out, the words of V for its `kv`
    cleared : Out(layouts.product_write), rows of K^T V that become zero
    busy : Out(1), an event or a marker leaves its queue; holds_sums : Out(1), all wait for the neurons
    rows_offered : Out, channels of the words of receptive fields read in this cycle
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "layer": In(DESCRIPTOR),
                "items": In(stream.Signature(work_item(config))),
                "words": Out(MemoryReadPort(config.address_width, config.word)),
                "sums_taken": In(1),
                "requests": Out(row_request(config)),
                "value": Out(config.lanes),
                "cleared": Out(product_write(config)),
                "busy": Out(1),
                "holds_sums": Out(1),
                "rows_offered": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.cursor = cursor = ScanCursor(config=self.config)
        m.submodules.gatherer = gatherer = WordGatherer(config=self.config)
        m.submodules.splitter = splitter = BankSplitter(config=self.config)
        m.submodules.heads = heads = BankHeads(config=self.config)
        wiring.connect(m, wiring.flipped(self.items), cursor.items)
        wiring.connect(m, cursor.slots, gatherer.slots)
        wiring.connect(m, gatherer.words, wiring.flipped(self.words))
        rooms = [self._values(m, gatherer.values, heads.values)]
        rooms += self._banks(m, splitter, heads)
        self._groups(m, cursor, gatherer, splitter, rooms)
        m.d.comb += [
            cursor.layer.eq(self.layer),
            gatherer.layer.eq(self.layer),
            heads.layer.eq(self.layer),
            heads.sums_taken.eq(self.sums_taken),
            self.requests.eq(heads.requests),
            self.cleared.eq(heads.cleared),
            self.busy.eq(heads.busy),
            self.holds_sums.eq(heads.holds_sums),
            self.value.eq(heads.values.payload),
            self.rows_offered.eq(gatherer.rows_offered),
        ]
        return m

    def _values(self, m, found, wanted):
        """The queue of the words of V; whether it has room for those of `SUB_WORDS_IN_FLIGHT` cycles."""
        m.submodules.values = queue = BankQueue(layout=found.payload.shape())
        room = Signal()
        m.d.sync += room.eq(queue.count <= DEPTH - SUB_WORDS_IN_FLIGHT)
        m.d.comb += [
            queue.write.eq(found.valid),
            queue.entry.eq(found.payload),
            wanted.valid.eq(queue.valid),
            wanted.payload.eq(queue.head),
            queue.take.eq(~queue.valid | wanted.ready),
        ]
        return room

    def _banks(self, m, splitter, heads):
        """An emitter for each bank; their rooms."""
        rooms = []
        for b in range(self.config.banks):
            m.submodules[f"emitter_{b}"] = emitter = BitEmitter(config=self.config)
            m.d.comb += [
                emitter.takes.eq(splitter.takes[b]),
                emitter.sub_word.eq(splitter.sub_words[b]),
                emitter.take.eq(heads.take[b]),
                heads.heads[b].eq(emitter.head),
                *(heads.states[b][key].eq(getattr(emitter, key)) for key in ("goes", "waits", "kv")),
            ]
            rooms.append(emitter.room)
        return rooms

    def _groups(self, m, cursor, gatherer, splitter, rooms):
        """From the gatherer, which cannot wait, to the splitter; a queue between where that sends pieces."""
        values, *emitters = rooms
        all_room = Cat(emitters).all()
        if splitter.pieces == 1:
            m.d.sync += cursor.room.eq(all_room & values)
            m.d.comb += splitter.room.eq(1)
            wiring.connect(m, gatherer.groups, splitter.groups)
            return
        m.submodules.queue = queue = fifo.SyncFIFO(width=spike_group(self.config).size, depth=FIFO_DEPTH)
        wiring.connect(m, gatherer.groups, queue.w_stream)
        wiring.connect(m, queue.r_stream, splitter.groups)
        m.d.comb += splitter.room.eq(all_room)
        m.d.sync += cursor.room.eq((queue.level <= FIFO_DEPTH - IN_FLIGHT) & values)
