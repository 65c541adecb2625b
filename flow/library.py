"""SpikeLoom as a library: what `import spikeloom` offers.

Each step takes what the one before gives, or a shorter word for it: where a network is wanted, a checkpoint will do
(it is quantised to 8 bits), and so will a file or the name of a shipped model. Images are uint8 (n, C, H, W), without
normalisation and without a frame: both are the network's. Files go below the build folder (SPIKELOOM_BUILD, else
``build``) where nothing else is said. Wrong arguments are ValueError or TypeError with one line; a file that is
missing is FileNotFoundError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spikeloom.common.folders import folder_of
from spikeloom.common.progress import Progress, silent
from spikeloom.flow.images import Samples, load_samples
from spikeloom.flow.models import Checkpoint, load, network_of, quantized

if TYPE_CHECKING:
    from spikeloom.flow.classify import Answer
    from spikeloom.gen.compiler import Compiled
    from spikeloom.gen.program import Program
    from spikeloom.gen.toolchain.reports import BuildReport
    from spikeloom.golden.network import Network
    from spikeloom.golden.network.execute import Execution
    from spikeloom.rtl.core.config import CoreConfig
    from spikeloom.rtl.primitives.family import CellFamily
    from spikeloom.sim.simulate import SimulationReport

__all__ = ["Design", "build", "classify", "compile", "execute", "load", "load_images", "quantize", "simulate"]

SAVED_IMAGES = 10
"""In the test vectors of a design, where none are given."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Design:
    """A network placed on a core: what `compile` gives."""

    compiled: Compiled
    """The network's plan and Program."""
    board: str | None
    """The board that the core was chosen for, if any."""
    why: str = ""
    """Why this core, in a line, where it is the best for the board."""

    def __repr__(self) -> str:
        board = "" if self.board is None else f", for {self.board}"
        return f"<Design: {self.network.name!r} on {self.core.summary}{board}>"

    @property
    def network(self) -> Network:
        """The integers that the core computes with."""
        return self.compiled.network

    @property
    def core(self) -> CoreConfig:
        """The sizes of the core."""
        return self.compiled.config

    @property
    def program(self) -> Program:
        """Descriptors, parameters and weights, as the core's memories hold them."""
        return self.compiled.program

    @cached_property
    def _verilog(self) -> str:
        from spikeloom.gen.verilog import core_verilog

        return core_verilog(self.core, self.program)

    def verilog(self, cells: CellFamily | None = None) -> str:
        """The core, module ``spikeloom_core``, with the Program as the initial contents of its memories.

        cells: of the family that it is synthesised for, in explicit cells; None makes what every tool reads.
        """
        from spikeloom.gen.verilog import core_verilog

        return self._verilog if cells is None else core_verilog(self.core, self.program, cells=cells)

    def save(
        self, folder: str | Path, images: np.ndarray | None = None, labels: np.ndarray | None = None
    ) -> dict[str, Any]:
        """Write Verilog, test bench, Program and test vectors of images, and return the manifest.

        images: uint8 (n, C, H, W) with labels (n,); random ones when None.
        """
        from spikeloom.flow.export import export

        samples = Samples(images, labels) if images is not None else load_samples("random", self.network, SAVED_IMAGES)
        return export(self.compiled, self.verilog(), samples, Path(folder))


def quantize(
    source: Checkpoint | Network | str | Path,
    *,
    bits: int | Mapping[str, int] = 8,
    scales: Literal["power-of-two", "free"] = "power-of-two",
    steps: Mapping[str, int] | None = None,
    name: str | None = None,
) -> Network:
    """The integer network of a trained model.

    bits: 8 or 4, of all weights or by layer name. scales: of the channels; with powers of two the integers equal the
    PyTorch model that has the quantised weights. steps: other ``T_l`` by layer name. name: the checkpoint's when None.
    TypeError for a network, which is made of integers already.
    """
    found = source if isinstance(source, Checkpoint) else load(source) if isinstance(source, str | Path) else source
    if not isinstance(found, Checkpoint):
        raise TypeError("this is a network of integers already: quantize takes a checkpoint")
    made = quantized(found, name=name, weight_bits=bits, scales=scales)
    return made.with_steps(dict(steps)) if steps else made


def load_images(
    source: Network | Checkpoint | str | Path,
    data: str | None = None,
    *,
    count: int | None = None,
    folder: str | Path | None = None,
) -> Samples:
    """Held-out images for a network, uint8 (n, C, H, W), with their labels, int64 (n,), or None.

    data: a data set's name, ``folder:DIR``, ``random`` or an .npz file; the data set of the training when None.
    count: how many; all when None. folder: of a data set's files; SPIKELOOM_DATA when None.
    """
    return load_samples(data, network_of(source), count, folder=None if folder is None else Path(folder))


