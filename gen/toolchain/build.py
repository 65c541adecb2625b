"""From the core's Verilog to a bitstream."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from amaranth.build.run import BuildPlan

from spikeloom.common.cache import kept, on_record
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
SYNTHESIS = "synthesis"
"""Folder of the netlist, which all seeds share."""
SEEDS = "seeds"
"""Folder of what was placed with several seeds, a folder for each."""
_REPORT = "report.json"
_WORK = "work"
_NETLIST, _PINS, _LOG = (f"{NAME}.{kind}" for kind in ("json", "lpf", "rpt"))
_PLACED = (BITSTREAM, f"{NAME}.svf", f"{NAME}.tim", _REPORT)
_SEED = "SPIKELOOM_SEED"  # a variable of the tools' script, which is the same for all seeds


@dataclass(frozen=True, kw_only=True)
class Synthesised:
    """A netlist that can be placed with any seed, here or on another machine that sees its folder."""

    folder: str
    """Of the build, absolute; the netlist lies in `SYNTHESIS` below."""
    target: str
    """Name of the board."""
    device: str
    """As Lattice names it."""
    clock_hz: float
    """What the PLL makes."""
    inputs: dict[str, Any]
    """All that a placement depends on, but the seed."""
    script: str
    """Places, routes and packs."""
    seconds: float
    """That the synthesis took when it was done."""

    def place(
        self, seed: int, folder: Path, *, progress: Progress = silent, stop: threading.Event | None = None
    ) -> BuildReport:
        """Place, route and pack into a folder; the report of what is there from the same inputs, if any.

        progress: in per cent. stop: ends the tools, when another thread sets it. Raises BuildError where a tool fails
        or is stopped, OSError where the folder cannot be written.
        """
        folder = writable_folder(folder)

        def make() -> dict[str, Any]:
            files = {name: Path(self.folder, SYNTHESIS, name) for name in (_NETLIST, _PINS)}
            script = f"export {_SEED}={seed}\n{self.script}"
            begin = time.monotonic()
            _run(script, files, folder, _PLACED, on_line=stage_reader(progress), stop=stop)
            seconds = round(self.seconds + time.monotonic() - begin, 1)
            return self._report(json.loads((folder / _REPORT).read_text()), seed, seconds).as_dict()

        found = kept(folder / MANIFEST, inputs=self.inputs | {"seed": seed}, outputs=[folder / BITSTREAM], make=make)
        return BuildReport.from_dict(found.result).of(bitstream=folder / BITSTREAM, cached=found.cached)

    def _report(self, report: Mapping[str, Any], seed: int, seconds: float) -> BuildReport:
        return parse_report(
            report,
            target=self.target,
            device=self.device,
            clock_hz=self.clock_hz,
            seed=seed,
            seconds=seconds,
            versions=self.inputs["tools"],
            bitstream=Path(BITSTREAM),
        )


PlaceAll = Callable[[Synthesised, Sequence[int], Callable[[BuildReport], None]], list[BuildReport]]
"""Places a netlist with several seeds, each in the folder `seed_folder`; calls a function as each is done."""


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

    The folder then holds `BITSTREAM`, the tools' logs and reports, the netlist, and `MANIFEST`, which is written
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
    order = _Order.of(core_verilog, config, target, build_dir, baud)
    with folder_lock(order.folder, "build"):
        report = order.built(seed)
        if report is None:
            report = order.synthesise(progress).place(seed, order.folder, progress=progress)
    progress(WHOLE, WHOLE, "done")
    return report


def build_best(
    core_verilog: str,
    config: CoreConfig,
    target: Target,
    build_dir: str | Path,
    *,
    seeds: Sequence[int],
    place_all: PlaceAll,
    baud: int = 1_000_000,
    progress: Progress = silent,
) -> BuildReport:
    """As `build`, with the fastest of several seeds; its report tells what each of them reaches.

    One synthesis for all. What a seed made stays in its folder below `SEEDS` and is not made again; the best is
    copied. `progress` counts seeds after the synthesis.
    """
    order = _Order.of(core_verilog, config, target, build_dir, baud)
    clocks: dict[int, float] = {}

    def done(report: BuildReport) -> None:
        clocks[report.seed] = report.fmax_mhz
        progress(len(clocks), len(seeds), f"seed {report.seed}: {report.fmax_mhz:g} MHz")

    with folder_lock(order.folder, "build"):
        netlist = order.synthesise(progress)
        progress(0, len(seeds), "place and route")
        reports = place_all(netlist, seeds, done)
        best = max(reports, key=lambda report: (report.fmax_mhz, -report.seed))
        order.keep(best)
    of = {report.seed: report.fmax_mhz for report in sorted(reports, key=lambda report: report.seed)}
    return replace(best, seeds=of, bitstream=order.folder / BITSTREAM, cached=all(report.cached for report in reports))


def seed_folder(netlist: Synthesised, seed: int) -> Path:
    """Where a seed's files are."""
    return Path(netlist.folder, SEEDS, str(seed))


