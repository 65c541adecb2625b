"""Benches in Python on Icarus Verilog: the runner (`run_bench`) and what every bench needs inside.

Inside a bench, drive at the falling edge and read after `ReadOnly()`: that means the same on every simulator,
and what is read is what the next rising edge sees.
"""

import json
import os
import random
import re
import shutil
import signal
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cocotb
from amaranth.back import verilog
from amaranth.hdl import Elaboratable, Shape
from amaranth.lib import data
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly, Timer
from cocotb.utils import get_sim_time
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner

_PARAMETERS = "SPIKELOOM_PARAMETERS"
_RESULTS = "results.xml"
_LOG_LINES = 40
_TEST_SECONDS = 120


class BenchError(AssertionError):
    """A bench did not build, did not run, or failed; the message ends with the simulator's last words."""


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """What a run of a bench left.

    tests: number of tests that ran, all of them passed.
    build_dir: folder of the run; gone unless the caller named it, or asked for waves.
    log: all that the simulator and the tests printed.
    waves: the waveform (FST), if asked for.
    """

    tests: int
    build_dir: Path
    log: str
    waves: Path | None


def run_bench(
    component: Elaboratable | str,
    *,
    module: str,
    name: str,
    parameters: dict[str, Any] | None = None,
    testcase: str | Sequence[str] | None = None,
    waves: bool = False,
    build_dir: str | Path | None = None,
    sources: Iterable[str | Path] = (),
    seed: int = 1,
) -> BenchResult:
    """Run the cocotb tests of a Python module on a component; return only if all of them passed.

    Failures are: a test that fails, no test at all, an Amaranth `Assert` or a Verilog ``$error`` after time 0
    (Icarus itself prints those and goes on), a memory that reads and writes one address in one cycle
    (`with_collision_checks`), a simulator that ends early.

    Parameters
    ----------
    component : elaboratable, or Verilog text
    module : str
        Importable name of the module with the tests; a bench passes its ``__name__``.
    name : str
        Name of the top module: given to the component, or that in the Verilog text.
    parameters : dict, optional
        Anything JSON; the bench gets it back from `parameters()`.
    testcase : str or sequence, optional
        Only these tests.
    waves : bool
        Record all signals; see `BenchResult.waves`.
    build_dir : path, optional
        Where to work. Default: a folder of its own for each call, deleted after a success without waves.
    sources : Verilog texts (str) and files (Path)
        Further modules that the component instantiates.
    seed : int
        Of `random` in the tests.

    Raises
    ------
    BenchError
    """
    folder = Path(build_dir) if build_dir is not None else Path(tempfile.mkdtemp(prefix=f"{name}-"))
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    top = component if isinstance(component, str) else verilog.convert(component, name=name)
    files = []
    for index, source in enumerate([*sources, top]):
        text = source.read_text() if isinstance(source, Path) else source
        files.append(folder / f"source{index}.v")
        files[-1].write_text(evaluated_at_time_0(with_collision_checks(text)))

    log = _compiled_and_run(
        name, folder, files, waves=waves, test_module=module, testcase=testcase, seed=seed, parameters=parameters or {}
    )
    tests = _all_passed(name, module, folder, log)
    if build_dir is None and not waves:
        shutil.rmtree(folder)
    return BenchResult(tests=tests, build_dir=folder, log=log, waves=folder / f"{name}.fst" if waves else None)


def _compiled_and_run(
    name: str, folder: Path, files: list[Path], *, waves: bool, parameters: dict[str, Any], **test: Any
) -> str:
    """The log of the tests; why some failed is in the folder's results. BenchError where nothing could run."""
    try:
        runner = get_runner("icarus")
    except SystemExit:
        raise BenchError("Icarus Verilog is not installed: apt install iverilog") from None
    build_log, test_log = folder / "build.log", folder / "test.log"
    test_log.unlink(missing_ok=True)
    common: dict[str, Any] = {"hdl_toplevel": name, "build_dir": folder, "waves": waves}
    try:
        runner.build(sources=files, always=True, timescale=("1ns", "1ps"), log_file=build_log, **common)
    except (SystemExit, RuntimeError):
        raise BenchError(_failure(name, "did not compile", folder, _read(build_log))) from None
    environment = {_PARAMETERS: json.dumps(parameters)}
    try:
        runner.test(
            test_dir=folder,
            results_xml=str(folder / _RESULTS),
            extra_env=environment,
            log_file=test_log,
            **common,
            **test,
        )
    except (SystemExit, RuntimeError):
        pass  # the results tell why
    return _read(test_log)


def _all_passed(name: str, module: str, folder: Path, log: str) -> int:
    """How many tests ran. BenchError where one failed, none ran, or the simulator printed an assertion."""
    try:
        tests, failures = get_results(folder / _RESULTS)
    except RuntimeError:
        raise BenchError(_failure(name, "ended early", folder, log)) from None
    if failures:
        raise BenchError(_failure(name, f"failed {failures} of {tests} tests", folder, log))
    if not tests:
        raise BenchError(_failure(name, f"ran no test of {module}", folder, log))
    if assertion := _assertion(log):
        raise BenchError(_failure(name, f"broke an assertion ({assertion})", folder, log))
    return tests


_WAKES = re.compile(r"reg (\\\$auto\$verilog_backend\S+)\s+= 0;")


def evaluated_at_time_0(text: str) -> str:
    """Amaranth's Verilog such that SystemVerilog simulators evaluate all of it at time 0.

    Yosys writes processes ``always @*`` that it wakes by initialising a register; in SystemVerilog
    (``-g2012``) an initial value is no event, and an output whose inputs never change stays unknown. So the
    register is assigned a moment later. (With ``always_comb`` Icarus 11 wakes some processes for ever.)
    """
    return _WAKES.sub(r"reg \1 ; initial #0 \1 = 0;", text)


