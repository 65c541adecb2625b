"""The benches of the core's components, one test each, through the runner that `spikeloom regress` uses."""

from pathlib import Path

import pytest

import spikeloom.sim.benches
from spikeloom.sim.regress import BENCHES, bench, regress, run_case


@pytest.mark.parametrize("name", BENCHES)
def test_component(name):
    (result,) = regress([name])
    assert result.passed, result.message
    assert result.tests >= len(bench(name).CASES)


def test_all_benches_are_listed():
    folder = Path(spikeloom.sim.benches.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(BENCHES)


def test_every_component_has_a_bench():
    folder = Path(spikeloom.sim.benches.__file__).parents[1].parent / "rtl"
    others = {"__init__", "config", "layouts", "ports", "registers", "bits", "ecp5", "family"}
    proved = {"carry_chain"}  # in tests/rtl
    # of the block memories, of emitters and heads, of the neuron unit
    inside = {"block_grid", "dp16kd", "bank_queue", "job_walk", "spike_placer"}
    components = {path.stem for part in ("core", "primitives") for path in (folder / part).glob("*.py")}
    assert components - others - proved - inside == set(BENCHES)


def test_unknown_bench():
    with pytest.raises(ValueError, match="no bench is called 'nothing'; there are time_mask, layer_loops"):
        regress(["nothing"])


def test_progress_and_waves(tmp_path):
    seen = []
    (result,) = regress(["counters"], progress=lambda done, of: seen.append((done, of)), waves=tmp_path)
    assert seen == [(1, 2), (2, 2)]
    assert result.passed and result.seconds > 0
    assert [path.parent for path in result.waves] == [tmp_path / "counters-0", tmp_path / "counters-1"]
    assert all(path.stat().st_size > 0 for path in result.waves)


def test_failure_is_a_result(monkeypatch):
    module = bench("counters")
    good = module.build
    monkeypatch.setattr(module, "build", lambda: bench("time_mask").build())
    result = run_case("counters", {})
    assert not result.passed and result.tests == 0 and "counters" in result.message
    monkeypatch.setattr(module, "build", good)
