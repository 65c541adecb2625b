"""Cells of the complete accumulate array for an ECP5, by lanes and columns: python bench/cells.py

Registers, sums and hand-over included; block memories, scanner and neurons not. "cells a SOP" counts LUT4 and both
halves of each carry cell, divided by lanes x columns. "portable" is what Yosys infers, "ecp5" has explicit carry cells.
"""

from __future__ import annotations

import json
import tempfile
from itertools import product
from pathlib import Path

from amaranth.back import verilog
from rich.console import Console
from rich.progress import track
from rich.table import Table

from spikeloom.gen.toolchain.environment import YOSYS, run_tools
from spikeloom.gen.toolchain.synthesis import HIDE_ELEMENTS
from spikeloom.rtl.core.ac_array import AcArray
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.primitives.family import ECP5

SIZES = [
    {"lanes": 32, "columns": 1, "accumulator_width": 16},
    {"lanes": 32, "columns": 1, "accumulator_width": 18},
    {"lanes": 32, "columns": 4, "accumulator_width": 16},
    {"lanes": 64, "columns": 1, "accumulator_width": 16},
    {"lanes": 32, "columns": 1, "accumulator_width": 16, "weight_width": 4},
]
SCRIPT = f"read_verilog array.v; {HIDE_ELEMENTS}; synth_ecp5 -top array; tee -q -o stat.json stat -json"


FORMS = {"portable": None, "ecp5": ECP5}


def cells(config: CoreConfig, form: str) -> dict[str, int]:
    """Cells by type of the synthesised array."""
    text = verilog.convert(AcArray(config=config), name="array", emit_src=False, platform=FORMS[form])
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        Path(folder, "array.v").write_text(text)
        run_tools([YOSYS.path(), "-q", "-p", SCRIPT], Path(folder), tools=[YOSYS])
        return json.loads(Path(folder, "stat.json").read_text())["design"]["num_cells_by_type"]


def main() -> None:
    columns = ("lanes", "columns", "weight bits", "acc bits", "form", "LUT4", "CCU2C", "FF", "cells a SOP")
    table = Table(*columns, title="AcArray")
    for size, form in track(list(product(SIZES, FORMS)), description="synthesis"):
        config = CoreConfig(neuron_lanes=8, **size)
        found = cells(config, form)
        luts, carries = found.get("LUT4", 0), found.get("CCU2C", 0)
        a_sop = (luts + 2 * carries) / (config.lanes * config.columns)
        numbers = [config.lanes, config.columns, config.weight_width, config.accumulator_width]
        numbers += [form, luts, carries, found["TRELLIS_FF"]]
        table.add_row(*map(str, numbers), f"{a_sop:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
