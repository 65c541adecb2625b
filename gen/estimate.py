"""Cycles of an image before any simulation: a model of the core's pipeline, fed with what spikes.

With the golden activations of an image it gives that image's cycles; with densities it gives those of random spikes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from spikeloom.gen.pipeline import Pipeline, marker
from spikeloom.gen.plan import SUMS_STAY, LayerPlan, Plan
from spikeloom.gen.scanner_walk import Activity, ScannerWalk
from spikeloom.golden.network import IMAGE, Network
from spikeloom.rtl.core.layouts import DESCRIPTOR_WORDS

FETCH_CYCLES = DESCRIPTOR_WORDS + 2  # a descriptor, and its dispatch
DENSITY = 0.15
"""Of random spikes, where none is given: that of a trained Spikformer."""


@dataclass(frozen=True, kw_only=True)
class LayerEstimate:
    """Cycles of one layer, and what it does in them."""

    name: str
    """The layer's."""
    cycles: int
    """From its descriptor's fetch to its last word."""
    slots: int
    """Cycles of the scanner."""
    events: int
    """Cycles of the array, markers included."""
    neuron_words: int
    """Cycles of the neurons."""
    written_words: int
    """Cycles of the writer: memory writes and reads."""

    @property
    def bound(self) -> str:
        """The unit that needs most of the cycles."""
        busy = {"scanner": self.slots, "array": self.events, "neurons": self.neuron_words, "writer": self.written_words}
        return max(busy, key=lambda unit: busy[unit])


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Estimated cycles of one image."""

    layers: tuple[LayerEstimate, ...]
    """In execution order."""
    cycles: int
    """From the last pixel to the class sums."""


def random_activity(network: Network, density: float | Mapping[str, float], *, seed: int = 0) -> Activity:
    """Random spikes at `density` (one, or by tensor name, `DENSITY` for the others) and random pixels.

    A sum of n spike tensors is drawn as n independent ones. ValueError for a density outside 0..1.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}
    for name, info in network.shapes.tensors.items():
        shape = (info.steps, info.channels, info.height, info.width)
        if name == IMAGE:
            found[name] = rng.integers(0, 256, shape).astype(np.uint8)
            continue
        share = density if isinstance(density, int | float) else density.get(name, DENSITY)
        if not 0 <= share <= 1:
            raise ValueError(f"density of {name!r} must be in 0..1, not {share!r}")
        found[name] = rng.binomial(info.maximum, share, shape).astype(np.uint8)
    return Activity(tensors=found)


def estimate(plan: Plan, activity: Activity) -> Estimate:
    """Estimated cycles for one image."""
    layers = tuple(_estimate_layer(layer, plan, activity) for layer in plan.layers)
    # the first descriptor is fetched before the image comes, the end marker after the last layer
    return Estimate(layers=layers, cycles=sum(x.cycles for x in layers) + FETCH_CYCLES + 1)


def _estimate_layer(layer: LayerPlan, plan: Plan, activity: Activity) -> LayerEstimate:
    pipe = Pipeline(plan.config, digits=layer.digits, digit_rows=layer.digit_rows)
    if layer.stored_steps:
        walk = ScannerWalk(layer, plan.config, activity)
        for number in range(len(layer.tiles)):
            _run_tile(pipe, layer, walk, number)
    return LayerEstimate(
        name=layer.name,
        cycles=(pipe.end() if layer.stored_steps else 0) + FETCH_CYCLES + 1,
        slots=pipe.slots,
        events=pipe.events,
        neuron_words=pipe.neuron_words,
        written_words=pipe.written_words,
    )


def _run_tile(pipe: Pipeline, layer: LayerPlan, walk: ScannerWalk, number: int) -> None:
    tile = layer.tiles[number]
    direct, ready, silence = layer.layer.direct, 0, marker(walk.banks)
    for step, index in _order(layer, len(walk.groups)):
        scans = step < layer.shape.computed_steps
        if layer.layer.kind == "attention" and scans and index == 0:
            for item in walk.keys(step, number):
                pipe.item(item)
        if not (direct and step):  # one item's sums serve all steps
            pipe.item(walk.receptive_field(step, number, index) if scans else silence)
            ready = pipe.hand_over()
        y, x, columns = walk.groups[index]
        pipe.job(
            ready,
            columns=columns,
            words=tile.parts if step < layer.steps else [1] * len(tile.spike_words),
            fence=index == 0 or direct or layer.readout,
            keep=direct and step < layer.steps - 1,
            each=layer.readout,
            reads=step > 0 if not layer.readout else step + index > 0,
            written=[]
            if layer.readout
            else [[walk.written(step, word, y, x + c) for word in tile.spike_words] for c in range(columns)],
        )


def _order(layer: LayerPlan, groups: int) -> Iterator[tuple[int, int]]:
    """Step and group of positions of all that a tile computes, in the plan's order."""
    steps = range(layer.stored_steps)
    if layer.loops == SUMS_STAY:
        return ((step, index) for index in range(groups) for step in steps)
    return ((step, index) for step in steps for index in range(groups))
