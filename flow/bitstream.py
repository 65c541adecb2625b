"""Bitstreams: built for a board, and what is said about them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikeloom.gen.toolchain.reports import BuildReport


def build_record(report: BuildReport) -> dict[str, Any]:
    """The report as `spikeloom build --json` has it."""
    found = report.as_dict()
    found["board"] = found.pop("target")
    found["build_seconds"] = found.pop("seconds")
    found["bitstream"] = str(from_here(report.bitstream))
    found["median_mhz"] = report.median_mhz
    return found


def from_here(path: Path) -> Path:
    """The path as the user would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
