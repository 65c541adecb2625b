"""`spikeloom demo`: the whole flow, each stage kept until its inputs change."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikeloom.cli.console import Bars, bars, emit, note, number, pairs, percent, plain
from spikeloom.cli.options import DEFAULT_BOARD, MOST_SIMULATED, AsJson, SimulatedImages
from spikeloom.common.cache import Kept, code_hash, kept, versions
from spikeloom.common.files import data_hash, file_hash, writable_folder, write_text
from spikeloom.common.folders import folder_of
from spikeloom.flow.cores import core_for
from spikeloom.flow.images import Samples, load_samples
from spikeloom.flow.models import time_steps

if TYPE_CHECKING:
    from spikeloom.golden.network import Network

EXAMPLE = "Example: spikeloom demo --board ulx3s-45f"


def demo(
    model: Annotated[
        str, typer.Argument(metavar="[CHECKPOINT]", help="Of `spikeloom train`, or a shipped model.")
    ] = "digits",
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
    from spikeloom.flow.background import building
    from spikeloom.flow.simulation import finished_well
    from spikeloom.gen.targets import target
    from spikeloom.gen.toolchain.stages import WHOLE
    from spikeloom.sim.verilator import verilator_version

    begin = time.monotonic()
    chosen = target(board)
    verilator_version()
    with bars() as shown:
        quantized, network, samples, folder = _quantize(model, images, output, shown)
        compiled, config = _compile(network, samples, chosen.name, folder, shown)
        advance = shown.bar("place and route", WHOLE) if not no_build else None
        arguments = {
            "verilog": str(folder / "verilog" / "core.v"),
            "config": config,
            "board": chosen.name,
            "clock_hz": None if clock is None else round(clock * 1e6),
            "folder": str(folder / chosen.name),
            "seed": seed,
        }
        with contextlib.nullcontext() if advance is None else building(advance, **arguments) as wait:
            tested = _simulate(network, samples, config, folder, shown)
            built = None if wait is None else wait()
    stages = {"quantize": quantized, "compile": compiled, "simulate": tested}
    simulated = tested.result
    record = _record(network, chosen.name, folder, config, stages, built) | {
        "seconds": round(time.monotonic() - begin, 1),
    }
    write_text(folder / "demo.json", json.dumps(plain(record), indent=2) + "\n")
    emit(record, pairs(f"{network.name} on {chosen.name}", _rows(record)), as_json=as_json)
    if simulated["first_difference_text"]:
        note(f"first difference: {simulated['first_difference_text']}")
    if built is not None and not built["timing_met"]:
        note(f"timing is not met: {built['fmax_mhz']:g} of {built['clock_mhz']:g} MHz; try another --seed")
    if not finished_well(simulated) or (built is not None and not built["timing_met"]):
        raise typer.Exit(1)


def _record(
    network: Network,
    board: str,
    folder: Path,
    config: dict[str, int],
    stages: dict[str, Kept],
    built: dict[str, Any] | None,
) -> dict[str, Any]:
    """What the demo found, for JSON and for the table."""
    simulated = stages["simulate"].result
    cycles = simulated["cycles_per_image"]
    return {
        "network": network.name,
        "board": board,
        "folder": folder,
        "accuracy_float": stages["quantize"].result["accuracy_float"],
        **{key: value for key, value in simulated.items() if key not in ("layers", "core", "network")},
        **time_steps(network),
        "ms_per_image": None if built is None else cycles / built["clock_mhz"] / 1000,
        "ms_per_image_at_fmax": None if built is None else cycles / built["fmax_mhz"] / 1000,
        **({} if built is None else {k: v for k, v in built.items() if k not in ("cached", "critical_path")}),
        "layers": simulated["layers"],
        "core": config,
        "stages_cached": {name: x.cached for name, x in stages.items()}
        | {"build": None if built is None else built["cached"]},
        "stages_seconds": {name: x.seconds for name, x in stages.items()}
        | {"build": None if built is None else built["build_seconds"]},
    }


def _quantize(model: str, images: int | None, output: Path | None, shown: Bars) -> tuple[Kept, Network, Samples, Path]:
    """The checkpoint as a network, and both accuracies; with the images and the demo's folder."""
    from spikeloom.flow.models import model_path
    from spikeloom.golden.network import Network

    checkpoint = model_path(model)
    name = checkpoint.parent.name if checkpoint.stem == "checkpoint" else checkpoint.stem
    folder = writable_folder(output or folder_of(name))
    path = folder / "network.safetensors"

    def make() -> dict[str, Any]:
        from dataclasses import replace

        from spikeloom.flow.models import checkpoint_provenance
        from spikeloom.golden.models import checkpoints
        from spikeloom.golden.network.execute import execute
        from spikeloom.golden.quantization.quantize import quantize
        from spikeloom.golden.training.train import accuracy

        trained, header = checkpoints.load(checkpoint)
        network = quantize(trained, name=name, provenance=checkpoint_provenance(header, checkpoint))
        held_out = load_samples(None, network, images, most=MOST_SIMULATED)
        assert held_out.labels is not None
        advance(0, len(held_out.images), stage="float model")
        of_float = accuracy(trained, held_out.images, held_out.labels)
        advance(stage="integer model")
        execution = execute(network, held_out.images, progress=lambda done: advance(done))
        of_integers = execution.accuracy(held_out.labels)
        measured = {
            "accuracy_float": of_float,
            "accuracy_integer": of_integers,
            "images": len(held_out.images),
        }
        replace(network, provenance={**network.provenance, **measured}).save(path)
        return measured

    advance = shown.bar("quantise", 1)
    inputs = {"checkpoint": file_hash(checkpoint), "images": images, "code": code_hash("golden")}
    inputs |= versions("torch", "numpy", "scikit-learn")
    result = kept(folder / "stages" / "quantize.json", inputs=inputs, outputs=[path], make=make)
    network = Network.load(path)
    samples = load_samples(None, network, images, most=MOST_SIMULATED)
    _done(advance, result, len(samples.images))
    return result, network, samples, folder


