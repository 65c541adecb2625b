"""The whole flow, from a trained model to a bitstream: each stage is kept until its inputs change."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeloom.common.cache import Kept, code_hash, kept, versions
from spikeloom.common.files import data_hash, file_hash, writable_folder, write_text
from spikeloom.common.folders import folder_of
from spikeloom.flow.cores import chosen_for
from spikeloom.flow.images import Samples, load_samples
from spikeloom.flow.models import Checkpoint, load_checkpoint, quantized, time_steps
from spikeloom.flow.progress import Advance, Bars
from spikeloom.flow.records import plain
from spikeloom.flow.simulation import MOST_SIMULATED, finished_well

if TYPE_CHECKING:
    from spikeloom.golden.network import Network

VECTORS = 10
"""Images in the test vectors, at most."""
FOR_SYNTHESIS = "core-synthesis.v"
"""The core in cells of the board's device; what is simulated is in the portable form, equal cycle by cycle."""


def demo(
    model: str,
    *,
    board: str,
    shown: Bars,
    clock_hz: int | None = None,
    seed: int = 1,
    images: int | None = None,
    place_and_route: bool = True,
    output: Path | None = None,
) -> dict[str, Any]:
    """Quantise, compile, simulate against golden and, beside that, place and route; the record of all of it.

    model: a checkpoint's file or the name of a shipped model. board: its name. clock_hz: of the core; the board's when
    None. seed: of the placement. images: how many held-out ones; `MOST_SIMULATED` at most when None. output: folder
    of everything, the network's in the build folder when None; ``demo.json`` in it is the record.
    Raises what the stages raise; SimulationError, before any work, where Verilator is missing.
    """
    from spikeloom.flow.background import building
    from spikeloom.gen.targets import target
    from spikeloom.gen.toolchain.stages import WHOLE
    from spikeloom.sim.verilator import verilator_version

    begin = time.monotonic()
    chosen = target(board)
    verilator_version()
    made, network, samples, folder = _quantize(model, images, output, shown)
    compiled, config = _compile(network, samples, chosen.name, folder, shown)
    advance = shown.bar("place and route", WHOLE) if place_and_route else None
    arguments = {
        "verilog": str(folder / FOR_SYNTHESIS),
        "config": config,
        "board": chosen.name,
        "clock_hz": clock_hz,
        "folder": str(folder / chosen.name),
        "seed": seed,
    }
    with contextlib.nullcontext() if advance is None else building(advance, **arguments) as wait:
        tested = _simulate(network, samples, config, folder, shown)
        built = None if wait is None else wait()
    stages = {"quantize": made, "compile": compiled, "simulate": tested}
    record = _record(network, chosen.name, folder, config, stages, built)
    record["seconds"] = round(time.monotonic() - begin, 1)
    write_text(folder / "demo.json", json.dumps(plain(record), indent=2) + "\n")
    return record


def ended_well(record: dict[str, Any]) -> bool:
    """Whether the hardware is golden in everything and, where it was placed, fast enough."""
    return finished_well(record) and bool(record.get("timing_met", True))


def _record(
    network: Network,
    board: str,
    folder: Path,
    config: dict[str, Any],
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
    from spikeloom.golden.network import Network

    checkpoint = load_checkpoint(model)
    folder = writable_folder(output or folder_of(checkpoint.name))
    path = folder / "network.safetensors"
    advance = shown.bar("quantise", 1)
    inputs = {"checkpoint": file_hash(checkpoint.path), "images": images, "code": code_hash("golden")}
    inputs |= versions("torch", "numpy", "scikit-learn")
    result = kept(
        folder / "stages" / "quantize.json",
        inputs=inputs,
        outputs=[path],
        make=lambda: _measured(checkpoint, images, path, advance),
    )
    network = Network.load(path)
    samples = load_samples(None, network, images, most=MOST_SIMULATED)
    _done(advance, result, len(samples.images))
    return result, network, samples, folder


def _measured(checkpoint: Checkpoint, images: int | None, path: Path, advance: Advance) -> dict[str, Any]:
    """Write the network, with both accuracies in its provenance; these."""
    from dataclasses import replace

    from spikeloom.golden.network.execute import execute
    from spikeloom.golden.training.evaluation import accuracy

    network = quantized(checkpoint)
    held_out = load_samples(None, network, images, most=MOST_SIMULATED)
    assert held_out.labels is not None
    advance(0, len(held_out.images), "float model")
    of_float = accuracy(checkpoint.model, held_out.images, held_out.labels)
    advance(stage="integer model")
    execution = execute(network, held_out.images, progress=lambda done: advance(done))
    found = {
        "accuracy_float": of_float,
        "accuracy_integer": execution.accuracy(held_out.labels),
        "images": len(held_out.images),
    }
    replace(network, provenance={**network.provenance, **found}).save(path)
    return found


def _compile(network: Network, samples: Samples, board: str, folder: Path, shown: Bars) -> tuple[Kept, dict[str, int]]:
    """Verilog and test vectors for the board's core for a demo; the result and the core's fields."""
    from spikeloom.gen.targets import target

    device = target(board)
    config, cells = chosen_for(network, board, **device.core).plan.config, device.cells

    def make() -> dict[str, Any]:
        from spikeloom.flow.export import export
        from spikeloom.gen.compiler import compile_network
        from spikeloom.gen.verilog import core_verilog

        compiled = compile_network(network, config)
        write_text(folder / FOR_SYNTHESIS, core_verilog(config, compiled.program, cells=cells))
        verilog = core_verilog(config, compiled.program)
        export(compiled, verilog, samples.first(min(VECTORS, len(samples.images))), folder / "verilog")
        return {"verilog_bytes": len(verilog)}

    advance = shown.bar("compile", 1)
    inputs = {"network": file_hash(folder / "network.safetensors"), "core": asdict(config), "cells": cells.family}
    inputs |= {"code": code_hash("golden", "rtl", "gen", "flow"), **versions("amaranth")}
    outputs = [folder / "verilog" / name for name in ("core.v", "vectors.npz", "manifest.json")]
    outputs.append(folder / FOR_SYNTHESIS)
    result = kept(folder / "stages" / "compile.json", inputs=inputs, outputs=outputs, make=make)
    _done(advance, result, 1)
    return result, asdict(config)


def _simulate(network: Network, samples: Samples, config: dict[str, Any], folder: Path, shown: Bars) -> Kept:
    """All images on the compiled Verilog, against the golden model."""
    from spikeloom.flow.simulation import run_recorded
    from spikeloom.sim.verilator import verilator_version

    verilog = folder / "verilog" / "core.v"

    def make() -> dict[str, Any]:
        from spikeloom.gen.compiler import compile_network
        from spikeloom.rtl.core.config import CoreConfig

        compiled = compile_network(network, CoreConfig(**config))
        return run_recorded(compiled, samples, folder / "simulation", shown, processes=1)

    inputs = {"verilog": file_hash(verilog), "images": data_hash(samples.images.tobytes())}
    inputs |= {"network": file_hash(folder / "network.safetensors"), "verilator": verilator_version()}
    inputs |= {"code": code_hash("golden", "sim", "flow")}
    result = kept(folder / "stages" / "simulate.json", inputs=inputs, outputs=[], make=make)
    if result.cached:
        _done(shown.bar("simulating", 1), result, len(samples.images))
    return result


def _done(advance: Advance, result: Kept, total: int) -> None:
    advance(total, total, stage="unchanged" if result.cached else "")
