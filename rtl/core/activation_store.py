"""Spike words of all tensors: one memory, one read port, one write port."""

from amaranth.hdl import Module, Mux
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In

from .config import CoreConfig
from .ports import GrantedReadPort, MemoryReadPort, MemoryWritePort


class ActivationStore(wiring.Component):
    """Memory of spike words, `lanes` channels each. The writer's reads go before the scanner's.

    Latency of a read 1 cycle. A word is never read in the cycle that writes it: a layer does not read what it
    writes, except the writer, which has read before it writes.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    scanner : In(GrantedReadPort)
    writer : In(MemoryReadPort), goes first
    writes : In(MemoryWritePort)
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "scanner": In(GrantedReadPort(config.address_width, config.lanes)),
                "writer": In(MemoryReadPort(config.address_width, config.lanes)),
                "writes": In(MemoryWritePort(config.address_width, config.lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = memory.Memory(
            shape=self.config.lanes, depth=self.config.activation_words, init=[], attrs={"no_rw_check": 1}
        )
        read, write = store.read_port(), store.write_port()
        m.d.comb += [
            self.scanner.grant.eq(~self.writer.enable),
            read.en.eq(self.scanner.request | self.writer.enable),
            read.addr.eq(Mux(self.writer.enable, self.writer.address, self.scanner.address)),
            self.scanner.data.eq(read.data),
            self.writer.data.eq(read.data),
            write.en.eq(self.writes.enable),
            write.addr.eq(self.writes.address),
            write.data.eq(self.writes.data),
        ]
        return m
