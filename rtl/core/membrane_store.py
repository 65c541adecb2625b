"""Membrane potentials of the tile being computed."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from ..primitives.block_memory import BlockMemory
from ..primitives.ports import MemoryReadPort, MemoryWritePort
from .config import CoreConfig
from .layouts import potentials


class MembraneStore(wiring.Component):
    """Memory of `neuron_lanes` potentials a word; no access without an enable, so a masked step costs none.

    Read latency 2 cycles. A word is never read in the cycle that writes it (the neuron unit's fences see to that).

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    reads : In(MemoryReadPort), writes : In(MemoryWritePort), of `layouts.potentials`
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "reads": In(MemoryReadPort(config.membrane_width, potentials(config))),
                "writes": In(MemoryWritePort(config.membrane_width, potentials(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = BlockMemory(shape=potentials(self.config), depth=self.config.membrane_words)
        wiring.connect(m, wiring.flipped(self.reads), store.reads)
        wiring.connect(m, wiring.flipped(self.writes), store.writes)
        return m
