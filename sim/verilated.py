"""The whole core, compiled by Verilator: runs Programs on images and returns everything that it did."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spikeloom.common.files import disk_is_full, writable_file
from spikeloom.common.process import run
from spikeloom.common.progress import Progress, silent
from spikeloom.gen.host.pixels import pack_pixels
from spikeloom.gen.program import Program
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.counters import COUNTERS, counted
from spikeloom.rtl.core.layouts import WORD_BITS, trace
from spikeloom.sim.verilator import SimulationError, compile_core

WRITE, IMAGE, LIMIT = 1, 2, 3
MOST_CYCLES = 1 << 27
"""Of an image: a core that hangs ends the run."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What the core did with B images."""

    sums: np.ndarray
    """Class sums, int64 (B, classes)."""
    counters: dict[str, np.ndarray]
    """Those that the core has: their values at the end, int64 (B,), by name."""
    layer_counters: dict[str, np.ndarray]
    """Their values at the end of each layer, the image's loading first, int64 (B, layers + 1), by name."""
    layer_cycles: np.ndarray
    """The cycle at the end of each layer, likewise, int64 (B, layers + 1)."""
    trace: np.ndarray
    """Structured array: image, cycle, layer, step, word (of its position), position and spikes (uint8 (word / 8,),
    the first channel in the low bit), in order."""


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
        self.executable = compile_core(verilog, config=config, build_dir=build_dir, waves=waves)
        self.folder = self.executable.parent

    def run(
        self,
        images: np.ndarray,
        *,
        program: Program | None = None,
        waves: str | os.PathLike[str] | None = None,
        progress: Progress = silent,
        stop: threading.Event | None = None,
    ) -> Run:
        """Run uint8 images (B, C, H, W), after loading `program` when given.

        waves: file for a waveform (FST). progress: counts images. stop: set by another thread, ends the simulation.

        Raises
        ------
        SimulationError
            when the simulation ends badly or is stopped, or waves are wanted of a core compiled without.
        OSError
            when the waves cannot be written.
        """
        return self.run_programs([(images, program)], waves=waves, progress=progress, stop=stop)[0]

    def run_programs(
        self,
        work: Sequence[tuple[np.ndarray, Program | None]],
        *,
        waves: str | os.PathLike[str] | None = None,
        progress: Progress = silent,
        stop: threading.Event | None = None,
        most_cycles: int = MOST_CYCLES,
    ) -> list[Run]:
        """Likewise several batches on the same running core, each with its Program or with the one before.

        most_cycles: of an image, before the run ends with an error.

        Raises
        ------
        SimulationError, OSError
            as `run`.
        """
        if waves is not None:
            if not self.waves:
                raise SimulationError("this core was compiled without waves")
            waves = writable_file(waves).resolve()
        counts = [len(images) for images, _ in work]
        record = 4 * self._result_words()
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            files = [Path(scratch) / name for name in ("commands", "trace", "layers", "results")]
            limit = np.array([LIMIT, most_cycles], "<u4").tobytes()
            files[0].write_bytes(b"".join([limit, *(self._commands(*part) for part in work)]))

            def report() -> None:
                if files[3].exists():
                    progress(files[3].stat().st_size // record, sum(counts))

            command = [str(self.executable), *(file.name for file in files), *([] if waves is None else [str(waves)])]
            run(command, folder=scratch, name="the simulation", on_tick=report, stop=stop, error=SimulationError)
            if waves is not None and disk_is_full(waves.parent):
                raise SimulationError(f"{waves} is not whole: no space left on its disk")
            return self._collect(*(np.fromfile(file, np.uint32) for file in files[1:]), counts=counts)

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
        classes, has = self.config.classes, counted(self.config)
        places = {name: i for i, name in enumerate(COUNTERS) if name in has}
        results = results.reshape(-1, self._result_words())
        layers = layers.reshape(-1, 2 + len(COUNTERS)).astype(np.int64)
        records = self._unpack_trace(trace_words)
        runs, first = [], 0
        for count in counts:
            mine = slice(first, first + count)
            counters = results[mine, 1 + classes :].astype(np.int64)
            ends = layers[(layers[:, 0] >= first) & (layers[:, 0] < first + count)]
            ends = ends.reshape(count, len(ends) // max(count, 1), 2 + len(COUNTERS))
            fired = records[(records["image"] >= first) & (records["image"] < first + count)]
            fired["image"] -= first
            runs.append(
                Run(
                    sums=results[mine, 1 : 1 + classes].astype(np.int32).astype(np.int64),
                    counters={name: counters[:, i] for name, i in places.items()},
                    layer_counters={name: ends[:, :, 2 + i] for name, i in places.items()},
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
        channels = layout["spikes"]
        names = ["layer", "step", "word", "position"]
        kinds = [(name, np.int32) for name in ("image", "cycle", *names)]
        records = np.zeros(len(words), np.dtype([*kinds, ("spikes", np.uint8, (-(-channels.width // 8),))]))
        records["image"], records["cycle"] = words[:, 0], words[:, 1]
        for name in names:
            field = layout[name]
            weights = 1 << np.arange(field.width)
            records[name] = bits[:, field.offset : field.offset + field.width] @ weights
        spikes = bits[:, channels.offset : channels.offset + channels.width]
        records["spikes"] = np.packbits(spikes, axis=1, bitorder="little")
        return records
