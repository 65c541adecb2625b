"""The executor equals a network in plain Python, and says what is wrong with images."""

from dataclasses import replace

import numpy as np
import pytest

from spikeloom.golden.data import datasets
from spikeloom.golden.models import checkpoints
from spikeloom.golden.network import IMAGE, Neuron
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images, random_network
from spikeloom.golden.quantization.quantize import quantize
from spikeloom.golden.zoo.shipped import shipped
from support import golden_reference


def assert_equal(dictionary, array):
    """A dictionary of one image equals an array (T, C, H, W): same keys, same values."""
    assert len(dictionary) == array.size
    for key, value in dictionary.items():
        assert array[key] == value, key


CASES = [
    dict(seed=0, neuron="spikingjelly"),
    dict(seed=1, neuron="dts", depth=2),
    dict(seed=2, neuron="dts", height=5, width=7, stem=(3, 4), pools=(True, True)),
    dict(seed=3, neuron="spikingjelly", channels=2, weight_bits=4, time_steps="full", steps=8),
    dict(seed=4, neuron=Neuron(hard=False, strict=False, leak=False), stem=(4,), pools=(False,)),
    dict(seed=5, neuron=Neuron(hard=True, strict=True, leak=True), depth=0),
    dict(seed=6, time_steps={"sps.0": 1, "sps.1": 3, "rpe": 0, "block.0.k": 1, "block.0.fc2": 4}),
    dict(seed=7, time_steps={"sps.1": 0, "block.0.fc1": 2, "block.0.attn": 4, "block.0.q": 2}),
]


@pytest.mark.parametrize("case", CASES)
def test_executor_equals_plain_python(case):
    case = {"stem": (3, 4), "height": 6, "width": 5, "classes": 3} | case
    network = random_network(**case)
    images = random_images(network, 2, seed=9)
    done = execute(network, images, record=True)
    for b, image in enumerate(images):
        sums, spikes, potentials, tensors, steps = golden_reference.run(network, image)
        assert done.sums[b].tolist() == sums
        for layer in network.spiking:
            assert done.spikes[layer.name].dtype == bool
            assert_equal(spikes[layer.name], done.spikes[layer.name][:, b])
            assert_equal(potentials[layer.name], done.potentials[layer.name][:, b])
            assert_equal(tensors[layer.name], done.tensors[layer.name][:, b])
            assert len(done.tensors[layer.name]) == steps[layer.name]
            assert done.spike_counts[layer.name][b] == sum(spikes[layer.name].values())
    assert set(done.tensors) == {IMAGE, *(x.name for x in network.spiking)}


def test_random_networks_spike():
    fired, neurons = 0, 0
    for seed in range(6):
        network = random_network(seed, time_steps="full", neuron=("spikingjelly", "dts")[seed % 2])
        done = execute(network, random_images(network, 20, seed=1), record=True)
        for name, spikes in done.spikes.items():
            assert 0 < spikes.mean() < 0.6, name
            fired, neurons = fired + spikes.sum(), neurons + spikes.size
    assert 0.1 < fired / neurons < 0.3


def test_random_network_repeats_for_equal_arguments():
    first, second, other = random_network(3), random_network(3), random_network(4)
    for a, b, c in zip(first.layers, second.layers, other.layers, strict=True):
        assert a.steps == b.steps and (a.threshold == b.threshold).all() and (a.bias == b.bias).all()
        if a.weight is not None:
            assert (a.weight == b.weight).all() and (a.weight != c.weight).any()


def test_random_steps_include_zero_and_the_maximum():
    drawn = {x.steps for seed in range(5) for x in random_network(seed, stem=(4,), pools=(True,)).spiking}
    assert drawn == {0, 1, 2, 3, 4}


def test_float64_is_used_where_float32_is_not_proven():
    """Images of 255 and weights of 127 over enough channels pass 2^24; the sums stay exact."""
    network = random_network(0, channels=64, stem=(4, 4), pools=(False, False), depth=0)
    first = network.layers[0]
    weight = np.full_like(first.weight, 127)
    weight[0, 0, 0, 0] = 126  # odd sums: float32 would round them
    layers = (replace(first, weight=weight, steps=1), *network.layers[1:])
    network = replace(network, layers=layers)
    images = np.full((1, 64, 8, 8), 255, np.uint8)
    potential = execute(network, images, record=True).potentials["sps.0"][0, 0, 0, 4, 4]
    assert potential == 255 * (127 * 64 * 9 - 1) + first.bias[0] > 1 << 24


def test_batches_and_recording_do_not_change_results():
    network = random_network(1)
    images = random_images(network, 7)
    whole = execute(network, images, record=True)
    done = []
    parts = execute(network, images, batch=3, progress=done.append)
    assert done == [3, 6, 7]
    assert (whole.sums == parts.sums).all()
    assert parts.spikes == {} and parts.potentials == {} and parts.tensors == {}
    for name, count in whole.spike_counts.items():
        assert (parts.spike_counts[name] == count).all()
    joined = execute(network, images, record=True, batch=2)
    assert all((whole.spikes[x] == joined.spikes[x]).all() for x in whole.spikes)


def test_no_images_are_no_error():
    network = random_network(1, classes=5)
    done = execute(network, np.zeros((0, 1, 8, 8), np.uint8), record=True)
    assert done.sums.shape == (0, 5)


def test_accuracy_and_predictions():
    network = random_network(2)
    done = execute(network, random_images(network, 8))
    expected = [max(range(10), key=lambda o, row=row: row[o]) for row in done.sums]
    assert done.predictions.tolist() == expected
    labels = np.array(expected)
    labels[:2] = (labels[:2] + 1) % 10
    assert done.accuracy(labels) == 6 / 8


def test_images_of_another_type_are_refused():
    network = random_network(0)
    with pytest.raises(TypeError, match="images must be uint8, not float32"):
        execute(network, np.zeros((1, 1, 8, 8), np.float32))


def test_images_of_another_shape_are_refused():
    network = random_network(0)
    with pytest.raises(ValueError, match=r"images must have shape \(B, 1, 8, 8\), not \(1, 8, 8\)"):
        execute(network, np.zeros((1, 8, 8), np.uint8))


def test_shipped_model_is_within_a_point_of_float_at_8_bits():
    model, about = checkpoints.load(shipped("digits"))
    images, labels = datasets.load("digits", "test")
    integer = execute(quantize(model), images).accuracy(labels)
    assert integer >= about["accuracy"] - 0.01
    assert integer >= 0.96