def execute(source: Network | Checkpoint | str | Path, images: np.ndarray, *, record: bool = False) -> Execution:
    """What the integers make of images, in PyTorch, bit for bit as the hardware: class sums, predictions.

    record: keep every layer's spikes and potentials too.
    """
    from spikeloom.golden.network.execute import execute as golden

    return golden(network_of(source), images, record=record)


def classify(
    source: Network | Checkpoint | str | Path, pictures: Sequence[str | Path], *, invert: bool = False
) -> list[Answer]:
    """Class, its name and its confidence for each picture: files of any size, PNG, JPEG, ... or .npy.

    invert: swap light and dark, for drawings on white paper.
    """
    from spikeloom.flow.classify import answers, class_sums, pictures_for

    network = network_of(source)
    return answers(network, class_sums(network, pictures_for(network, pictures, invert=invert)))


def compile(
    source: Network | Checkpoint | str | Path,
    *,
    board: str | None = None,
    lanes: int | None = None,
    word: int | None = None,
    columns: int | None = None,
    banks: int | None = None,
    neuron_lanes: int | None = None,
    accumulator_width: int | None = None,
    counters: bool | None = None,
) -> Design:
    """The network on the smallest core that runs it, of the given sizes; of none, on the best core for the board.

    board: a name of `spikeloom info --boards`. lanes: output channels accumulated at once; word: bits of a spike word;
    columns: positions that share a weight row; banks: events a cycle; neuron_lanes: neurons updated a cycle.
    accumulator_width: bits. counters: whether the core counts what it does, or cycles alone; all when None.
    CompileError, a ValueError, says which layer does not fit and what would help.
    """
    from spikeloom.flow.cores import chosen_for
    from spikeloom.gen.compiler import compile_plan

    network = network_of(source)
    sizes = {"lanes": lanes, "word": word, "columns": columns, "banks": banks, "neuron_lanes": neuron_lanes}
    sizes |= {"accumulator_width": accumulator_width, "counters": counters}
    chosen = chosen_for(network, board, **sizes)
    return Design(compiled=compile_plan(chosen.plan), board=board, why=chosen.why)


def simulate(
    source: Design | Network | Checkpoint | str | Path,
    images: np.ndarray,
    *,
    folder: str | Path | None = None,
    processes: int = 2,
    waves: str | Path | None = None,
    progress: Progress = silent,
) -> SimulationReport:
    """Run images on the Verilog and compare every spike, class sum and counter with the integers.

    Differences are in the report, not raised. folder: of the compiled simulator, which is kept. processes: simulators
    at a time. waves: a file for all signals (FST), of few images. progress: called with images done, of all.
    SimulationError where Verilator is not installed.
    """
    from spikeloom.sim.simulate import simulate as run

    design = _design(source)
    place = folder or folder_of(design.network.name) / "simulation"
    return run(design.compiled, images, build_dir=place, processes=processes, waves=waves, progress=progress)


def build(
    source: Design | Network | Checkpoint | str | Path,
    *,
    board: str | None = None,
    clock_mhz: float | None = None,
    seed: int = 1,
    seeds: int = 1,
    scheduler: str | None = None,
    workers: int | None = None,
    baud: int = 1_000_000,
    folder: str | Path | None = None,
    progress: Progress = silent,
) -> BuildReport:
    """Synthesise, place and route: a bitstream with the network inside. Minutes, unless it was built before.

    board: the design's when None. clock_mhz: of the core; the board's when None. seed: of the placement. seeds: how
    many, from that one on; the fastest is kept, and the report has all clocks. workers: how many are placed at once,
    all cores when None; scheduler: of a Dask cluster that does it, whose workers see the folder. baud: of the serial
    line. Timing that is not met is in the report. BuildError, with one line, where a tool fails.
    """
    from spikeloom.flow.seeds import placer
    from spikeloom.gen.resources import check_device
    from spikeloom.gen.targets import target
    from spikeloom.gen.toolchain import build as run

    if seeds < 1:
        raise ValueError(f"seeds must be positive, not {seeds!r}")

    design = source if isinstance(source, Design) else compile(source, board=board)
    name = board or design.board
    if name is None:
        raise ValueError("name a board: the design was compiled for none")
    chosen = target(name)
    check_device(design.core, chosen)
    if clock_mhz is not None:
        chosen = replace(chosen, clock_hz=round(clock_mhz * 1e6))
    place = Path(folder) if folder is not None else folder_of(design.network.name) / chosen.name
    verilog = design.verilog(chosen.cells)
    if seeds == 1:
        return run.build(verilog, design.core, chosen, place, seed=seed, baud=baud, progress=progress)
    several: dict[str, Any] = {
        "seeds": range(seed, seed + seeds),
        "place_all": placer(scheduler=scheduler, workers=workers),
    }
    return run.build_best(verilog, design.core, chosen, place, baud=baud, progress=progress, **several)


def _design(source: Design | Network | Checkpoint | str | Path) -> Design:
    return source if isinstance(source, Design) else compile(source)
