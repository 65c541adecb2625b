"""Our accumulate array beside processing elements of others: ``python bench/processing_elements.py DIR --top pe=1``.

DIR holds their Verilog (.v, .sv); --top names a module and how many gated accumulates it does a cycle. Same device,
same tools: cells after Yosys' synthesis for the ECP5, a LUT4 one and a carry cell two; a multiplier is told apart,
since it is no look-up table. With --seeds also the clock, placed and routed alone on an LFE5U-85F of speed 6.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from amaranth.back import verilog
from rich.console import Console
from rich.table import Table

from spikeloom.common.process import ToolError
from spikeloom.gen.toolchain.environment import NEXTPNR, YOSYS, run_tools
from spikeloom.gen.toolchain.synthesis import HIDE_ELEMENTS
from spikeloom.rtl.core.ac_array import AcArray
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.primitives.family import ECP5

OURS = (
    {"lanes": 32, "columns": 1, "accumulator_width": 16},
    {"lanes": 32, "columns": 4, "accumulator_width": 16},
    {"lanes": 32, "columns": 1, "accumulator_width": 16, "weight_width": 4},
    {"lanes": 96, "columns": 1, "banks": 4, "accumulator_width": 16},
)
DEVICE = ("--85k", "--package", "CABGA381", "--speed", "6", "--out-of-context", "--lpf-allow-unconstrained")


@dataclass(frozen=True, kw_only=True)
class Element:
    """What does gated accumulates."""

    name: str
    """For the table."""
    files: dict[str, str]
    """Verilog by file name."""
    top: str
    """The module."""
    accumulates: int
    """Of a cycle."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of an `Element`, on an ECP5."""

    cells: dict[str, int]
    """By type."""
    clocks_mhz: list[float]
    """By seed; empty where none was placed."""

    @property
    def logic(self) -> int:
        """Look-up tables, both halves of each carry cell among them."""
        return self.cells.get("LUT4", 0) + 2 * self.cells.get("CCU2C", 0)


def ours() -> list[Element]:
    """The array in some sizes."""
    found = []
    for size in OURS:
        config = CoreConfig(neuron_lanes=8, **size)
        text = verilog.convert(AcArray(config=config), name="array", emit_src=False, platform=ECP5)
        name = f"AcArray {config.lanes} x {config.columns}, {config.banks} banks, {config.weight_width} bits"
        accumulates = config.lanes * config.columns * config.banks
        found.append(Element(name=name, files={"array.v": text}, top="array", accumulates=accumulates))
    return found


def theirs(folder: Path, tops: list[str]) -> list[Element]:
    """The modules of a folder of Verilog that ``NAME=N`` name. ValueError where there is no Verilog, or no N."""
    files = {path.name: path.read_text() for path in sorted(folder.iterdir()) if path.suffix in (".v", ".sv")}
    if not files:
        raise ValueError(f"{folder} holds no Verilog, neither .v nor .sv")
    found = []
    for top in tops:
        name, _, count = top.partition("=")
        if not count.isdecimal() or not int(count):
            raise ValueError(f"--top takes NAME=N, N accumulates a cycle, not {top!r}")
        found.append(Element(name=name, files=files, top=name, accumulates=int(count)))
    return found


def cost(element: Element, *, seeds: int = 0) -> Cost:
    """Synthesise it, and place it so often. ToolError, with one line, where a tool fails."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch:
        folder = Path(scratch)
        for name, text in element.files.items():
            (folder / name).write_text(text)
        names = " ".join(f'"{name}"' for name in element.files)
        script = f"read_verilog -sv {names}; {HIDE_ELEMENTS}; synth_ecp5 -top {element.top}"
        run_tools(
            [YOSYS.path(), "-q", "-p", f"{script} -json netlist.json; tee -q -o stat.json stat -json"],
            folder,
            tools=[YOSYS],
        )
        cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
        return Cost(cells=cells, clocks_mhz=[_clock(folder, seed) for seed in range(1, seeds + 1)])


def _clock(folder: Path, seed: int) -> float:
    """The slowest clock of the placed netlist, in MHz."""
    options = ["--json", "netlist.json", "--report", "report.json", "--timing-allow-fail", "--seed", str(seed)]
    run_tools([NEXTPNR.path(), *DEVICE, *options], folder, tools=[NEXTPNR])
    clocks = json.loads((folder / "report.json").read_text())["fmax"]
    return min(clock["achieved"] for clock in clocks.values())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", type=Path, nargs="?", help="of foreign Verilog; without, ours alone")
    options.add_argument("--top", action="append", default=[], metavar="NAME=N", help="module, accumulates a cycle")
    options.add_argument("--seeds", type=int, default=0, help="placements, for the clock (default: none)")
    chosen = options.parse_args()
    shown = Table("", "LUT4", "CCU2C", "FF", "multipliers", "cells an accumulate", "MHz, median")
    try:
        for element in [*ours(), *(theirs(chosen.folder, chosen.top) if chosen.folder else [])]:
            found = cost(element, seeds=chosen.seeds)
            counts = [str(found.cells.get(kind, 0)) for kind in ("LUT4", "CCU2C", "TRELLIS_FF", "MULT18X18D")]
            clock = f"{median(found.clocks_mhz):.1f}" if found.clocks_mhz else ""
            shown.add_row(element.name, *counts, f"{found.logic / element.accumulates:.1f}", clock)
    except (OSError, ValueError, ToolError) as error:
        raise SystemExit(str(error)) from None
    Console().print(shown, f"{YOSYS.version()}, {NEXTPNR.version()}", sep="\n")


if __name__ == "__main__":
    main()
