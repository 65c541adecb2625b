"""How Yosys reads our Verilog."""

from __future__ import annotations

READ_OPTIONS = "-noassert -nolatches"
"""Amaranth infers no latches, and long initial blocks are read twice as fast without looking for them."""

HIDE_ELEMENTS = "rename -hide */w:*[[]*"
"""To come right after reading: abc9 of Yosys 0.60 to 0.70 merges signals with brackets in their names, silently."""


def after_read(top: str) -> str:
    """Commands between reading and synthesis: `HIDE_ELEMENTS`, and what only a simulation needs goes."""
    return f"{HIDE_ELEMENTS}\nhierarchy -top {top}\nproc\ndelete */t:$print */t:$check"
