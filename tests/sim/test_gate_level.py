"""What the bitstream is made of, simulated cell by cell against golden: every spike, every class sum."""

from dataclasses import replace

import numpy as np
import pytest

from spikeloom.gen.compiler import compile_network
from spikeloom.gen.toolchain.gate_level import synthesise_core
from spikeloom.gen.verilog import core_verilog
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images, random_network
from spikeloom.rtl.primitives.family import ECP5
from spikeloom.sim.cell_models import ecp5_models
from spikeloom.sim.compare import differences
from spikeloom.sim.simulate import report_of
from spikeloom.sim.verilated import VerilatedCore


@pytest.fixture(scope="module")
def tiny():
    network = random_network(3, steps=2, height=4, width=4, stem=(4, 4), heads=1, hidden=4, classes=3)
    return network, random_images(network, 8, seed=5), compile_network(network, lanes=4, neuron_lanes=4)


@pytest.fixture(scope="module")
def small():
    """As for the smallest devices: four columns, no counters, nothing wider than it must be."""
    network = random_network(5, steps=2, height=6, width=6, stem=(4, 8), heads=1, hidden=8, classes=3)
    sizes = {"lanes": 8, "columns": 4, "neuron_lanes": 4, "counters": False}
    return network, random_images(network, 4, seed=6), compile_network(network, **sizes)


def check(verilog, tiny, folder):
    """The core gives what golden does; its run."""
    network, images, compiled = tiny
    run = VerilatedCore(verilog, config=compiled.config, build_dir=folder).run(images)
    golden = execute(network, images, record=True)
    assert len(np.unique(golden.sums)) > 3 and sum(golden.spike_counts.values()).any()
    assert [str(found) for found in differences(run, golden, compiled.plan)] == []
    return run


def test_explicit_cells_equal_golden(tiny, tmp_path):
    """The Verilog that is synthesised, before synthesis; as fast in cycles as the portable form."""
    compiled = tiny[2]
    verilog = core_verilog(compiled.config, compiled.program, cells=ECP5)
    assert "CCU2C" in verilog
    cells = check(verilog + ecp5_models(), tiny, tmp_path)
    portable = check(core_verilog(compiled.config, compiled.program), tiny, tmp_path)
    for name, counts in portable.counters.items():
        assert (cells.counters[name] == counts).all()


def test_small_core_equals_golden(small, tmp_path):
    """In cells; as many cycles as with counters, of which it has that of its cycles alone."""
    network, images, compiled = small
    assert compiled.config.side == 6
    run = check(core_verilog(compiled.config, compiled.program, cells=ECP5) + ecp5_models(), small, tmp_path)
    assert set(run.counters) == set(run.layer_counters) == {"cycles"}
    counting = compile_network(network, lanes=8, columns=4, neuron_lanes=4)
    assert counting.program == replace(compiled.program, config=counting.config)
    other = VerilatedCore(core_verilog(counting.config, counting.program), config=counting.config, build_dir=tmp_path)
    assert (other.run(images).counters["cycles"] == run.counters["cycles"]).all()
    report = report_of(compiled, images, run)
    assert report.images_bit_exact == len(images) and set(report.counters) == {"cycles"}


@pytest.mark.slow
def test_netlist_equals_golden(tiny, tmp_path):
    """All cells that place and route gets."""
    compiled = tiny[2]
    verilog = core_verilog(compiled.config, compiled.program, cells=ECP5)
    synthesis = synthesise_core(verilog, tmp_path)
    assert synthesis.cells["CCU2C"] and synthesis.cells["DP16KD"]
    assert not {"MULT18X18D", "ALU54B"} & synthesis.cells.keys()
    check(synthesis.netlist.read_text() + ecp5_models(), tiny, tmp_path)
