"""What each stage of the flow can do: one list, for `spikeloom info --support`, for the page, and for the tests that
hold the compiler and the exchange formats to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikeloom.golden.network import Layer, Network

STAGES = {
    "golden": "golden, energy",
    "core": "core",
    "nir_export": "NIR export",
    "nir_import": "NIR import",
    "checkpoints": "checkpoint import",
}
"""Attributes of a `Feature`, and what they are called. Checkpoints are those of other programs."""

PAGE = "docs/support.md"


@dataclass(frozen=True, kw_only=True)
class Feature:
    """Something that a network can have, and the stages that take networks that have it."""

    name: str
    """In words."""
    present: Callable[[Network], bool]
    """Whether a network has it."""
    golden: bool = True
    """The executor, quantisation and `spikeloom energy`."""
    core: bool = True
    """The compiler, so simulation and bitstream."""
    nir_export: bool = True
    """`spikeloom nir export`, without ``--partial``."""
    nir_import: bool = True
    """`spikeloom nir import`."""
    checkpoints: bool = True
    """`spikeloom import`: the official Spikformers and E-SpikeFormers, SpikingJelly's Spikformers."""


def _any(test: Callable[[Layer], bool]) -> Callable[[Network], bool]:
    return lambda network: any(test(layer) for layer in network.layers)


def _binary(layer: Layer) -> bool:
    return layer.spiking and layer.neuron.levels == 1


def _branches(network: Network) -> bool:
    """Whether a layer reads another tensor than the one before it makes."""
    before = "image"
    for layer in network.layers:
        if layer.inputs[0] != before:
            return True
        before = layer.name
    return False


NOT_IN_NIR = {"nir_export": False, "nir_import": False}

FEATURES = (
    Feature(
        name="convolutions and linear layers, 8-bit weights",
        present=_any(lambda x: x.kind == "accumulate" and not x.depthwise and x.weight_bits == 8),
    ),
    Feature(
        name="4-bit weights", present=_any(lambda x: x.weight is not None and x.weight_bits == 4), checkpoints=False
    ),
    Feature(
        name="LIF neurons, tau = 2, reset to zero",
        present=_any(lambda x: _binary(x) and x.neuron.leak and x.neuron.hard),
    ),
    Feature(
        name="IF neurons, reset to zero",
        present=_any(lambda x: _binary(x) and not x.neuron.leak and x.neuron.hard),
        checkpoints=False,
    ),
    Feature(
        name="reset by subtraction (the DTS paper's neuron)",
        present=_any(lambda x: _binary(x) and not x.neuron.hard),
        checkpoints=False,
        **NOT_IN_NIR,
    ),
    Feature(
        name="time steps of a layer's own, T_l < T",
        present=lambda network: any(x.steps < network.steps for x in network.spiking),
        checkpoints=False,
        **NOT_IN_NIR,
    ),
    Feature(name="normalised pixels", present=lambda network: bool(network.padding_pixel)),
    Feature(name="several layers that read one tensor", present=_branches, **NOT_IN_NIR),
    Feature(name="max-pooling of spikes", present=_any(lambda x: x.pool and not x.pool_first), **NOT_IN_NIR),
    Feature(
        name="max-pooling of currents, before the neurons",
        present=_any(lambda x: x.pool_first),
        core=False,
        **NOT_IN_NIR,
    ),
    Feature(name="residual sums of spikes", present=_any(lambda x: x.fires and x.residual is not None), **NOT_IN_NIR),
    Feature(name="membrane shortcuts", present=_any(lambda x: not x.fires), core=False, **NOT_IN_NIR),
    Feature(name="spiking attention, Q (K^T V)", present=_any(lambda x: x.kind == "attention"), **NOT_IN_NIR),
    Feature(
        name="attention with more channels in V than in Q and K",
        present=_any(lambda x: x.kind == "attention" and x.channels_in != x.channels_out),
        core=False,
        **NOT_IN_NIR,
    ),
    Feature(
        name="heads whose channels are no power of two",
        present=_any(lambda x: x.kind == "attention" and bool((y := x.channels_in // x.heads) & (y - 1))),
        core=False,
        **NOT_IN_NIR,
    ),
    Feature(name="depthwise convolutions", present=_any(lambda x: x.depthwise), core=False),
    Feature(
        name="integer spikes 0..D (spike firing approximation)",
        present=_any(lambda x: x.spiking and x.neuron.levels > 1),
        core=False,
        **NOT_IN_NIR,
    ),
)
"""Everything that a `Network` can have beyond one chain of layers, in the order of the page."""


def features_of(network: Network) -> list[Feature]:
    """Those that a network has."""
    return [feature for feature in FEATURES if feature.present(network)]


def stages_for(network: Network) -> dict[str, list[str]]:
    """By stage, the names of what a network has and the stage does not take; empty where it takes the network."""
    return {stage: [x.name for x in features_of(network) if not getattr(x, stage)] for stage in STAGES}


def rows() -> list[list[str]]:
    """The table: each feature's name, and "yes" or "no" for each stage."""
    return [[x.name, *("yes" if getattr(x, stage) else "no" for stage in STAGES)] for x in FEATURES]


def page() -> str:
    """The table as a page of the documentation."""
    head = ["a network with", *STAGES.values()]
    lines = [head, ["---"] * len(head), *rows()]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"""# What each stage supports

Written by `python -m spikeloom.flow.support`; `spikeloom info --support` shows the same table, and
`spikeloom info MODEL --support` what stands in the way of one model. A stage refuses what it does not take by name.

{table}

* **golden, energy**: the executor, quantisation, operations and energy.
* **core**: the compiler, so estimate, simulation and bitstream. Models must also fit the sizes of a core and a
  device.
* **NIR**: whole networks; `--partial` writes the layers before the first that NIR cannot express. Networks must be
  one chain of layers, see [NIR](nir.md).
* **checkpoint import**: what the official Spikformers and E-SpikeFormers and SpikingJelly's Spikformers can have.
"""


if __name__ == "__main__":
    from pathlib import Path

    Path(PAGE).write_text(page())
