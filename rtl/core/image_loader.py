"""Pixels become bit-planes: rows of adjacent pixels, from which the first layer's windows are cut."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..primitives.ports import MemoryWritePort
from .config import CoreConfig
from .layouts import DESCRIPTOR, coordinate, image_hop

PIXEL_BITS = 8


class ImageLoader(wiring.Component):
    """Takes the pixels of one image, rows by columns by channels, and writes each row of a channel as bitmaps.

    ``word[plane b, row, channel, j][i] = bit b of pixel[row, j * hop + i - edge, channel]``, 0 outside the row. The
    hop is half a word, so that every window of up to hop + 1 pixels lies in one word. Words of a plane lie one after
    the other in this order.

    Two rows are buffered: one comes while the other is written. A cycle a pixel; of a row and channel a cycle for
    each pixel in its words (``(words - 1) * hop + word``), and 9 a word for its planes.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR), an IMAGE: `width`, `height`, `tile_tail` channels, `field.words` of a row of a
        channel, `field.padding`: the edge, `output`
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
        full = Signal(2)  # which rows of the buffer wait to be written, or are
        filled, emptied = self._take(m, rows.write_port(), full), self._write(m, rows.read_port(), full)
        m.d.sync += full.eq((full | filled) & ~emptied)
        return m

    def _take(self, m, write, full):
        """Pixels into the buffer. Returns the row that is complete in this cycle, one-hot."""
        layer, taken, row_end = self.layer, Signal(), Signal()
        bank, rows = Signal(), Signal.like(layer.height)
        channel, x = Signal.like(layer.tile_tail), Signal.like(layer.width)
        index = Signal(ceil_log2(self.config.row_pixels))
        pixel_end = channel == layer.tile_tail - 1
        m.d.comb += [
            self.pixels.ready.eq(self.active & (rows != layer.height) & ~full.bit_select(bank, 1)),
            taken.eq(self.pixels.ready & self.pixels.valid),
            row_end.eq(taken & pixel_end & (x == layer.width - 1)),
            write.en.eq(taken),
            write.addr.eq(Cat(index, bank)),
            write.data.eq(self.pixels.payload),
        ]
        with m.If(taken):
            m.d.sync += [index.eq(index + 1), channel.eq(Mux(pixel_end, 0, channel + 1)), x.eq(x + pixel_end)]
        with m.If(row_end):
            m.d.sync += [index.eq(0), x.eq(0), bank.eq(~bank), rows.eq(rows + 1)]
        with m.If(self.done):
            m.d.sync += rows.eq(0)
        return Cat(row_end & ~bank, row_end & bank)

    def _write(self, m, read, full):
        """Rows of the buffer into the planes' words. Returns the row that is done in this cycle, one-hot."""
        layer, config = self.layer, self.config
        hop = image_hop(config.word)
        at = Signal(
            data.StructLayout(
                {
                    "bank": 1,
                    "row": layer.height.shape(),
                    "channel": layer.tile_tail.shape(),
                    "word": layer.field.words.shape(),
                    "x": coordinate(),
                    "index": ceil_log2(config.row_pixels),  # of the pixel in the buffer
                    "left": range(config.word + 1),  # pixels until the word is complete
                    "plane": range(PIXEL_BITS),
                    "offset": config.address_width,  # of the word in a plane
                    "address": config.address_width,  # of the word in the plane at hand
                }
            )
        )
        inside, comes, pixel = Signal(), Signal(), Signal(PIXEL_BITS)
        bits = [Signal(config.word, name=f"plane_{b}") for b in range(PIXEL_BITS)]
        word_end, row_end = at.word == layer.field.words - 1, Signal()
        m.d.comb += [
            read.addr.eq(Cat(at.index, at.bank)),
            read.en.eq(1),
            pixel.eq(Mux(inside, read.data, 0)),
            self.writes.address.eq(at.address),
            self.writes.data.eq(Cat(bits).word_select(at.plane, config.word)),
        ]
        m.d.sync += [comes.eq(0), inside.eq((at.x >= 0) & (at.x < layer.width))]
        with m.If(comes):
            m.d.sync += [kept.eq(Cat(kept[1:], pixel[b])) for b, kept in enumerate(bits)]

        def begin(channel):
            """A row of a channel."""
            m.d.sync += [at.word.eq(0), at.x.eq(-layer.field.padding), at.left.eq(config.word)]
            m.d.sync += [at.channel.eq(channel), at.index.eq(channel)]

        with m.FSM():
            with m.State("WAIT"):
                begin(0)
                m.d.sync += at.address.eq(layer.output.base + at.offset)
                with m.If(full.bit_select(at.bank, 1)):
                    m.next = "READ"
            with m.State("READ"):
                m.d.sync += [comes.eq(1), at.x.eq(at.x + 1), at.left.eq(at.left - 1)]
                with m.If(at.x >= 0):
                    m.d.sync += at.index.eq(at.index + layer.tile_tail)
                with m.If(at.left == 1):
                    m.next = "SHIFT"
            with m.State("SHIFT"):  # the last pixel comes
                m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += self.writes.enable.eq(1)
                m.d.sync += [at.plane.eq(at.plane + 1), at.address.eq(at.address + layer.output.plane)]
                with m.If(at.plane == PIXEL_BITS - 1):
                    m.d.sync += [at.offset.eq(at.offset + 1), at.address.eq(layer.output.base + at.offset + 1)]
                    m.d.sync += [at.word.eq(at.word + 1), at.left.eq(hop)]
                    m.next = "READ"
                    with m.If(word_end):
                        begin(at.channel + 1)
                        with m.If(at.channel == layer.tile_tail - 1):
                            m.d.comb += row_end.eq(1)
                            m.next = "WAIT"
        with m.If(row_end):
            m.d.sync += [at.bank.eq(~at.bank), at.row.eq(at.row + 1)]
            with m.If(at.row == layer.height - 1):
                m.d.comb += self.done.eq(1)
                m.d.sync += [at.row.eq(0), at.offset.eq(0)]
        return Cat(row_end & ~at.bank, row_end & at.bank)