@dataclass(frozen=True, kw_only=True)
class _Order:
    """What is to be built, and where."""

    folder: Path
    """Of everything."""
    plan: BuildPlan
    """The tools' files and their script."""
    target: Target
    """The board."""
    clock_hz: float
    """What the PLL makes."""
    inputs: dict[str, Any]
    """All that the bitstream depends on, but the seed."""

    @classmethod
    def of(cls, core_verilog: str, config: CoreConfig, target: Target, build_dir: str | Path, baud: int) -> _Order:
        """Raises what `build` does before a tool runs."""
        folder = writable_folder(build_dir).resolve()
        plan, pll = _plan(core_verilog, target, baud=baud)
        inputs = {
            "plan": plan.digest().hex(),
            "core_verilog": data_hash(core_verilog),
            "core": asdict(config),
            "target": asdict(target),
            "baud": baud,
            "tools": tool_versions(),
        }
        return cls(folder=folder, plan=plan, target=target, clock_hz=pll.output_hz, inputs=inputs)

    def built(self, seed: int) -> BuildReport | None:
        """What is there of this seed."""
        bitstream = self.folder / BITSTREAM
        found = on_record(self.folder / MANIFEST, inputs=self.inputs | {"seed": seed}, outputs=[bitstream])
        return None if found is None else BuildReport.from_dict(found.result).of(bitstream=bitstream, cached=True)

    def synthesise(self, progress: Progress) -> Synthesised:
        """The netlist, made where it is not there. No bitstream counts as built from here on."""
        (self.folder / MANIFEST).unlink(missing_ok=True)
        place = writable_folder(self.folder / SYNTHESIS)
        script, placing = _scripts(self.plan)

        def make() -> dict[str, Any]:
            begin = time.monotonic()
            progress(0, WHOLE, "synthesis")
            kept_files = (_NETLIST, _PINS, _LOG)
            _run(script, self.plan.files, place, kept_files, on_line=stage_reader(progress))
            return {"seconds": round(time.monotonic() - begin, 1)}

        outputs = [place / _NETLIST, place / _PINS]
        found = kept(place / MANIFEST, inputs=self.inputs, outputs=outputs, make=make)
        return Synthesised(
            folder=str(self.folder),
            target=self.target.name,
            device=self.target.device,
            clock_hz=self.clock_hz,
            inputs=self.inputs,
            script=placing,
            seconds=found.result["seconds"],
        )

    def keep(self, report: BuildReport) -> None:
        """Make a seed's files those of the build."""

        def make() -> dict[str, Any]:
            for name in _PLACED:
                shutil.copyfile(report.bitstream.parent / name, self.folder / name)
            return replace(report, bitstream=Path(BITSTREAM), cached=False).as_dict()

        bitstream = self.folder / BITSTREAM
        kept(self.folder / MANIFEST, inputs=self.inputs | {"seed": report.seed}, outputs=[bitstream], make=make)


def _plan(core_verilog: str, target: Target, *, baud: int) -> tuple[BuildPlan, PllParameters]:
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
            nextpnr_opts=f"--seed ${_SEED} --timing-allow-fail --report {_REPORT}",
        )
    except TypeError as error:  # boards that take no overrides
        raise BuildError(f"amaranth-boards cannot build for {target.name}: {error}") from error
    return plan, pll


def _scripts(plan: BuildPlan) -> tuple[str, str]:
    """Amaranth's script in two: the one that synthesises, and the one that does the rest."""
    text = plan.files[f"{plan.script}.sh"]
    lines = (text if isinstance(text, str) else text.decode()).splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if line.startswith('"$YOSYS"'))
    return "".join(lines[: at + 1]), "".join(lines[:at] + lines[at + 1 :])


def _run(
    script: str,
    files: Mapping[str, str | bytes | Path],
    folder: Path,
    made: Iterable[str],
    *,
    on_line: Callable[[str], None],
    stop: threading.Event | None = None,
) -> None:
    """Run a script of tools in a folder of its own, which holds the files, then move what it made one up."""
    work = folder / _WORK
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    for name, content in files.items():
        if isinstance(content, Path):
            shutil.copyfile(content, work / name)
        else:
            (work / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    run_tools(["sh", "-c", script], work, on_line=on_line, stop=stop)
    for name in made:
        os.replace(work / name, folder / name)
    shutil.rmtree(work)
