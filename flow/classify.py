"""What a network says about images: classes by name, with confidences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spikeloom.common.folders import folder_of
from spikeloom.flow.pictures import CROPPED, read_pictures
from spikeloom.golden.data.origin import names_in, trained_on

if TYPE_CHECKING:
    from spikeloom.flow.progress import Bars
    from spikeloom.gen.compiler import Compiled
    from spikeloom.golden.network import Network


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a network says about one image."""

    label: int
    """The class, 0 to classes - 1: the first with the largest sum."""
    name: str
    """What that class is called."""
    confidence: float
    """0 to 1: the softmax of the scores, as the network was trained with; not a measured probability."""
    sums: tuple[int, ...]
    """The readout's potential of each class."""


def class_names(network: Network) -> tuple[str, ...]:
    """One name for each class; numbers where none are known."""
    return names_in(network.provenance, network.classes)


def pictures_for(network: Network, paths: Sequence[str | Path], *, invert: bool = False) -> np.ndarray:
    """Pictures in files as the network was trained to see them, uint8 (n, C, H, W); see `pictures.read_pictures`."""
    part = CROPPED if trained_on(network.provenance)[0] == "folder" else 1.0
    return read_pictures(paths, network.image_shape, part=part, invert=invert)


def class_sums(network: Network, pictures: np.ndarray) -> np.ndarray:
    """Of pictures, uint8 (n, C, H, W), by the integer network: int64 (n, classes)."""
    from spikeloom.golden.network.execute import execute

    return execute(network, pictures).sums


def simulated_sums(compiled: Compiled, pictures: np.ndarray, shown: Bars) -> tuple[np.ndarray, bool]:
    """The same by the Verilog, simulated, and whether every spike and sum is the integer network's."""
    from spikeloom.sim.simulate import simulate
    from spikeloom.sim.verilator import verilator_version

    verilator_version()
    advance = shown.bar("simulating", len(pictures))
    folder = folder_of(compiled.network.name) / "simulation"
    report = simulate(compiled, pictures, build_dir=folder, progress=advance)
    return report.sums, report.images_bit_exact == report.images


def scores(network: Network, sums: np.ndarray) -> np.ndarray:
    """Class scores in real units, float64 (n, classes), of class sums, integers (n, classes).

    Training takes the mean over steps and tokens, of which the readout holds the sum.
    """
    readout = network.layers[-1]
    return np.asarray(sums) * readout.scale / (network.steps * readout.height_in * readout.width_in)


def answers(network: Network, sums: np.ndarray) -> list[Answer]:
    """The classes that class sums, integers (n, classes), of golden, the simulator or a board, stand for."""
    names = class_names(network)
    real = scores(network, sums)
    shares = np.exp(real - real.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return [
        Answer(label=label, name=names[label], confidence=float(share[label]), sums=tuple(int(x) for x in row))
        for row, share, label in zip(sums, shares, np.argmax(sums, axis=1).tolist(), strict=True)
    ]
