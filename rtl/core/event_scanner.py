"""From work items to events: reads spike words, drops zero words, emits the set bits of the rest."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import CoreConfig
from .layouts import DESCRIPTOR, MARKER, Scan, coordinate, event, work_item

FIFO_DEPTH = 8
IN_FLIGHT = 2  # slots whose words are on their way to the queue


def _spike_group(config: CoreConfig) -> data.StructLayout:
    """One word of channels of every column, with the first row that its bits select."""
    return data.StructLayout(
        {
            "spikes": data.ArrayLayout(config.lanes, config.columns),
            "values": config.lanes,
            "row": config.row_width,
            "kv": 1,
            "clear": 1,
            "marker": MARKER,
        }
    )


class _WordFetcher(wiring.Component):
    """Walks planes, taps, channel words and columns of an item: one slot, at most one read, a cycle.

    Taps outside the image are not read and take one slot. Groups without a spike are dropped, unless they carry
    a marker (`last`, `clear`, or `double` of sums that are not zero).
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "layer": In(DESCRIPTOR),
                "items": In(stream.Signature(work_item(config))),
                "read_request": Out(1),
                "read_address": Out(config.address_width),
                "read_grant": In(1),
                "read_data": In(config.lanes),
                "groups": Out(stream.Signature(_spike_group(config))),
                "room": In(1),
                "rows_offered": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self.item = Signal(work_item(self.config))
        config, layer, item = self.config, self.layer, self.item
        columns = config.columns

        # The slot at hand.
        started = Signal()
        value_slot = Signal()  # KV: the word of V comes first
        double_slot = Signal()  # between planes
        plane = Signal.like(layer.field.planes)
        tap_y, tap_x = Signal.like(layer.field.kernel), Signal.like(layer.field.kernel)
        word = Signal.like(layer.field.words)
        column = Signal(range(columns + 1))
        plane_pointer, row_pointer, tap_pointer, pointer = (
            Signal(config.address_width, name=name)
            for name in ("plane_pointer", "row_pointer", "tap_pointer", "pointer")
        )
        column_pointer = Signal(config.address_width)  # the slot's own address and place
        y, x, column_x = Signal(coordinate()), Signal(coordinate()), Signal(coordinate())
        tap_row, row = Signal(config.row_width), Signal(config.row_width)

        is_field, is_kv = item.scan == Scan.FIELD, item.scan == Scan.KV
        y_inside = (y >= 0) & (y < layer.field.height)
        x_inside = (column_x >= 0) & (column_x < layer.field.width)
        inside = Signal()
        dead = Signal()  # no column of the tap can be inside
        m.d.comb += [
            inside.eq(y_inside & x_inside & (column < item.columns)),
            dead.eq(~y_inside | ((columns == 1) & ~x_inside)),
        ]

        # Of the layer, constant for long before an item comes: no arithmetic in front of the loops.
        self.last_word, self.last_tap = Signal.like(layer.field.words), Signal.like(layer.field.kernel)
        self.channels = Signal(config.row_width)
        m.d.sync += [
            self.last_word.eq(layer.field.words - 1),
            self.last_tap.eq(layer.field.kernel - 1),
            self.channels.eq(((layer.field.words - 1) << ceil_log2(config.lanes)) + layer.field.tail),
        ]

        # Which loops end with this slot.
        channel_slot = Signal()
        column_end, word_end, tap_end, field_end, item_end = (
            Signal(name=name) for name in ("column_end", "word_end", "tap_end", "field_end", "item_end")
        )
        reads = Signal()
        m.d.comb += [
            channel_slot.eq(started & ~value_slot & ~double_slot & (is_field | is_kv)),
            column_end.eq((is_field & dead) | is_kv | (column == columns - 1)),
            word_end.eq(column_end & ((is_field & dead) | (word == self.last_word))),
            tap_end.eq(word_end & (tap_x == self.last_tap)),
            field_end.eq(tap_end & (tap_y == self.last_tap)),
            item_end.eq(
                started
                & Mux(
                    is_field,
                    channel_slot & field_end & (plane == 0),
                    ~is_kv | (channel_slot & word_end),
                )
            ),
            reads.eq(started & ((is_field & channel_slot & inside) | is_kv)),
            self.read_request.eq(reads & self.room),
            self.read_address.eq(Mux(value_slot, item.value_pointer, column_pointer)),
        ]
        go = Signal()
        m.d.comb += [
            go.eq(started & self.room & (~reads | self.read_grant)),
            self.items.ready.eq(~started),
        ]

        new = self.items.payload
        with m.If(self.items.valid & self.items.ready):
            m.d.sync += [
                item.eq(new),
                started.eq(1),
                value_slot.eq(new.scan == Scan.KV),
                plane.eq(layer.field.planes - 1),
                *(p.eq(new.pointer) for p in (plane_pointer, row_pointer, tap_pointer, pointer, column_pointer)),
                y.eq(new.y),
                *(signal.eq(new.x) for signal in (x, column_x)),
                tap_row.eq(new.row),
                row.eq(new.row),
            ]
        with m.If(go & item_end):
            m.d.sync += [started.eq(0), word.eq(0), tap_x.eq(0), tap_y.eq(0)]
            m.d.sync += column.eq(0)
        with m.Elif(go & value_slot):
            m.d.sync += value_slot.eq(0)
        with m.Elif(go & double_slot):
            m.d.sync += double_slot.eq(0)
        with m.Elif(go & channel_slot):
            self._next_slot(
                m,
                ends=(column_end, word_end, tap_end, field_end),
                counters=(column, word, tap_x, tap_y, plane),
                pointers=(column_pointer, pointer, tap_pointer, row_pointer, plane_pointer),
                place=(column_x, x, y, row, tap_row, double_slot),
            )
        self._gather(m, go, channel_slot, value_slot, double_slot, column, column_end, row, reads, item_end, word)
        return m

    def _next_slot(self, m, *, ends, counters, pointers, place):
        """Advance the innermost loop that has not ended, restart those inside it."""
        layer, item = self.layer, self.item
        column_end, word_end, tap_end, field_end = ends
        column, word, tap_x, tap_y, plane = counters
        column_pointer, pointer, tap_pointer, row_pointer, plane_pointer = pointers
        column_x, x, y, row, tap_row, double_slot = place

        def point(address, *outer):
            m.d.sync += [signal.eq(address) for signal in (column_pointer, pointer, *outer)]

        with m.If(~column_end):
            m.d.sync += [
                column.eq(column + 1),
                column_pointer.eq(column_pointer + layer.field.position_stride),
                column_x.eq(column_x + layer.field.stride),
            ]
        with m.Else():
            m.d.sync += [column.eq(0), column_x.eq(x)]
        with m.If(column_end & ~word_end):
            m.d.sync += [word.eq(word + 1), row.eq(row + self.config.lanes)]
            point(pointer + 1)
        with m.If(word_end):
            m.d.sync += [word.eq(0), tap_row.eq(tap_row + self.channels), row.eq(tap_row + self.channels)]
        with m.If(word_end & ~tap_end):
            m.d.sync += [tap_x.eq(tap_x + 1), x.eq(x + 1), column_x.eq(x + 1)]
            point(tap_pointer + layer.field.position, tap_pointer)
        with m.If(tap_end):
            m.d.sync += [tap_x.eq(0), x.eq(item.x), column_x.eq(item.x)]
        with m.If(tap_end & ~field_end):
            m.d.sync += [tap_y.eq(tap_y + 1), y.eq(y + 1)]
            point(row_pointer + layer.input.row, tap_pointer, row_pointer)
        with m.If(field_end):
            m.d.sync += [tap_y.eq(0), y.eq(item.y), plane.eq(plane - 1), double_slot.eq(1)]
            m.d.sync += [tap_row.eq(item.row), row.eq(item.row)]
            point(plane_pointer - layer.input.plane, tap_pointer, row_pointer, plane_pointer)

    def _gather(self, m, go, channel_slot, value_slot, double_slot, column, column_end, row, reads, item_end, word):
        """A cycle after a slot its word comes, another later it is here: join the columns, keep what matters."""
        config, item = self.config, self.item
        slot = data.StructLayout(
            {
                "group": _spike_group(config),  # without its spikes
                "read": 1,
                "complete": 1,  # the group's last column, or a marker
                "value": 1,
                "column": range(config.columns + 1),
            }
        )
        now, coming, there = Signal(slot), Signal(slot), Signal(slot)
        comes, valid = Signal(), Signal()
        m.d.comb += [
            now.read.eq(reads),
            now.value.eq(value_slot),
            now.complete.eq(~channel_slot | column_end),
            now.column.eq(column),
            now.group.row.eq(row),
            now.group.kv.eq(item.scan == Scan.KV),
            now.group.clear.eq(value_slot & item.clear),
            now.group.marker.tail.eq(item.tail),
            now.group.marker.double.eq(double_slot),
            now.group.marker.last.eq(item_end & (item.scan != Scan.KV)),
            now.group.marker.keep.eq(item.keep),
        ]
        here = Signal(config.lanes)
        m.d.sync += [
            comes.eq(go),
            valid.eq(comes),
            coming.eq(now),
            there.eq(coming),
            here.eq(Mux(coming.read, self.read_data, 0)),
        ]
        self._count_rows(m, go & channel_slot, column_end, reads, word)

        gathered = [Signal(config.lanes, name=f"gathered_{c}") for c in range(config.columns)]
        group, spikes_here = self.groups.payload, Mux(there.value, 0, here)
        for c in range(config.columns):
            m.d.comb += group.spikes[c].eq(Mux(there.column == c, spikes_here, Mux(there.column > c, gathered[c], 0)))
            with m.If(valid & (there.column == c)):
                m.d.sync += gathered[c].eq(spikes_here)
        values = Signal(config.lanes)
        with m.If(valid & there.value):
            m.d.sync += values.eq(here)
        dirty = Signal()  # the item has sent spikes
        spikes = group.spikes.as_value().any()
        with m.If(valid & there.complete):
            m.d.sync += dirty.eq(~there.group.marker.last & (dirty | spikes))
        keys = ("row", "kv", "clear", "marker")
        marker = there.group.marker
        m.d.comb += [
            group.values.eq(values),
            *(group[key].eq(there.group[key]) for key in keys),
            self.groups.valid.eq(
                valid & there.complete & (spikes | marker.last | there.group.clear | (marker.double & dirty))
            ),
        ]

    def _count_rows(self, m, slot, column_end, reads, word):
        """Channels of a word of which some column lies inside the image."""
        any_inside = Signal()
        with m.If(slot):
            m.d.sync += any_inside.eq(~column_end & (any_inside | reads))
        channels = Mux(word == self.last_word, self.layer.field.tail, self.config.lanes)
        counts = slot & (self.item.scan == Scan.FIELD) & column_end & (any_inside | reads)
        m.d.comb += self.rows_offered.eq(Mux(counts, channels, 0))


