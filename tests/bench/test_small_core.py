"""The committed cells of the smallest cores, against what a small device has room for."""

import json
from pathlib import Path

import pytest

import spikeloom

ROWS = json.loads((Path(__file__).parents[2] / "bench" / "results" / "small_core.json").read_text())
MOST_LUTS = 3500
"""LUT4 of the whole core, without the bridge; an iCE40 UP5K has 5,280 cells."""
MOST_CELLS = {8: 4450, 16: 5700}
"""LUT4 and two for each CCU2C, by lanes: what was reached, and some room for a change that is worth it."""


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['core']['lanes']}-lanes" for row in ROWS])
def test_a_small_core_stays_small(row):
    """Where it fails on purpose, `python bench/small_core.py` has measured again, and decisions.md says why."""
    lanes, cells = row["core"]["lanes"], row["cells"]
    assert cells["LUT4"] <= MOST_LUTS
    assert cells["LUT4"] + 2 * cells["CCU2C"] <= MOST_CELLS[lanes]
    assert not row["core"]["counters"] and "yosys" in row["tools"]
    assert row["components"]["array"]["CCU2C"] == lanes * row["core"]["columns"] * row["core"]["accumulator_width"] // 2


def test_rows_are_of_the_core_that_is_made():
    """8 and 16 lanes, as `compile` makes them now; else the cells are those of another core."""
    assert [row["core"]["lanes"] for row in ROWS] == [8, 16]
    for row in ROWS:
        sizes = {name: row["core"][name] for name in ("lanes", "columns", "banks", "neuron_lanes", "counters")}
        assert row["core"] == vars(spikeloom.compile("digits", **sizes).core)
