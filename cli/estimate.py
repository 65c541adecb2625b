"""`spikeloom estimate`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from spikeloom.cli.console import bars, emit, pairs, table
from spikeloom.cli.options import DEFAULT_BOARD, DEFAULT_MODEL, AsJson, Core, Model, Source, Steps, at_most
from spikeloom.flow.models import load_network, time_steps

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
    from spikeloom.gen.estimate import Activity, random_activity
    from spikeloom.gen.estimate import estimate as of_image
    from spikeloom.gen.resources import block_rams, memory_bits
    from spikeloom.gen.targets import target
    from spikeloom.golden.network.execute import execute

    clock = clock or target(core.board or DEFAULT_BOARD).clock_hz / 1e6
    network = load_network(model, steps)
    compiled = core.compile(network)
    config, found = compiled.config, []
    with bars() as shown:
        if density is not None:
            found.append(of_image(compiled.plan, random_activity(network, density)))
        else:
            samples = source.samples(network, images, most=MOST)
            execution = execute(network, samples.images, record=True)
            advance = shown.bar("estimate", len(samples.images))
            for index in range(len(samples.images)):
                tensors = {name: x[:, index] for name, x in execution.tensors.items()}
                spikes = {name: x[:, index] for name, x in execution.spikes.items()}
                found.append(of_image(compiled.plan, Activity(tensors=tensors, spikes=spikes)))
                advance(index + 1)

    def mean(values: Any) -> int:
        return round(sum(values) / len(found))

    layers: list[dict[str, Any]] = [
        {
            "name": layer.name,
            "steps": network.layers[index].steps,
            "cycles": mean(x.layers[index].cycles for x in found),
            "events": mean(x.layers[index].events for x in found),
            "slots": mean(x.layers[index].slots for x in found),
            "bound": layer.bound,
        }
        for index, layer in enumerate(found[0].layers)
    ]
    cycles = mean(x.cycles for x in found)
    memory, blocks = memory_bits(config), block_rams(config)
    record = {
        "network": network.name,
        "cycles_per_image": cycles,
        "clock_mhz": clock,
        "ms_per_image": cycles / clock / 1000,
        "images": len(found),
        "density": density,
        **time_steps(network),
        "layers": layers,
        "memory_bits": memory,
        "block_rams": blocks,
        "core": config,
    }
    rows = [
        [*(x[k] for k in ("name", "steps", "cycles")), f"{100 * x['cycles'] / cycles:.1f} %", x["bound"]]
        for x in layers
    ]
    summary = pairs(
        "Estimate",
        [
            ("cycles an image", cycles),
            (f"ms an image at {clock:g} MHz", cycles / clock / 1000),
            ("memory, kbit", sum(memory.values()) / 1000),
            ("block RAMs of an ECP5", sum(blocks.values())),
            ("core", config.summary),
        ],
    )
    columns_shown = ["layer", "T_l", "cycles", "share", "bound by"]
    emit(record, table("Layers", columns_shown, rows), summary, as_json=as_json)
