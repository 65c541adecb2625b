"""Placements with several seeds, with tools that only pretend: what runs, what is kept, what is told."""

import json

import pytest
from distributed import LocalCluster

from spikeloom.common.process import ToolError
from spikeloom.flow.seeds import placer
from spikeloom.gen.targets import target
from spikeloom.gen.toolchain import build as build_module
from spikeloom.gen.toolchain.build import BITSTREAM, MANIFEST, build, build_best
from spikeloom.gen.toolchain.environment import BuildError
from spikeloom.rtl.core.config import CoreConfig

CONFIG = CoreConfig(lanes=16, neuron_lanes=4)
CLOCKS = {1: 61.0, 2: 72.5, 3: 40.0, 4: 72.5, 5: 80.0}


@pytest.fixture
def ran(monkeypatch):
    """Which tools ran: "synthesis", or a seed."""
    found = []

    def pretend(script, files, folder, made, *, on_line, stop=None):
        seed = int(script.split("export SPIKELOOM_SEED=")[1].split()[0]) if "export" in script else None
        if seed == 9:
            raise BuildError("nextpnr-ecp5 failed: no room")
        if seed == 7:
            found.append("stopped" if stop.wait(60) else "forgotten")
            raise BuildError("it was stopped")
        found.append("synthesis" if seed is None else seed)
        for name in made:
            (folder / name).write_text(f"{name} of {found[-1]}")
        if seed is not None:
            assert all((path.read_text() == f"{name} of synthesis") for name, path in files.items())
            fmax = {"$glbnet$clk": {"achieved": CLOCKS[seed], "constraint": 50}}
            (folder / "report.json").write_text(json.dumps({"utilization": {}, "fmax": fmax}))

    monkeypatch.setattr(build_module, "_run", pretend)
    return found


def best(folder, seeds, **where):
    said = []
    report = build_best(
        "// core", CONFIG, target("ulx3s-12f"), folder, seeds=seeds, place_all=placer(**where),
        progress=lambda *stage: said.append(stage),
    )  # fmt: skip
    return report, said


def test_the_best_is_kept_and_nothing_made_twice(tmp_path, ran):
    report, said = best(tmp_path, [1, 2, 3], workers=2)
    assert ran[0] == "synthesis" and sorted(ran[1:]) == [1, 2, 3]
    assert (report.seed, report.fmax_mhz, report.cached) == (2, 72.5, False)
    assert report.seeds == {1: 61.0, 2: 72.5, 3: 40.0} and report.median_mhz == 61.0
    assert report.bitstream == tmp_path / BITSTREAM and report.bitstream.read_text() == f"{BITSTREAM} of 2"
    assert said[-1][:2] == (3, 3) and {text for _, _, text in said} >= {"seed 2: 72.5 MHz", "seed 3: 40 MHz"}

    ran.clear()
    again, _ = best(tmp_path, [1, 2, 3, 4])
    assert ran == [4]
    assert again.seed == 2 and again.seeds == {1: 61.0, 2: 72.5, 3: 40.0, 4: 72.5}  # of equals the first
    assert best(tmp_path, [1, 2, 3, 4])[0].cached and ran == [4]
    assert build("// core", CONFIG, target("ulx3s-12f"), tmp_path, seed=2).cached and ran == [4]
    best(tmp_path, [5])
    (tmp_path / "seeds" / "5" / BITSTREAM).write_text("spoilt")
    best(tmp_path, [5])
    assert ran == [4, 5, 5]
    with pytest.raises(BuildError):
        build("// core", CONFIG, target("ulx3s-12f"), tmp_path, seed=9)
    assert not (tmp_path / MANIFEST).exists() and "synthesis" not in ran


def test_one_that_fails(tmp_path, ran):
    """Ends all; what was placed is kept."""
    with pytest.raises(ToolError, match="no room"):
        best(tmp_path, [1, 9], workers=1)
    assert not (tmp_path / MANIFEST).exists()
    ran.clear()
    assert best(tmp_path, [1, 2])[0].fmax_mhz == 72.5 and ran == [2]


def test_an_interrupt_ends_the_tools(tmp_path, ran):
    """What was placed is kept."""

    def interrupt(done, whole, stage):
        if stage.startswith("seed"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_best(
            "// core", CONFIG, target("ulx3s-12f"), tmp_path, seeds=[7, 1, 2, 3, 4], place_all=placer(workers=2),
            progress=interrupt,
        )  # fmt: skip
    assert "stopped" in ran and not (tmp_path / MANIFEST).exists()
    assert not (tmp_path / "seeds" / "7" / MANIFEST).exists() and (tmp_path / "seeds" / "1" / MANIFEST).exists()


def test_a_cluster(tmp_path, ran):
    with LocalCluster(processes=False, protocol="tcp", n_workers=2, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        report, _ = best(tmp_path, [1, 2, 3], scheduler=address)
        assert report.seeds == {1: 61.0, 2: 72.5, 3: 40.0} and sorted(ran[1:]) == [1, 2, 3]
        with pytest.raises(BuildError, match="seed 9: BuildError: nextpnr-ecp5 failed: no room"):
            best(tmp_path, [2, 9], scheduler=address)
    assert sorted(ran[1:]) == [1, 2, 3]
