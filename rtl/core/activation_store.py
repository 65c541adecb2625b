"""Spike words of all tensors: one memory, a port for the scanner, a port for whoever writes."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from ..primitives.dual_port_memory import DualPortMemory
from ..primitives.ports import MemoryReadPort, MemorySharedPort
from .config import CoreConfig


class ActivationStore(wiring.Component):
    """Memory of spike words, `word` channels each, with two ports that know nothing of each other.

    A word is never read at one port in the cycle that writes it at the other: a layer does not read what it writes,
    except the writer, at its own port.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    scanner : In(MemoryReadPort)
    writer : In(MemorySharedPort)
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "scanner": In(MemoryReadPort(config.address_width, config.word)),
                "writer": In(MemorySharedPort(config.address_width, config.word)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = DualPortMemory(shape=self.config.word, depth=self.config.activation_words)
        wiring.connect(m, wiring.flipped(self.scanner), store.reads)
        wiring.connect(m, wiring.flipped(self.writer), store.shared)
        return m
