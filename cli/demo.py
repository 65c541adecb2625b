"""`spikeloom demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from spikeloom.cli.console import bars, emit, note, number, pairs, percent
from spikeloom.cli.options import DEFAULT_BOARD, DEFAULT_MODEL, AsJson, SimulatedImages

EXAMPLE = "Example: spikeloom demo --board ulx3s-45f"


def demo(
    model: Annotated[
        str, typer.Argument(metavar="[CHECKPOINT]", help="Of `spikeloom train`, or a shipped model.")
    ] = DEFAULT_MODEL,
    board: Annotated[str, typer.Option(metavar="NAME", help="See `spikeloom info --boards`.")] = DEFAULT_BOARD,
    clock: Annotated[float | None, typer.Option(min=0.001, metavar="MHZ", help="Default: the board's.")] = None,
    seed: Annotated[int, typer.Option(help="Of the placement.")] = 1,
    images: SimulatedImages = None,
    no_build: Annotated[bool, typer.Option("--no-build", help="Leave out place and route.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Default: build/<network>.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """From the shipped model to a bitstream, with every spike checked; minutes, seconds the second time."""
    from spikeloom.flow import demo as flow

    with bars() as shown:
        record = flow.demo(
            model,
            board=board,
            shown=shown,
            clock_hz=None if clock is None else round(clock * 1e6),
            seed=seed,
            images=images,
            place_and_route=not no_build,
            output=output,
        )
    emit(record, pairs(f"{record['network']} on {record['board']}", _rows(record)), as_json=as_json)
    if record["first_difference_text"]:
        note(f"first difference: {record['first_difference_text']}")
    if not record.get("timing_met", True):
        note(f"timing is not met: {record['fmax_mhz']:g} of {record['clock_mhz']:g} MHz; try another --seed")
    if not flow.ended_well(record):
        raise typer.Exit(1)


def _rows(record: dict[str, Any]) -> list[tuple[str, Any]]:
    """The final table."""
    images = record["images"]
    exact = f"{record['images_bit_exact']} of {images}"

    def an_image(name: str) -> str:
        return number(round(record[name] / images))

    rows: list[tuple[str, Any]] = [
        ("accuracy float", percent(record["accuracy_float"])),
        ("accuracy integer", percent(record["accuracy_integer"])),
        ("accuracy hardware", percent(record["accuracy_hardware"])),
        ("images bit-exact, every spike", exact),
        ("counters as golden", record["counters_match"]),
        ("cycles an image", record["cycles_per_image"]),
    ]
    if record["ms_per_image"] is not None:
        at, top = f"{record['clock_mhz']:g} MHz", f"{record['fmax_mhz']:g} MHz"
        text = f"{record['ms_per_image']:.3f} at {at}, {record['ms_per_image_at_fmax']:.3f} at {top}"
        rows.append(("ms an image", text))
    steps = ", ".join(f"{name} {steps}" for name, steps in record["t_per_layer"].items())
    rows += [
        ("time steps", f"{record['t_avg']:.2f} on average, at most {record['t_max']}: {steps}"),
        ("accumulates an image", f"{an_image('sops_done')} done, {an_image('sops_skipped')} skipped"),
        ("weight rows skipped an image", an_image("rows_skipped")),
    ]
    for name in ("reads", "writes"):
        key = f"membrane_{name}"
        rows.append((f"membrane {name} an image", f"{an_image(key)} done, {an_image(f'{key}_saved')} saved"))
    if record["ms_per_image"] is not None:
        there = record["available"]
        for label, key in (("LUT", "luts"), ("block RAM", "block_rams"), ("multipliers", "multipliers")):
            rows.append((label, f"{record[key]:,}" + (f" of {there[key]:,}" if key in there else "")))
        met = "met" if record["timing_met"] else "NOT MET"
        rows += [
            ("fmax", f"{record['fmax_mhz']:g} MHz, {record['clock_mhz']:g} wanted: {met}"),
            ("bitstream", str(record["bitstream"])),
        ]
    rows.append(("seconds", record["seconds"]))
    return rows
