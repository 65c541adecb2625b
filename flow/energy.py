"""Energy of networks from counted operations, beside a transformer without spikes, and from a core's counters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spikeloom.common.folders import folder_of

if TYPE_CHECKING:
    import numpy as np

    from spikeloom.flow.images import Samples
    from spikeloom.flow.progress import Bars
    from spikeloom.gen.compiler import Compiled
    from spikeloom.golden.analysis.energy import Energy, Reuse
    from spikeloom.golden.analysis.energy_table import Row
    from spikeloom.golden.network import Network

PARTS = ("compute", "weights", "membrane", "activations", "memory", "total")
"""Of an energy, as the tables show them."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The energies of networks, beside each other."""

    rows: list[Row]
    """The transformer without spikes, then the networks, those with time masks last."""
    reference: Row
    """The network that is 1: the first with time masks, else the first."""
    images: int
    """Of the first network."""
    reuse: Reuse
    """Of words read."""
    external: bool
    """The weights come from DRAM."""
    plain_added: bool
    """Some rows are others with all T_l = T_max."""

    @property
    def spiking(self) -> list[Row]:
        """The networks."""
        return self.rows[1:]

    @property
    def warnings(self) -> list[str]:
        """Where accuracies are so far apart that the energies do not compare."""
        from spikeloom.golden.analysis.energy_table import warnings

        others = [(row.name, row.accuracy) for row in self.spiking if row is not self.reference]
        return warnings([(self.reference.name, self.reference.accuracy), *others])

    def record(self, *, layers: bool) -> dict[str, Any]:
        """As `spikeloom energy --json` has it. layers: each layer too."""
        from spikeloom.golden.analysis.energy_constants import CONSTANTS

        return {
            "reference": self.reference.name,
            "images": self.images,
            "reuse": self.reuse,
            "external": self.external,
            "constants": CONSTANTS,
            "rows": [_row_record(row, self.reference, layers) for row in self.rows],
            "warnings": self.warnings,
        }


def compare(
    known: Sequence[tuple[Network, Samples]], *, plain: bool | None, reuse: Reuse, external: bool, shown: Bars
) -> Comparison:
    """Count what networks do on their images.

    plain: add each network that has time masks without them; None: where all have some.
    """
    from spikeloom.golden.analysis import energy_table as golden

    masked = [(network, samples) for network, samples in known if golden.is_dynamic(network)]
    wanted = len(masked) == len(known) if plain is None else plain
    added = [(golden.full_steps(network), samples) for network, samples in masked] if wanted else []
    rows = []
    for network, samples in [*known, *added]:
        advance = shown.bar(network.name[:40], len(samples.images))
        rows.append(golden.measure(network, *samples, reuse=reuse, external=external, progress=advance))
    first = next((i for i, row in enumerate(rows) if row.kind == "dynamic"), 0)
    reference = rows[first]
    dense = golden.without_spikes(known[first][0], reference, reuse=reuse, external=external)
    return Comparison(
        rows=[dense, *sorted(rows, key=lambda row: row.kind == "dynamic")],
        reference=reference,
        images=len(known[0][1].images),
        reuse=reuse,
        external=external,
        plain_added=bool(added),
    )


def in_hardware(compiled: Compiled, images: np.ndarray, shown: Bars) -> dict[str, Any]:
    """The simulated core's counters and their energy, beside the operations of the same images."""
    from spikeloom.golden.analysis.energy import spiking
    from spikeloom.golden.analysis.energy_constants import CONSTANTS
    from spikeloom.golden.analysis.operations import TOTAL, operations
    from spikeloom.sim.counter_report import compare as compared_with
    from spikeloom.sim.counter_report import energy as of_counters
    from spikeloom.sim.simulate import simulate
    from spikeloom.sim.verilator import verilator_version

    network = compiled.network
    if not compiled.config.counters:
        raise ValueError("the energy of the core is that of its counters: leave out --no-counters")
    verilator_version()
    advance = shown.bar("simulating", len(images))
    report = simulate(compiled, images, build_dir=folder_of(network.name) / "simulation", progress=advance)
    counted = operations(network, images)
    compared = compared_with(report, compiled.plan, counted)
    exact = report.images_bit_exact == report.images and not report.counter_differences
    return {
        "network": network.name,
        "images": len(images),
        "core": compiled.config,
        "as_counted": exact and all(x.equal for x in compared),
        "counters": compared,
        "energy": {
            name: {
                "core's counters": _energy_record(of_counters(report, compiled.plan, constants)),
                "operations": _energy_record(spiking(network, counted, constants)[TOTAL]),
            }
            for name, constants in CONSTANTS.items()
        },
    }


def _energy_record(found: Energy) -> dict[str, float]:
    """In pJ an image."""
    return {part: getattr(found, part) for part in PARTS}


def _row_record(row: Row, reference: Row, layers: bool) -> dict[str, Any]:
    from spikeloom.golden.analysis.operations import TOTAL

    found: dict[str, Any] = {
        "name": row.name,
        "kind": row.kind,
        "accuracy": row.accuracy,
        "t_avg": row.t_avg,
        "t_max": row.t_max,
        "operations": row.operations.get(TOTAL),
        "picojoules": {name: _energy_record(energies[TOTAL]) for name, energies in row.energies.items()},
        "totals": row.totals,
        "relative": {
            name: dict(zip(("compute", "memory", "total"), row.relative(reference, name), strict=True))
            for name in row.energies
        },
    }
    if layers and row.operations:
        found["layers"] = {
            name: {
                "operations": row.operations[name],
                "picojoules": {key: _energy_record(energies[name]) for key, energies in row.energies.items()},
            }
            for name in row.operations
            if name != TOTAL
        }
    return found
