"""Bitstreams of a tiny core with the real tools: reused, interrupted, refused, and what is said when one fails."""

import json

import pytest

from spikeloom.common.lock import InUseError, folder_lock
from spikeloom.flow.seeds import placer
from spikeloom.gen.targets import Target, target
from spikeloom.gen.toolchain import build as build_module
from spikeloom.gen.toolchain.build import build, build_best
from spikeloom.gen.toolchain.environment import BuildError, tool_versions
from spikeloom.rtl.core.config import CoreConfig
from support.stand_in_core import stand_in_verilog

CONFIG = CoreConfig(lanes=16, neuron_lanes=4)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("build") / "in (a) folder's $place"
    stages = []
    report = build(
        stand_in_verilog(), CONFIG, target("ulx3s-12f"), folder, progress=lambda *stage: stages.append(stage)
    )
    return folder, report, stages


def refuse(*arguments, **more):
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

    parts = [part for part, _, _ in stages]
    assert parts == sorted(parts) and parts[0] == 0 and parts[-1] == 100
    assert {whole for _, whole, _ in stages} == {100}
    assert {stage for _, _, stage in stages} == {"synthesis", "placement", "routing", "packing", "done"}


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


def test_seeds(built):
    """Two placements of the netlist that is there; a clock for each, and where the best has its limit."""
    folder, report, _ = built
    best = build_best(
        stand_in_verilog(), CONFIG, target("ulx3s-12f"), folder, seeds=[1, 2], place_all=placer(workers=1)
    )
    assert best.seeds[1] == report.fmax_mhz and best.fmax_mhz == max(best.seeds.values())
    assert best.bitstream.read_bytes() == (folder / "seeds" / str(best.seed) / "spikeloom.bit").read_bytes()
    assert " -> " in best.critical_path.words and "_" not in best.critical_path.words.split(":")[0]


def test_build_interrupted(tmp_path):
    """No manifest and no bitstream after an interrupt."""

    def interrupt(part, whole, stage):
        if stage == "synthesis" and part > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(stand_in_verilog(), CONFIG, target("ulx3s-12f"), tmp_path, progress=interrupt)
    assert not (tmp_path / "manifest.json").exists()
    assert not list(tmp_path.glob("*.bit"))


def test_build_fails(tmp_path):
    with pytest.raises(BuildError, match="the build in .* failed: .*ERROR.*syntax error") as error:
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


def test_one_build_at_a_time(tmp_path):
    """A second in the same folder is refused before it touches anything, and told who is there."""
    with folder_lock(tmp_path, "build"):
        (tmp_path / "work").mkdir()
        (tmp_path / "manifest.json").write_text("{}")
        with pytest.raises(InUseError, match="is in use by process .*build, since"):
            build(stand_in_verilog(), CONFIG, target("ulx3s-12f"), tmp_path)
    assert (tmp_path / "work").exists() and (tmp_path / "manifest.json").exists()


def test_folder_that_cannot_be_written(tmp_path, monkeypatch):
    """Found before the tools run."""
    monkeypatch.setattr(build_module, "_run", refuse)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written: not a directory"):
        build(stand_in_verilog(), CONFIG, target("ulx3s-12f"), tmp_path / "file" / "folder")


def test_tools_named_by_the_environment(tmp_path, monkeypatch):
    named = tmp_path / "nextpnr"
    named.write_text("#!/bin/sh\necho nextpnr 9 >&2\n")
    named.chmod(0o755)
    monkeypatch.setenv("NEXTPNR_ECP5", str(named))
    assert tool_versions()["nextpnr-ecp5"] == "nextpnr 9"
    monkeypatch.setenv("NEXTPNR_ECP5", str(tmp_path / "gone"))
    with pytest.raises(BuildError, match="gone cannot be started: No such file"):
        tool_versions()
