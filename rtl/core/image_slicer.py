"""Windows of adjacent pixels: which output positions see a set bit at a tap."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import CoreConfig
from .layouts import DESCRIPTOR, position_count

COARSE = 8
"""Bits by which a word is shifted before its register: the rest after it."""


class ImageSlicer(wiring.Component):
    """The gates of taps in a word of the image: at tap i position g of a group sees ``word[pixel + i + g * stride]``.

    In a core of several columns gate g is that of column g. Of one column the lanes are in ``2 ** group`` equal parts,
    one a position; gates are those of eighths of the lanes, so a position has ``8 / 2 ** group`` of them. Groups of
    more than one position have strides of 1, 2 or 4.

    The word is kept whole, so that the next taps can see it. Latency 1 cycle, but for `positions` and `taps`.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR), constant while words come
    enable : In(1), a word comes
    word : In(config.word), pixel : In(range(config.word)), of the first tap and position
    positions, taps : In, how many there are, a cycle later
    kept : Out(config.word), the last word
    gates : Out(array of config.gates), of the taps in the last word
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "layer": In(DESCRIPTOR),
                "enable": In(1),
                "word": In(config.word),
                "pixel": In(range(config.word)),
                "positions": In(position_count(config)),
                "taps": In(range(config.banks + 1)),
                "kept": Out(config.word),
                "gates": Out(data.ArrayLayout(config.gates, config.banks)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        fine_bits = ceil_log2(min(COARSE, config.word))
        moved, fine = Signal(config.word), Signal(fine_bits)
        with m.If(self.enable):
            m.d.sync += [
                self.kept.eq(self.word),
                moved.eq(self.word >> (self.pixel[fine_bits:] << fine_bits)),
                fine.eq(self.pixel),
            ]
        window = Signal(4 * config.gates + config.banks)
        m.d.comb += window.eq(moved >> fine)
        for tap in range(config.banks):
            self._cut(m, self.gates[tap], window[tap:], tap < self.taps)
        return m

    def _cut(self, m, gates, window, exists):
        config, layer, seen = self.config, self.layer, Signal(self.config.gates)
        for g in range(config.gates):
            by_stride = Mux(layer.field.stride[0], window[g], Mux(layer.field.stride[1], window[2 * g], window[4 * g]))
            m.d.comb += seen[g].eq(by_stride & (g < self.positions) & exists)
        if config.columns > 1:
            m.d.comb += gates.eq(seen)
            return
        parts = ceil_log2(config.gates)
        for part in range(config.gates):
            with m.Switch(layer.group):
                for shift in range(parts + 1):
                    with m.Case(shift):
                        m.d.comb += gates[part].eq(seen[part << shift >> parts])
