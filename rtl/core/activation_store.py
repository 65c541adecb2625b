"""Spike words of all tensors: one memory, a port for the scanner, a port for whoever writes."""

from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In

from .config import CoreConfig
from .ports import MemoryPort, PipelinedReadPort


class ActivationStore(wiring.Component):
    """Memory of spike words, `lanes` channels each, with two ports that know nothing of each other.

    A word is never read at one port in the cycle that writes it at the other: a layer does not read what it writes,
    except the writer, at its own port.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    scanner : In(PipelinedReadPort)
    writer : In(MemoryPort)
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "scanner": In(PipelinedReadPort(config.address_width, config.lanes)),
                "writer": In(MemoryPort(config.address_width, config.lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = memory.Memory(
            shape=self.config.lanes, depth=self.config.activation_words, init=[], attrs={"no_rw_check": 1}
        )
        scanned, read, write = store.read_port(), store.read_port(), store.write_port()
        m.d.comb += [
            scanned.en.eq(self.scanner.enable),
            scanned.addr.eq(self.scanner.address),
            read.en.eq(self.writer.enable & ~self.writer.write),
            read.addr.eq(self.writer.address),
            write.en.eq(self.writer.enable & self.writer.write),
            write.addr.eq(self.writer.address),
            write.data.eq(self.writer.write_data),
        ]
        # the output registers of the block memory
        m.d.sync += [self.scanner.data.eq(scanned.data), self.writer.data.eq(read.data)]
        return m
