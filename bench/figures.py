"""What the shipped models cost in hardware: ``python bench/figures.py digits --seeds 5``.

Cells of the core by kind, block memories, cycles of an image simulated on the core and checked against golden, the
clock with each seed of the placement, and the milliseconds at their median; with the versions of the tools. The rows
that were asked for are replaced in a file of results, which a test holds against the estimate.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import spikeloom
from spikeloom.common.files import write_text
from spikeloom.flow.library import Design
from spikeloom.gen.targets import target
from spikeloom.gen.toolchain.environment import tool_versions
from spikeloom.gen.toolchain.gate_level import synthesise_core

RESULTS = Path(__file__).parent / "results" / "figures.json"
MODELS = ("digits", "fashion", "fashion_dts", "cifar10_small")
IMAGES = 3
"""Of a model, the first held-out ones: cycles differ by some per cent from image to image."""
KINDS = {"LUT4": "LUT4", "CCU2C": "CCU2C", "TRELLIS_FF": "FF", "TRELLIS_DPR16X4": "DPR16X4", "DP16KD": "block RAM"}
"""Cells that are counted, and what the table calls them."""


def measured(model: str, board: str, seeds: int, images: int, folder: Path) -> dict[str, Any]:
    """The row of a model."""
    design = spikeloom.compile(model, board=board)
    samples = spikeloom.load_images(model, count=images)
    report = spikeloom.simulate(design, samples.images, folder=folder / "simulation")
    if report.images_bit_exact != images or report.counter_differences:
        raise SystemExit(f"{model} is not golden's on {board}'s core: no figure is worth anything")
    synthesis = synthesise_core(design.verilog(target(board).cells), folder / "cells")
    row = {
        "model": model,
        "board": board,
        "core": asdict(design.core),
        "images": images,
        "cycles": round(report.cycles_per_image),
        "cells": {kind: synthesis.cells.get(kind, 0) for kind in KINDS},
        "tools": tool_versions(),
    }
    return row | (placed(design, board, seeds, folder, row["cycles"]) if seeds else {})


def placed(design: Design, board: str, seeds: int, folder: Path, cycles: int) -> dict[str, Any]:
    """Of the whole design on the board: look-up tables, the clock by seed, milliseconds at the median."""
    report = spikeloom.build(design, board=board, seeds=seeds, folder=folder / board)
    return {
        "luts": report.luts,
        "clock_mhz": report.seeds or {report.seed: report.fmax_mhz},
        "median_mhz": report.median_mhz,
        "limit": report.critical_path.words if report.critical_path else "",
        "ms": round(cycles / report.median_mhz / 1000, 4),
    }


def table(rows: list[dict[str, Any]]) -> Table:
    """For people."""
    names = ("model", "core", "cycles", *KINDS.values(), "MHz by seed", "median", "ms")
    shown = Table(*names, title="Shipped models, ECP5")
    for row in rows:
        core = row["core"]
        sizes = f"{core['lanes']} x {core['columns']}, {core['banks']}, {core['neuron_lanes']}"
        clocks = " ".join(f"{mhz:g}" for mhz in row.get("clock_mhz", {}).values())
        cells = [f"{row['cells'][kind]:,}" for kind in KINDS]
        placing = (clocks, str(row.get("median_mhz", "")), str(row.get("ms", "")))
        shown.add_row(row["model"], sizes, f"{row['cycles']:,}", *cells, *placing)
    return shown


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("models", nargs="*", metavar="MODEL", help=f"default: {', '.join(MODELS)}")
    options.add_argument("--board", default="ulx3s-85f", help="default: %(default)s")
    options.add_argument("--seeds", type=int, default=5, help="placements; 0: none, no clock (default %(default)s)")
    options.add_argument("--images", type=int, default=IMAGES, help="simulated ones (default %(default)s)")
    options.add_argument("--build-dir", type=Path, default=Path("build/figures"), help="default: %(default)s")
    options.add_argument("--results", type=Path, default=RESULTS, help="file that is brought up to date")
    chosen = options.parse_args()
    for model in chosen.models or MODELS:
        rows = json.loads(chosen.results.read_text()) if chosen.results.exists() else []
        row = measured(model, chosen.board, chosen.seeds, chosen.images, chosen.build_dir / model)
        rows = [x for x in rows if (x["model"], x["board"]) != (row["model"], row["board"])] + [row]
        rows.sort(key=lambda x: (MODELS.index(x["model"]) if x["model"] in MODELS else len(MODELS), x["board"]))
        write_text(chosen.results, json.dumps(rows, indent=1) + "\n")  # at once: a row may take an hour
    wide = Console(width=max(Console().width, 130))
    tools = sorted({f"{tool}: {version}" for row in rows for tool, version in row["tools"].items()})
    wide.print(table(rows), *tools, sep="\n")


if __name__ == "__main__":
    main()
