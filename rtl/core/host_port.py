"""The core's registers and memories on the host bus."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .config import CoreConfig
from .counters import COUNTER_BITS, COUNTERS
from .layouts import WORD_BITS
from .registers import IDENTITY, REGION_SHIFT, HostBus, Region, Register


class HostPort(wiring.Component):
    """Decodes the host bus (`registers`); each access takes two cycles, pixels until the core takes them.

    Pixels that come when no image is awaited are dropped, so that a host can never block the bus. Writes to the
    memories of the Program go through while the core is busy: a host writes them while it is not.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    bus : In(HostBus)
    start : Out(1); finished : Out(1), class sums are there
    busy, done, image_loaded : In(1)
    pixels : Out(stream of unsigned(8))
    counts : In, the counters' values
    result_address : Out, of a class; result_data : In(32), one cycle later
    program_write, parameter_write, weight_write : Out(1); write_offset, write_data : Out
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "bus": Out(HostBus()),
                "start": Out(1),
                "finished": Out(1),
                "busy": In(1),
                "done": In(1),
                "image_loaded": In(1),
                "pixels": Out(stream.Signature(8)),
                "counts": In(COUNTER_BITS * len(COUNTERS)),
                "result_address": Out(range(max(2, config.classes))),
                "result_data": In(WORD_BITS),
                "program_write": Out(1),
                "parameter_write": Out(1),
                "weight_write": Out(1),
                "write_offset": Out(REGION_SHIFT),
                "write_data": Out(WORD_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        region = bus.address[REGION_SHIFT:]
        offset = bus.address[:REGION_SHIFT]
        registers = region == Region.REGISTERS
        awaiting, finished = Signal(), self.finished  # an image; class sums are there
        access = bus.request & ~bus.acknowledge

        pixels, left = Signal(WORD_BITS), Signal(3)
        takes = registers & (offset == Register.PIXELS) & bus.write
        blocked = takes & awaiting & (left != 0)
        m.d.sync += bus.acknowledge.eq(access & ~blocked)
        m.d.comb += [self.pixels.payload.eq(pixels[:8]), self.pixels.valid.eq(left != 0)]
        with m.If(self.pixels.valid & self.pixels.ready):
            m.d.sync += [pixels.eq(pixels >> 8), left.eq(left - 1)]
        with m.If(access & takes & awaiting & (left == 0)):
            m.d.sync += [pixels.eq(bus.write_data), left.eq(4)]

        m.d.comb += self.start.eq(
            access & bus.write & registers & (offset == Register.CONTROL) & bus.write_data[0] & ~self.busy
        )
        with m.If(self.start):
            m.d.sync += [awaiting.eq(1), finished.eq(0)]
        with m.Elif(self.image_loaded):
            m.d.sync += [awaiting.eq(0), left.eq(0)]
        with m.If(self.done):
            m.d.sync += [finished.eq(1), awaiting.eq(0)]

        writes = access & bus.write
        m.d.comb += [
            self.write_offset.eq(offset),
            self.write_data.eq(bus.write_data),
            self.program_write.eq(writes & (region == Region.PROGRAM)),
            self.parameter_write.eq(writes & (region == Region.PARAMETERS)),
            self.weight_write.eq(writes & (region == Region.WEIGHTS)),
            self.result_address.eq(offset),
        ]

        status = Signal(WORD_BITS)
        counts = Array(self.counts.word_select(i, COUNTER_BITS) for i in range(len(COUNTERS)))
        index = Signal(range(len(COUNTERS)))
        m.d.comb += [
            status.eq(self.busy | finished << 1 | awaiting << 2),
            index.eq(offset - Register.COUNTERS),
        ]
        chosen = Signal(WORD_BITS)
        with m.Switch(offset):
            with m.Case(Register.IDENTITY):
                m.d.comb += chosen.eq(IDENTITY)
            with m.Case(Register.STATUS):
                m.d.comb += chosen.eq(status)
            with m.Default():
                m.d.comb += chosen.eq(
                    Mux((offset >= Register.COUNTERS) & (offset < Register.COUNTERS + len(COUNTERS)), counts[index], 0)
                )
        register_data = Signal(WORD_BITS)
        m.d.sync += register_data.eq(chosen)
        m.d.comb += bus.read_data.eq(Mux(registers, register_data, Mux(region == Region.RESULTS, self.result_data, 0)))
        return m
