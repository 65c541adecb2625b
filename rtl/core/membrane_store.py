"""Membrane potentials of the tile being computed."""

from amaranth.hdl import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from .config import CoreConfig
from .layouts import potentials


class MembraneStore(wiring.Component):
    """Memory of `neuron_lanes` potentials a word; no access without an enable, so a masked step costs none.

    Read latency 1 cycle; `read_data` holds while `read_enable` is low. A word is never read in the cycle that
    writes it (the neuron unit's fences see to that).

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    read_enable, read_address : In; read_data : Out(layouts.potentials)
    write_enable, write_address, write_data : In
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "read_enable": In(1),
                "read_address": In(config.membrane_width),
                "read_data": Out(potentials(config)),
                "write_enable": In(1),
                "write_address": In(config.membrane_width),
                "write_data": In(potentials(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = memory.Memory(
            shape=potentials(self.config),
            depth=self.config.membrane_words,
            init=[],
            attrs={"no_rw_check": 1},
        )
        read, write = store.read_port(), store.write_port()
        m.d.comb += [
            read.en.eq(self.read_enable),
            read.addr.eq(self.read_address),
            self.read_data.eq(read.data),
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
        ]
        return m
