"""The synthesised netlist of a tiny core, in cells of the ECP5, against golden: every spike, every class sum."""

import numpy as np
import pytest

from spikeloom.gen.compiler import compile_network
from spikeloom.gen.toolchain.gate_level import synthesise_core
from spikeloom.gen.verilog import core_verilog
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images, random_network
from spikeloom.sim.compare import differences
from spikeloom.sim.verilated import VerilatedCore


@pytest.mark.slow
def test_netlist_equals_golden(tmp_path):
    """Without block RAM, of which Yosys has no model; everything else is what the bitstream is made from."""
    network = random_network(3, steps=2, height=4, width=4, stem=(4, 4), heads=1, hidden=4, classes=3)
    images = random_images(network, 8, seed=5)
    compiled = compile_network(network, lanes=4, neuron_lanes=4)
    verilog = core_verilog(compiled.config, compiled.program)

    synthesis = synthesise_core(verilog, tmp_path, block_ram=False)
    assert not {"DP16KD", "MULT18X18D", "ALU54B"} & synthesis.cells.keys()
    gates = synthesis.netlist.read_text() + synthesis.library.read_text()
    run = VerilatedCore(gates, config=compiled.config, build_dir=tmp_path).run(images)

    golden = execute(network, images, record=True)
    assert len(np.unique(golden.sums)) > 3 and sum(golden.spike_counts.values()).any()
    assert [str(found) for found in differences(run, golden, compiled.plan)] == []
