"""Spike words of all tensors: one memory, one read port, one write port."""

from amaranth.hdl import Module, Mux
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from .config import CoreConfig


class ActivationStore(wiring.Component):
    """Memory of spike words, `lanes` channels each. The writer's reads go before the scanner's.

    Latency of a read 1 cycle. A word is never read in the cycle that writes it: a layer does not read what it
    writes, except the writer, which has read before it writes.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    scan_request, scan_address : In; scan_grant : Out in the same cycle
    writer_request, writer_address : In, always granted
    read_data : Out, one cycle after either
    write_enable, write_address, write_data : In
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "scan_request": In(1),
                "scan_address": In(config.address_width),
                "scan_grant": Out(1),
                "writer_request": In(1),
                "writer_address": In(config.address_width),
                "read_data": Out(config.lanes),
                "write_enable": In(1),
                "write_address": In(config.address_width),
                "write_data": In(config.lanes),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = memory.Memory(
            shape=self.config.lanes, depth=self.config.activation_words, init=[], attrs={"no_rw_check": 1}
        )
        read, write = store.read_port(), store.write_port()
        m.d.comb += [
            self.scan_grant.eq(~self.writer_request),
            read.en.eq(self.scan_request | self.writer_request),
            read.addr.eq(Mux(self.writer_request, self.writer_address, self.scan_address)),
            self.read_data.eq(read.data),
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
        ]
        return m
