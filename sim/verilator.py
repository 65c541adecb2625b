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
_MADE = "made"
_OPTIMISATION = ("OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1")  # more of it compiles longer and runs no faster
_STATEMENTS = "1000"  # of a function: g++ takes long over larger ones
_EQUAL_WORDS = re.compile(
    r"^(?P<indent> *)(?P<name>\w+)\[(?P<first>\d+)\] = (?P<value>\d+'[hd][0-9a-f]+);\n"
    r"(?:^ *(?P=name)\[\d+\] = (?P=value);\n){6,}"
    r"^ *(?P=name)\[(?P<last>\d+)\] = (?P=value);\n",
    re.MULTILINE,
)
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
    sources = {"core.v": verilog, HARNESS.name: _with(defines, HARNESS), "spikeloom.h": c_header()}
    return _compiled(sources, top=CORE_MODULE, build_dir=build_dir, waves=waves)


def compile_board(
    core_verilog: str, bridged_core_verilog: str, *, divisor: int, build_dir: str | os.PathLike[str]
) -> Path:
    """Likewise the program that simulates a core behind its bridge; `divisor`: clock cycles a bit of the line.

    Raises
    ------
    SimulationError, OSError
        As `compile_core`.
    """
    board = _with({"DIVISOR": divisor}, BOARD)
    sources = {"core.v": core_verilog, "bridged_core.v": bridged_core_verilog, BOARD.name: board}
    return _compiled(sources, top="bridged_core", build_dir=build_dir)


def with_short_initials(verilog: str) -> str:
    """The text with a loop wherever many words of a memory in a row begin with the same value.

    Amaranth writes a statement for each word of a memory. The C++ compiler takes longer for those, zeros nearly all,
    than for the rest of the core.
    """

    def loop(match: re.Match[str]) -> str:
        first, last = int(match["first"]), int(match["last"])
        if match[0].count("\n") != last - first + 1:
            return match[0]  # a word is missing between
        head = f"{match['indent']}for (integer i = {first}; i <= {last}; i = i + 1)"
        return f"{head} {match['name']}[i] = {match['value']};\n"

    return _EQUAL_WORDS.sub(loop, verilog)


def _with(defines: dict[str, int], source: Path) -> str:
    """A C++ source with its sizes; on the command line they would reach Verilator's own, alike for all."""
    return "".join(f"#define {name} {value}\n" for name, value in defines.items()) + source.read_text()


def _compiled(sources: dict[str, str], *, top: str, build_dir: str | os.PathLike[str], waves: bool = False) -> Path:
    """The kept program of these sources, or a new one."""
    inputs = {
        "sources": {name: data_hash(text) for name, text in sources.items()},
        "waves": waves,
        "verilator": verilator_version(),
    }
    key = data_hash(json.dumps(inputs, sort_keys=True))[:16]
    folder = writable_folder(Path(build_dir) / f"verilated-{key}").resolve()
    executable = folder / EXECUTABLE

    def make() -> dict[str, Any]:
        _compile(sources, executable, top, waves)
        return {}

    kept(folder / RECORD, inputs=inputs, outputs=[executable], make=make)
    return executable


def _compile(sources: dict[str, str], executable: Path, top: str, waves: bool) -> None:
    """Compile aside, so that two who need the same program do not disturb each other."""
    with tempfile.TemporaryDirectory(prefix="spikeloom-") as work:
        if _SPOILS_MAKE.search(work):
            raise SimulationError(f"make does not stand the path {work!r}: set TMPDIR to another folder")
        for name, text in sources.items():
            (Path(work) / name).write_text(with_short_initials(text) if name.endswith(".v") else text)
        command = [
            "verilator", "--cc", "--exe", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert",
            "-Wno-fatal", "-Wno-lint", "--top-module", top, "--output-split", "0",
            "--output-split-cfuncs", _STATEMENTS, "--Mdir", _MADE, "-CFLAGS", "-I..", "-o", EXECUTABLE,
            *(["--trace-fst"] if waves else []), *(x for x in sources if not x.endswith(".h")),
        ]  # fmt: skip
        run(command, folder=work, error=SimulationError)
        made = Path(work) / _MADE
        command = ["make", f"-j{os.cpu_count() or 1}", "-f", f"V{top}.mk", *_OPTIMISATION, *_in_two(made)]
        run(command, folder=made, error=SimulationError)
        with written_aside(executable) as aside:
            shutil.copyfile(made / EXECUTABLE, aside)
            aside.chmod(0o755)


def _in_two(made: Path) -> list[str]:
    """Variables for Verilator's makefile that join its C++ files to two: what runs in each cycle, and what runs once.

    Each file takes half a second for the headers alone, and there are a dozen.
    """
    names = sorted(path.name for path in made.glob("V*.cpp"))
    once = [name for name in names if name.endswith(("Slow.cpp", "__Syms.cpp")) or "__ConstPool" in name]
    for joined, parts in (("once", once), ("each_cycle", [name for name in names if name not in once])):
        (made / f"{joined}.cpp").write_text("".join(f'#include "{name}"\n' for name in parts))
    return [
        "VM_PARALLEL_BUILDS=1",
        *("VM_CLASSES_FAST=each_cycle", "VM_SUPPORT_FAST="),
        *("VM_CLASSES_SLOW=once", "VM_SUPPORT_SLOW="),
    ]
