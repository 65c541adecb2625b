"""`spikeloom build`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikeloom.cli.console import bars, emit, note, pairs
from spikeloom.cli.options import DEFAULT_BOARD, DEFAULT_MODEL, AsJson, Model, Output, Sizes, Steps
from spikeloom.common.folders import folder_of
from spikeloom.flow.bitstream import build_record, from_here
from spikeloom.flow.models import load_network

if TYPE_CHECKING:
    from spikeloom.gen.toolchain.reports import BuildReport, CriticalPath

EXAMPLE = "Example: spikeloom build --board ulx3s-45f --lanes 16 --seeds 5"


def build(
    model: Model = DEFAULT_MODEL,
    *,
    board: Annotated[str, typer.Option(metavar="NAME", help="See `spikeloom info --boards`.")] = DEFAULT_BOARD,
    sizes: Sizes,
    clock: Annotated[
        float | None, typer.Option(min=0.001, metavar="MHZ", help="Of the core. Default: the board's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the placement; the clock varies by some 10 % with it.")] = 1,
    seeds: Annotated[
        int, typer.Option(min=1, metavar="N", help="Placements, from --seed on, side by side; the fastest is kept.")
    ] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A Dask scheduler such as tcp://10.0.0.1:8786, whose workers see the folder. Default: processes here.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Placements at once, here. Default: the processor cores.")
    ] = None,
    baud: Annotated[int, typer.Option(min=1, help="Of the serial line.")] = 1_000_000,
    steps: Steps = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Synthesise, place and route: a bitstream with the network inside. Minutes."""
    from spikeloom.flow import library
    from spikeloom.gen.targets import target
    from spikeloom.gen.toolchain.stages import WHOLE

    name = target(board).name
    design = library.compile(load_network(model, steps), board=name, **asdict(sizes))
    if design.why:
        note(design.why)
    folder = output or folder_of(design.network.name) / name
    with bars() as shown:
        advance = shown.bar("Verilog", WHOLE)
        options: dict[str, Any] = {"clock_mhz": clock, "seed": seed, "baud": baud}
        if seeds > 1:
            options |= {"seeds": seeds, "scheduler": scheduler, "workers": workers}
        report = library.build(design, folder=folder, progress=advance, **options)
    record = {"folder": folder, "network": design.network.name, **build_record(report), "core": design.core}
    emit(
        record,
        pairs("Built", build_rows(report)),
        f"Next: spikeloom program {from_here(report.bitstream)}",
        as_json=as_json,
    )
    if not report.timing_met:
        note(f"timing is not met: {report.fmax_mhz:g} of {report.clock_mhz:g} MHz; try --seeds or --clock")
        raise typer.Exit(1)


def _delay(path: CriticalPath) -> str:
    return f"{path.delay_ns:g}, of which {path.routing_ns:g} on wires"


def build_rows(report: BuildReport) -> list[tuple[str, Any]]:
    """The report for people."""

    def of(name: str) -> str:
        used, there = getattr(report, name), report.available.get(name)
        return f"{used:,} of {there:,} ({100 * used / there:.0f} %)" if there else f"{used:,}"

    path = report.critical_path
    return [
        ("bitstream", str(from_here(report.bitstream))),
        ("device", report.device),
        ("LUT", of("luts")),
        ("flip-flops", of("flip_flops")),
        ("block RAM", of("block_rams")),
        ("multipliers", of("multipliers")),
        ("clock wanted, MHz", report.clock_mhz),
        ("clock reached, MHz", report.fmax_mhz),
        ("timing", "met" if report.timing_met else "NOT MET"),
        *[(f"clock of seed {seed}, MHz", mhz) for seed, mhz in report.seeds.items()],
        *([("clock, median of seeds, MHz", report.median_mhz)] if report.seeds else []),
        *([("limiting path", path.words), ("its delay, ns", _delay(path))] if path else []),
        ("from the cache", report.cached),
    ]
