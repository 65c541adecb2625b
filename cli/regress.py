"""`spikeloom regress`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikeloom.cli.console import bars, emit, note, table
from spikeloom.cli.options import AsJson

EXAMPLE = "Example: spikeloom regress ac_array kv_store --waves build/waves"


def regress(
    benches: Annotated[
        list[str] | None, typer.Argument(metavar="[BENCH]...", help="Components to test; all without any.")
    ] = None,
    waves: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Keep waveforms (FST) there.")] = None,
    processes: Annotated[int, typer.Option(min=1, metavar="N", help="Simulators at a time.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Run the benches of the hardware's components, and of a tiny core, on Icarus Verilog."""
    import shutil

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
