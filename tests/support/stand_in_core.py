"""A core of few gates with the real one's ports: a class sum is the pixels' sum less 1000 a class."""

from amaranth.back import verilog
from amaranth.hdl import Assert, Format, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from spikeloom.rtl.core import CORE_MODULE
from spikeloom.rtl.core.registers import IDENTITY, REGION_SHIFT, HostBus, Region, Register

WORDS = 16
"""Words of pixels in one image."""


class StandInCore(wiring.Component):
    """Takes `WORDS` words of pixels after CONTROL; its weights are a memory that can be read back."""

    host: In(HostBus())
    trace__payload: Out(8)
    trace__valid: Out(1)
    busy: Out(1)
    done: Out(1)

    def elaborate(self, platform):
        m = Module()
        host = self.host
        region, offset = host.address[REGION_SHIFT:], host.address[:REGION_SHIFT]
        access = host.request & ~host.acknowledge
        m.d.sync += host.acknowledge.eq(access)

        m.submodules.weights = weights = Memory(shape=32, depth=64, init=range(100, 164))
        read, write = weights.read_port(), weights.write_port()
        m.d.comb += [
            read.addr.eq(offset),
            write.addr.eq(offset),
            write.data.eq(host.write_data),
            write.en.eq(access & host.write & (region == Region.WEIGHTS)),
        ]

        left, total = Signal(range(WORDS + 1)), Signal(20)
        data = host.write_data
        writes = access & host.write & (region == Region.REGISTERS)
        with m.If(writes & (offset == Register.CONTROL)):
            m.d.sync += [left.eq(WORDS), total.eq(0), self.done.eq(0)]
        with m.If(writes & (offset == Register.PIXELS) & (left != 0)):
            m.d.sync += [left.eq(left - 1), total.eq(total + sum(data.word_select(i, 8) for i in range(4)))]
            m.d.sync += self.done.eq(left == 1)
        m.d.comb += self.busy.eq(left != 0)
        m.d.sync += Assert(total < 1 << 19, Format("sum {}", total))

        register = Signal(32)
        with m.Switch(offset):
            with m.Case(Register.IDENTITY):
                m.d.comb += register.eq(IDENTITY)
            with m.Case(Register.STATUS):
                m.d.comb += register.eq(self.busy | self.done << 1 | self.busy << 2)
            with m.Default():
                m.d.comb += register.eq(offset)
        answer = Signal(32)
        class_sum = total - (offset[:4] << 10) + (offset[:4] << 4) + (offset[:4] << 3)
        m.d.sync += answer.eq(Mux(region == Region.RESULTS, class_sum, register))
        m.d.comb += host.read_data.eq(Mux(region == Region.WEIGHTS, read.data, answer))
        return m


def stand_in_verilog() -> str:
    return verilog.convert(StandInCore(), name=CORE_MODULE, emit_src=False)
