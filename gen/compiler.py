"""Network and core in, everything that the hardware needs out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from spikeloom.gen.plan import LayerPlan, Plan, make_plan
from spikeloom.gen.program import Program, make_program
from spikeloom.gen.sizing import check_fits, plan_smallest
from spikeloom.golden.network import Network
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import DESCRIPTOR_VERSION

MANIFEST_VERSION = 3
"""Of the manifest, by the rule of docs/formats.md; 2: says the version of the descriptors, which have 17 words;
3: the placement of the image."""


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A network placed on a core."""

    plan: Plan
    """What was decided."""
    program: Program
    """Contents of the core's memories."""

    def __repr__(self) -> str:
        return f"<Compiled: {self.network.name!r} on {self.config.summary}>"

    @property
    def network(self) -> Network:
        """What the core computes."""
        return self.plan.network

    @property
    def config(self) -> CoreConfig:
        """The core."""
        return self.plan.config

    def manifest(self) -> dict[str, Any]:
        """What was decided, for people and tools: sizes, memory map, one entry a layer; JSON types only."""
        network, plan = self.network, self.plan
        return {
            "format": "spikeloom.manifest",
            "version": MANIFEST_VERSION,
            "descriptor_version": DESCRIPTOR_VERSION,
            "network": network.name,
            "t_max": network.steps,
            "t_avg": network.t_avg,
            "core": asdict(self.config),
            "memory": {
                "activation_words": plan.activation_words,
                "weight_rows": plan.weight_rows,
                "parameter_words": plan.parameter_words,
                "program_words": len(self.program.program_words),
            },
            "tensors": {name: asdict(place) for name, place in plan.memory.placements.items()},
            "layers": [_entry(layer) for layer in plan.layers],
            "provenance": network.provenance,
        }


def _entry(plan: LayerPlan) -> dict[str, Any]:
    """A layer in the manifest."""
    return {
        "name": plan.name,
        "kind": plan.layer.kind,
        "steps": plan.layer.steps,
        "steps_run": plan.stored_steps,
        "tiles": len(plan.tiles),
        "accumulator_bits": plan.widths.accumulator,
        "membrane_bits": plan.widths.membrane,
    }


def compile_network(network: Network, config: CoreConfig | None = None, /, **sizes: int) -> Compiled:
    """Place the network on the core and write its Program.

    Without a core it is the smallest that runs the network; of that core `sizes` are as given, fields of `CoreConfig`.

    Raises
    ------
    CompileError
        where it does not fit: the layer, the limit, what would help.
    TypeError
        for a core and sizes at once.
    """
    if config is None:
        return compile_plan(plan_smallest(network, **sizes))
    if sizes:
        raise TypeError(f"sizes belong to a core of their own, not beside one: {', '.join(sizes)}")
    plan = make_plan(network, config)
    check_fits(plan)
    return compile_plan(plan)


def compile_plan(plan: Plan) -> Compiled:
    """Write the Program of a plan that fits its core; CompileError as `compile_network`."""
    return Compiled(plan=plan, program=make_program(plan))
