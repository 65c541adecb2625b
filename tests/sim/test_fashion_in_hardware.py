"""The shipped Fashion-MNIST models: whole test sets in integers, and on the simulated core every spike and counter."""

import os

import pytest

from spikeloom.gen.compiler import compile_network
from spikeloom.gen.errors import CompileError
from spikeloom.gen.resources import check_device
from spikeloom.gen.sizing import smallest_core
from spikeloom.gen.targets import target
from spikeloom.golden.data import datasets
from spikeloom.golden.models import checkpoints
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images
from spikeloom.golden.quantization.quantize import quantize
from spikeloom.golden.zoo.shipped import catalogue, shipped
from spikeloom.sim.simulate import simulate

PUBLISHED = os.environ.get("SPIKELOOM_DATA")


def integers(name):
    return quantize(checkpoints.load(shipped(name))[0], name=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion", "fashion_dts"])
def test_images_are_bit_exact(name, tmp_path):
    """On a core that fits the ULX3S-85F; real images where they are there, else noise."""
    network, device = integers(name), target("ulx3s-85f")
    images = random_images(network, 2)
    if PUBLISHED is not None:
        images[:] = datasets.open_images("fashion", "test").batch([0, 1])
    config = smallest_core(network, **device.core)
    check_device(config, device)
    report = simulate(compile_network(network, config), images, build_dir=tmp_path)
    assert report.images_bit_exact == 2
    assert not report.differences and not report.counter_differences


@pytest.mark.slow
@pytest.mark.skipif(PUBLISHED is None, reason="SPIKELOOM_DATA names no folder with Fashion-MNIST")
@pytest.mark.parametrize("name", ["fashion", "fashion_dts", "fashion_e"])
def test_integers_are_within_half_a_point(name):
    """8 bits against what the manifest says of floating point, on all 10,000 held-out images: exact on any CPU."""
    samples = datasets.open_images("fashion", "test")
    numbers = datasets.spread_out(len(samples.labels), len(samples.labels))
    network, manifest = integers(name), catalogue()[name]
    done = execute(network, samples.batch(numbers))
    assert len(numbers) == 10_000
    assert abs(done.accuracy(samples.labels[numbers]) - manifest.accuracy) <= 0.005
    if manifest.architecture == "spikformer":
        assert (network.t_avg, network.steps) == (manifest.t_avg, manifest.t_max)


def test_the_core_says_what_it_lacks_for_integer_spikes():
    with pytest.raises(CompileError, match="layer '.*': .* later"):
        smallest_core(integers("fashion_e"))
