"""From the core's Verilog to a bitstream."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import asdict
from pathlib import Path

from amaranth.build.run import BuildPlan

from spikeloom.common.cache import kept
from spikeloom.common.files import data_hash, writable_folder
from spikeloom.common.lock import folder_lock
from spikeloom.common.progress import Progress, silent
from spikeloom.gen.targets import Target
from spikeloom.gen.toolchain.environment import BuildError, run_tools, tool_versions
from spikeloom.gen.toolchain.reports import BuildReport, parse_report
from spikeloom.gen.toolchain.stages import WHOLE, stage_reader
from spikeloom.gen.toolchain.synthesis import READ_OPTIONS, after_read
from spikeloom.rtl.board import Board
from spikeloom.rtl.core import CORE_MODULE
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.primitives.ecp5 import PllParameters, solve_pll

NAME = "spikeloom"
BITSTREAM = f"{NAME}.bit"
MANIFEST = "manifest.json"
_REPORT = "report.json"
_WORK = "work"
_FILES = (BITSTREAM, f"{NAME}.svf", f"{NAME}.rpt", f"{NAME}.tim", _REPORT)


def build(
    core_verilog: str,
    config: CoreConfig,
    target: Target,
    build_dir: str | Path,
    *,
    seed: int = 1,
    baud: int = 1_000_000,
    progress: Progress = silent,
) -> BuildReport:
    """Synthesise, place, route and pack the core for a board; reuse what was built from the same inputs.

    The folder then holds `BITSTREAM`, the tools' logs and reports, and `MANIFEST`, which is written
    last: a build that failed or was interrupted has none. Timing that is not met is no error: see the report.

    Parameters
    ----------
    core_verilog : str
        Text with the module `CORE_MODULE`.
    config : CoreConfig
        Of the core; recorded.
    target : Target
    build_dir : path
    seed : int
        Of placement; the clock varies by some 10 % with it.
    baud : int
        Rate of the serial line.
    progress : Progress
        In per cent.

    Raises
    ------
    ValueError
        Where the PLL or the serial line cannot make the wanted rates.
    BuildError
        Where a tool is missing or fails.
    OSError
        Where the folder cannot be written.
    InUseError
        Where somebody else builds there.
    """
    folder = writable_folder(build_dir).resolve()
    plan, pll = _plan(core_verilog, target, seed=seed, baud=baud)
    versions = tool_versions()
    inputs = {
        "plan": plan.digest().hex(),
        "core_verilog": data_hash(core_verilog),
        "core": asdict(config),
        "target": asdict(target),
        "seed": seed,
        "baud": baud,
        "tools": versions,
    }

    def make() -> dict[str, object]:
        seconds = _run(plan, folder, progress)
        report = parse_report(
            json.loads((folder / _REPORT).read_text()),
            target=target,
            clock_hz=pll.output_hz,
            seed=seed,
            seconds=seconds,
            versions=versions,
            bitstream=Path(BITSTREAM),
        )
        return report.as_dict()

    with folder_lock(folder, "build"):
        found = kept(folder / MANIFEST, inputs=inputs, outputs=[folder / BITSTREAM], make=make)
    progress(WHOLE, WHOLE, "done")
    return BuildReport.from_dict(found.result).of(bitstream=folder / BITSTREAM, cached=found.cached)


def _plan(core_verilog: str, target: Target, *, seed: int, baud: int) -> tuple[BuildPlan, PllParameters]:
    """All files of the build, and the clock in them."""
    platform = target.platform()
    pll = solve_pll(input_hz=float(platform.default_clk_frequency), output_hz=target.clock_hz)
    platform.add_file(f"{CORE_MODULE}.sv", core_verilog)
    try:
        plan = platform.prepare(
            Board(pll=pll, baud=baud),
            NAME,
            verbose=True,
            read_verilog_opts=READ_OPTIONS,
            script_after_read=after_read(NAME),
            nextpnr_opts=f"--seed {seed} --timing-allow-fail --report {_REPORT}",
        )
    except TypeError as error:  # boards that take no overrides
        raise BuildError(f"amaranth-boards cannot build for {target.name}: {error}") from error
    return plan, pll


def _run(plan: BuildPlan, folder: Path, progress: Progress) -> float:
    """Run the tools in a folder of their own, then move what they made into the build's; the seconds they took."""
    work = folder / _WORK
    shutil.rmtree(work, ignore_errors=True)
    plan.extract(work)
    begin = time.monotonic()
    progress(0, WHOLE, "synthesis")
    run_tools(["sh", f"{plan.script}.sh"], work, on_line=stage_reader(progress))
    seconds = round(time.monotonic() - begin, 1)
    for name in _FILES:
        os.replace(work / name, folder / name)
    shutil.rmtree(work)
    return seconds
