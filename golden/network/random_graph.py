"""Random networks of any legal graph, for fuzzing: not only Spikformers, and at the edges of what is allowed.

The same seed and limits give the same network on every machine: only integers and exact fractions are drawn, and
thresholds are taken from integer currents.
"""

from __future__ import annotations

from typing import Any

from spikeloom.golden.network import Network
from spikeloom.golden.network.dice import Dice
from spikeloom.golden.network.graph_geometry import Geometry
from spikeloom.golden.network.graph_integers import Integers
from spikeloom.golden.network.graph_limits import GraphLimits


def random_graph(seed: int, limits: GraphLimits | None = None) -> Network:
    """A network with a random graph, geometry, masks, neurons and integers; equal arguments give equal networks.

    Layers read any earlier tensor, attention any three of one shape, residuals come from anywhere with the shape;
    ``T_l`` is 0 in one layer of ten. Most thresholds lie where the neurons fire on `random_images`, some at the
    edges of `GraphLimits.potential_bits`.
    """
    draft = _Draft(Dice(seed), limits or GraphLimits(), name=f"graph-{seed}")
    count = draft.dice.number(1, draft.limits.layers)
    while len(draft.integers.layers) < count:
        if not (count - len(draft.integers.layers) >= 4 and draft.block()):
            draft.add(draft.geometry.fields())
    return draft.finished()


class _Draft:
    """A network while it grows."""

    def __init__(self, dice: Dice, limits: GraphLimits, *, name: str) -> None:
        self.dice, self.limits = dice, limits
        self.geometry = Geometry(dice, limits, name=name)
        self.integers = Integers(dice, limits, self.geometry.header)

    def add(self, fields: dict[str, Any]) -> str:
        """Make a layer of the fields; its name."""
        layer, made = self.integers.add(fields)
        self.geometry.work += self.geometry.work_of(fields)
        self.geometry.note(layer, made)
        return layer.name

    def block(self) -> bool:
        """Q, K and V of one tensor, and their attention; False where none is begun."""
        fields = self.geometry.shared_source()
        if fields is None:
            return False
        names = tuple(self.add(fields | self.geometry.time(fields)) for _ in "qkv")
        fields = self.geometry.attention_of(names, fields)
        self.add(fields | self.geometry.time(fields))
        return True

    def finished(self) -> Network:
        """The network with its readout."""
        source = self.geometry.last()
        if source is None:
            source = self.add(self.geometry.neurons() or {})
        info = self.geometry.infos[source]
        classes = self.dice.choice([1, self.limits.classes, self.dice.number(1, self.limits.classes)])
        fields: dict[str, Any] = dict(kind="readout", inputs=(source,), steps=info.steps, channels_in=info.channels)
        fields |= dict(channels_out=classes, height_in=info.height, width_in=info.width)
        head = self.integers.readout(fields)
        return Network(layers=(*self.integers.layers, head), **self.geometry.header)
