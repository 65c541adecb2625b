"""Class sums, kept until the next image."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..primitives.ports import MemoryWritePort
from .config import CoreConfig
from .layouts import WORD_BITS, potentials


class ResultStore(wiring.Component):
    """Words of `neuron_lanes` class sums go in, one sum of 32 bits a class comes out a cycle after its address.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    writes : In(MemoryWritePort of `layouts.potentials`)
    read_address : In, a class; read_data : Out(32), sign-extended
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "writes": In(MemoryWritePort(config.result_width, potentials(config))),
                "read_address": In(range(max(2, config.classes))),
                "read_data": Out(WORD_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.memory = store = memory.Memory(
            shape=potentials(config), depth=config.result_words, init=[], attrs={"no_rw_check": 1}
        )
        read, write = store.read_port(), store.write_port()
        lane_bits = ceil_log2(config.neuron_lanes)
        lane = Signal(max(1, lane_bits))
        m.d.sync += lane.eq(self.read_address[:lane_bits])
        chosen = Value.cast(read.data).word_select(lane, config.potential_width).as_signed()
        m.d.comb += [
            read.addr.eq(self.read_address >> lane_bits),
            read.en.eq(1),
            self.read_data.eq(chosen),
            write.en.eq(self.writes.enable),
            write.addr.eq(self.writes.address),
            write.data.eq(self.writes.data),
        ]
        return m
