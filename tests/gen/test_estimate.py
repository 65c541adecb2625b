"""Cycles before simulation: against the simulated core, and in themselves."""

import numpy as np
import pytest

from spikeloom.gen.compiler import compile_network
from spikeloom.gen.estimate import Activity, estimate, random_activity
from spikeloom.gen.sizing import smallest_core
from spikeloom.gen.verilog import core_verilog
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images, random_network
from spikeloom.sim.verilated import VerilatedCore

CASES = [
    (2, {"lanes": 32, "neuron_lanes": 8}, {"stem": (8, 16, 32, 64), "heads": 4, "pools": (False, False, True, False)}),
    (1, {"lanes": 8, "neuron_lanes": 4}, {}),
    (5, {"lanes": 16, "columns": 4, "neuron_lanes": 4}, {"stem": (4, 8, 32), "heads": 2, "neuron": "dts"}),
]


@pytest.mark.parametrize(("seed", "size", "shape"), CASES)
def test_estimated_cycles_are_within_three_percent_of_simulated_ones(seed, size, shape, tmp_path):
    network = random_network(seed, **shape)
    compiled = compile_network(network, smallest_core(network, **size))
    images = random_images(network, 2, seed=seed)
    core = VerilatedCore(core_verilog(compiled.config, compiled.program), config=compiled.config, build_dir=tmp_path)
    simulated = core.run(images).counters["cycles"]
    golden = execute(network, images, record=True)
    for index, cycles in enumerate(simulated):
        activity = Activity(
            tensors={name: value[:, index] for name, value in golden.tensors.items()},
            spikes={name: value[:, index] for name, value in golden.spikes.items()},
        )
        assert abs(estimate(compiled.plan, activity).cycles - cycles) <= 0.03 * cycles


def cycles_at(network, density, **size):
    compiled = compile_network(network, smallest_core(network, **({"lanes": 16, "neuron_lanes": 4} | size)))
    return estimate(compiled.plan, random_activity(network, density))


def test_more_spikes_cost_more_cycles_and_masked_steps_none():
    network = random_network(3, stem=(4, 16), time_steps="full")
    sparse, dense = cycles_at(network, 0.1), cycles_at(network, 0.4)
    assert sparse.cycles < dense.cycles
    masked = network.with_steps({"block.0.fc1": 0})
    full = {x.name: x.cycles for x in sparse.layers}
    less = {x.name: x.cycles for x in cycles_at(masked, 0.1).layers}
    assert less["block.0.fc1"] < full["block.0.fc1"] / 10


def test_a_readout_that_nothing_reaches_still_costs_its_bias():
    network = random_network(3, stem=(4, 16), time_steps="full").with_steps({"sps.0": 4})
    silent = network.with_steps({layer.name: 0 for layer in network.spiking})
    head = cycles_at(silent, 0.2).layers[-1]
    assert head.neuron_words == 3  # ten classes, four neurons a word
    assert head.events == 1


def test_a_density_must_be_a_share():
    network = random_network(3)
    with pytest.raises(ValueError, match=r"density of 'sps.0' must be in 0..1, not 1.5"):
        random_activity(network, 1.5)


def test_random_activity_has_the_density():
    network = random_network(3, stem=(16, 32), time_steps="full")
    tensors = random_activity(network, {"sps.0": 0.3}).tensors
    assert tensors["sps.0"].dtype == np.uint8
    assert abs(tensors["sps.0"].mean() - 0.3) < 0.03
    assert abs(tensors["sps.1"].mean() - 0.15) < 0.03
