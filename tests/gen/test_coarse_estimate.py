"""The formula for random spikes, against the estimate that follows each of them through the pipeline."""

import pytest

from spikeloom.flow.models import load_network
from spikeloom.gen.coarse_estimate import coarse_cycles
from spikeloom.gen.estimate import estimate, random_activity
from spikeloom.gen.sizing import plan_smallest
from spikeloom.golden.network.random_network import random_network

SIZES = [
    {"lanes": 16, "neuron_lanes": 4},
    {"lanes": 32, "banks": 2},
    {"lanes": 32, "columns": 4},
    {"lanes": 64, "banks": 4},
    {"lanes": 64, "banks": 4, "neuron_lanes": 2},
    {"lanes": 32, "banks": 8, "word": 16, "neuron_lanes": 4},
    {"lanes": 128, "banks": 8, "neuron_lanes": 16},
]


@pytest.fixture(scope="module")
def digits():
    return load_network("digits")


@pytest.mark.parametrize("density", [0.05, 0.3])
@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: "-".join(f"{x}" for x in sizes.values()))
def test_digits_within_ten_percent(digits, sizes, density):
    plan = plan_smallest(digits, **sizes)
    followed = estimate(plan, random_activity(digits, density)).cycles
    assert abs(coarse_cycles(plan, density) - followed) <= 0.1 * followed


def test_masked_layers_cost_their_descriptors_alone():
    network = random_network(3, stem=(4, 16), time_steps="full")
    silent = network.with_steps({layer.name: 0 for layer in network.spiking})
    sizes = {"lanes": 16, "neuron_lanes": 4}
    full, none = (coarse_cycles(plan_smallest(x, **sizes)) for x in (network, silent))
    followed = estimate(plan_smallest(silent, **sizes), random_activity(silent, 0.15)).cycles
    assert none < full / 4 and abs(none - followed) <= 0.1 * followed
