"""The core's Verilog, compiled by Verilator with our harness into a program; once for the same Verilog."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from spikeloom.common.cache import kept
from spikeloom.common.files import data_hash, writable_folder, written_aside
from spikeloom.common.process import ToolError, find_tool, run
from spikeloom.gen.host.c_header import c_header
from spikeloom.rtl.core import CORE_MODULE
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.counters import COUNTER_BITS, COUNTERS
from spikeloom.rtl.core.layouts import trace

HARNESS = Path(__file__).with_name("harness.cpp")
BOARD = Path(__file__).with_name("virtual_board.cpp")
EXECUTABLE = "harness"
RECORD = "record.json"
_SPOILS_MAKE = re.compile(r"[^\w./+@%,=-]")


class SimulationError(ToolError):
    """The simulator is missing or ended badly; one line."""


def verilator_version() -> str:
    """What Verilator says of itself. Raises SimulationError, which says what to install, where there is none."""
    verilator = find_tool("verilator", install="sudo apt install verilator g++ make", error=SimulationError)
    return " ".join(run([verilator, "--version"], folder=".", error=SimulationError))


def compile_core(verilog: str, *, config: CoreConfig, build_dir: str | os.PathLike[str], waves: bool) -> Path:
    """The program that simulates a core, in a folder of its own below `build_dir`.

    Parameters
    ----------
    verilog : str
        Text with the module `CORE_MODULE`.
    config : CoreConfig
        Of the core.
    build_dir : path
        Any: what Verilator makes lies in the system's temporary folder, for `make` does not stand a space in a path.
    waves : bool
        With tracing to FST.

    Raises
    ------
    SimulationError
        Where Verilator is missing or fails.
    OSError
        Where the folder cannot be written.
    """
    defines = {
        "CLASSES": config.classes,
        "COUNTER_BITS": COUNTER_BITS * len(COUNTERS),
        "TRACE_BITS": trace(config).size,
    } | ({"WAVES": 1} if waves else {})
    sources = {"core.v": verilog, HARNESS.name: HARNESS.read_text(), "spikeloom.h": c_header()}
    return _compiled(sources, defines, top=CORE_MODULE, build_dir=build_dir)


def compile_board(
    core_verilog: str, bridged_core_verilog: str, *, divisor: int, build_dir: str | os.PathLike[str]
) -> Path:
    """Likewise the program that simulates a core behind its bridge; `divisor`: clock cycles a bit of the line.

    Raises
    ------
    SimulationError, OSError
        As `compile_core`.
    """
    sources = {"core.v": core_verilog, "bridged_core.v": bridged_core_verilog, BOARD.name: BOARD.read_text()}
    return _compiled(sources, {"DIVISOR": divisor}, top="bridged_core", build_dir=build_dir)


def _compiled(sources: dict[str, str], defines: dict[str, int], *, top: str, build_dir: str | os.PathLike[str]) -> Path:
    """The kept program of these sources, or a new one."""
    inputs = {
        "sources": {name: data_hash(text) for name, text in sources.items()},
        "defines": defines,
        "verilator": verilator_version(),
    }
    key = data_hash(json.dumps(inputs, sort_keys=True))[:16]
    folder = writable_folder(Path(build_dir) / f"verilated-{key}").resolve()
    executable = folder / EXECUTABLE

    def make() -> dict[str, Any]:
        _compile(sources, defines, executable, top)
        return {}

    kept(folder / RECORD, inputs=inputs, outputs=[executable], make=make)
    return executable


def _compile(sources: dict[str, str], defines: dict[str, int], executable: Path, top: str) -> None:
    """Compile aside, so that two who need the same program do not disturb each other."""
    with tempfile.TemporaryDirectory(prefix="spikeloom-") as work:
        if _SPOILS_MAKE.search(work):
            raise SimulationError(f"make does not stand the path {work!r}: set TMPDIR to another folder")
        for name, text in sources.items():
            (Path(work) / name).write_text(text)
        flags = " ".join(f"-D{name}={value}" for name, value in defines.items())
        command = [
            "verilator", "--cc", "--exe", "--build", "-O3", "--x-assign", "fast", "--x-initial", "fast",
            "--noassert", "-Wno-fatal", "-Wno-lint", "--top-module", top,
            "--Mdir", "obj", "-CFLAGS", f"-O2 -I.. {flags}", "-MAKEFLAGS", "OPT_SLOW=-O0", "-o", EXECUTABLE,
            *(["--trace-fst"] if "WAVES" in defines else []), *(name for name in sources if not name.endswith(".h")),
        ]  # fmt: skip
        environment = os.environ | {"MAKEFLAGS": f"-j{os.cpu_count() or 1}"}
        run(command, folder=work, environment=environment, error=SimulationError)
        with written_aside(executable) as aside:
            shutil.copyfile(Path(work) / "obj" / EXECUTABLE, aside)
            aside.chmod(0o755)
