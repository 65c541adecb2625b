"""The executor, the width proof and files on random graphs, against the plain re-statement of the formulas."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from spikeloom.golden.network import Network
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.graph_limits import GraphLimits
from spikeloom.golden.network.random_graph import random_graph
from spikeloom.golden.network.random_network import random_images
from spikeloom.golden.network.widths import membrane_bounds
from support import golden_reference as reference

TINY = GraphLimits(steps=5, layers=6, channels=6, image_channels=2, size=4, kernel=3, classes=3, work=1000)
ANY = replace(TINY, golden_only=True)
SEEDS = 140


def dense(tensor, shape, steps):
    """The reference's dictionary as an array (T, C, H, W); what it does not have is zero."""
    found = np.zeros((steps, *shape), np.int64)
    for key, value in tensor.items():
        found[key] = value
    return found


def within(values, low, high, where):
    assert not values.size or (low <= values.min() and values.max() <= high), where


@pytest.mark.parametrize("first", range(0, SEEDS, 20))
def test_equals_the_formulas(first):
    """Every spike, potential, tensor and class sum; the order of passes changes nothing; the widths hold."""
    for seed in range(first, first + 20):
        network = random_graph(seed, ANY if seed % 2 else TINY)
        images = random_images(network, 1, seed=seed)
        found = execute(network, images, record=True)
        sums, spikes, potentials, tensors, steps = reference.run(network, network.framed(images)[0])
        where = f"random_graph({seed})"
        assert found.sums[0].tolist() == sums, where
        membranes = membrane_bounds(network)
        for layer in network.layers[:-1]:
            info, name = network.tensors()[layer.name], layer.name
            tensor = dense(tensors[name], (info.channels, info.height, info.width), info.steps)
            assert info.steps == steps[name], (where, name)
            assert np.array_equal(found.tensors[name][:, 0], tensor), (where, name)
            within(tensor, info.minimum, info.maximum, (where, name))
            if layer.fires:
                shape = (layer.channels_out, layer.height_neurons, layer.width_neurons)
                assert np.array_equal(found.spikes[name][:, 0], dense(spikes[name], shape, layer.steps)), (where, name)
                h = dense(potentials[name], shape, layer.steps)
                assert np.array_equal(found.potentials[name][:, 0], h), (where, name)
                within(h, *membranes[name], (where, name))
        unrolled = execute(network, images, record=True, unrolled=True)
        assert np.array_equal(unrolled.sums, found.sums), where
        assert all(np.array_equal(unrolled.spikes[name], x) for name, x in found.spikes.items()), where


def test_everything_is_drawn():
    """The graphs hold what the fuzz is about; a generator that has become tame must not go unseen."""
    networks = [random_graph(seed, ANY if seed % 2 else TINY) for seed in range(SEEDS)]
    layers = [(network, layer) for network in networks for layer in network.layers]
    for what, is_so in {
        "layers without a step": lambda n, x: x.steps == 0,
        "depthwise": lambda n, x: x.depthwise,
        "pooled currents": lambda n, x: x.pool_first,
        "pooled spikes": lambda n, x: x.pool and not x.pool_first,
        "pooled attention": lambda n, x: x.pool and x.kind == "attention",
        "membrane shortcuts": lambda n, x: not x.fires and x.residual,
        "sums over the map": lambda n, x: x.whole_map,
        "integer spikes": lambda n, x: x.neuron.levels > 1,
        "unary": lambda n, x: n.coding == "unary",
        "frames": lambda n, x: n.padding_pixel,
        "strides": lambda n, x: x.stride > 1,
        "sums of sums": lambda n, x: x.residual and n.tensors()[x.residual].summed,
        "q, k or v as a later layer's residual": lambda n, x: (
            x.kind == "attention" and {y.residual for y in n.layers} & {*x.inputs}
        ),
        "a residual of more steps": lambda n, x: x.residual and x.fires and n.tensors()[x.residual].steps > x.steps,
        "a residual of fewer steps": lambda n, x: x.residual and x.fires and n.tensors()[x.residual].steps < x.steps,
        "the image read late": lambda n, x: x.direct and x is not n.layers[0],
        "strips": lambda n, x: 1 in (x.height_in, x.width_in) and x.height_in + x.width_in > 2,
        "thresholds below 1": lambda n, x: x.spiking and (x.threshold < 1).any(),
    }.items():
        assert sum(bool(is_so(*pair)) for pair in layers) >= 3, what


def test_repeats(tmp_path):
    """Equal seeds give equal networks, and a file holds all of it."""
    images = random_images(random_graph(3, ANY), 4)
    first, again, other = (random_graph(seed, ANY) for seed in (3, 3, 4))
    assert digest(first) == digest(again) != digest(other)
    first.save(tmp_path / "a.safetensors")
    loaded = Network.load(tmp_path / "a.safetensors")
    assert np.array_equal(execute(loaded, images).sums, execute(first, images).sums)


def test_same_on_every_machine():
    """What these seeds were when this was written; it changes with the generator alone, never with the machine."""
    assert [digest(random_graph(seed, limits)) for seed, limits in ((11, TINY), (12, ANY))] == [
        "63c8f7cf0f7ec1c2",
        "40e615239cc8c083",
    ]


def digest(network):
    """Of the graph and of its integers."""
    made = hashlib.sha256(repr([(x.name, x.inputs, x.residual, x.steps, x.neuron) for x in network.layers]).encode())
    for layer in network.layers:
        for values in (layer.weight, layer.bias, layer.threshold):
            if values is not None:
                made.update(values.astype("<i8").tobytes())
    return made.hexdigest()[:16]
