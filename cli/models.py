"""`spikeloom models`."""

from __future__ import annotations

from dataclasses import asdict

from spikeloom.cli.console import emit, percent, table
from spikeloom.cli.options import AsJson

EXAMPLE = "Example: spikeloom models"


def models(as_json: AsJson = False) -> None:
    """List the trained models that come with the package, and check their files."""
    from spikeloom.golden.zoo.shipped import catalogue

    found = list(catalogue().values())
    for model in found:
        model.check()
    columns = ["name", "architecture", "data", "accuracy", "T_avg of T_max", "parameters", "bytes", "made by"]
    rows = [
        [
            x.name,
            x.architecture,
            x.data,
            percent(x.accuracy),
            f"{x.t_avg:.2f} of {x.t_max}",
            x.parameters,
            x.bytes,
            x.command,
        ]
        for x in found
    ]
    shown = table("Trained models in the package", columns, rows, wraps="made by")
    emit({"models": [asdict(x) for x in found]}, shown, "Next: spikeloom info NAME", as_json=as_json)
