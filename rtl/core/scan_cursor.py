"""The loops of a scan: planes, taps, channel words and columns of one work item after another."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import CoreConfig
from .layouts import DESCRIPTOR, Kind, Scan, coordinate, slot, work_item

_LOOPS = data.StructLayout({"column": 1, "word": 1, "tap_x": 1, "tap_y": 1, "plane": 1})


def _place(config: CoreConfig) -> data.StructLayout:
    """Where the loops are: the counters, and the addresses and rows at which each loop's present pass began.

    Those count from the item's: what begins at 0 is a register's reset, and no input of its tables.
    """
    counts = DESCRIPTOR["field"].shape
    return data.StructLayout(
        {
            "value": 1,  # KV: at the words of V, which come first
            "value_word": range(config.tile_words),
            "token": 1,  # KV: at the end
            "double": 1,  # FIELD: between two planes
            "doubles": range(config.weight_width),  # that follow
            "plane": counts["planes"].shape,
            "tap_y": counts["kernel"].shape,
            "tap_x": max(config.channel_width, counts["kernel"].width),
            "word": counts["words"].shape,
            "column": range(config.columns + 1),
            "plane_address": config.address_width,
            "tap_y_address": config.address_width,
            "tap_x_address": config.address_width,
            "word_address": config.address_width,
            "address": config.address_width,
            "y": coordinate(config),
            "first_x": coordinate(config),  # of column 0
            "x": coordinate(config),  # of an image: in the word
            "turn": range(config.banks),
            "last": _LOOPS,  # the loops' present passes are their last
            "plane_row": config.row_width,
            "row": config.row_width,
        }
    )


_ROWS = DESCRIPTOR["field"].shape["tail"].shape + 3
"""Weight rows of all banks: taps of an image, dealt to the banks; else those of a bank, times the banks."""

_LIMITS = data.StructLayout(
    {
        "only": _LOOPS,  # the loops that have a single pass
        "word": DESCRIPTOR["field"].shape["words"].shape,  # the one before the last
        "tap_x": DESCRIPTOR["field"].shape["tail"].shape,  # likewise
        "tap_y": DESCRIPTOR["field"].shape["kernel"].shape,  # likewise
        "rows": _ROWS,  # of a word, those that go on to the next one
        "tail_rows": _ROWS,  # of a tap's last word
        "digit_rows": DESCRIPTOR["tile_rows"].shape,  # weight rows of a digit of K^T V in a bank
        "move": DESCRIPTOR["field"].shape["stride"].shape + 1,  # pixels from a column to the next, or to the next taps
        "taps": DESCRIPTOR["field"].shape["kernel"].shape,  # of an image: in the last slot of a row of the kernel
    }
)
"""Of the layer, constant for long before an item comes: no arithmetic in front of the loops."""

_ENDS = data.StructLayout({"column": 1, "word": 1, "tap_x": 1, "tap_y": 1, "item": 1})
"""Which loops end with the slot at hand."""


class ScanCursor(wiring.Component):
    """Walks planes, taps, channel words and columns of an item: one slot a cycle, and one cycle more an item.

    ::

        FIELD   for plane, most significant first: for tap y, for tap x, for word, for column: a slot
                between planes: a slot with `double`, or as many as a weight has bits between two digits of K^T V
        KV      a slot for each word of V of the tile, then one for each word of K, and one for their end
        NONE    a slot

    Of an image (a direct layer) it is: for tap y, for channel, for as many taps x as there are banks: a slot, all of a
    channel with the same word. The rows of an image are dealt to the banks one by one; else a tap's channels are, the
    first channel of the next tap to the next bank.

    Taps outside the image take their slots, but nothing is read for them. The last slot of FIELD and NONE has `last`.
    A slot comes a cycle after the loops have come to it, and only after a cycle with room.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR), constant from a cycle before the first item on
    items : In(stream of `layouts.work_item`)
    room : In(1), the slot of the next cycle can be taken
    slots : Out(stream of `layouts.slot`), must be taken at once
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "layer": In(DESCRIPTOR),
                "items": In(stream.Signature(work_item(config))),
                "room": In(1),
                "slots": Out(stream.Signature(slot(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        started = Signal()
        item, at = Signal(work_item(self.config)), Signal(_place(self.config))
        limits = self._limits(m)
        last_value, tail_value = Signal(range(self.config.tile_words)), Signal(range(self.config.tile_words))
        m.d.sync += tail_value.eq((self.layer.tile_tail - 1) >> ceil_log2(self.config.word))
        m.d.comb += last_value.eq(Mux(item.tail, tail_value, self.config.tile_words - 1))
        ends = self._look(m, item, at)
        m.d.comb += self.items.ready.eq(~started)
        m.d.sync += self.slots.valid.eq(started & self.room)
        self._offer(m, item, at, ends, limits)
        with m.If(~started):
            m.d.sync += [started.eq(self.items.valid), item.eq(self.items.payload)]
            self._begin(m, at, limits)
        with m.Elif(self.room):
            with m.If(ends.item):  # where the loops go from there means nothing
                m.d.sync += started.eq(0)
            with m.If(at.value):
                m.d.sync += [at.value.eq(at.value_word != last_value), at.value_word.eq(at.value_word + 1)]
            with m.Elif(at.double):
                m.d.sync += [at.double.eq(at.doubles != 0), at.doubles.eq(at.doubles - 1)]
            with m.Else():
                self._advance(m, item, at, ends, limits)
                self._count(m, item, at, ends, limits)
                self._select(m, at, ends, limits)
                m.d.sync += at.token.eq(ends.word)
        return m

    def _limits(self, m):
        field, direct, limits = self.layer.field, self.layer.direct, Signal(_LIMITS)
        banks = self.config.banks
        taps_x = Mux(direct, field.tail, field.kernel)
        taps = field.kernel - ((field.words - 1) << ceil_log2(banks))
        tail_rows = (field.tail + banks - 1) >> ceil_log2(banks) << ceil_log2(banks)
        m.d.sync += [
            limits.only.column.eq(direct | (self.config.columns == 1)),
            limits.only.word.eq(field.words == 1),
            limits.only.tap_x.eq(taps_x == 1),
            limits.only.tap_y.eq(field.kernel == 1),
            limits.only.plane.eq(field.planes == 1),
            limits.word.eq(field.words - 2),
            limits.tap_x.eq(taps_x - 2),
            limits.tap_y.eq(field.kernel - 2),
            limits.taps.eq(taps),
            limits.rows.eq(Mux(direct, banks, self.config.word)),
            limits.tail_rows.eq(Mux(direct, taps, tail_rows)),
            limits.move.eq(Mux(direct, banks, field.stride)),
            limits.digit_rows.eq(Mux(self.layer.kind == Kind.ATTENTION, self.layer.tile_rows, 0)),
        ]
        return limits

    def _begin(self, m, at, limits):
        new = self.items.payload
        kv = new.scan == Scan.KV
        starts = (at.plane_address, at.tap_y_address, at.tap_x_address, at.word_address, at.address)
        m.d.sync += [
            *(counter.eq(0) for counter in (at.column, at.word, at.tap_x, at.tap_y)),
            *(address.eq(0) for address in starts),
            at.plane.eq(self.layer.field.planes - 1),
            at.last.eq(limits.only),
            at.last.column.eq(limits.only.column | kv),
            at.value.eq(kv),
            at.value_word.eq(0),
            *(at[key].eq(0) for key in ("token", "double", "turn")),
            at.y.eq(new.y),
            *(x.eq(new.x) for x in (at.first_x, at.x)),
            *(row.eq(0) for row in (at.plane_row, at.row)),
        ]

    def _look(self, m, item, at):
        """Which loops end with the slot at hand."""
        is_field, is_kv, ends = item.scan == Scan.FIELD, item.scan == Scan.KV, Signal(_ENDS)
        words = ~at.value & ~at.double  # the slot is one of the loops'
        m.d.comb += [
            ends.column.eq(at.last.column),
            ends.word.eq(ends.column & at.last.word),
            ends.tap_x.eq(ends.word & at.last.tap_x),
            ends.tap_y.eq(ends.tap_x & at.last.tap_y),
            ends.item.eq(Mux(is_field, words & ends.tap_y & at.last.plane, ~is_kv | at.token)),
        ]
        return ends

    def _inside(self, item, at):
        """Whether the slot's pixel is one of the image; an image's word has zeros beside its row."""
        field = self.layer.field
        inside_x = (at.x >= 0) & (at.x < field.width) & (at.column < item.columns)
        return (at.y >= 0) & (at.y < field.height) & (self.layer.direct | inside_x)

    def _offer(self, m, item, at, ends, limits):
        now, is_kv, direct = self.slots.payload, item.scan == Scan.KV, self.layer.direct
        token = is_kv & at.token
        marks = at.value | at.double | (item.scan == Scan.NONE)
        channels = Mux(at.last.word, self.layer.field.tail, self.config.word)
        m.d.sync += [
            now.reads.eq((is_kv & ~token) | ((item.scan == Scan.FIELD) & ~at.double & self._inside(item, at))),
            now.again.eq(direct & (at.word != 0)),
            now.address.eq(Mux(at.value, item.value_pointer + at.value_word, item.pointer + at.address)),
            now.pixel.eq(at.x),
            now.positions.eq(item.columns),
            now.column.eq(at.column),
            now.complete.eq(marks | ends.column),
            now.channels.eq(Mux(direct, self._taps(at, limits), channels)),
            now.row.eq(item.row + at.row),
            now.turn.eq(at.turn),
            now.image.eq(direct),
            now.kv.eq(is_kv),
            now.value.eq(at.value),
            now.value_word.eq(at.value_word),
            now.first.eq(item.clear),
            now.masked.eq((self.layer.kind == Kind.ATTENTION) & ~is_kv),
            now.place.eq(at.word),
            now.marker.clear.eq(at.value & item.clear & (at.value_word == 0)),
            now.marker.token.eq(token),
            now.marker.tail.eq(item.tail),
            now.marker.double.eq(at.double & ~is_kv),
            now.marker.last.eq(ends.item & ~is_kv),
        ]

    def _taps(self, at, limits):
        """Of the slot, in a row of the image."""
        return Mux(at.last.word, limits.taps, self.config.banks)

    def _count(self, m, item, at, ends, limits):
        """Advance the counter of the innermost loop that has not ended, restart those inside it."""
        with m.If(~ends.column):
            m.d.sync += [at.column.eq(at.column + 1), at.last.column.eq(at.column == self.config.columns - 2)]
        with m.Else():
            m.d.sync += [at.column.eq(0), at.last.column.eq(limits.only.column | (item.scan == Scan.KV))]
        with m.If(ends.column & ~ends.word):
            m.d.sync += [at.word.eq(at.word + 1), at.last.word.eq(at.word == limits.word)]
        with m.If(ends.word):
            m.d.sync += [at.word.eq(0), at.last.word.eq(limits.only.word)]
        with m.If(ends.word & ~ends.tap_x):
            m.d.sync += [at.tap_x.eq(at.tap_x + 1), at.last.tap_x.eq(at.tap_x == limits.tap_x)]
        with m.If(ends.tap_x):
            m.d.sync += [at.tap_x.eq(0), at.last.tap_x.eq(limits.only.tap_x)]
        with m.If(ends.tap_x & ~ends.tap_y):
            m.d.sync += [at.tap_y.eq(at.tap_y + 1), at.last.tap_y.eq(at.tap_y == limits.tap_y)]
        with m.If(ends.tap_y):
            m.d.sync += [at.tap_y.eq(0), at.last.tap_y.eq(limits.only.tap_y)]
            m.d.sync += [at.plane.eq(at.plane - 1), at.last.plane.eq(at.plane == 1)]

    def _advance(self, m, item, at, ends, limits):
        """The addresses and coordinates likewise: of each loop where its next pass begins, if it goes on."""
        layer, field, direct = self.layer, self.layer.field, self.layer.direct
        tap_y = Mux(ends.tap_y, at.plane_address - layer.input.plane, at.tap_y_address + layer.input.row)
        tap_x = Mux(ends.tap_x, tap_y, at.tap_x_address + field.position)
        word = Mux(ends.word, tap_x, at.word_address + ~direct)  # of an image: the same word, the next of its pixels
        m.d.sync += at.address.eq(Mux(ends.column, word, at.address + field.position_stride))
        first_x = Mux(ends.tap_x, item.x, at.first_x + ~direct)
        m.d.sync += at.x.eq(Mux(ends.word, first_x, Mux(ends.column & ~direct, at.first_x, at.x + limits.move)))
        with m.If(ends.column):
            m.d.sync += at.word_address.eq(word)
        with m.If(ends.word):
            m.d.sync += [at.tap_x_address.eq(tap_x), at.first_x.eq(first_x)]
        with m.If(ends.tap_x):
            m.d.sync += [at.tap_y_address.eq(tap_y), at.y.eq(Mux(ends.tap_y, item.y, at.y + 1))]
        with m.If(ends.tap_y):
            m.d.sync += [at.plane_address.eq(tap_y), at.double.eq(1)]
            m.d.sync += at.doubles.eq(Mux(layer.kind == Kind.ATTENTION, self.config.weight_width - 1, 0))

    def _select(self, m, at, ends, limits):
        """The row and the bank of the next slot's first bit."""
        moved = Cat(at.turn, at.row) + Mux(at.last.word, limits.tail_rows, limits.rows)
        with m.If(ends.column):
            m.d.sync += at.row.eq(moved[len(at.turn) :])
            with m.If(self.layer.direct):
                m.d.sync += at.turn.eq(moved)
            with m.Elif(ends.word):
                m.d.sync += at.turn.eq(at.turn + 1)
        with m.If(ends.tap_y):
            m.d.sync += [*(row.eq(at.plane_row - limits.digit_rows) for row in (at.plane_row, at.row)), at.turn.eq(0)]
