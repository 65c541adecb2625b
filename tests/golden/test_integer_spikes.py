"""Networks with integer spikes, depthwise convolutions, wide values and sums over the map: contract and executor."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from spikeloom.gen.errors import CompileError
from spikeloom.gen.support import check_supported
from spikeloom.golden.network import IMAGE, Layer, Network, Neuron
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.neurons import fire_integers
from spikeloom.golden.network.random_network import random_images
from spikeloom.golden.network.widths import accumulator_bounds, membrane_bounds
from support import golden_reference

C, SIDE = 4, 5  # channels and rows of the stream


def make(seed=0, *, levels=4, frame=0, coding="planes"):
    """A small network of the E-SpikeFormer's kinds of layers."""
    rng = np.random.default_rng(seed)
    layers = []

    def add(name, inputs, channels_in, channels_out, *, spread=0.0, side=SIDE, **fields):
        """spread: standard deviation of the neurons' potentials, over which the thresholds lie."""
        kind, fires = fields.get("kind", "accumulate"), fields.get("fires", True)
        spiking = fires and kind != "readout"
        if kind in ("accumulate", "readout"):
            shape = (channels_out, 1 if fields.get("depthwise") else channels_in, *[fields.get("kernel", 1)] * 2)
            fields["weight"] = rng.integers(-100, 128, shape).astype(np.int8)
        if not fires:
            fields["shift"] = rng.integers(0, 3, channels_out)
        threshold = np.zeros(channels_out, np.int64)
        if spiking:
            threshold = np.sort(rng.normal(0, spread, (levels, channels_out)), axis=0).astype(np.int64)
        layers.append(
            Layer(
                name=name,
                inputs=inputs,
                steps=1,
                channels_in=channels_in,
                channels_out=channels_out,
                height_in=side,
                width_in=side,
                neuron=Neuron(levels=levels if spiking else 1),
                bias=rng.integers(-50, 50, channels_out),
                threshold=threshold,
                scale=np.ones(channels_out),
                **fields,
            )
        )

    add("down", (IMAGE,), 1, C, side=9 + 2 * frame, kernel=2 * frame + 1 if frame else 3, stride=2,
        padding=0 if frame else 1, fires=False)  # fmt: skip
    add("sep.in", ("down",), C, C, kind="neurons", spread=2e4)
    add("sep.1", ("sep.in",), C, 2 * C, spread=300)
    add("sep.depth", ("sep.1",), 2 * C, 2 * C, kernel=3, padding=1, depthwise=True, spread=500)
    add("sep.2", ("sep.depth",), 2 * C, C, fires=False, residual="down")
    add("attn.in", ("sep.2",), C, C, kind="neurons", spread=2e4)
    add("q", ("attn.in",), C, C, spread=300)
    add("k", ("attn.in",), C, C, spread=300)
    add("v", ("attn.in",), C, 2 * C, spread=300)
    add("attn", ("q", "k", "v"), C, 2 * C, kind="attention", heads=2, spread=500)
    add("proj", ("attn",), 2 * C, C, fires=False, residual="sep.2")
    add("head.in", ("proj",), C, C, kind="neurons", whole_map=True, spread=4e5)
    add("head", ("head.in",), C, 3, kind="readout", group="head", side=1)
    header = dict(padding_pixel=(70,), frame=frame) if frame else {}
    size = 9 + 2 * frame
    return Network(
        name="integers", steps=1, channels=1, height=size, width=size, layers=tuple(layers), coding=coding, **header
    )


@pytest.mark.parametrize(("seed", "levels", "frame"), [(0, 4, 0), (1, 8, 1), (2, 3, 0)])
def test_executor_equals_plain_python(seed, levels, frame):
    network = make(seed, levels=levels, frame=frame)
    images = random_images(network, 2, seed=seed)
    done = execute(network, images, record=True)
    seen = set()
    for b, image in enumerate(network.framed(images)):
        sums, spikes, potentials, tensors, _ = golden_reference.run(network, image)
        assert done.sums[b].tolist() == sums
        for layer in network.spiking:
            for key, expected in spikes[layer.name].items():
                t, c, y, x = key
                assert done.spikes[layer.name][t, b, c, y, x] == expected, (layer.name, key)
                assert done.potentials[layer.name][t, b, c, y, x] == potentials[layer.name][key], (layer.name, key)
                seen.add(expected)
            assert done.spike_counts[layer.name][b] == sum(spikes[layer.name].values())
        for name, tensor in tensors.items():
            values = done.tensors[name][:, b]
            assert values.size == len(tensor)
            assert all(values[key] == value for key, value in tensor.items()), name
    assert seen == set(range(levels + 1))


@pytest.mark.parametrize("coding", ["planes", "unary"])
def test_passes_of_single_bits_make_the_same(coding):
    network = make(3, levels=5, coding=coding)
    images = random_images(network, 3)
    one, other = (execute(network, images, record=True, unrolled=x) for x in (False, True))
    assert (one.sums == other.sums).all()
    for name, tensor in one.tensors.items():
        assert (tensor == other.tensors[name]).all(), name