def _compile(network: Network, samples: Samples, board: str, folder: Path, shown: Bars) -> tuple[Kept, dict[str, int]]:
    """Verilog and test vectors for the core that suits the board; the result and the core's fields."""

    config = core_for(network, board)

    def make() -> dict[str, Any]:
        from spikeloom.flow.export import export
        from spikeloom.gen.compiler import compile_network
        from spikeloom.gen.verilog import core_verilog

        compiled = compile_network(network, config)
        verilog = core_verilog(config, compiled.program)
        export(compiled, verilog, samples.first(min(10, len(samples.images))), folder / "verilog")
        return {"verilog_bytes": len(verilog)}

    advance = shown.bar("compile", 1)
    inputs = {"network": file_hash(folder / "network.safetensors"), "core": asdict(config)}
    inputs |= {"code": code_hash("golden", "rtl", "gen", "flow"), **versions("amaranth")}
    outputs = [folder / "verilog" / name for name in ("core.v", "vectors.npz", "manifest.json")]
    result = kept(folder / "stages" / "compile.json", inputs=inputs, outputs=outputs, make=make)
    _done(advance, result, 1)
    return result, asdict(config)


def _simulate(network: Network, samples: Samples, config: dict[str, int], folder: Path, shown: Bars) -> Kept:
    """All images on the compiled Verilog, against the golden model."""
    from spikeloom.flow.simulation import simulate
    from spikeloom.sim.verilator import verilator_version

    verilog = folder / "verilog" / "core.v"

    def make() -> dict[str, Any]:
        from spikeloom.gen.compiler import compile_network
        from spikeloom.rtl.core.config import CoreConfig

        compiled = compile_network(network, CoreConfig(**config))
        return simulate(compiled, samples, folder / "simulation", shown, processes=1)

    inputs = {"verilog": file_hash(verilog), "images": data_hash(samples.images.tobytes())}
    inputs |= {"network": file_hash(folder / "network.safetensors"), "verilator": verilator_version()}
    inputs |= {"code": code_hash("golden", "sim", "flow")}
    result = kept(folder / "stages" / "simulate.json", inputs=inputs, outputs=[], make=make)
    if result.cached:
        _done(shown.bar("simulating", 1), result, len(samples.images))
    return result


def _done(advance: Any, result: Kept, total: int) -> None:
    advance(total, total, stage="unchanged" if result.cached else "")


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
