"""The whole core, compiled by Verilator: runs Programs on images and returns everything that it did."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spikeloom.gen.host.c_header import c_header
from spikeloom.gen.host.pixels import pack_pixels
from spikeloom.gen.program import Program
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.counters import COUNTER_BITS, COUNTERS
from spikeloom.rtl.core.layouts import WORD_BITS, trace

HARNESS = Path(__file__).with_name("harness.cpp")
WRITE, IMAGE = 1, 2
Progress = Callable[[int, int], None]


class SimulationError(RuntimeError):
    """The simulator is missing or ended badly; one line."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What the core did with B images.

    sums: int64 (B, classes). counters: int64 (B,) by name. layer_counters, layer_cycles: the counters' values and
    the cycle at each layer's end, int64 (B, layers + 1), the image first; by counter name. trace: structured array
    with image, cycle, layer, step, tile, position and spikes (uint8 (lanes / 8,), lane 0 in the low bit), in order.
    """

    sums: np.ndarray
    counters: dict[str, np.ndarray]
    layer_counters: dict[str, np.ndarray]
    layer_cycles: np.ndarray
    trace: np.ndarray


class VerilatedCore:
    """A compiled core. The Program in its Verilog runs unless another is loaded.

    Parameters
    ----------
    verilog : str, of `gen.verilog.core_verilog`
    config : CoreConfig, of the core
    build_dir : folder for the executable; the same Verilog is compiled once
    waves : compile with tracing to FST
    """

    def __init__(self, verilog: str, *, config: CoreConfig, build_dir: str | os.PathLike[str], waves: bool = False):
        self.config, self.waves = config, waves
        self.header = c_header()
        texts = verilog.encode() + HARNESS.read_bytes() + self.header.encode()
        key = hashlib.sha256(texts + bytes([waves])).hexdigest()[:16]
        self.folder = Path(build_dir).resolve() / f"verilated-{key}"
        self.executable = self.folder / "harness"
        if not self.executable.exists():
            self._compile(verilog)

    def _compile(self, verilog: str) -> None:
        if shutil.which("verilator") is None:
            raise SimulationError("verilator is not installed; on Debian: apt install verilator g++ make")
        self.folder.mkdir(parents=True, exist_ok=True)
        source = self.folder / "core.v"
        source.write_text(verilog)
        (self.folder / "spikeloom.h").write_text(self.header)
        defines = {
            "CLASSES": self.config.classes,
            "COUNTER_BITS": COUNTER_BITS * len(COUNTERS),
            "TRACE_BITS": trace(self.config).size,
        }
        flags = " ".join(f"-D{k}={v}" for k, v in defines.items()) + (" -DWAVES" if self.waves else "")
        command = [
            "verilator", "--cc", "--exe", "--build", "-O3", "--x-assign", "fast", "--x-initial", "fast",
            "--noassert", "-Wno-fatal", "-Wno-lint", "--top-module", "spikeloom_core",
            "--Mdir", str(self.folder / "obj"),
            "-CFLAGS", f"-O2 -I.. {flags}", "-MAKEFLAGS", "OPT_SLOW=-O0", "-o", str(self.folder / "harness.part"),
            *(["--trace-fst"] if self.waves else []), str(source), str(HARNESS),
        ]  # fmt: skip
        environment = os.environ | {"MAKEFLAGS": f"-j{os.cpu_count() or 1}"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            lines = [x for x in (done.stdout + done.stderr).splitlines() if "error" in x.lower()]
            raise SimulationError(f"verilator failed: {lines[0].strip() if lines else done.returncode}")
        os.replace(self.folder / "harness.part", self.executable)

    def run(
        self,
        images: np.ndarray,
        *,
        program: Program | None = None,
        waves: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> Run:
        """Run uint8 images (B, C, H, W), after loading `program` when given; `progress(done, all)` from time to time.

        Raises
        ------
        SimulationError
            when the simulation ends badly, or waves are wanted of a core compiled without.
        """
        return self.run_programs([(images, program)], waves=waves, progress=progress)[0]

    def run_programs(
        self,
        work: Sequence[tuple[np.ndarray, Program | None]],
        *,
        waves: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> list[Run]:
        """Likewise several batches on the same running core, each with its Program or with the one before.

        Raises
        ------
        SimulationError
            as `run`.
        """
        if waves is not None and not self.waves:
            raise SimulationError("this core was compiled without waves")
        counts = [len(images) for images, _ in work]
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            paths = [Path(scratch) / name for name in ("commands", "trace", "layers", "results")]
            paths[0].write_bytes(b"".join(self._commands(*part) for part in work))
            command = [str(self.executable), *map(str, paths)] + ([str(waves)] if waves else [])
            process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            self._watch(process, paths[3], sum(counts), progress)
            if process.returncode:
                message = (process.stderr.read() if process.stderr else "").strip()
                raise SimulationError(f"the simulation failed: {message or process.returncode}")
            if process.stderr:
                process.stderr.close()
            return self._collect(*(np.fromfile(path, np.uint32) for path in paths[1:]), counts=counts)

    def _watch(self, process: subprocess.Popen, results: Path, count: int, progress: Progress | None) -> None:
        record = 4 * self._result_words()
        while True:
            try:
                process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                pass
            except BaseException:
                process.kill()
                raise
            if progress and results.exists():
                progress(results.stat().st_size // record, count)
            if process.returncode is not None:
                return

    def _commands(self, images: np.ndarray, program: Program | None) -> bytes:
        writes = [] if program is None else program.host_writes()
        parts = [np.array([(WRITE, address, word) for address, word in writes], np.uint32)]
        words = pack_pixels(images)
        heads = np.tile(np.array([IMAGE, words.shape[1]], np.uint32), (len(images), 1))
        parts.append(np.concatenate([heads, words], axis=1).astype("<u4"))
        return b"".join(part.tobytes() for part in parts)

    def _result_words(self) -> int:
        return 1 + self.config.classes + len(COUNTERS)

    def _collect(
        self, trace_words: np.ndarray, layers: np.ndarray, results: np.ndarray, *, counts: Sequence[int]
    ) -> list[Run]:
        classes, names = self.config.classes, list(COUNTERS)
        results = results.reshape(-1, self._result_words())
        layers = layers.reshape(-1, 2 + len(names)).astype(np.int64)
        records = self._unpack_trace(trace_words)
        runs, first = [], 0
        for count in counts:
            mine = slice(first, first + count)
            counters = results[mine, 1 + classes :].astype(np.int64)
            ends = layers[(layers[:, 0] >= first) & (layers[:, 0] < first + count)]
            ends = ends.reshape(count, len(ends) // max(count, 1), 2 + len(names))
            fired = records[(records["image"] >= first) & (records["image"] < first + count)]
            fired["image"] -= first
            runs.append(
                Run(
                    sums=results[mine, 1 : 1 + classes].astype(np.int32).astype(np.int64),
                    counters={name: counters[:, i] for i, name in enumerate(names)},
                    layer_counters={name: ends[:, :, 2 + i] for i, name in enumerate(names)},
                    layer_cycles=ends[:, :, 1],
                    trace=fired,
                )
            )
            first += count
        return runs

    def _unpack_trace(self, words: np.ndarray) -> np.ndarray:
        layout = trace(self.config)
        words = words.reshape(-1, 2 + -(-layout.size // WORD_BITS))
        bits = np.unpackbits(words[:, 2:].copy().view(np.uint8), axis=1, bitorder="little")
        lanes = layout["spikes"]
        names = ["layer", "step", "tile", "position"]
        kinds = [(name, np.int32) for name in ("image", "cycle", *names)]
        records = np.zeros(len(words), np.dtype([*kinds, ("spikes", np.uint8, (-(-lanes.width // 8),))]))
        records["image"], records["cycle"] = words[:, 0], words[:, 1]
        for name in names:
            field = layout[name]
            weights = 1 << np.arange(field.width)
            records[name] = bits[:, field.offset : field.offset + field.width] @ weights
        spikes = bits[:, lanes.offset : lanes.offset + lanes.width]
        records["spikes"] = np.packbits(spikes, axis=1, bitorder="little")
        return records
