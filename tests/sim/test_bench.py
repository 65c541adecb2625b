"""The runner must fail when the component, the bench or an assertion does."""

import cocotb
import pytest
from amaranth.hdl import Assert, Format, Module
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from cocotb.triggers import FallingEdge

from spikeloom.sim.bench import BenchError, parameters, receive, run_bench, send, start


class Doubler(wiring.Component):
    """Doubles a byte; asserts that no 200 comes."""

    bytes: In(stream.Signature(8))
    doubles: Out(stream.Signature(9))

    def elaborate(self, platform):
        m = Module()
        with m.If(~self.doubles.valid | self.doubles.ready):
            m.d.sync += [
                self.doubles.valid.eq(self.bytes.valid),
                self.doubles.payload.eq(self.bytes.payload << 1),
            ]
            m.d.comb += self.bytes.ready.eq(1)
            with m.If(self.bytes.valid):
                m.d.sync += Assert(self.bytes.payload != 200, Format("no {}", self.bytes.payload))
        return m


async def run(dut, sent, wanted):
    await start(dut, bytes__valid=0, bytes__payload=0, doubles__ready=0)
    cocotb.start_soon(send(dut, "bytes", sent, idle=0.3))
    assert await receive(dut, "doubles", len(sent), stall=0.3) == wanted


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def doubles(dut):
    sent = list(range(100)) + [parameters().get("extra", 3)]
    await run(dut, sent, [2 * x for x in sent])


@cocotb.test(timeout_time=1, timeout_unit="ms", skip=True)
async def skipped(dut):
    await FallingEdge(dut.clk)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def wrong(dut):
    await run(dut, [1, 2], [2, 5])


def test_success(tmp_path):
    result = run_bench(Doubler(), module=__name__, name="doubler", testcase="doubles", build_dir=tmp_path, waves=True)
    assert result.tests == 1
    assert result.waves.stat().st_size > 0


@pytest.mark.parametrize(
    "name, case, values, message",
    [
        ("doubler", "wrong", {}, "failed 1 of 1 tests"),
        ("doubler", "nothing", {}, "ran no test"),
        ("doubler", "doubles", {"extra": 200}, "broke an assertion .no 200 in doubler at time"),
        ("doubler", "doubles", {"extra": 256}, "failed 1 of 1 tests"),
    ],
)
def test_failures(tmp_path, name, case, values, message):
    with pytest.raises(BenchError, match=message):
        run_bench(Doubler(), module=__name__, name=name, testcase=case, parameters=values, build_dir=tmp_path)


class Collider(wiring.Component):
    """Writes a memory and reads it in the same cycle, `apart` words away."""

    apart: In(2)
    value: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.store = store = memory.Memory(shape=8, depth=4, init=[])
        read, write = store.read_port(), store.write_port()
        m.d.sync += write.addr.eq(write.addr + 1)
        m.d.sync += write.en.eq(1)
        m.d.comb += [read.en.eq(write.en), read.addr.eq(write.addr + self.apart), self.value.eq(read.data)]
        return m


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def collides(dut):
    await start(dut, apart=parameters()["apart"])
    for _ in range(10):
        await FallingEdge(dut.clk)


def test_collision():
    run_bench(Collider(), module=__name__, name="collider", testcase="collides", parameters={"apart": 1})
    with pytest.raises(BenchError, match="collision in"):
        run_bench(Collider(), module=__name__, name="collider", testcase="collides", parameters={"apart": 0})


def test_broken_verilog(tmp_path):
    with pytest.raises(BenchError, match="did not compile"):
        run_bench("module broken(; endmodule", module=__name__, name="broken", build_dir=tmp_path)


def test_missing_module(tmp_path):
    with pytest.raises(BenchError, match="doubler"):
        run_bench(Doubler(), module="no_such_bench", name="doubler", build_dir=tmp_path)
