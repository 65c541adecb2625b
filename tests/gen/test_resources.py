"""Block memories before synthesis, against Yosys' mapping."""

import json
from dataclasses import replace

import pytest

from spikeloom.gen.errors import CompileError
from spikeloom.gen.resources import block_rams, check_device
from spikeloom.gen.targets import target
from spikeloom.gen.toolchain.environment import YOSYS, run_tools
from spikeloom.gen.verilog import core_verilog
from spikeloom.rtl.core import CORE_MODULE
from spikeloom.rtl.core.config import CoreConfig

CORE = CoreConfig(lanes=16, neuron_lanes=8, weight_rows=3072, activation_words=1500, membrane_positions=256)


@pytest.mark.parametrize("banks", [1, 4])
def test_block_rams_are_those_that_yosys_takes(banks, tmp_path):
    core = replace(CORE, banks=banks)
    (tmp_path / "core.v").write_text(core_verilog(core))
    synthesis = f"synth_ecp5 -top {CORE_MODULE} -run begin:map_ffram"
    script = f"read_verilog -nolatches core.v; {synthesis}; tee -q -o stat.json stat -json"
    run_tools([YOSYS.path(), "-q", "-p", script], tmp_path, tools=[YOSYS])
    cells = json.loads((tmp_path / "stat.json").read_text())["design"]["num_cells_by_type"]
    assert sum(block_rams(core).values()) == cells["DP16KD"]


def test_a_core_too_large_for_the_device_is_refused_with_the_largest_memory():
    large = replace(CORE, weight_rows=65536)
    # weights 4 columns x 32 bits x 4 of 16,384 rows, parameters 12, program 2, activations 2, membranes 6
    with pytest.raises(CompileError, match="needs 534 block RAMs, ulx3s-12f has 56; 512 of them hold the weights"):
        check_device(large, target("ulx3s-12f"))
    check_device(CORE, target("ulx3s-85f"))
