"""`spikeloom estimate`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from spikeloom.cli.console import bars, emit, pairs, table
from spikeloom.cli.options import DEFAULT_BOARD, DEFAULT_MODEL, AsJson, Core, Model, Source, Steps, at_most
from spikeloom.flow.models import load_network

EXAMPLE = "Example: spikeloom estimate --lanes 64 --steps block.0.fc1=1 --clock 80"
MOST = 4  # images where the user does not say


def estimate(
    model: Model = DEFAULT_MODEL,
    *,
    core: Core,
    steps: Steps = None,
    source: Source,
    images: Annotated[int | None, at_most(MOST, "Images to average over.")] = None,
    density: Annotated[
        float | None, typer.Option(help="Random spikes of this density, 0 to 1, instead of images.")
    ] = None,
    clock: Annotated[
        float | None, typer.Option(min=0.001, metavar="MHZ", help="For the milliseconds. Default: the board's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Cycles and memory of a network on a core, before any simulation or synthesis."""
    from spikeloom.flow import estimation
    from spikeloom.gen.targets import target

    clock = clock or target(core.board or DEFAULT_BOARD).clock_hz / 1e6
    compiled = core.compile(load_network(model, steps))
    with bars() as shown:
        if density is not None:
            found = estimation.estimate_density(compiled, density)
        else:
            samples = source.samples(compiled.network, images, most=MOST)
            found = estimation.estimate_images(compiled, samples.images, shown)
    record = estimation.record(compiled, found, clock_mhz=clock, density=density)
    emit(record, *_tables(record), as_json=as_json)


def _tables(record: dict[str, Any]) -> list[Table]:
    cycles, clock = record["cycles_per_image"], record["clock_mhz"]
    rows = [
        [*(x[k] for k in ("name", "steps", "cycles")), f"{100 * x['cycles'] / cycles:.1f} %", x["bound"]]
        for x in record["layers"]
    ]
    summary = [
        ("cycles an image", cycles),
        (f"ms an image at {clock:g} MHz", record["ms_per_image"]),
        ("memory, kbit", sum(record["memory_bits"].values()) / 1000),
        ("block RAMs of an ECP5", sum(record["block_rams"].values())),
        ("core", record["core"].summary),
    ]
    return [table("Layers", ["layer", "T_l", "cycles", "share", "bound by"], rows), pairs("Estimate", summary)]
