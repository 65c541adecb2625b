"""Verilog models of the ECP5's cells, for simulations of what is synthesised."""

from __future__ import annotations

from pathlib import Path

from spikeloom.gen.toolchain.gate_level import cell_models

DP16KD = Path(__file__).with_name("models") / "dp16kd.v"
"""Our model of the block memory, of which Yosys has none."""


def ecp5_models() -> str:
    """All cells that our Verilog names and that synthesis makes, as one text."""
    return cell_models() + DP16KD.read_text()
