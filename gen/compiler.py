"""Network and core in, everything that the hardware needs out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from spikeloom.gen.memory_map import MemoryMap, map_memory
from spikeloom.gen.program import Program, make_program, stored_steps
from spikeloom.gen.sizing import check_fits
from spikeloom.golden.network import Network
from spikeloom.golden.network.widths import widths
from spikeloom.rtl.core.config import CoreConfig

MANIFEST_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A network placed on a core."""

    network: Network
    config: CoreConfig
    memory: MemoryMap
    program: Program

    def manifest(self) -> dict[str, Any]:
        """What was decided, for people and tools: sizes, memory map, one entry a layer; JSON types only."""
        proven, config = widths(self.network), self.config
        layers = []
        for layer in self.network.layers:
            entry = {
                "name": layer.name,
                "kind": layer.kind,
                "steps": layer.steps,
                "steps_run": stored_steps(self.network, layer, self.memory),
                "tiles": -(-layer.channels_out // config.lanes),
                "accumulator_bits": proven[layer.name].accumulator,
                "membrane_bits": proven[layer.name].membrane,
            }
            layers.append(entry)
        return {
            "format": "spikeloom.manifest",
            "version": MANIFEST_VERSION,
            "network": self.network.name,
            "t_max": self.network.steps,
            "t_avg": self.network.t_avg,
            "core": asdict(config),
            "memory": {
                "activation_words": self.memory.words,
                "weight_rows": len(self.program.weight_rows),
                "parameter_words": len(self.program.parameter_words),
                "program_words": len(self.program.program_words),
            },
            "tensors": {name: asdict(p) for name, p in self.memory.placements.items()},
            "layers": layers,
            "provenance": self.network.provenance,
        }


def compile_network(network: Network, config: CoreConfig) -> Compiled:
    """Place the network on the core and write its Program.

    Raises
    ------
    CompileError
        where it does not fit: the layer, the limit, what would help.
    """
    check_fits(network, config)
    memory = map_memory(network, lanes=config.lanes)
    return Compiled(
        network=network,
        config=config,
        memory=memory,
        program=make_program(network, config, memory),
    )
