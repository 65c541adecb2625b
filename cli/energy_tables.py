"""Tables of `spikeloom energy`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spikeloom.cli.console import percent
from spikeloom.cli.tables import Cells
from spikeloom.flow.energy import PARTS

if TYPE_CHECKING:
    from spikeloom.flow.energy import Comparison
    from spikeloom.golden.analysis.energy_table import Row

NJ = 1e3  # pJ


def energy_tables(found: Comparison, simulated: dict[str, Any] | None, *, layers: bool) -> list[Cells]:
    """All tables. simulated: the core's counters, see `in_hardware`. layers: one for each network's layers too."""
    tables = [_relative_table(found.rows, found.reference)]
    tables += [_energy_table(found.rows, name) for name in found.reference.energies]
    tables.append(_schedule_table(found.rows))
    tables.append(_operations_table(found.spiking))
    if layers:
        tables += [_layer_table(row) for row in found.spiking]
    return tables if simulated is None else tables + _hardware_tables(simulated)


def _about(row: Row) -> list[Any]:
    steps = "1" if row.t_avg is None else f"{row.t_avg:.2f}/{row.t_max}"
    return [row.name, percent(row.accuracy), steps]


def _relative_table(rows: Sequence[Row], reference: Row) -> Cells:
    columns = ["network", "accuracy", "T_avg"]
    columns += [f"{name} {part}" for name in reference.energies for part in ("compute", "memory", "total")]
    cells = [
        [*_about(row), *(f"{x:.2f}" for name in row.energies for x in row.relative(reference, name))] for row in rows
    ]
    return Cells(f"Energy of an image, {reference.name} = 1", columns, cells)


def _energy_table(rows: Sequence[Row], constants: str) -> Cells:
    from spikeloom.golden.analysis.operations import TOTAL

    cells = [
        [*_about(row), *(f"{getattr(row.energies[constants][TOTAL], part) / NJ:,.1f}" for part in PARTS)]
        for row in rows
    ]
    return Cells(f"Energy of an image in nJ, constants {constants}", ["network", "accuracy", "T_avg", *PARTS], cells)


def _schedule_table(rows: Sequence[Row]) -> Cells:
    columns = [f"{name} {schedule}" for name, totals in rows[0].totals.items() for schedule in totals]
    cells = [[*_about(row), *(f"{x / NJ:,.1f}" for y in row.totals.values() for x in y.values())] for row in rows]
    return Cells("Total energy of an image in nJ, by reuse", ["network", "accuracy", "T_avg", *columns], cells)


OPERATIONS = {
    "dense": "dense a step",
    "planes": "accumulates",
    "product_planes": "of K^T V",
    "image_macs": "image MACs",
    "neuron_updates": "neuron updates",
    "membrane_reads": "membrane reads",
    "spikes": "spikes",
}


def _operation_cells(found: Any) -> list[Any]:
    return [*(round(getattr(found, key)) for key in OPERATIONS), percent(found.activity)]


def _operations_table(rows: Sequence[Row]) -> Cells:
    from spikeloom.golden.analysis.operations import TOTAL

    cells = [[row.name, *_operation_cells(row.operations[TOTAL])] for row in rows]
    return Cells("Operations of an image", ["network", *OPERATIONS.values(), "activity"], cells)


def _layer_table(row: Row) -> Cells:
    columns = ["layer", "T_l", *OPERATIONS.values(), "activity", *(f"nJ {name}" for name in row.energies)]
    cells = [
        [
            name,
            f"{found.steps:.2f}".removesuffix(".00"),
            *_operation_cells(found),
            *(f"{energies[name].total / NJ:,.1f}" for energies in row.energies.values()),
        ]
        for name, found in row.operations.items()
    ]
    return Cells(f"Layers of {row.name}", columns, cells)


def _hardware_tables(simulated: dict[str, Any]) -> list[Cells]:
    compared, apart = [], []
    for x in simulated["counters"]:
        layers = f"{x.layers} of {x.of}"
        compared.append([x.name, layers, round(x.hardware), round(x.operations), x.equal])
        for name, (core, counted, why) in x.apart.items():
            apart.append([x.name, name, round(core), round(counted), why])
    images = f"{simulated['images']} image" + "s" * (simulated["images"] > 1)
    found = [
        Cells(
            f"The simulated core on {images}, mean of an image",
            ["quantity", "layers", "core", "operations", "equal"],
            compared,
        )
    ]
    if apart:
        found.append(
            Cells("What the core counts in another way", ["quantity", "layer", "core", "operations", "why"], apart)
        )
    cells = [
        [name, source, *(f"{values[part] / NJ:,.1f}" for part in PARTS)]
        for name, sources in simulated["energy"].items()
        for source, values in sources.items()
    ]
    found.append(Cells("The same in nJ an image; weights on the chip, no reuse", ["constants", "from", *PARTS], cells))
    return found
