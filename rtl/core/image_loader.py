"""Pixels become bit-planes: after this the image is spikes like everything else."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .config import CoreConfig
from .layouts import DESCRIPTOR
from .ports import MemoryWritePort

PIXEL_BITS = 8


class ImageLoader(wiring.Component):
    """Takes the pixels of one image, rows by columns by channels, and writes eight planes of channel words.

    ``word[plane b, position p][c] = bit b of pixel[p, c]``. A cycle a pixel and eight a position.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR), an IMAGE: `positions`, `tile_tail` channels, `output`
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
                "writes": Out(MemoryWritePort(config.address_width, config.lanes)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layer, channels = self.layer, self.config.image_channels
        pixel = [Signal(PIXEL_BITS, name=f"pixel_{c}") for c in range(channels)]
        channel = Signal(range(channels + 1))
        position = Signal.like(layer.positions)
        plane = Signal(range(PIXEL_BITS))
        plane_offset = Signal(self.config.address_width)
        full = channel == layer.tile_tail
        m.d.comb += [
            self.pixels.ready.eq(self.active & ~full),
            self.writes.enable.eq(self.active & full),
            self.writes.address.eq(layer.output.base + plane_offset + position),
            self.writes.data.eq(Cat(value.bit_select(plane, 1) for value in pixel)),
        ]
        with m.If(self.pixels.ready & self.pixels.valid):
            m.d.sync += channel.eq(channel + 1)
            for c in range(channels):
                with m.If(channel == c):
                    m.d.sync += pixel[c].eq(self.pixels.payload)
        with m.If(self.writes.enable):
            m.d.sync += [plane.eq(plane + 1), plane_offset.eq(plane_offset + layer.output.plane)]
            with m.If(plane == PIXEL_BITS - 1):
                m.d.sync += [channel.eq(0), plane_offset.eq(0), position.eq(position + 1)]
                # the next image may have fewer channels
                m.d.sync += [value.eq(0) for value in pixel]
                with m.If(position == layer.positions - 1):
                    m.d.comb += self.done.eq(1)
                    m.d.sync += position.eq(0)
        return m