_WRITE = re.compile(r"if \((.+)\)\n\s+(\w+)\[(.+?)\](?:\[\d+(?::\d+)?\])? <= ")
_DATA = re.compile(r"reg \[(\d+):0\] (_\d+_);")
_READ = re.compile(r"if \((.+)\) begin\n\s+_\d+_ <= (\w+)\[(.+?)\];")


def with_collision_checks(text: str) -> str:
    """Amaranth's Verilog with an ``$error`` wherever an enabled read meets a write of the same address.

    Memories are synthesised without collision logic (``no_rw_check``), so that what such a read returns is unknown.
    A port that reads in every cycle has no enable that tells whether its data matters; it is not checked.
    Before its first read a port returns ones: known to the bench, and wrong to whoever uses it.
    """
    if "Generated by Amaranth" not in text:
        return text
    text = _DATA.sub(r"reg [\1:0] \2 = -1;", text)
    modules = text.split("endmodule")
    for i, module in enumerate(modules):
        checks = [
            f'  always @(posedge clk) if (({write}) && ({read}) && ({to}) == ({at})) $error("collision in {name}");\n'
            for read, name, at in _READ.findall(module)
            for write, written, to in _WRITE.findall(module)
            if written == name
        ]
        modules[i] = module + "".join(checks)
    return "endmodule".join(modules)


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _failure(name: str, what: str, folder: Path, log: str) -> str:
    return "\n".join([f"{name} {what} (kept in {folder}):", *log.splitlines()[-_LOG_LINES:]])


def _assertion(log: str) -> str | None:
    """First assertion that failed; at time 0 inputs are not driven yet."""
    for match in re.finditer(r"(.*)ERROR: (.*)\n\s*Time: (\d+)\s+Scope: (\S+)", log):
        message, where, time, scope = match.groups()
        if int(time):
            return f"{message.strip() or 'Assert'} in {scope} at time {time}, {where.strip(': ')}"
    return None


def parameters() -> dict[str, Any]:
    """Inside a bench: what `run_bench` was given."""
    return json.loads(os.environ.get(_PARAMETERS, "{}"))


def pack(layout: data.Layout, value: Any) -> int:
    """The bits of a layout's value, given as dicts, lists and integers."""
    return layout.const(value).as_bits()


def unpack(layout: Any, bits: int) -> Any:
    """Dicts, lists and integers from the bits of a layout's value."""
    if not isinstance(layout, data.Layout):
        shape = Shape.cast(layout)
        bits &= (1 << shape.width) - 1
        return bits - (1 << shape.width) if shape.signed and bits >> shape.width - 1 else bits
    parts = {key: unpack(field.shape, bits >> field.offset) for key, field in layout}
    return list(parts.values()) if isinstance(layout, data.ArrayLayout) else parts


def cycle() -> int:
    """Number of the cycle, for a clock of 10 ns."""
    return int(get_sim_time("ns")) // 10


class Watch:
    """Cycles and payloads of the transfers of a stream, from now on."""

    def __init__(self, dut: Any, stream: str):
        self.cycles: list[int] = []
        self.payloads: list[int] = []
        cocotb.start_soon(self._run(dut, stream))

    async def _run(self, dut: Any, stream: str) -> None:
        valid, payload, ready = (getattr(dut, f"{stream}__{part}") for part in ("valid", "payload", "ready"))
        while True:
            await FallingEdge(dut.clk)
            await ReadOnly()
            if int(valid.value) and int(ready.value):
                self.cycles.append(cycle())
                self.payloads.append(int(payload.value))


async def idle_cycles(dut: Any, count: int) -> None:
    """Wait; ends after a falling edge."""
    for _ in range(count):
        await FallingEdge(dut.clk)


async def start(dut: Any, *, period_ns: int = 10, **inputs: int) -> None:
    """Drive the inputs (and `rst`), start the clock, reset for two cycles; ends after a falling edge.

    From here a test has two minutes of processor time, whatever else the machine does: a zero-delay loop never reaches
    a timeout in simulated time.
    """
    signal.setitimer(signal.ITIMER_PROF, _TEST_SECONDS)  # its signal ends the simulator
    await Timer(1, unit="ns")  # the test before may have failed in the read-only phase
    for port, value in inputs.items():
        getattr(dut, port).value = value
    dut.rst.value = 1
    Clock(dut.clk, period_ns, unit="ns").start()
    for _ in range(3):
        await FallingEdge(dut.clk)
    dut.rst.value = 0


async def send(dut: Any, stream: str, payloads: Iterable[int], *, idle: float = 0.0) -> None:
    """Feed an input stream, with gaps: before each payload, a cycle is idle with that probability."""
    valid, payload, ready = (getattr(dut, f"{stream}__{part}") for part in ("valid", "payload", "ready"))
    for value in payloads:
        await FallingEdge(dut.clk)
        while random.random() < idle:
            valid.value = 0
            await FallingEdge(dut.clk)
        valid.value = 1
        payload.value = value
        while True:
            await ReadOnly()
            if int(ready.value):
                break
            await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    valid.value = 0


async def receive(dut: Any, stream: str, count: int, *, stall: float = 0.0) -> list[int]:
    """Take that many payloads of an output stream; a cycle stalls with that probability."""
    valid, payload, ready = (getattr(dut, f"{stream}__{part}") for part in ("valid", "payload", "ready"))
    got: list[int] = []
    while len(got) < count:
        await FallingEdge(dut.clk)
        take = random.random() >= stall
        ready.value = int(take)
        await ReadOnly()
        if take and int(valid.value):
            got.append(int(payload.value))
    await FallingEdge(dut.clk)
    ready.value = 0
    return got
