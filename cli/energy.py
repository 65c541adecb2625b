"""`spikeloom energy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from spikeloom.cli.console import bars, emit, note, table
from spikeloom.cli.energy_tables import energy_tables
from spikeloom.cli.options import DEFAULT_MODEL, AsJson, Core, Images, Source
from spikeloom.cli.tables import write_tables
from spikeloom.flow.models import load_network

EXAMPLE = "Example: spikeloom energy digits --hardware 4 --lanes 16 -o build/energy.md"
MOST = 1000  # images where the user does not say


def energy(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="Networks, checkpoints (quantised to 8 bits) or shipped models."),
    ] = None,
    *,
    plain: Annotated[
        bool | None,
        typer.Option("--plain/--no-plain", help="Add each model with all T_l = T_max. Default: if no other is plain."),
    ] = None,
    reuse: Annotated[
        Literal["none", "full", "stationary"],
        typer.Option(
            help="Of words read: none, a row for each event; full, once a time step for the whole layer; stationary, "
            "weights once an image. One table has all three."
        ),
    ] = "none",
    external: Annotated[
        bool, typer.Option("--external", help="The weights come from DRAM, once an image, into on-chip memory.")
    ] = False,
    layers: Annotated[bool, typer.Option("--layers", help="Each layer of each spiking model too.")] = False,
    hardware: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Simulate the Verilog of the first model on N images; its counters."),
    ] = None,
    core: Core,
    source: Source,
    images: Images = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the tables too: .md or .csv.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Energy of an inference from counted operations, beside a plain and a non-spiking transformer of the shape."""
    from spikeloom.flow.energy import compare, in_hardware

    if output is not None and output.suffix not in (".md", ".csv"):
        raise ValueError(f"--output must end in .md or .csv, not {output}")
    given = [load_network(model) for model in models or [DEFAULT_MODEL]]
    known = [(network, source.samples(network, images, most=MOST)) for network in given]
    compiled = None if hardware is None else core.compile(given[0])
    with bars() as shown:
        found = compare(known, plain=plain, reuse=reuse, external=external, shown=shown)
        simulated = None if compiled is None else in_hardware(compiled, known[0][1].images[:hardware], shown)
    tables = energy_tables(found, simulated, layers=layers)
    if output is not None:
        write_tables(output, tables)
    record = {**found.record(layers=layers), "hardware": simulated, "tables": output}
    emit(record, *(table(*cells) for cells in tables), as_json=as_json)
    if found.plain_added:
        note("the rows with all T_l = T_max are the same weights without time masks, not networks trained that way")
    shape = f"the non-spiking ViT has the shape of {found.reference.name}"
    for line in (f"{shape}; nobody has trained one here, so it has no accuracy", *found.warnings):
        note(line)
    if simulated is not None and not simulated["as_counted"]:
        note("the core's counters are not golden's: see `spikeloom simulate`")
        raise typer.Exit(1)
