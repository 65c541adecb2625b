"""Cells of the smallest cores, component by component: ``python bench/small_core.py``.

The digits on 8 and 16 lanes, 4 columns, one bank, 4 neuron lanes, without counters; synthesised for the ECP5 as it lies
in a design, where what only a simulation sees is not connected. The sum is of the whole core at once; of a component
by itself, so that nothing is shared, and the components add up to more. A look-up table is a cell, a carry cell two.
The rows go to a file of results, which a test holds against the limit.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import spikeloom
from spikeloom.common.files import write_text
from spikeloom.flow.library import Design
from spikeloom.gen.toolchain.environment import YOSYS, run_tools
from spikeloom.gen.toolchain.synthesis import READ_OPTIONS, after_read
from spikeloom.rtl.core import CORE_MODULE
from spikeloom.rtl.primitives.family import ECP5

RESULTS = Path(__file__).parent / "results" / "small_core.json"
LANES = (8, 16)
SIZES: dict[str, Any] = {"columns": 4, "banks": 1, "neuron_lanes": 4, "counters": False}
KINDS = {"LUT4": "LUT4", "CCU2C": "CCU2C", "TRELLIS_FF": "FF", "TRELLIS_DPR16X4": "DPR16X4", "DP16KD": "block RAM"}
ALONE = """
module alone(input clk, rst, host__request, host__write, input [27:0] host__address, input [31:0] host__write_data,
    output host__acknowledge, busy, done, output [31:0] host__read_data);
    spikeloom_core core(.clk(clk), .rst(rst), .host__request(host__request), .host__write(host__write),
        .host__address(host__address), .host__write_data(host__write_data), .host__acknowledge(host__acknowledge),
        .host__read_data(host__read_data), .busy(busy), .done(done));
endmodule
"""
"""The core with what a design connects."""


def row_of(lanes: int) -> dict[str, Any]:
    """The core of so many lanes: cells by kind, as a whole and by component."""
    design: Design = spikeloom.compile("digits", lanes=lanes, **SIZES)
    text = design.verilog(ECP5) + ALONE
    kept = sorted(set(re.findall(rf"^module \\({CORE_MODULE}(?:\.engine)?\.\w+\$?\d*) ", text, flags=re.MULTILINE)))
    parts = synthesised(text, [CORE_MODULE, *kept])
    return {
        "core": asdict(design.core),
        "cells": synthesised(text)["design"],
        "components": {name: cells for name, cells in parts.items() if name != "design" and any(cells.values())},
        "tools": {"yosys": YOSYS.version()},
    }


def synthesised(text: str, kept: Sequence[str] = ()) -> dict[str, dict[str, int]]:
    """Cells by kind of the "design", and of each module that is kept by itself, by its last name."""
    keep = [f"setattr -mod -set keep_hierarchy 1 {' '.join(chr(92) + name for name in kept)}"] if kept else []
    commands = [f"read_verilog -sv {READ_OPTIONS} core.sv", after_read("alone"), "opt -full", *keep]
    commands += ["synth_ecp5 -top alone", "tee -q -o stat.json stat -json"]
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        folder = Path(scratch)
        (folder / "core.sv").write_text(text)
        (folder / "core.ys").write_text("\n".join(commands) + "\n")
        run_tools([YOSYS.path(), "-q", "core.ys"], folder, tools=[YOSYS])
        stat = json.loads((folder / "stat.json").read_text())
    found = {"design": _counts(stat["design"])}
    for name, module in stat["modules"].items():
        found[re.sub(r"\$\d+$", "", name.rpartition(".")[2])] = _counts(module)
    return found


def _counts(stat: dict[str, Any]) -> dict[str, int]:
    return {kind: stat["num_cells_by_type"].get(kind, 0) for kind in KINDS}


def logic(cells: dict[str, int]) -> int:
    """Look-up tables, both halves of each carry cell among them."""
    return cells["LUT4"] + 2 * cells["CCU2C"]


def table(row: dict[str, Any]) -> Table:
    """For people."""
    core = row["core"]
    title = f"{core['lanes']} lanes, {core['columns']} columns, {core['neuron_lanes']} neuron lanes, no counters"
    shown = Table("", *KINDS.values(), "LUT4 + 2 CCU2C", title=title)
    parts = sorted(row["components"].items(), key=lambda item: -logic(item[1]))
    for name, cells in [*parts, ("the whole core", row["cells"])]:
        shown.add_row(name, *(f"{cells[kind]:,}" for kind in KINDS), f"{logic(cells):,}")
    return shown


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--results", type=Path, default=RESULTS, help="file that is written (default: %(default)s)")
    chosen = options.parse_args()
    rows = [row_of(lanes) for lanes in LANES]
    write_text(chosen.results, json.dumps(rows, indent=1) + "\n")
    Console().print(*map(table, rows), YOSYS.version(), sep="\n")


if __name__ == "__main__":
    main()