class _BitEmitter(wiring.Component):
    """One event a cycle for the set bits of the union of a group's columns, lowest first; markers take one."""

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "groups": In(stream.Signature(_spike_group(config))),
                "events": Out(stream.Signature(event(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, out = self.config, self.events.payload
        held = Signal(_spike_group(config))
        holds = Signal()
        left = Signal(config.lanes)  # bits of the union not yet sent

        lowest = Signal(config.lanes)
        rest = Signal(config.lanes)
        m.d.comb += [rest.eq(left & (left - 1)), lowest.eq(left & ~(left - 1))]
        # Each bit is isolated, then numbered, then added to the group's row: registers between.
        numbered_free, free, done = Signal(), Signal(), Signal()
        selects = Signal()
        m.d.comb += [
            numbered_free.eq(~self.events.valid | self.events.ready),
            free.eq(~selects | numbered_free),
            done.eq(holds & free & ~rest.any()),
            self.groups.ready.eq(~holds | done),
        ]
        with m.If(self.groups.ready):
            m.d.sync += holds.eq(self.groups.valid)
            m.d.sync += held.eq(self.groups.payload)
            union = 0
            for c in range(config.columns):
                union = union | self.groups.payload.spikes[c]
            m.d.sync += left.eq(union)
        with m.Elif(free):
            m.d.sync += left.eq(rest)

        selected, chosen = Signal(config.lanes), Signal(event(config))
        with m.If(free):
            m.d.sync += [
                selects.eq(holds),
                selected.eq(lowest),
                chosen.row.eq(held.row),
                *(chosen.gates[c].eq((held.spikes[c] & lowest).any()) for c in range(config.columns)),
                chosen.values.eq(held.values),
                chosen.add.eq(left.any() & ~held.kv),
                chosen.kv.eq(left.any() & held.kv),
                chosen.clear.eq(held.clear),
                chosen.marker.eq(held.marker),
                chosen.marker.last.eq(held.marker.last & ~rest.any()),
            ]
        bits = ceil_log2(config.lanes)
        number = Cat(Cat(selected[i] for i in range(config.lanes) if i >> b & 1).any() for b in range(bits))
        with m.If(numbered_free):
            m.d.sync += [self.events.valid.eq(selects), out.eq(chosen), out.row.eq(chosen.row + number)]
        return m


class EventScanner(wiring.Component):
    """Emits the events of one work item after another: what costs is spikes, not positions.

    FIELD: for each plane, most significant first, tap, and channel word, the set bits of the word of each column
    become events with row ``item.row + (tap * channels + channel)``; between planes a `double`. KV: the set bits of
    the K words become `kv` events with the V word. NONE: nothing. The last event of FIELD and NONE has `last`.

    One word read and one event a cycle, side by side; one cycle more an item.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR), constant from a cycle before the first item on
    items : In(stream of `layouts.work_item`)
    read_request, read_address : Out; read_grant : In in the same cycle; read_data : In one cycle later
    events : Out(stream of `layouts.event`)
    rows_offered : Out, channels of the words of receptive fields read in this cycle
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "layer": In(DESCRIPTOR),
                "items": In(stream.Signature(work_item(config))),
                "read_request": Out(1),
                "read_address": Out(config.address_width),
                "read_grant": In(1),
                "read_data": In(config.lanes),
                "events": Out(stream.Signature(event(config))),
                "rows_offered": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layout = _spike_group(self.config)
        m.submodules.fetcher = fetcher = _WordFetcher(config=self.config)
        m.submodules.queue = queue = fifo.SyncFIFO(width=layout.size, depth=FIFO_DEPTH)
        m.submodules.emitter = emitter = _BitEmitter(config=self.config)
        wiring.connect(m, wiring.flipped(self.items), fetcher.items)
        wiring.connect(m, emitter.events, wiring.flipped(self.events))
        m.d.comb += [
            fetcher.layer.eq(self.layer),
            self.read_request.eq(fetcher.read_request),
            self.read_address.eq(fetcher.read_address),
            fetcher.read_grant.eq(self.read_grant),
            fetcher.read_data.eq(self.read_data),
            self.rows_offered.eq(fetcher.rows_offered),
            fetcher.room.eq(queue.level < FIFO_DEPTH - IN_FLIGHT),
            queue.w_data.eq(fetcher.groups.payload),
            queue.w_en.eq(fetcher.groups.valid),
            emitter.groups.payload.eq(queue.r_data),
            emitter.groups.valid.eq(queue.r_rdy),
            queue.r_en.eq(emitter.groups.ready),
        ]
        return m
