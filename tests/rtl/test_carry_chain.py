"""Carry chains in cells of the ECP5, proved equal to the portable form by Yosys, with its own model of the cell."""

import re

import pytest
from amaranth.back import verilog

from spikeloom.gen.toolchain.environment import YOSYS, run_tools
from spikeloom.rtl.primitives.carry_chain import (
    CHOSEN_SUM,
    GATED_ACCUMULATE,
    GATED_PAIR,
    SUM,
    Addition,
    CarryChain,
)
from spikeloom.rtl.primitives.family import ECP5

ADDITIONS = {"sum": SUM, "accumulate": GATED_ACCUMULATE, "pair": GATED_PAIR, "chosen": CHOSEN_SUM}
SIZES = [(1, False), (5, True), (6, True), (19, False)]


def forms(addition, width, with_carry):
    """Verilog of both, modules `portable` and `cells`."""
    return {
        name: verilog.convert(
            CarryChain(addition=addition, width=width, with_carry=with_carry),
            platform=platform,
            name=name,
            emit_src=False,
        )
        for name, platform in (("portable", None), ("cells", ECP5))
    }


def run_yosys(folder, script):
    (folder / "proof.ys").write_text("\n".join(script) + "\n")
    run_tools([YOSYS.path(), "-q", "-l", "log", "proof.ys"], folder, tools=[YOSYS])
    return (folder / "log").read_text()


def proof(name, reference):
    """Commands that compare the modules of `name`.v with those of `reference`.v; fail where they differ."""
    return [
        "design -reset",
        f"read_verilog {reference}.v",
        "rename portable gold",
        f"read_verilog {name}.v",
        "rename cells gate",
        "read_verilog +/lattice/common_sim.vh +/lattice/ccu2c_sim.vh",
        "setattr -mod -unset top gold gate",
        "hierarchy -check",
        "proc; flatten; opt_clean",
        "miter -equiv -flatten -make_outputs gold gate miter",
        "sat -verify -prove trigger 0 miter",
    ]


def test_cells_equal_the_addition(tmp_path):
    """For all values of all inputs."""
    script, names = [], []
    for name, addition in ADDITIONS.items():
        for width, with_carry in SIZES:
            names.append(f"{name}_{width}_{int(with_carry)}")
            for form, text in forms(addition, width, with_carry).items():
                (tmp_path / f"{names[-1]}_{form}.v").write_text(text)
            script += proof(f"{names[-1]}_cells", f"{names[-1]}_portable")
    log = run_yosys(tmp_path, script)
    assert log.count("SAT proof finished - no model found: SUCCESS!") == len(names) == 16


@pytest.mark.parametrize("bit", [0, 7, 15])
def test_another_table_is_seen(tmp_path, bit):
    """The proof fails with any one bit of a table changed."""
    text = forms(GATED_ACCUMULATE, 3, False)
    (tmp_path / "portable.v").write_text(text["portable"])
    changed, count = re.subn("16'h006a", f"16'h{0x006A ^ 1 << bit:04x}", text["cells"], count=1)
    assert count == 1
    (tmp_path / "cells.v").write_text(changed)
    script = [line.replace("-verify", "-falsify") for line in proof("cells", "portable")]
    assert "model found: FAIL!" in run_yosys(tmp_path, script)


def test_tables():
    """As found by hand."""
    assert GATED_ACCUMULATE.table == 0x006A
    assert GATED_PAIR.table == 0x7888
    assert CHOSEN_SUM.table == 0x569A
    assert SUM.table == 0x5A5A


def test_what_a_cell_cannot_add():
    with pytest.raises(ValueError, match="y must be zero where c and d are"):
        Addition(x=lambda a, b: a, y=lambda a, b, c, d: b)
    with pytest.raises(ValueError, match="y must be zero where c and d are"):
        Addition(x=lambda a, b: a, y=lambda a, b, c, d: ~c)
    with pytest.raises(ValueError, match="width must be positive, not 0"):
        CarryChain(addition=SUM, width=0)


@pytest.mark.parametrize(("width", "with_carry", "cells"), [(1, False, 1), (2, False, 1), (2, True, 2), (19, True, 10)])
def test_number_of_cells(width, with_carry, cells):
    text = forms(SUM, width, with_carry)["cells"]
    assert text.count("CCU2C #(") == cells
