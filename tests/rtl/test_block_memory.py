"""Block memories in cells of the ECP5 against Yosys' own mapping: contents bit by bit, numbers of cells."""

import json
import random
import re

import pytest
from amaranth.back import verilog
from amaranth.hdl import Module

from spikeloom.gen.toolchain.environment import YOSYS, run_tools
from spikeloom.rtl.primitives.block_grid import grid_blocks, grid_shape
from spikeloom.rtl.primitives.block_memory import BlockMemory
from spikeloom.rtl.primitives.dp16kd import SHAPES, Dp16kd
from spikeloom.rtl.primitives.dual_port_memory import DualPortMemory
from spikeloom.rtl.primitives.family import ECP5

# each but the last of the shapes, at a depth that needs it: Yosys reads memories row by row, slowly
ONE_BLOCK = [(f"one{width}", depth * 5 // 8, width, None) for depth, width in SHAPES[:-1]]
LARGE = [("rows", 1100, 128, 32), ("words", 1500, 16, None), ("potentials", 512, 192, None), ("narrow", 2100, 7, None)]


def contents(depth, width):
    """Enough words for several INITVAL; Yosys takes long for more."""
    source = random.Random(width)
    return [source.getrandbits(width) for _ in range(min(depth, 600))]


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    """DP16KD of each memory of `ONE_BLOCK` and `LARGE` as Yosys maps the portable form, and as we write them."""
    folder = tmp_path_factory.mktemp("forms")
    top, ports = Module(), []
    for name, depth, width, granularity in ONE_BLOCK + LARGE:
        init = contents(depth, width) if name.startswith("one") else []
        memory = BlockMemory(shape=width, depth=depth, init=init, granularity=granularity)
        top.submodules[name] = memory
        ports += [*(getattr(memory.reads, key) for key in ("enable", "address", "data"))]
        ports += [*(getattr(memory.writes, key) for key in ("enable", "address", "data"))]
    found = {}
    for form, platform in (("portable", None), ("ecp5", ECP5)):
        (folder / "top.v").write_text(verilog.convert(top, ports=ports, platform=platform, name="top", emit_src=False))
        script = "read_verilog -nolatches top.v; synth_ecp5 -top top -run begin:map_ffram; "
        script += "select top; write_json -selected top.json"
        run_tools([YOSYS.path(), "-q", "-p", script], folder, tools=[YOSYS])
        cells = json.loads((folder / "top.json").read_text())["modules"]["top"]["cells"]
        found[form] = {name: cell for name, cell in cells.items() if cell["type"] == "DP16KD"}
    return found


def of(cells, name):
    return [cell for path, cell in sorted(cells.items()) if re.search(rf"\b{name}\b", path)]


@pytest.mark.parametrize(("name", "depth", "width", "granularity"), ONE_BLOCK)
def test_contents_are_those_of_yosys(forms, name, depth, width, granularity):
    (theirs,), (ours,) = (of(forms[form], name) for form in ("portable", "ecp5"))
    keys = [f"INITVAL_{i:02X}" for i in range(64)]
    assert [ours["parameters"][key] for key in keys] == [theirs["parameters"][key] for key in keys]
    assert any(int(ours["parameters"][key], 2) for key in keys)


@pytest.mark.parametrize(("name", "depth", "width", "granularity"), ONE_BLOCK + LARGE)
def test_number_of_cells(forms, name, depth, width, granularity):
    part = granularity or width
    wanted = width // part * grid_blocks(depth, part, grid_shape(depth, part))
    assert [len(of(forms[form], name)) for form in ("portable", "ecp5")] == [wanted, wanted]
    assert {cell["parameters"][f"REGMODE_{port}"] for cell in of(forms["ecp5"], name) for port in "AB"} == {"OUTREG"}


def test_shapes():
    """The fewest blocks, and of equals the deepest."""
    assert grid_shape(512, 36) == (512, 36)
    assert grid_shape(512, 37) == (512, 36)
    assert grid_shape(600, 32) == (1024, 18)
    assert grid_shape(4096, 32) == (4096, 4)
    assert grid_shape(20000, 1) == (16384, 1)
    assert grid_shape(512, 36, SHAPES[1:]) == (1024, 18)


def test_refusals():
    with pytest.raises(ValueError, match="granularity must divide the word's 20 bits, not 3"):
        BlockMemory(shape=20, depth=8, granularity=3)
    for memory in (BlockMemory, DualPortMemory):
        with pytest.raises(ValueError, match="init must have at most 2 words, not 3"):
            memory(shape=4, depth=2, init=[1, 2, 3])
        with pytest.raises(ValueError, match=r"init\[1\] must fit in 4 bits, not 0x10"):
            memory(shape=4, depth=2, init=[1, 16])
    with pytest.raises(ValueError, match=r"\(depth, width\) must be one of .* not \(512, 18\)"):
        Dp16kd(depth=512, width=18)
