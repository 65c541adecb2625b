"""The proven ranges hold for every order of events and every input, and are reached where that is known."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest

from spikeloom.golden.network import IMAGE, Layer, Network, Neuron
from spikeloom.golden.network.random_network import random_images, random_network
from spikeloom.golden.network.widths import Widths, accumulator_bounds, membrane_bounds, signed_bits, widths
from support import golden_reference

NEURONS = [Neuron(hard=h, strict=s, leak=k) for h in (True, False) for s in (True, False) for k in (True, False)]


def tiny(weights, *, bias, threshold, neuron, steps, image=False):
    """A network of one pixel whose second layer has two inputs and the given two weights.

    image: the layer under test reads the image instead.
    """
    one = dict(threshold=np.ones(1, np.int64), scale=np.ones(1))
    two = dict(threshold=np.ones(2, np.int64), scale=np.ones(2))
    tested = Layer(
        name="tested",
        inputs=(IMAGE,) if image else ("first",),
        steps=steps,
        channels_in=2,
        channels_out=1,
        height_in=1,
        width_in=1,
        neuron=neuron,
        weight=np.array(weights, np.int8).reshape(1, 2, 1, 1),
        bias=np.array([bias]),
        threshold=np.array([threshold]),
        scale=np.ones(1),
    )
    first = replace(
        tested,
        name="first",
        inputs=(IMAGE,),
        channels_out=2,
        weight=np.ones((2, 2, 1, 1), np.int8),
        bias=np.zeros(2, np.int64),
        **two,
    )
    head = replace(
        tested,
        name="head",
        kind="readout",
        inputs=("tested",),
        channels_in=1,
        weight=np.ones((1, 1, 1, 1), np.int8),
    )
    head = replace(head, **one)
    return Network(name="tiny", steps=max(steps, 1), channels=2, height=1, width=1, layers=(first, tested, head))


@pytest.mark.parametrize(
    "low, high, bits", [(0, 0, 1), (0, 1, 2), (-1, 0, 1), (-128, 127, 8), (-129, 0, 9), (0, 128, 9)]
)
def test_signed_bits(low, high, bits):
    assert signed_bits(low, high) == bits


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize(
    "weights, bias, threshold", [((5, -9), 2, 4), ((-3, -8), -1, 2), ((7, 6), 0, 3), ((1, 2), 9, 1)]
)
def test_ranges_hold_for_all_inputs_and_are_reached(neuron, weights, bias, threshold):
    steps = 4
    network = tiny(weights, bias=bias, threshold=threshold, neuron=neuron, steps=steps)
    layer = network.layer("tested")
    a_low, a_high = accumulator_bounds(network)["tested"]
    assert (a_low, a_high) == (sum(min(w, 0) for w in weights), sum(max(w, 0) for w in weights))
    low, high = membrane_bounds(network)["tested"]
    seen = {0, bias, threshold}
    sums = [a * weights[0] + b * weights[1] for a in (0, 1) for b in (0, 1)]
    for inputs in itertools.product(sums, repeat=steps):
        u = 0
        for acc in inputs:
            seen |= {acc, u + acc, acc + bias, u + bias}
            h, s, after = golden_reference.neuron_step(layer, 0, u, acc)
            r = (0 if neuron.hard else h - threshold) if s else h
            seen |= {h, r, after, r + (neuron.leak and neuron.strict)}
            u = after
    assert low <= min(seen) and max(seen) <= high
    if neuron.hard or not neuron.leak:
        # Without the halving of a potential after a soft reset, intervals lose little.
        assert min(seen) - low <= threshold and high - max(seen) <= threshold + abs(bias)


def test_accumulator_range_holds_for_any_order_of_events_and_for_planes():
    rng = random.Random(0)
    network = random_network(0, stem=(3, 4), height=4, width=4)
    layer = network.layers[0]
    low, high = accumulator_bounds(network)[layer.name]
    rows = layer.weight.reshape(layer.channels_out, -1).astype(int).tolist()
    extremes = set()
    for trial in range(200):
        row = rows[trial % len(rows)]
        pixels = [rng.choice((0, 255, rng.randrange(256))) for _ in row]
        if trial < len(rows):
            pixels = [255 * (w > 0) for w in row]
        elif trial < 2 * len(rows):
            pixels = [255 * (w < 0) for w in row]
        total = 0
        for plane in range(7, -1, -1):
            total *= 2
            extremes.add(total)
            events = [w for w, pixel in zip(row, pixels, strict=True) if pixel >> plane & 1]
            order = rng.choice((sorted, lambda x: sorted(x, reverse=True), lambda x: rng.sample(x, len(x))))
            for w in order(events):
                total += w
                extremes.add(total)
        assert total == sum(w * pixel for w, pixel in zip(row, pixels, strict=True))
    assert (min(extremes), max(extremes)) == (low, high)


@pytest.mark.parametrize("seed", range(6))
def test_ranges_hold_on_random_networks(seed):
    network = random_network(seed, stem=(3, 4), height=5, width=5, depth=2, neuron=("dts", "spikingjelly")[seed % 2])
    accumulators, membranes = accumulator_bounds(network), membrane_bounds(network)
    for image in random_images(network, 2, seed=seed):
        sums, _, potentials, _, _ = golden_reference.run(network, image)
        for layer in network.spiking:
            low, high = membranes[layer.name]
            values = potentials[layer.name].values()
            assert not values or low <= min(values) and max(values) <= high
        low, high = membranes["head"]
        assert low <= min(sums) and max(sums) <= high
    for name, bound in widths(network).items():
        assert bound == Widths(accumulator=signed_bits(*accumulators[name]), membrane=signed_bits(*membranes[name]))


def test_attention_sums_reach_the_positions_times_the_channels_of_a_head():
    network = random_network(0, stem=(4, 8), heads=2, height=4, width=4, pools=(False, False), time_steps="full")
    assert accumulator_bounds(network)["block.0.attn"] == (0, 16 * 4)


def test_inputs_of_residual_layers_count_with_their_maximum():
    network = random_network(0, time_steps="full")
    layer = network.layer("block.0.fc1")
    rows = layer.weight[:, :, 0, 0].astype(int)
    low = min(sum(min(w, 0) for w in row) for row in rows) * 3  # sps, rpe and proj
    assert accumulator_bounds(network)["block.0.fc1"][0] == low


def test_masked_layers_and_silent_inputs_need_nothing():
    network = random_network(0, time_steps={"sps.0": 0})
    assert accumulator_bounds(network)["sps.0"] == membrane_bounds(network)["sps.0"] == (0, 0)
    assert accumulator_bounds(network)["sps.1"] == (0, 0)
    low, high = membrane_bounds(network)["sps.1"]
    layer = network.layer("sps.1")
    assert high >= layer.threshold.max() and low <= min(layer.bias.min(), 0)


def test_fewer_steps_never_need_more():
    network = random_network(2, neuron="dts", time_steps="full")
    shorter = network.with_steps({x.name: 1 for x in network.spiking})
    for name, (low, high) in membrane_bounds(shorter).items():
        full_low, full_high = membrane_bounds(network)[name]
        assert full_low <= low and high <= full_high


def test_readout_bounds_are_reached():
    network = random_network(1, stem=(4, 4), height=4, width=4)
    head = network.layers[-1]
    info = network.tensors()[head.inputs[0]]
    count = info.steps * info.height * info.width * info.maximum
    rows = head.weight[:, :, 0, 0].astype(int).tolist()
    sums = []
    for row, bias in zip(rows, head.bias.tolist(), strict=True):
        for part in (sum(w for w in row if w > 0), sum(w for w in row if w < 0)):
            sums += [part * count, part * count + bias, bias]
    assert membrane_bounds(network)["head"] == (min(0, *sums), max(0, *sums))
