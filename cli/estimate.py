"""`spikeloom estimate`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.table import Table

from spikeloom.cli.console import bars, emit, pairs, table
from spikeloom.cli.options import DEFAULT_BOARD, DEFAULT_MODEL, AsJson, Core, Model, Source, Steps, at_most
from spikeloom.common.folders import folder_of
from spikeloom.flow.models import load_network

if TYPE_CHECKING:
    from spikeloom.flow.exploration import Exploration
    from spikeloom.gen.scanner_walk import Activity
    from spikeloom.gen.targets import Target
    from spikeloom.golden.network import Network

EXAMPLE = "Example: spikeloom estimate --lanes 64 --steps block.0.fc1=1 --clock 80"
MOST = 4  # images where the user does not say
MOST_EXPLORED = 1  # likewise, on hundreds of cores


@dataclass(frozen=True, kw_only=True)
class Exploring:
    """Of many cores instead of one."""

    explore: Annotated[
        bool, typer.Option("--explore", help="Every size of the core that is not given, side by side, for the board.")
    ] = False
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="With --explore: a Dask scheduler such as tcp://10.0.0.1:8786, whose workers see the build folder. "
            "Default: processes here.",
        ),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="With --explore: processes here. Default: the processor cores."),
    ] = None


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
    exploring: Exploring,
    as_json: AsJson = False,
) -> None:
    """Cycles and memory of a network on a core, or on many, before any simulation or synthesis."""
    from spikeloom.flow import estimation
    from spikeloom.gen.estimate import random_activity
    from spikeloom.gen.targets import target

    board = target(core.board or DEFAULT_BOARD)
    if clock is not None:
        board = replace(board, clock_hz=max(1, round(clock * 1e6)))
    network = load_network(model, steps)
    compiled = None if exploring.explore else core.compile(network)

    def given(most: int) -> list[Activity]:
        if density is not None:
            return [random_activity(network, density)]
        return estimation.activities(network, source.samples(network, images, most=most).images)

    if compiled is None:
        _explore(network, given(MOST_EXPLORED), board, core, exploring, as_json=as_json)
        return
    with bars() as shown:
        found = estimation.estimate_each(compiled, given(MOST), shown)
    record = estimation.record(compiled, found, clock_mhz=board.clock_hz / 1e6, density=density)
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


def _explore(
    network: Network, given: list[Activity], board: Target, core: Core, exploring: Exploring, *, as_json: bool
) -> None:
    from spikeloom.flow import exploration

    sizes = {name: value for name, value in asdict(core).items() if value is not None and name != "board"}
    where: dict[str, Any] = {"scheduler": exploring.scheduler, "workers": exploring.workers}
    with bars() as shown:
        found = exploration.explore(
            network, given, board, sizes, folder_of(network.name) / "exploration", shown, **where
        )
    emit(found.record(), *_explored(found), as_json=as_json)


def _explored(found: Exploration) -> list[RenderableType]:
    columns = ["lanes", "columns", "banks", "word", "neuron lanes", "cycles", "ms", "cells", "block RAM", "fits", ""]
    rows = [
        [
            *(str(getattr(point.core, name)) for name in ("lanes", "columns", "banks", "word", "neuron_lanes")),
            point.cycles,
            point.ms,
            point.cells.cells,
            point.cells.block_rams,
            point.fits,
            "best" if found.is_best(point) else "",
        ]
        for point in found.front
    ]
    summary = [
        ("cores of all sizes", found.tried),
        ("estimated, the others being slower and no smaller", len(found.points)),
        (f"fit {found.board}", sum(point.fits for point in found.points)),
        ("best", "none fits" if found.best is None else found.best.why),
        ("picture", str(found.figure)),
    ]
    title = f"Cores that no other is as good as, at {found.clock_mhz:g} MHz; cells: LUT4 and two a CCU2C"
    return [table(title, columns, rows), pairs("Exploration", summary)]