def test_values_lie_within_the_proven_bounds():
    network = make(4)
    done = execute(network, random_images(network, 4), record=True)
    accumulators, membranes = accumulator_bounds(network), membrane_bounds(network)
    assert accumulators["attn"] == (0, 25 * 2 * 4**3)
    for layer in network.spiking:
        h = done.potentials[layer.name]
        low, high = membranes[layer.name]
        assert low <= h.min() and h.max() <= high
        acc = h - layer.bias[:, None, None]
        low, high = accumulators[layer.name]
        assert low <= acc.min() and acc.max() <= high
    largest = network.tensors()["proj"]
    assert accumulators["head.in"] == (largest.minimum * 25, largest.maximum * 25)


def test_file_keeps_everything(tmp_path):
    network = make(5, frame=2, coding="unary")
    network.save(tmp_path / "network.safetensors")
    again = Network.load(tmp_path / "network.safetensors")
    assert (again.coding, again.frame, again.image_shape) == ("unary", 2, (1, 9, 9))
    for before, after in zip(network.layers, again.layers, strict=True):
        assert replace(after, weight=None, bias=None, threshold=None, scale=None, shift=None).__dict__ == (
            replace(before, weight=None, bias=None, threshold=None, scale=None, shift=None).__dict__
        )
        assert (before.threshold == after.threshold).all()


def test_a_frame_is_as_wide_as_the_padding():
    network = make(6, frame=2)
    image = np.full((1, 1, 9, 9), 9, np.uint8)
    framed = network.framed(image)
    assert framed.shape == (1, 1, 13, 13) and (framed[0, 0, 2:-2, 2:-2] == 9).all()
    assert (framed[0, 0, :2] == 70).all() and (framed[0, 0, :, -2:] == 70).all()


def test_fire_integers_counts_the_thresholds_that_are_reached():
    currents = torch.tensor([-3, 0, 1, 2, 3, 9]).view(1, 6, 1)
    threshold = torch.tensor([[1], [3], [3]])
    spikes, potentials = fire_integers(currents, bias=torch.tensor([0]), threshold=threshold, steps=1)
    assert spikes.flatten().tolist() == [0, 0, 1, 1, 3, 3]
    assert potentials.flatten().tolist() == [-3, 0, 1, 2, 3, 9]
    spikes, _ = fire_integers(currents[:0], bias=torch.tensor([2]), threshold=threshold, steps=1)
    assert spikes.flatten().tolist() == [1] * 6
    with pytest.raises(TypeError, match="fire_integers needs integers, not torch.float32"):
        fire_integers(currents.float(), bias=torch.tensor([0]), threshold=threshold, steps=1)
    with pytest.raises(ValueError, match="steps must be 0 or 1, not 2"):
        fire_integers(currents, bias=torch.tensor([0]), threshold=threshold, steps=2)


def change(network, name, **fields):
    return replace(network, layers=tuple(replace(x, **fields) if x.name == name else x for x in network.layers))


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("q", dict(threshold=np.zeros(C, np.int64)), r"'q': threshold must have shape \(4, 4\), not \(4,\)"),
        ("q", dict(threshold=-np.arange(4 * C).reshape(4, C)), "'q': the thresholds of integer spikes must ascend"),
        ("q", dict(neuron=Neuron(levels=0)), "'q': levels must be positive, not 0"),
        ("sep.1", dict(depthwise=True), "'sep.1': weight must have shape"),
        ("attn.in", dict(depthwise=True), "'attn.in': only an accumulate layer can be depthwise"),
        ("q", dict(whole_map=True), "'q': only neurons of a membrane stream can have the whole map"),
        ("attn", dict(heads=3), "'attn': 4 channels cannot be split over 3 heads"),
        ("k", dict(residual="attn.in"), "'attn': input 'k' must be spikes, not sums up to 8"),
    ],
)
def test_what_no_network_can_have(name, fields, message):
    with pytest.raises(ValueError, match=message):
        change(make(), name, **fields)


def test_integer_spikes_need_one_step():
    with pytest.raises(ValueError, match="layer 'sep.in': integer spikes need a network of one step, not 2"):
        layers = tuple(replace(x, steps=1 if x.fires else 2) for x in make().layers)
        replace(make(), steps=2, layers=layers)
    with pytest.raises(ValueError, match="coding must be planes or unary, not 'gray'"):
        make(coding="gray")
    with pytest.raises(ValueError, match="frame must be positive, not 0"):
        replace(make(frame=1), frame=0)


def test_the_core_names_what_it_cannot_do_yet():
    with pytest.raises(CompileError, match="layer 'down': membrane shortcuts come later"):
        check_supported(make(), 8)
    with pytest.raises(CompileError, match="unary spikes come later: .* not coding='unary'"):
        check_supported(make(coding="unary"), 8)
    network = make()
    for name, message in [
        ("sep.depth", "layer 'sep.depth': depthwise convolutions come later"),
        ("q", r"layer 'q': integer spikes come later: .* fires 0 or 1, not 0\.\.4"),
    ]:
        with pytest.raises(CompileError, match=message):
            check_supported(Alone(network.layer(name)), 8)
    wide = replace(network.layer("attn"), neuron=Neuron(), threshold=np.ones(2 * C, np.int64))
    with pytest.raises(CompileError, match=r"layer 'attn': v must have as many channels as q and k \(4\), not 8"):
        check_supported(Alone(wide), 8)


class Alone:
    """A stand-in for a network of one layer, which no real network can be."""

    def __init__(self, layer):
        self.layers, self.coding = (layer,), "planes"
