"""The core as one Verilog file."""

from __future__ import annotations

from amaranth.back import verilog

from spikeloom.gen.program import Program
from spikeloom.rtl.core import CORE_MODULE
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.core import Core
from spikeloom.rtl.primitives.family import CellFamily


def core_verilog(config: CoreConfig, program: Program | None = None, *, cells: CellFamily | None = None) -> str:
    """Verilog of the core, module `CORE_MODULE`, with the Program as the initial contents of its memories.

    cells: of the family that it is synthesised for, where carry chains and block memories are better written than
    inferred; `spikeloom.sim.cell_models` simulates them. None makes the portable form, equal cycle by cycle.
    """
    contents = {}
    if program is not None:
        contents = {
            "program_words": program.program_words,
            "parameter_words": program.parameter_words,
            "weight_rows": program.weight_rows,
            "program_info": program.info,
        }
    return verilog.convert(Core(config=config, **contents), name=CORE_MODULE, platform=cells, emit_src=False)
