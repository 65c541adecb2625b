"""From work items to events: reads spike words, drops zero words, emits the set bits of the rest."""

from amaranth.hdl import Module
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from ..primitives.ports import BlockReadPort
from .bit_emitter import BitEmitter
from .config import CoreConfig
from .layouts import DESCRIPTOR, event, spike_group, work_item
from .scan_cursor import ScanCursor
from .word_gatherer import WordGatherer

FIFO_DEPTH = 16  # as a distributed memory is deep
IN_FLIGHT = 4  # slots whose words are on their way to the queue


class EventScanner(wiring.Component):
    """Emits the events of one work item after another: what costs is spikes, not positions.

    ::

        items -> ScanCursor -> slots -> WordGatherer -> groups -> queue -> BitEmitter -> events

    FIELD: for each plane, most significant first, tap, and channel word, the set bits of the word of each column
    become events with row ``item.row + (tap * channels + channel)``; between planes a `double`. KV: the set bits of
    the K words become `kv` events with the V words. NONE: nothing. The last event of FIELD and NONE has `last`.

    One word read and one event a cycle, side by side; one cycle more an item.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR), constant from a cycle before the first item on
    items : In(stream of `layouts.work_item`)
    words : Out(BlockReadPort), of the activation memory
    events : Out(stream of `layouts.event`)
    rows_offered : Out, channels of the words of receptive fields read in this cycle
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "layer": In(DESCRIPTOR),
                "items": In(stream.Signature(work_item(config))),
                "words": Out(BlockReadPort(config.address_width, config.word)),
                "events": Out(stream.Signature(event(config))),
                "rows_offered": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.cursor = cursor = ScanCursor(config=self.config)
        m.submodules.gatherer = gatherer = WordGatherer(config=self.config)
        m.submodules.queue = queue = fifo.SyncFIFO(width=spike_group(self.config).size, depth=FIFO_DEPTH)
        m.submodules.emitter = emitter = BitEmitter(config=self.config)
        wiring.connect(m, wiring.flipped(self.items), cursor.items)
        wiring.connect(m, cursor.slots, gatherer.slots)
        wiring.connect(m, gatherer.words, wiring.flipped(self.words))
        wiring.connect(m, gatherer.groups, queue.w_stream)
        wiring.connect(m, queue.r_stream, emitter.groups)
        wiring.connect(m, emitter.events, wiring.flipped(self.events))
        m.d.comb += [
            cursor.layer.eq(self.layer),
            gatherer.layer.eq(self.layer),
            gatherer.room.eq(queue.level < FIFO_DEPTH - IN_FLIGHT),
            self.rows_offered.eq(gatherer.rows_offered),
        ]
        return m
