"""Pixels become bit-planes: rows of adjacent pixels, from which the first layer's windows are cut."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..primitives.ports import MemoryWritePort
from .config import CoreConfig
from .layouts import BEYOND, DESCRIPTOR, coordinate, image_hop

PIXEL_BITS = 8

_LOOPS = ("row", "x", "channel", "word")
_ENDS = data.StructLayout(dict.fromkeys(_LOOPS, 1))


def _numbers(config: CoreConfig) -> data.StructLayout:
    """Of each loop."""
    words = (config.side + BEYOND) // max(1, image_hop(config.word)) + 2  # of a row
    limits = {"row": config.side, "x": config.side, "channel": config.row_pixels, "word": words}
    return data.StructLayout({name: ceil_log2(limits[name] + 1) for name in _LOOPS})


class ImageLoader(wiring.Component):
    """Takes the pixels of one image, rows by columns by channels, and writes each row of a channel as bitmaps.

    ``word[plane b, row, channel, j][i] = bit b of pixel[row, j * hop + i - edge, channel]``, 0 outside the row. The
    hop is half a word, so that every window of up to hop + 1 pixels lies in one word. Words of a plane lie one after
    the other in this order.

    Two rows are buffered: one comes while the other is written. A cycle a pixel; of a row and channel a cycle for
    each pixel in its words (``(words - 1) * hop + word``), and 9 a word for its planes. The first pixel is taken two
    cycles after `active`; `done` comes a cycle later than the buffer is empty.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR), an IMAGE: `width`, `height`, `tile_tail` channels, `field.words` of a row of a
        channel, `field.padding`: the edge, `output`; constant from the cycle before `active` on
    active : In(1), held until `done`
    pixels : In(stream of unsigned(8))
    writes : Out(MemoryWritePort), of the activation memory
    done : Out(1), in the cycle of the last write
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "layer": In(DESCRIPTOR),
                "active": In(1),
                "pixels": In(stream.Signature(PIXEL_BITS)),
                "writes": Out(MemoryWritePort(config.address_width, config.word)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.rows = rows = memory.Memory(
            shape=PIXEL_BITS, depth=2 << ceil_log2(self.config.row_pixels), init=[], attrs={"no_rw_check": 1}
        )
        layer, last = self.layer, Signal(_numbers(self.config))  # of each loop, in registers
        m.d.sync += [
            last.row.eq(layer.height - 1),
            last.x.eq(layer.width - 1),
            last.channel.eq(layer.tile_tail - 1),
            last.word.eq(layer.field.words - 1),
        ]
        full = Signal(2)  # which rows of the buffer wait to be written, or are
        filled = self._take(m, rows.write_port(), full, last)
        emptied = self._write(m, rows.read_port(), full, last)
        m.d.sync += full.eq((full | filled) & ~emptied)
        return m

    def _take(self, m, write, full, last):
        """Pixels into the buffer. Returns the row that is complete in this cycle, one-hot.

        What the next pixel is, and whether there is room for it, is in registers: the host's offer comes late.
        """
        left, ended = (
            Signal(_numbers(self.config)),
            Signal(_ENDS),
        )  # after the pixel that comes; which loops end with it
        runs, more, ready, taken, row_end = Signal(), Signal(), Signal(), Signal(), Signal()
        bank, index = Signal(), Signal(ceil_log2(self.config.row_pixels))
        m.d.comb += [
            self.pixels.ready.eq(ready),
            taken.eq(ready & self.pixels.valid),
            row_end.eq(taken & ended.channel & ended.x),
        ]
        m.d.sync += [runs.eq(self.active), write.en.eq(taken)]
        m.d.sync += [write.addr.eq(Cat(index, bank)), write.data.eq(self.pixels.payload)]

        def count(name):
            """Down to 0, and again."""
            again = ended[name] | ~runs
            m.d.sync += [
                left[name].eq(Mux(again, last[name], left[name] - 1)),
                ended[name].eq(Mux(again, last[name] == 0, left[name] == 1)),
            ]

        with m.If(taken | ~runs):
            count("channel")
            m.d.sync += index.eq(index + 1)
        with m.If(taken & ended.channel | ~runs):
            count("x")
        with m.If(row_end | ~runs):
            count("row")
            m.d.sync += [index.eq(0), more.eq(~runs | ~ended.row)]
        with m.If(row_end):
            m.d.sync += [bank.eq(~bank), ready.eq(~ended.row & ~full.bit_select(~bank, 1))]
        with m.Elif(~ready):
            m.d.sync += ready.eq(runs & more & ~full.bit_select(bank, 1))
        return Cat(row_end & ~bank, row_end & bank)

    def _write(self, m, read, full, last):
        """Rows of the buffer into the planes' words. Returns the row that is done in this cycle, one-hot."""
        layer, config = self.layer, self.config
        hop = image_hop(config.word)
        at = Signal(
            data.StructLayout(
                {
                    "bank": 1,
                    **{name: _numbers(config)[name].shape for name in ("row", "channel", "word")},
                    "x": coordinate(config),
                    "index": ceil_log2(config.row_pixels),  # of the pixel in the buffer
                    "left": range(config.word + 1),  # pixels until the word is complete
                    "plane": range(PIXEL_BITS),
                    "offset": config.address_width,  # of the word in a plane
                    "first": config.address_width,  # its address in the first plane
                    "address": config.address_width,  # in the plane at hand
                }
            )
        )
        ended, row_end = Signal(_ENDS), Signal()  # which loops end with the word
        inside, comes, pixel = Signal(), Signal(), Signal(PIXEL_BITS)
        bits = [Signal(config.word, name=f"plane_{b}") for b in range(PIXEL_BITS)]
        m.d.comb += [read.addr.eq(Cat(at.index, at.bank)), read.en.eq(1), pixel.eq(Mux(inside, read.data, 0))]
        m.d.sync += [
            *(ended[name].eq(at[name] == last[name]) for name in ("row", "channel", "word")),
            at.first.eq(layer.output.base + at.offset),
            self.writes.enable.eq(0),
            self.writes.address.eq(at.address),
            self.writes.data.eq(Cat(bits).word_select(at.plane, config.word)),
            self.done.eq(row_end & ended.row),
            comes.eq(0),
            inside.eq((at.x >= 0) & (at.x < layer.width)),
        ]
        with m.If(comes):
            m.d.sync += [kept.eq(Cat(kept[1:], pixel[b])) for b, kept in enumerate(bits)]

        def begin(channel):
            """A row of a channel."""
            m.d.sync += [at.word.eq(0), at.x.eq(-layer.field.padding), at.left.eq(config.word)]
            m.d.sync += [at.channel.eq(channel), at.index.eq(channel)]

        with m.FSM():
            with m.State("WAIT"):
                begin(0)
                with m.If(full.bit_select(at.bank, 1)):
                    m.next = "READ"
            with m.State("READ"):
                m.d.sync += [comes.eq(1), at.x.eq(at.x + 1), at.left.eq(at.left - 1)]
                with m.If(at.x >= 0):
                    m.d.sync += at.index.eq(at.index + layer.tile_tail)
                with m.If(at.left == 1):
                    m.next = "SHIFT"
            with m.State("SHIFT"):  # the last pixel comes
                m.d.sync += at.address.eq(at.first)
                m.next = "WRITE"
            with m.State("WRITE"):
                m.d.sync += self.writes.enable.eq(1)
                m.d.sync += [at.plane.eq(at.plane + 1), at.address.eq(at.address + layer.output.plane)]
                with m.If(at.plane == PIXEL_BITS - 1):
                    m.d.sync += [at.offset.eq(at.offset + 1), at.word.eq(at.word + 1), at.left.eq(hop)]
                    m.next = "READ"
                    with m.If(ended.word):
                        begin(at.channel + 1)
                        with m.If(ended.channel):
                            m.d.comb += row_end.eq(1)
                            m.next = "WAIT"
        with m.If(row_end):
            m.d.sync += [at.bank.eq(~at.bank), at.row.eq(at.row + 1)]
            with m.If(ended.row):
                m.d.sync += [at.row.eq(0), at.offset.eq(0)]
        return Cat(row_end & ~at.bank, row_end & at.bank)
