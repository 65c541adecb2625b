"""The prediction of a core's cells, against all cores that were synthesised."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from spikeloom.gen.cells import core_cells
from spikeloom.rtl.core.config import CoreConfig

ROWS = json.loads((Path(__file__).parents[2] / "bench" / "results" / "core_cells.json").read_text())


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_prediction_is_within_ten_percent_of_synthesis(row):
    """Where it fails, `python bench/core_cells.py` measures again and says which costs fit."""
    found, there = core_cells(CoreConfig(**row["core"])), row["cells"]
    assert abs(found.cells - there["LUT4"] - 2 * there["CCU2C"]) <= 0.1 * (there["LUT4"] + 2 * there["CCU2C"])
    assert abs(found.luts - there["LUT4"]) <= 0.1 * there["LUT4"]
    assert abs(found.carries - there["CCU2C"]) <= 0.1 * there["CCU2C"]
    assert abs(found.flip_flops - there["TRELLIS_FF"]) <= 0.1 * there["TRELLIS_FF"]
    assert abs(found.distributed_rams - there["TRELLIS_DPR16X4"]) <= 0.1 * there["TRELLIS_DPR16X4"]
    assert found.block_rams == there["DP16KD"]


def test_the_cores_differ_in_every_size_that_costs_cells():
    for size in ("lanes", "columns", "banks", "word", "neuron_lanes", "weight_width", "accumulator_width"):
        assert len({row["core"][size] for row in ROWS}) > 1, size
    assert len(ROWS) >= 10


@pytest.mark.parametrize(
    "more", [{"lanes": 64}, {"banks": 2}, {"columns": 2}, {"neuron_lanes": 16}, {"accumulator_width": 22}]
)
def test_a_larger_core_costs_more(more):
    core = CoreConfig()
    small, large = core_cells(core), core_cells(replace(core, **more, word=core.word))
    assert large.cells > small.cells and large.flip_flops > small.flip_flops
    assert small.sites > small.cells
