"""What follows from a network alone: steps, taps, products and readers, against walks over every position."""

from dataclasses import FrozenInstanceError

import pytest

from spikeloom.golden.network import IMAGE, Network
from spikeloom.golden.network import network as network_module
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images, random_network
from spikeloom.golden.network.shapes import coverage

STEPS = {"sps.0": 3, "sps.1": 2, "rpe": 1, "block.0.q": 4, "block.0.k": 1, "block.0.v": 3, "block.0.fc1": 0}


@pytest.fixture
def network():
    return random_network(2, steps=4, time_steps=STEPS)


def positions_and_taps(layer):
    """Each input position that a tap of an output position sees."""
    for y in range(layer.height_conv):
        for x in range(layer.width_conv):
            for tap_y in range(layer.kernel):
                for tap_x in range(layer.kernel):
                    place = y * layer.stride + tap_y - layer.padding, x * layer.stride + tap_x - layer.padding
                    if 0 <= place[0] < layer.height_in and 0 <= place[1] < layer.width_in:
                        yield place


def steps_of(network, name):
    shape = network.shapes.layers[name]
    return shape.producer_steps, shape.active_steps, shape.computed_steps


def test_the_image_is_there_at_every_step_and_computed_once(network):
    assert steps_of(network, "sps.0") == (4, 3, 1)
    assert steps_of(network.with_steps({"sps.0": 0}), "sps.0") == (4, 0, 0)


def test_a_layer_accumulates_while_it_and_all_inputs_are_there(network):
    assert steps_of(network, "sps.1") == (3, 2, 2)
    assert steps_of(network, "rpe") == (2, 1, 1)
    assert steps_of(network, "block.0.q") == (2, 2, 2)  # of its 4: the sum of sps.1 and rpe has two
    assert steps_of(network, "block.0.attn") == (1, 1, 1)  # K has one
    assert steps_of(network, "block.0.fc2") == (0, 0, 0)  # fc1 never fires


def test_a_layer_knows_the_tensors_that_it_reads_adds_and_makes(network):
    tensors, layers = network.tensors(), network.shapes.layers
    assert layers["sps.0"].inputs == (tensors[IMAGE],) and layers["sps.0"].residual is None
    assert layers["rpe"].residual == tensors["sps.1"] and layers["rpe"].output == tensors["rpe"]
    assert layers["block.0.attn"].inputs == tuple(tensors[f"block.0.{x}"] for x in "qkv")
    assert list(layers) == [x.name for x in network.layers]
    assert list(tensors) == [IMAGE, *layers]


def test_taps_and_products_are_those_of_a_walk(network):
    for layer in network.layers:
        shape, seen = network.shapes.layers[layer.name], list(positions_and_taps(layer))
        assert shape.taps == len(seen)
        wanted = 0 if layer.weight is None else len(seen) * layer.channels_in * layer.channels_out
        assert shape.products == wanted
        cover = coverage(layer)
        assert cover.shape == (layer.height_in, layer.width_in)
        assert all(cover[place] == seen.count(place) for place in set(seen)) and cover.sum() == len(seen)


def test_readers_of_a_tensor_read_or_add_it(network):
    names = [x.name for x in network.layers]
    readers = {name: [names[i] for i in at] for name, at in network.shapes.readers.items()}
    assert readers[IMAGE] == ["sps.0"]
    assert readers["sps.1"] == ["rpe"]  # its input and its residual
    assert readers["rpe"] == ["block.0.q", "block.0.k", "block.0.v", "block.0.proj"]
    assert readers["head"] == []


def test_shapes_are_inferred_once_a_network(network, tmp_path, monkeypatch):
    network.save(tmp_path / "x")
    inferred = []
    infer = network_module.infer
    monkeypatch.setattr(network_module, "infer", lambda *args, **more: inferred.append(1) or infer(*args, **more))
    loaded = Network.load(tmp_path / "x")
    execute(loaded, random_images(loaded, 2), record=True)
    assert loaded.tensors() is loaded.tensors() is loaded.shapes.tensors
    assert len(inferred) == 1
    with pytest.raises(FrozenInstanceError):
        loaded.shapes = network.shapes
