"""Models of both families come apart into the same parts, and one quantiser rounds them."""

import numpy as np
import pytest
import torch

from spikeloom.golden.models.spikformer import Spikformer
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.quantization.blueprints import blueprint
from spikeloom.golden.quantization.firing import Levels, Threshold
from spikeloom.golden.quantization.folded import folded, quantized
from spikeloom.golden.quantization.quantize import quantize
from support.e_spikeformers import make, random_images


def spikformer(**options):
    torch.manual_seed(0)
    model = Spikformer(SpikformerConfig(dim=16, heads=2, mlp_ratio=2, **options))
    for layer in model.layers():
        if layer.norm is not None:
            torch.nn.init.uniform_(layer.norm.weight, 1.5, 3.0)
            torch.nn.init.uniform_(layer.norm.bias, -0.5, 1.5)
    for seed in range(20):  # the norms take the statistics of images
        model(random_images(model, 8, seed))
    return model.eval()


MODELS = {
    "spikformer": lambda: spikformer(),
    "normalised": lambda: spikformer(channels=3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.2), bias=True),
    "membrane": lambda: spikformer(residual="ms", neuron="dts"),
    "e_spikeformer": lambda: make(0),
    "e_normalised": lambda: make(1, channels=3, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.3), levels=8),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def test_each_part_becomes_the_layer_of_its_name(model):
    plan, network = blueprint(model), quantize(model)
    assert [part.name for part in plan.parts] == [layer.name for layer in network.layers]
    for part, layer in zip(plan.parts, network.layers, strict=True):
        assert (part.kind, part.fires, part.channels) == (layer.kind, layer.fires, layer.channels_out)
        assert all(getattr(layer, key) == value for key, value in part.fields.items() if key != "steps")
        assert (part.weight is None) == (layer.weight is None) == (layer.kind in ("attention", "neurons"))
    assert plan.size == (network.height, network.width)
    assert [round(x) for x in plan.padding] == list(network.padding_pixel)


def test_integers_are_the_nearest_to_the_folded_numbers(model):
    network = quantize(model, weight_bits=4)
    for part, layer in zip(blueprint(model).parts, network.layers, strict=True):
        if layer.weight is None:
            continue
        inside = (layer.weight > -8) & (layer.weight < 7)  # the others may be clipped
        steps = abs(part.weights_of(layer) - part.weight) / part.unit(layer.scale)[:, None, None, None]
        assert inside.any() and steps[inside].max() <= 0.5 + 1e-9
        of_bias = layer.scale / (part.divisor if layer.kind == "readout" else 1)
        if layer.shift is not None:
            of_bias = of_bias / 2.0**layer.shift
        assert (abs(part.bias_of(layer) - part.bias) <= 0.5 * of_bias * (1 + 1e-9)).all()


def test_folding_changes_no_score(model):
    images = random_images(model, 6)
    wanted = model.double()(images)
    assert torch.allclose(folded(model, dtype=torch.float64)(images), wanted, rtol=1e-9, atol=1e-9)
    assert wanted.std(0).min() > 0  # images differ


def test_the_twin_of_a_network_is_of_its_own_architecture(model):
    twin = quantized(quantize(model))
    assert type(twin) is type(model) and not twin.training
    assert {name for name, _ in twin.named_buffers() if "running" in name} == set()  # all norms are folded


def test_branches_that_add_to_one_stream_share_its_finest_scale():
    network = quantize(MODELS["membrane"]())
    streams = {x.name: x.scale / 2.0**x.shift for x in network.layers if not x.fires}
    assert list(streams) == ["rpe", "block.0.proj", "block.0.fc2"]
    assert all(np.array_equal(stream, streams["rpe"]) for stream in streams.values())
    assert all(np.array_equal(x.scale, streams["rpe"]) for x in network.layers if x.kind == "neurons")
    assert (np.min([x.shift for x in network.layers if not x.fires], axis=0) == 0).all()


def test_thresholds_of_both_kinds_of_neurons():
    scale = np.array([0.5, 0.25])
    lif = Threshold(potential=1.0, gain=2)
    assert lif.thresholds("x", scale, lambda h: h * scale).tolist() == [4, 8]
    with pytest.raises(ValueError, match="layer 'x': threshold .* is no multiple of its scale"):
        lif.thresholds("x", np.array([0.3]), lambda h: h * 0.3)
    # rounds half to even: 0.5 stays 0, 0.75 is 1, 1.5 is 2
    assert Levels(count=2).thresholds("x", scale, lambda h: h * scale).tolist() == [[2, 3], [3, 6]]
    assert Levels(count=1).thresholds("x", scale, lambda h: h * scale).tolist() == [2, 3]
