"""`spikeloom regress`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from spikeloom.cli.console import bars, emit, note, pairs, percent, table
from spikeloom.cli.options import AsJson
from spikeloom.common.folders import build_folder

EXAMPLE = "Example: spikeloom regress --random 1000 --seed 5000"


def regress(
    benches: Annotated[
        list[str] | None, typer.Argument(metavar="[BENCH]...", help="Components to test; all without any.")
    ] = None,
    random: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Instead: N random networks of any graph on simulated cores (Verilator)."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=1 << 48, metavar="S", help="Of the first random network.")] = 0,
    again: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Instead: a network that --random saved when it failed.")
    ] = None,
    waves: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Keep waveforms (FST) there.")] = None,
    processes: Annotated[int, typer.Option(min=1, metavar="N", help="Simulators at a time.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Run the benches of the hardware's components, and of a tiny core, on Icarus Verilog; or random networks."""
    if sum(bool(x) for x in (benches, random, again)) > 1:
        raise ValueError("benches, --random and --again exclude each other: give one of them")
    if waves is not None and (random or again):
        raise ValueError("--waves is for benches; for a network there is `spikeloom simulate --waves`")
    if random is not None:
        _random(random, seed, processes, as_json)
    elif again is not None:
        _again(again, as_json)
    else:
        _benches(benches, waves, processes, as_json)


def _benches(benches: list[str] | None, waves: Path | None, processes: int, as_json: bool) -> None:
    from spikeloom.sim import regress as sim

    if shutil.which("iverilog") is None:
        raise FileNotFoundError("Icarus Verilog is not installed; on Debian: apt install iverilog")
    with bars() as shown:
        results = sim.regress(benches or None, progress=shown.bar("benches"), waves=waves, processes=processes)
    failed = [result for result in results if not result.passed]
    for result in failed:
        note(f"{result.name}: {result.message}")
    record = {
        "passed": not failed,
        "benches": len(results),
        "benches_failed": len(failed),
        "tests": sum(result.tests for result in results),
        "results": [
            {
                "name": result.name,
                "passed": result.passed,
                "tests": result.tests,
                "seconds": round(result.seconds, 2),
                "message": result.message,
                "waves": list(result.waves),
            }
            for result in results
        ],
    }
    rows = [[x.name, "passed" if x.passed else "FAILED", x.tests, round(x.seconds, 1)] for x in results]
    emit(record, table("Regression", ["bench", "", "tests", "seconds"], rows), as_json=as_json)
    if failed:
        raise typer.Exit(1)


def _random(count: int, seed: int, processes: int, as_json: bool) -> None:
    from spikeloom.sim.fuzz import fuzz
    from spikeloom.sim.fuzz_case import described
    from spikeloom.sim.verilator import verilator_version

    verilator_version()
    folder = build_folder() / "fuzz"
    with bars() as shown:
        advance = shown.bar("networks", count)
        advance(stage="compiling the cores")
        report = fuzz(
            range(seed, seed + count),
            build_dir=folder,
            processes=processes,
            progress=advance,
        )
    failures = []
    for found in report.found:
        path = folder / f"seed-{found.seed}.safetensors"
        found.shrunken.save(path)
        note(f"seed {found.seed}: {found.failure}")
        note(f"  shrunken: {found.shrunken_failure}")
        for line in described(found.shrunken):
            note(f"    {line}")
        note(f"  as drawn: spikeloom regress --random 1 --seed {found.seed}")
        note(f"  shrunken: spikeloom regress --again {path}")
        failures.append({"seed": found.seed, "difference": str(found.failure), "network": path})
    record = {
        "passed": not failures,
        "networks": report.networks,
        "networks_bit_exact": report.passed,
        "networks_refused": len(report.refused),
        "failures": failures,
        "spikes": report.spikes,
        "cycles": report.cycles,
        "worst_estimate": report.deviation,
        "worst_estimate_seed": report.deviation_seed,
    }
    shown_pairs = [
        ("networks", report.networks),
        ("bit-exact, with all counters", report.passed),
        ("refused by the compiler", len(report.refused)),
        ("different", len(failures)),
        ("spikes compared", report.spikes),
        ("cycles simulated", report.cycles),
        ("worst estimate of cycles", f"{percent(report.deviation)} off, seed {report.deviation_seed}"),
    ]
    emit(record, pairs("Random networks", shown_pairs), as_json=as_json)
    if failures:
        raise typer.Exit(1)


def _again(path: Path, as_json: bool) -> None:
    from spikeloom.sim.fuzz import Bench
    from spikeloom.sim.fuzz_case import Case, described
    from spikeloom.sim.verilator import verilator_version

    case = Case.load(path)
    verilator_version()
    failure = Bench(build_folder() / "fuzz").failure(case)
    for line in described(case):
        note(line)
    record = {"passed": failure is None, "difference": None if failure is None else str(failure)}
    emit(record, "every spike, class sum and counter is golden's" if failure is None else str(failure), as_json=as_json)
    if failure is not None:
        raise typer.Exit(1)
