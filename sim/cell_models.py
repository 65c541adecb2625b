"""Verilog models of the ECP5's cells, for simulations of what is synthesised."""

from __future__ import annotations

import re
from pathlib import Path

from spikeloom.gen.toolchain.gate_level import cell_models

DP16KD = Path(__file__).with_name("models") / "dp16kd.v"
"""Our model of the block memory, of which Yosys has no more than the ports."""


def ecp5_models() -> str:
    """All cells that our Verilog names and that synthesis makes, as one text."""
    empty_module = r"^\(\* blackbox \*\)\nmodule DP16KD\b.*?^endmodule$"
    theirs, empty = re.subn(empty_module, "", cell_models(), flags=re.MULTILINE | re.DOTALL)
    assert empty == 1, "a second module of that name would be ignored"
    return theirs + DP16KD.read_text()
