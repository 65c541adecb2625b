"""The committed figures, against the estimate: what a change costs shows where it is reviewed."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import spikeloom
from spikeloom.gen.estimate import Activity, estimate
from spikeloom.gen.sizing import SHAPE

BENCH = Path(__file__).parents[2] / "bench"
ROWS = json.loads((BENCH / "results" / "figures.json").read_text())
PUBLISHED = os.environ.get("SPIKELOOM_DATA")


@pytest.fixture
def processing_elements(monkeypatch):
    """The script of that name, imported."""
    spec = importlib.util.spec_from_file_location("processing_elements", BENCH / "processing_elements.py")
    found = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, found)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['model']}-{row['board']}" for row in ROWS])
def test_cycles_are_those_of_the_estimate(row):
    """Within 3 %, on the row's core; where it fails, `python bench/figures.py MODEL` measures again."""
    if row["model"] != "digits" and PUBLISHED is None:
        pytest.skip("SPIKELOOM_DATA names no folder with the model's data set")
    design = spikeloom.compile(row["model"], board=row["board"], **{name: row["core"][name] for name in SHAPE})
    images = spikeloom.load_images(row["model"], count=row["images"]).images
    golden = spikeloom.execute(design.network, images, record=True)
    cycles = []
    for image in range(len(images)):
        tensors = {name: x[:, image] for name, x in golden.tensors.items()}
        spikes = {name: x[:, image] for name, x in golden.spikes.items()}
        cycles.append(estimate(design.compiled.plan, Activity(tensors=tensors, spikes=spikes)).cycles)
    assert abs(np.mean(cycles) - row["cycles"]) <= 0.03 * row["cycles"]


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['model']}-{row['board']}" for row in ROWS])
def test_rows_are_whole(row):
    """What follows from a row's other figures; the tools that made them."""
    assert row["tools"].keys() == {"yosys", "nextpnr-ecp5", "ecppack"}
    assert row["cells"]["LUT4"] and row["cells"]["DP16KD"]
    if "ms" in row:
        assert row["median_mhz"] == pytest.approx(np.median(list(row["clock_mhz"].values())))
        assert row["ms"] == round(row["cycles"] / row["median_mhz"] / 1000, 4)


def test_our_processing_elements(processing_elements):
    """The array in every size that is compared, with its accumulates per cycle."""
    found = processing_elements.ours()
    assert [element.accumulates for element in found] == [32, 128, 32, 384]
    assert all("module array" in element.files["array.v"] for element in found)


def test_foreign_processing_elements(processing_elements, tmp_path, monkeypatch):
    """A folder with one gated accumulator is synthesised as our array is."""
    bench = processing_elements
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pe.v").write_text(
        """module pe(input clk, spike, input [7:0] w, output reg [15:0] acc);
        always @(posedge clk) if (spike) acc <= acc + {{8{w[7]}}, w};
        endmodule"""
    )
    (element,) = bench.theirs(tmp_path, ["pe=1"])
    found = bench.cost(element)
    assert found.cells["TRELLIS_FF"] == 16 and found.cells["CCU2C"] == 8 and found.logic <= 18
    with pytest.raises(ValueError, match="--top takes NAME=N, N accumulates a cycle, not 'pe'"):
        bench.theirs(tmp_path, ["pe"])
    (tmp_path / "pe.v").unlink()
    with pytest.raises(ValueError, match="holds no Verilog"):
        bench.theirs(tmp_path, ["pe=1"])
