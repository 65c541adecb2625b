"""K^T V in the weight memory: which lanes an event of K adds to, and when the sum is written."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .ac_array import LATENCY, stages
from .config import CoreConfig
from .layouts import product_write, row_request


class ProductWriter(wiring.Component):
    """Rows ``M[c][lane] = sum over tokens n of K[n, c] V[n, lane]``, where c and lane belong to one head.

    The row of channel c is row ``c // banks`` of bank ``c % banks``, so that the spikes of Q select rows of K^T V as
    the spikes of any layer select weights. The array adds the word of V to the row; this says of which lanes, and
    where the sum goes.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    head_shift : In, log2 of the channels of a head, at most log2 of the lanes (larger heads: that); constant
    requests : In(layouts.row_request)
    word : In, the word of V while requests add it
    values : Out, the bits that the array adds, when it wants them
    written : Out(layouts.product_write), when the array has the row

    Source
    ------
    Zhou et al., Spikformer (ICLR 2023), self-attention without softmax, reordered to Q (K^T V), which is exact in
    integers.
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "head_shift": In(range(ceil_log2(config.lanes) + 1)),
                "requests": In(row_request(config)),
                "word": In(config.lanes),
                "values": Out(config.lanes),
                "written": Out(product_write(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, requests = self.config, self.requests
        layout = product_write(config)
        now = Signal(layout)
        row = Const(0, config.row_width)
        for b, one in enumerate(requests.banks):
            asked = one.applies & requests.command.kv
            m.d.comb += now.banks[b].eq(asked)
            row = row | (one.row & asked.replicate(config.row_width))
        m.d.comb += now.row.eq(row)
        # of the cycles after the request: the first here; the last in which the array has the row
        delayed = [now]
        for i in range(LATENCY + stages(config)):
            following = Signal(layout, name=f"delayed_{i}")
            m.d.sync += following.eq(delayed[-1])
            delayed.append(following)
        m.d.comb += self.written.eq(delayed[-1])
        m.d.sync += self.values.eq(self.word & self._same_head(m, delayed[stages(config) - 1]))
        return m

    def _same_head(self, m, of):
        """Lanes whose channel has the head of the row's channel, a cycle later: they agree in the bits above
        `head_shift`.
        """
        lanes, banks = self.config.lanes, self.config.banks
        bits = ceil_log2(lanes)
        number = Cat(Cat(of.banks[i] for i in range(banks) if i >> b & 1).any() for b in range(ceil_log2(banks)))
        channel, matters = Signal(bits), Signal(bits)
        agrees = [Signal(bits, name="agrees_0"), Signal(bits, name="agrees_1")]  # with a lane's bit of 0, of 1
        m.d.comb += channel.eq(Cat(number, of.row))
        m.d.sync += [
            matters.eq(Const((1 << bits) - 1, bits) << self.head_shift),
            agrees[0].eq(~(matters & channel)),
            agrees[1].eq(~matters | channel),
        ]
        mask = Signal(lanes)
        for lane in range(lanes):
            m.d.comb += mask[lane].eq(Cat(agrees[lane >> b & 1][b] for b in range(bits)).all())
        return mask
