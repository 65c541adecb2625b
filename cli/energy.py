"""`spikeloom energy`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spikeloom.cli.console import Bars, bars, emit, note, percent, table
from spikeloom.cli.options import (
    DEFAULT_MODEL,
    AsJson,
    Board,
    Columns,
    Data,
    DataFolder,
    Images,
    Lanes,
    NeuronLanes,
)
from spikeloom.cli.tables import Cells, write_tables
from spikeloom.common.folders import folder_of
from spikeloom.flow.cores import compile_for
from spikeloom.flow.images import Samples, load_samples
from spikeloom.flow.models import load_network

if TYPE_CHECKING:
    from spikeloom.golden.analysis.energy import Energy
    from spikeloom.golden.analysis.energy_table import Row
    from spikeloom.golden.network import Network

EXAMPLE = "Example: spikeloom energy digits --hardware 4 --lanes 16 -o build/energy.md"
MOST = 1000  # images where the user does not say
PARTS = ("compute", "weights", "membrane", "activations", "memory", "total")
NJ = 1e3  # pJ


def energy(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="Networks, checkpoints (quantised to 8 bits) or shipped models."),
    ] = None,
    plain: Annotated[
        bool | None,
        typer.Option("--plain/--no-plain", help="Add each model with all T_l = T_max. Default: if no other is plain."),
    ] = None,
    reuse: Annotated[
        Literal["none", "full"],
        typer.Option(help="Of words read: none, a row for each event; full, once a time step for the whole layer."),
    ] = "none",
    external: Annotated[
        bool, typer.Option("--external", help="The weights come from DRAM, once an image, into on-chip memory.")
    ] = False,
    layers: Annotated[bool, typer.Option("--layers", help="Each layer of each spiking model too.")] = False,
    hardware: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Simulate the Verilog of the first model on N images; its counters."),
    ] = None,
    lanes: Lanes = None,
    columns: Columns = None,
    neuron_lanes: NeuronLanes = None,
    board: Board = None,
    data: Data = None,
    data_folder: DataFolder = None,
    images: Images = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the tables too: .md or .csv.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Energy of an inference from counted operations, beside a plain and a non-spiking transformer of the shape."""
    from spikeloom.golden.analysis import energy_table as golden
    from spikeloom.golden.analysis.energy_constants import CONSTANTS

    if output is not None and output.suffix not in (".md", ".csv"):
        raise ValueError(f"--output must end in .md or .csv, not {output}")
    given = [load_network(model) for model in models or [DEFAULT_MODEL]]
    known = [(x, load_samples(data, x, images, folder=data_folder, most=MOST)) for x in given]
    masked = [(network, samples) for network, samples in known if golden.is_dynamic(network)]
    add_plain = len(masked) == len(known) if plain is None else plain
    all_steps = [(golden.full_steps(network), samples) for network, samples in masked] if add_plain else []
    with bars() as shown:
        rows = []
        for network, samples in known + all_steps:
            advance = shown.bar(network.name[:40], len(samples.images))
            rows.append(golden.measure(network, *samples, reuse=reuse, external=external, progress=advance))
        first = next((i for i, row in enumerate(rows) if row.kind == "dynamic"), 0)
        reference = rows[first]
        dense = golden.without_spikes(known[first][0], reference, reuse=reuse, external=external)
        simulated = None
        if hardware is not None:
            sizes = {"lanes": lanes, "columns": columns, "neuron_lanes": neuron_lanes}
            simulated = _simulated(*known[0], hardware, board, sizes, shown)
    rows.sort(key=lambda row: row.kind == "dynamic")
    spiking, rows = rows, [dense, *rows]
    others = [(row.name, row.accuracy) for row in spiking if row is not reference]
    warned = golden.warnings([(reference.name, reference.accuracy), *others])
    record = {
        "reference": reference.name,
        "images": len(known[0][1].images),
        "reuse": reuse,
        "external": external,
        "constants": CONSTANTS,
        "rows": [_row_record(row, reference, layers) for row in rows],
        "warnings": warned,
        "hardware": simulated,
        "tables": output,
    }
    tables = [_relative_table(rows, reference), *(_energy_table(rows, name) for name in CONSTANTS)]
    tables.append(_operations_table(spiking))
    if layers:
        tables += [_layer_table(row) for row in spiking]
    if simulated is not None:
        tables += _hardware_tables(simulated)
    if output is not None:
        write_tables(output, tables)
    emit(record, *(table(*cells) for cells in tables), as_json=as_json)
    if all_steps:
        note("the rows with all T_l = T_max are the same weights without time masks, not networks trained that way")
    note(f"the non-spiking ViT has the shape of {reference.name}; nobody has trained one here, so it has no accuracy")
    for line in warned:
        note(line)
    if simulated is not None and not simulated["as_counted"]:
        note("the core's counters are not golden's: see `spikeloom simulate`")
        raise typer.Exit(1)


def _simulated(
    network: Network, samples: Samples, most: int, board: str | None, sizes: dict[str, int | None], shown: Bars
) -> dict[str, Any]:
    """The core's counters and their energy beside the operations of the same images."""
    from spikeloom.golden.analysis.energy import spiking
    from spikeloom.golden.analysis.energy_constants import CONSTANTS
    from spikeloom.golden.analysis.operations import TOTAL, operations
    from spikeloom.sim.counter_report import compare
    from spikeloom.sim.counter_report import energy as of_counters
    from spikeloom.sim.simulate import simulate
    from spikeloom.sim.verilator import verilator_version

    images = samples.images[:most]
    compiled = compile_for(network, board, **sizes)
    verilator_version()
    advance = shown.bar("simulating", len(images))
    folder = folder_of(network.name) / "simulation"
    report = simulate(compiled, images, build_dir=folder, progress=advance)
    counted = operations(network, images)
    compared = compare(report, compiled.plan, counted)
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
