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

CORE = CoreConfig(
    lanes=16, neuron_lanes=8, weight_rows=3072, activation_words=1500, membrane_positions=256, kv_rows=64, tokens=16
)


# rows, lanes, tokens of K^T V and the block memories that Yosys 0.70 took for `KvStore` alone: 0 for look-up tables
KV_MEASURED = [
    (16, 16, 127, 0), (32, 16, 127, 0), (32, 32, 127, 0), (64, 8, 31, 0), (64, 8, 127, 2), (64, 16, 31, 3),
    (64, 64, 31, 9), (64, 64, 127, 13), (128, 8, 31, 2), (128, 32, 127, 7), (128, 128, 31, 18), (128, 128, 127, 25),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "lanes", "tokens", "blocks"), KV_MEASURED)
def test_the_memory_of_the_attention_counts(rows, lanes, tokens, blocks):
    config = CoreConfig(lanes=lanes, neuron_lanes=4, kv_rows=rows, tokens=tokens)
    assert block_rams(config)["kv"] == blocks


def test_a_core_that_only_the_attention_makes_too_large_is_refused():
    wide = CoreConfig(lanes=128, kv_rows=128, weight_rows=512, tokens=64)
    needed = block_rams(wide)
    without = sum(needed.values()) - needed["kv"]
    device = replace(target("ulx3s-85f"), block_rams=without)
    with pytest.raises(CompileError, match=f"needs {without + 25} block RAMs, ulx3s-85f has {without}"):
        check_device(wide, device)


def test_block_rams_are_those_that_yosys_takes(tmp_path):
    (tmp_path / "core.v").write_text(core_verilog(CORE))
    synthesis = f"synth_ecp5 -top {CORE_MODULE} -run begin:map_ffram"
    script = f"read_verilog -nolatches core.v; {synthesis}; tee -q -o stat.json stat -json"
    run_tools([YOSYS.path(), "-q", "-p", script], tmp_path, tools=[YOSYS])
    cells = json.loads((tmp_path / "stat.json").read_text())["design"]["num_cells_by_type"]
    assert sum(block_rams(CORE).values()) == cells["DP16KD"]


def test_a_core_too_large_for_the_device_is_refused_with_the_largest_memory():
    large = replace(CORE, weight_rows=65536)
    # weights 4 columns x 32 bits x 4 of 16,384 rows, parameters 12, program 2, activations 2, membranes 6, K^T V 3
    with pytest.raises(CompileError, match="needs 537 block RAMs, ulx3s-12f has 56; 512 of them hold the weights"):
        check_device(large, target("ulx3s-12f"))
    check_device(CORE, target("ulx3s-85f"))
