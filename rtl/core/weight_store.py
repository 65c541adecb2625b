"""Weight rows in on-chip memory, K^T V among them."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..primitives.block_memory import BlockMemory
from ..primitives.ports import MemoryWritePort
from .config import CoreConfig
from .layouts import WORD_BITS, bank_rows, product_write, row_request


class WeightStore(wiring.Component):
    """A block memory for each bank: requests go in, their rows come out two cycles later,
    their commands after one.

    Rows of all banks are written by a host, in words of 32 bits: row r of bank b is the host's row
    ``r * banks + b``, which starts at a multiple of the power of two of words that holds a row. Rows of K^T V are
    written whole. A row must not be read in the cycle in which it is written: that of `written`, and the one after
    `cleared` and `writes`. No two of them write in the same cycle.

    A request a cycle, a row of each bank.

    Parameters
    ----------
    config : CoreConfig
    init : sequence of int, the host's rows, lane 0 in the low bits; at most `config.weight_rows`

    Members
    -------
    requests : In(layouts.row_request)
    rows : Out(layouts.bank_rows)
    writes : In(MemoryWritePort), 32 bits of a row; the address counts words
    written : In(layouts.product_write), rows that become `products`; cleared : likewise, that become zero
    products : In(array of weights)

    Raises
    ------
    ValueError
        for more initial rows than the banks have, or a value wider than a row.
    """

    def __init__(self, *, config: CoreConfig, init=()):
        init = list(init)
        width = config.lanes * config.weight_width
        if len(init) > config.weight_rows:
            raise ValueError(f"init must have at most {config.weight_rows} rows, not {len(init)}")
        for row, value in enumerate(init):
            if value < 0 or value >> width:
                raise ValueError(f"row {row} must fit in {width} bits, not {value:#x}")
        self.config, self.init = config, init
        self.words = width // WORD_BITS
        address = ceil_log2(self.words) + ceil_log2(config.banks) + config.row_width
        super().__init__(
            {
                "requests": In(row_request(config)),
                "rows": Out(bank_rows(config)),
                "writes": In(MemoryWritePort(address, WORD_BITS)),
                "written": In(product_write(config)),
                "cleared": In(product_write(config)),
                "products": In(data.ArrayLayout(signed(config.weight_width), config.lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, words = self.config, self.words
        parts, products = self._parts(m), Value.cast(self.products)
        content = Cat(Mux(parts.words[i], parts.data, products.word_select(i, WORD_BITS)) for i in range(words))
        for b in range(config.banks):
            written = self.written.banks[b]
            chosen = Cat((parts.words[i] & parts.banks[b]) | written for i in range(words))
            self._bank(m, b, parts.rows[b] | Mux(written, self.written.row, 0), content, chosen)
        m.d.sync += self.rows.command.eq(self.requests.command)
        return m

    def _parts(self, m):
        """What the host writes, or all words of rows that are cleared, a cycle later; all zero while nothing is.

        Each word's choice and each bank's row have registers of their own, so that none goes to all memories.
        """
        config, address = self.config, self.writes.address
        word_bits, bank_bits = ceil_log2(self.words), ceil_log2(config.banks)
        layout = {"words": self.words, "banks": config.banks, "data": WORD_BITS}
        parts = Signal(data.StructLayout({**layout, "rows": data.ArrayLayout(config.row_width, config.banks)}))
        coming, row = Signal(data.StructLayout(layout)), Signal(config.row_width)
        with m.If(self.cleared.banks.any()):
            m.d.comb += [coming.words.eq(~0), coming.banks.eq(self.cleared.banks), row.eq(self.cleared.row)]
        with m.Elif(self.writes.enable):
            m.d.comb += [
                coming.words.eq(1 << address[:word_bits]),
                coming.banks.eq(1 << address[word_bits:][:bank_bits]),
                coming.data.eq(self.writes.data),
                row.eq(address[word_bits + bank_bits :]),
            ]
        m.d.sync += [
            *(parts[name].eq(coming[name]) for name in layout),
            *(parts.rows[b].eq(Mux(coming.banks[b], row, 0)) for b in range(config.banks)),
        ]
        return parts

    def _bank(self, m, b, to, content, chosen):
        """The memory of a bank; latency 2: its output is registered, and so is the gate."""
        config, request, found = self.config, self.requests.banks[b], self.rows.banks[b]
        m.submodules[f"bank_{b}"] = store = BlockMemory(
            shape=self.words * WORD_BITS,
            depth=config.bank_rows,
            init=self.init[b :: config.banks],
            granularity=WORD_BITS,
        )
        arriving = Signal.like(request.gates)
        m.d.comb += [
            store.reads.address.eq(request.row),
            store.reads.enable.eq(request.applies),
            store.writes.address.eq(to),
            store.writes.data.eq(content),
            store.writes.enable.eq(chosen),
            found.elements.eq(store.reads.data),
        ]
        m.d.sync += [arriving.eq(Mux(request.applies, request.gates, 0)), found.gates.eq(arriving)]
