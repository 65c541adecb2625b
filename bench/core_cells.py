"""What a core costs by synthesis, beside what is predicted: ``python bench/core_cells.py``.

Cores of many sizes are synthesised one after the other, without a Program; those whose Verilog has not changed are not
again. The file of results is what `spikeloom.gen.cells` is held against by a test; where that fails, the costs that fit
the file best, which are printed at the end, go there.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import nnls

from spikeloom.common.files import data_hash, write_text
from spikeloom.gen.cells import TERMS, core_cells, counted_carries
from spikeloom.gen.toolchain.environment import YOSYS
from spikeloom.gen.toolchain.gate_level import synthesise_core
from spikeloom.gen.verilog import core_verilog
from spikeloom.rtl.core.config import LONGEST_SIDE, CoreConfig
from spikeloom.rtl.primitives.family import ECP5

RESULTS = Path(__file__).parent / "results" / "core_cells.json"
KINDS = {
    "luts": "LUT4",
    "carries": "CCU2C",
    "flip_flops": "TRELLIS_FF",
    "distributed_rams": "TRELLIS_DPR16X4",
    "block_rams": "DP16KD",
}
"""Fields of `CoreCells` and the types of the cells."""

DIGITS: dict[str, Any] = {
    "accumulator_width": 18,
    "potential_width": 19,
    "activation_words": 544,
    "parameter_words": 112,
    "program_layers": 15,
    "row_pixels": 8,
    "side": 8,
    "classes": 10,
}
"""What the digits need."""
LARGER: dict[str, Any] = {
    "accumulator_width": 20,
    "potential_width": 22,
    "activation_words": 6144,
    "membrane_positions": 1024,
    "weight_rows": 8192,
    "parameter_words": 256,
    "program_layers": 16,
    "row_pixels": 96,
    "side": 32,
    "classes": 10,
}
"""About what CIFAR-10's small model needs."""

CORES: dict[str, dict[str, Any]] = {
    "64 lanes, 4 banks": DIGITS | {"lanes": 64, "banks": 4},
    "8 lanes, no counters": DIGITS | {"lanes": 8, "neuron_lanes": 2, "counters": False},
    "32 lanes": DIGITS,
    "32 lanes, images of any size": DIGITS | {"side": LONGEST_SIDE},
    "32 lanes, 4 banks": DIGITS | {"banks": 4},
    "16 lanes, 4 neuron lanes": DIGITS | {"lanes": 16, "neuron_lanes": 4},
    "32 lanes x 4": DIGITS | {"columns": 4},
    "64 lanes, 8 banks, 16 neuron lanes": DIGITS | {"lanes": 64, "banks": 8, "neuron_lanes": 16},
    "64 lanes, 4 banks, int4": DIGITS
    | {"lanes": 64, "banks": 4, "weight_width": 4, "accumulator_width": 14, "potential_width": 15},
    "48 lanes, words of 16": LARGER | {"lanes": 48, "word": 16, "neuron_lanes": 4},
    "16 lanes x 4, 2 banks": DIGITS | {"lanes": 16, "columns": 4, "banks": 2, "neuron_lanes": 4},
    "96 lanes, 2 banks": DIGITS | {"lanes": 96, "banks": 2},
    "32 lanes, 8 banks": LARGER | {"banks": 8},
    "8 lanes x 4, 1 neuron lane": DIGITS | {"lanes": 8, "columns": 4, "neuron_lanes": 1},
    "128 lanes, 2 banks, words of 64": DIGITS | {"lanes": 128, "banks": 2, "word": 64},
    "128 lanes, 4 banks, 16 neuron lanes": DIGITS | {"lanes": 128, "banks": 4, "neuron_lanes": 16},
}
"""One of a kind each: what a size costs is told by the cores that differ in it."""


def measured(name: str, folder: Path, before: dict[str, Any] | None) -> dict[str, Any]:
    """The row of a core: the one before, where nothing that it depends on has changed."""
    config = CoreConfig(**CORES[name])
    verilog = core_verilog(config, cells=ECP5)
    row = {"name": name, "core": asdict(config), "verilog": data_hash(verilog), "yosys": YOSYS.version()}
    if before is not None and all(before[key] == value for key, value in row.items()):
        return before
    cells = synthesise_core(verilog, folder).cells
    return row | {"cells": {kind: cells.get(kind, 0) for kind in KINDS.values()}}


def table(rows: list[dict[str, Any]]) -> Table:
    """Measured cells, and how far off the prediction is."""
    shown = Table("core", *(f"{kind}, off by" for kind in KINDS.values()), title="Cores by synthesis, and predicted")
    for row in rows:
        predicted = core_cells(CoreConfig(**row["core"]))
        pairs = [(row["cells"][kind], getattr(predicted, field)) for field, kind in KINDS.items()]
        shown.add_row(
            row["name"], *(f"{there:,} {100 * (guess / max(1, there) - 1):+5.1f} %" for there, guess in pairs)
        )
    return shown


def fitted(rows: list[dict[str, Any]], field: str) -> dict[str, float]:
    """Costs of the terms that have one of that field, with the least squares of relative errors; none below zero.

    What these cores do not tell apart stays near what it costs now: an error of 1 % weighs as a cost that is a third
    off.
    """
    configs = [CoreConfig(**row["core"]) for row in rows]
    now = {name: getattr(term, field) for name, term in TERMS.items() if getattr(term, field)}
    counts = np.array([[TERMS[name].count(config) for name in now] for config in configs], float)
    known = np.array([counted_carries(config) if field == "carries" else 0 for config in configs])
    there = np.array([row["cells"][KINDS[field]] for row in rows], float)
    costs = np.array(list(now.values()))
    equations = np.vstack([counts / there[:, None] / 0.01, np.diag(3 / costs)])
    wanted = np.concatenate([(there - known) / there / 0.01, np.full(len(now), 3.0)])
    found, _ = nnls(equations, wanted)
    return {name: float(f"{cost:.3g}") for name, cost in zip(now, found, strict=True)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--build-dir", type=Path, default=Path("build/core-cells"), help="default: %(default)s")
    options.add_argument("--results", type=Path, default=RESULTS, help="file that is brought up to date")
    options.add_argument("--keep", action="store_true", help="synthesise nothing: the table and the costs alone")
    chosen = options.parse_args()
    rows = json.loads(chosen.results.read_text()) if chosen.results.exists() else []
    if not chosen.keep:
        for name in CORES:
            by_name = {row["name"]: row for row in rows}
            by_name[name] = measured(name, chosen.build_dir / "core", by_name.get(name))
            rows = [by_name[x] for x in CORES if x in by_name]
            write_text(chosen.results, json.dumps(rows, indent=1) + "\n")  # at once: all of them take half an hour
            print(name, rows[-1]["cells"] if name == rows[-1]["name"] else by_name[name]["cells"], flush=True)
    Console(width=max(Console().width, 150)).print(table(rows))
    for field in ("luts", "carries", "flip_flops"):
        print(f"{field}:", ", ".join(f"{name} {cost:g}" for name, cost in fitted(rows, field).items()))


if __name__ == "__main__":
    main()
