"""What a fuzz tries: a random network on a core of fixed size, drawn from a seed, saved, read and described."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from spikeloom.golden.network import Layer, Network
from spikeloom.golden.network.graph_limits import GraphLimits
from spikeloom.golden.network.random_graph import random_graph
from spikeloom.golden.network.random_network import random_images
from spikeloom.rtl.core.config import CoreConfig

IMAGES = 2  # of a network: the second shows what the first left behind

_SIZES: dict[str, Any] = dict(accumulator_width=20, potential_width=24, weight_rows=6000, membrane_positions=400)
_SIZES |= dict(parameter_words=1000, activation_words=5000, program_layers=12)
_SIZES |= dict(row_pixels=160, classes=12)
CORES = (
    CoreConfig(lanes=8, columns=1, neuron_lanes=4, weight_width=8, **_SIZES),
    CoreConfig(lanes=48, columns=2, banks=4, neuron_lanes=16, weight_width=8, **_SIZES),  # words of 16 bits
    CoreConfig(lanes=8, columns=4, banks=2, neuron_lanes=1, weight_width=4, **_SIZES),
    CoreConfig(lanes=32, word=8, columns=1, banks=8, neuron_lanes=4, weight_width=4, **_SIZES),
    CoreConfig(
        lanes=8, columns=4, neuron_lanes=4, weight_width=8, side=32, counters=False, **_SIZES
    ),  # as small cores are
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A network on a core."""

    seed: int
    """Draws core, network and images."""
    network: Network
    """What runs."""
    images: np.ndarray
    """uint8 (B, C, H, W), without frame."""
    config: CoreConfig
    """The core that it runs on."""
    before: Case | None = None
    """What ran on the core just before, where the case fails only after it."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a network file that `load` reads: core and images are in its provenance."""
        provenance: dict[str, Any] = {"seed": self.seed, "core": asdict(self.config), "images": self.images.tolist()}
        if self.before is not None:
            first = Path(path).with_suffix(".before.safetensors")
            self.before.save(first)
            provenance["before"] = first.name
        replace(self.network, provenance={"fuzz": json.dumps(provenance)}).save(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Case:
        """Read what `save` wrote. ValueError for a network of other origin."""
        network = Network.load(path)
        try:
            found = json.loads(network.provenance["fuzz"])
            images = np.array(found["images"], np.uint8).reshape(-1, *network.image_shape)
            config, seed = CoreConfig(**found["core"]), int(found["seed"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} was not saved by `spikeloom regress --random`: {error}") from error
        before = cls.load(Path(path).parent / found["before"]) if "before" in found else None
        return cls(seed=seed, network=network, images=images, config=config, before=before)


def draw(seed: int, cores: Sequence[CoreConfig] = CORES) -> Case:
    """The core, network and images of a seed."""
    config = cores[seed % len(cores)]
    network = random_graph(seed, limits_of(config))
    images = random_images(network, IMAGES, seed=seed)
    if seed // len(cores) % 8 == 0:
        images[-1] = 255 * (seed // len(cores) // 8 % 2)  # every pixel of it black, or white
    return Case(seed=seed, network=network, images=images, config=config)


def limits_of(config: CoreConfig) -> GraphLimits:
    """What a core's networks are drawn from: nearly all of them fit."""
    return GraphLimits(
        channels=min(max(40, config.lanes + config.word), 4 * config.lanes),
        layers=config.program_layers - 3,
        classes=config.classes,
        weight_bits=config.weight_width,
        accumulator_bits=config.accumulator_width,
        potential_bits=config.potential_width,
        word=config.lanes,
    )


def described(case: Case) -> list[str]:
    """The case in lines: its core, what is special about its network, a line for each layer."""
    network, core = case.network, case.config
    frame = f" with a frame of {network.frame} (pixels {network.padding_pixel})" if network.padding_pixel else ""
    lines = [] if case.before is None else [f"after: {line}" for line in described(case.before)]
    lines += [
        f"core of {core.summary}, {core.weight_width}-bit weights",
        f"{len(case.images)} image(s) of {network.channels} x {network.height} x {network.width}{frame}, "
        f"T = {network.steps}",
    ]
    return [*lines, *map(_line_of, network.layers)]


def _line_of(layer: Layer) -> str:
    """A layer in a line."""
    said = [
        f"{layer.name} of {', '.join(layer.inputs)}: {layer.channels_in} x {layer.height_in} x {layer.width_in}"
        f" to {layer.channels_out} x {layer.height_out} x {layer.width_out}"
    ]
    if layer.kind == "accumulate":
        said.append(f"kernel {layer.kernel}, stride {layer.stride}, padding {layer.padding}")
    said += [f"{layer.heads} heads"] if layer.kind == "attention" else []
    said += ["pooled"] if layer.pool else []
    said += [f"added to {layer.residual}"] if layer.residual else []
    if layer.spiking:
        flags = [name if getattr(layer.neuron, name) else f"not {name}" for name in ("hard", "strict", "leak")]
        said.append(f"T_l {layer.steps}, neurons {', '.join(flags)}")
    return "; ".join(said)
