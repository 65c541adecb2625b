"""Windows of adjacent pixels: which output positions see a set bit at a tap."""

from amaranth.hdl import Cat, Module, Mux, Signal
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

    The word is kept whole, so that the next taps can see it. Latency 1 cycle.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR), constant while words come
    enable : In(1), a word comes
    word : In(config.word), pixel : In(range(config.word)), of the first tap and position
    positions, taps : In, how many there are
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
        valid, exist = Signal(config.gates), Signal(config.banks)  # gates of valid positions; taps
        with m.If(self.enable):
            m.d.sync += [
                self.kept.eq(self.word),
                moved.eq(self.word >> (self.pixel[fine_bits:] << fine_bits)),
                fine.eq(self.pixel),
                valid.eq(self._of_positions(m, Cat(g < self.positions for g in range(config.gates)))),
                exist.eq(Cat(tap < self.taps for tap in range(config.banks))),
            ]
        window, stride = Signal(4 * config.gates + config.banks), self.layer.field.stride
        m.d.comb += window.eq(moved >> fine)
        for tap, gates in enumerate(self.gates):
            seen = window[tap:]
            by_stride = [Mux(stride[0], seen[g], Mux(stride[1], seen[2 * g], seen[4 * g])) for g in range(config.gates)]
            of_tap = valid & exist[tap].replicate(config.gates)
            m.d.comb += gates.eq(self._of_positions(m, Cat(by_stride)) & of_tap)
        return m

    def _of_positions(self, m, seen):
        """Gates from a bit a position."""
        gates, parts = Signal(self.config.gates), ceil_log2(self.config.gates)
        if self.config.columns > 1:
            m.d.comb += gates.eq(seen)
            return gates
        with m.Switch(self.layer.group):
            for shift in range(parts + 1):
                with m.Case(shift):
                    m.d.comb += gates.eq(Cat(seen[part << shift >> parts] for part in range(len(gates))))
        return gates
