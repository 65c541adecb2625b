"""The shipped model on the simulated core: every held-out image, every spike, every counter."""

import pytest

from spikeloom.gen.compiler import compile_network
from spikeloom.gen.estimate import Activity, estimate
from spikeloom.gen.sizing import smallest_core
from spikeloom.golden.data import datasets
from spikeloom.golden.models import checkpoints
from spikeloom.golden.network.execute import execute
from spikeloom.golden.quantization.quantize import quantize
from spikeloom.golden.zoo.shipped import shipped
from spikeloom.sim.simulate import simulate


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bits", "scales", "size"),
    [
        (8, "power-of-two", {"lanes": 32, "neuron_lanes": 8}),
        (4, "free", {"lanes": 96, "columns": 1, "neuron_lanes": 4}),
    ],
)
def test_all_held_out_digits_are_bit_exact(bits, scales, size, tmp_path):
    model, _ = checkpoints.load(shipped("digits"))
    network = quantize(model, weight_bits=bits, scales=scales)
    samples = datasets.load("digits", "test")
    images = samples.images if bits == 8 else samples.images[:60]
    compiled = compile_network(network, smallest_core(network, **size))
    report = simulate(compiled, images, build_dir=tmp_path)
    assert report.images_bit_exact == len(images)
    assert not report.differences and not report.counter_differences

    golden = execute(network, images, record=True)
    for index in (0, 17):
        activity = Activity(
            tensors={name: value[:, index] for name, value in golden.tensors.items()},
            spikes={name: value[:, index] for name, value in golden.spikes.items()},
        )
        cycles = int(report.counters["cycles"][index])
        assert abs(estimate(compiled.plan, activity).cycles - cycles) <= 0.03 * cycles
