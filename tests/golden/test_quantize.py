"""Quantisation: the theorem (integers equal floating point), folding, scales, reports and errors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from spikeloom.golden.data import datasets
from spikeloom.golden.models import checkpoints
from spikeloom.golden.models.spikformer import Spikformer, record_spikes
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.models.time_mask import initial_parameters
from spikeloom.golden.network import Neuron
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.widths import widths
from spikeloom.golden.quantization.blueprints import blueprint
from spikeloom.golden.quantization.folded import folded, quantized
from spikeloom.golden.quantization.folding import fold
from spikeloom.golden.quantization.quantize import quantize
from spikeloom.golden.quantization.report import report
from spikeloom.golden.zoo.shipped import shipped


def random_model(seed, *, steps=4, **options):
    """A model with random weights and statistics at which all layers fire, and random masks."""
    torch.manual_seed(seed)
    config = SpikformerConfig(**({"dim": 32, "heads": 2, "steps": steps, "dynamic": True} | options))
    model = Spikformer(config)
    for stage in model.stages():
        if stage.norm is not None:
            gain = 1 / config.input_gain
            torch.nn.init.uniform_(stage.norm.weight, 1.0 * gain, 2.0 * gain)
            torch.nn.init.uniform_(stage.norm.bias, -0.5 * gain, 1.0 * gain)
        stage.neurons.time_mask.tp.data = initial_parameters(steps, int(torch.randint(1, steps + 1, ())))
    images = random_pixels(64)
    for _ in range(20):
        model(images)
    return model.eval()


def random_pixels(count):
    return (torch.randint(0, 256, (count, 1, 8, 8)) * (torch.rand(count, 1, 8, 8) < 0.7)).to(torch.uint8)


def weight_unit(layer):
    """Real value of one integer of the weights: the accumulator's, in which a pixel is 1/256."""
    return layer.scale * (256 if layer.direct else 1)


def differences(network, images, dtype=torch.float64):
    """Spikes that differ between the executor and the floating-point model, and all spikes."""
    done = execute(network, images.numpy(), record=True)
    scores, spikes = record_spikes(quantized(network, dtype=dtype), images)
    wrong = 0
    for name, x in spikes.items():
        steps = network.layer(name).steps
        assert not x[steps:].any()
        wrong += int((x[:steps].numpy().astype(bool) != done.spikes[name]).sum())
    head = network.layers[-1]
    count = head.positions * network.steps
    real = done.sums * head.scale / count
    if dtype == torch.float64:
        assert np.allclose(scores.numpy(), real, rtol=1e-9, atol=1e-12)  # the mean divides by a non-power of two
    return wrong, {name: x.mean() for name, x in done.spikes.items()}


@pytest.mark.parametrize("neuron", ["spikingjelly", "dts"])
@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize("bits", [8, 4])
def test_theorem_on_random_networks(neuron, steps, bits):
    model = random_model(steps, steps=steps, neuron=neuron, depth=2)
    network = quantize(model, weight_bits=bits)
    wrong, rates = differences(network, random_pixels(24))
    assert wrong == 0
    assert all(0.003 < rate < 0.9 for name, rate in rates.items()), rates


@pytest.mark.parametrize("neuron", ["spikingjelly", "dts"])
@pytest.mark.parametrize("leak, gain, threshold", [(1.0, None, 1.0), (0.5, 0.25, 1.0), (1.0, 2.0, 1.5)])
def test_theorem_with_other_leaks_gains_and_thresholds(neuron, leak, gain, threshold):
    options = dict(neuron=neuron, leak=leak, gain=gain, threshold=threshold, attention_threshold=0.5)
    network = quantize(random_model(3, **options))
    assert {x.neuron.leak for x in network.spiking} == {leak < 1}
    wrong, rates = differences(network, random_pixels(24))
    assert wrong == 0
    assert all(0 < rate < 1 for rate in rates.values()), rates


def test_a_gain_counts_currents():
    """Half the gain halves what the neurons see: the same spikes at half the thresholds."""
    model = random_model(4, neuron="dts")
    halved = Spikformer(replace(model.config, gain=0.5, threshold=0.5, attention_threshold=0.25)).eval()
    halved.load_state_dict(model.state_dict())
    images = random_pixels(8)
    one, other = (record_spikes(x, images)[1] for x in (model, halved))
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(ValueError, match=r"leak must be 0.5 or 1.0, not 0.75"):
        SpikformerConfig(leak=0.75)


@pytest.mark.parametrize("neuron", ["spikingjelly", "dts"])
def test_theorem_in_float32(neuron):
    model = random_model(1, neuron=neuron)
    network = quantize(model)
    # The widest potential and the fraction bits of its halvings fit the 24 bits of float32.
    assert max(x.membrane for x in widths(network).values()) + network.steps - 2 <= 24
    assert differences(network, random_pixels(48), torch.float32)[0] == 0


@pytest.mark.parametrize("bits", [8, 4])
def test_theorem_on_the_trained_network_and_all_held_out_images(bits):
    model, _ = checkpoints.load(shipped("digits"))
    images, _ = datasets.load("digits", "test")
    network = quantize(model, weight_bits=bits)
    assert differences(network, torch.from_numpy(images), torch.float32)[0] == 0


def test_theorem_needs_the_rounding_of_the_contract():
    """The test of the theorem can fail: the other rounding of the leak differs."""
    from dataclasses import replace

    network = quantize(random_model(4, neuron="dts"))
    wrong = Neuron(hard=False, strict=False, leak=True)
    layers = tuple(x if x.kind == "readout" else replace(x, neuron=wrong) for x in network.layers)
    assert differences_only(replace(network, layers=layers), random_pixels(24)) > 0


def differences_only(network, images):
    done = execute(network, images.numpy(), record=True)
    _, spikes = record_spikes(quantized(network, dtype=torch.float64), images)
    return sum(
        int((x[: network.layer(name).steps].numpy().astype(bool) != done.spikes[name]).sum())
        for name, x in spikes.items()
    )


def test_layers_have_the_names_and_order_of_the_contract():
    network = quantize(random_model(0, depth=2))
    block = ["q", "k", "v", "attn", "proj", "fc1", "fc2"]
    assert [x.name for x in network.layers] == [
        *(f"sps.{i}" for i in range(4)),
        "rpe",
        *(f"block.0.{x}" for x in block),
        *(f"block.1.{x}" for x in block),
        "head",
    ]
    residuals = {x.name: x.residual for x in network.layers if x.residual}
    assert residuals == {
        "rpe": "sps.3",
        "block.0.proj": "rpe",
        "block.0.fc2": "block.0.proj",
        "block.1.proj": "block.0.fc2",
        "block.1.fc2": "block.1.proj",
    }
    groups = {x.name.split(".")[-1]: x.group for x in network.layers[4:12]}
    assert groups == dict(rpe="sps", q="qkv", k="qkv", v="qkv", attn="attn", proj="attn", fc1="mlp", fc2="mlp")


def test_steps_are_those_of_the_masks():
    model = random_model(3, steps=6)
    network = quantize(model)
    assert {x.name: x.steps for x in network.spiking} == model.time_steps()
    assert len({x.steps for x in network.spiking}) > 1
    assert network.layers[-1].steps == network.tensors()["block.0.fc2"].steps


@pytest.mark.parametrize("neuron, threshold", [("spikingjelly", 8), ("dts", 4)])
def test_attention_scale_folds_into_its_threshold(neuron, threshold):
    layer = quantize(random_model(0, neuron=neuron)).layer("block.0.attn")
    assert layer.threshold.tolist() == [threshold] * 32
    assert not layer.bias.any()


@pytest.mark.parametrize("bits", [8, 4])
def test_power_of_two_scales_are_powers_of_two(bits):
    network = quantize(random_model(5, dim=64), weight_bits=bits)
    for layer in network.layers:
        mantissa, _ = np.frexp(layer.scale)
        assert (mantissa == 0.5).all()
        if layer.kind == "accumulate":
            assert (layer.threshold * layer.scale == 2).all()
    assert len(set(network.layer("rpe").scale.tolist())) > 1  # one a channel


def test_free_scales_have_integer_thresholds_and_a_smaller_error():
    model = random_model(6)
    free, dyadic = (quantize(model, weight_bits=4, scales=x) for x in ("free", "power-of-two"))
    for layer in free.spiking:
        if layer.weight is not None:
            assert np.allclose(layer.threshold * layer.scale, 2, rtol=1e-12)  # float64 of an exact fraction
    errors = [sum(row.error for row in report(model, x)) for x in (free, dyadic)]
    assert errors[0] < errors[1]


def test_folding_equals_batch_norm():
    model = random_model(7, bias=True)
    images = random_pixels(32)
    scores, spikes = record_spikes(model.double(), images)
    folded_scores, folded_spikes = record_spikes(folded(model, dtype=torch.float64), images)
    # In float64 no potential of these images is close enough to the threshold for the order to count.
    assert all(bool((spikes[name] == folded_spikes[name]).all()) for name in spikes)
    assert torch.allclose(scores, folded_scores)


def test_folded_weights_of_one_channel_by_hand():
    model = random_model(8)
    stage = model.stages()[6]
    weight, bias = fold(stage)
    norm, linear = stage.norm, stage.projection
    slope = norm.weight[3].item() / (norm.running_var[3].item() + norm.eps) ** 0.5
    assert weight.shape == (32, 32, 1, 1)
    assert weight[3, 5, 0, 0] == pytest.approx(linear.weight[3, 5].item() * slope, rel=1e-12)
    assert bias[3] == pytest.approx(norm.bias[3].item() - norm.running_mean[3].item() * slope, rel=1e-12)


def test_integers_are_the_nearest():
    model = random_model(9)
    network = quantize(model)
    stages = {x.name: x for x in model.stages()}
    for layer in network.spiking:
        if layer.weight is None:
            continue
        weight, bias = fold(stages[layer.name])
        unit = weight_unit(layer)[:, None, None, None]
        inside = (weight / unit <= 127.5) & (weight / unit >= -128.5)
        assert (abs(layer.weight - weight / unit)[inside] <= 0.5).all()
        assert (abs(layer.bias - bias / layer.scale) <= 0.5).all()
        assert abs(layer.weight.astype(int)).max() > 60  # the range is used


def test_readout_shares_one_scale_and_counts_its_bias_for_all_tokens_and_steps():
    model = random_model(13, steps=5)
    head = quantize(model).layers[-1]
    assert len(set(head.scale.tolist())) == 1
    wanted = model.head.bias.detach().double().numpy() * 16 * 5 / head.scale
    assert (abs(head.bias - wanted) <= 0.5).all() and abs(wanted).max() > 100


def test_pixel_scale_is_part_of_the_first_scale():
    model = random_model(0)
    layer, part = quantize(model).layers[0], blueprint(model).parts[0]
    assert (part.unit(layer.scale) == layer.scale * 256).all()


def test_a_dead_channel_stays_narrow():
    model = random_model(10)
    model.patch_embed.proj_bn1.weight.data[2] = 0
    layer = quantize(model).layer("sps.1")
    assert not layer.weight[2].any()
    assert layer.threshold[2] <= 1 << 16


def test_weight_bits_by_layer():
    network = quantize(random_model(0), weight_bits={"rpe": 4, "block.0.q": 4})
    assert {x.name for x in network.layers if x.weight_bits == 4} == {"rpe", "block.0.q"}


def test_provenance_holds_configuration_options_and_accuracy():
    model, about = checkpoints.load(shipped("digits"))
    images, labels = datasets.load("digits", "test")
    network = quantize(model, scales="free", weight_bits=4, provenance={"source": "x"}, images=images, labels=labels)
    known = network.provenance
    assert known["source"] == "x"
    assert SpikformerConfig(**known["config"]) == model.config
    assert known["quantization"]["scales"] == "free"
    assert set(known["quantization"]["weight_bits"].values()) == {4}
    assert known["images"] == 360
    assert known["accuracy_integer"] == execute(network, images).accuracy(labels)


def test_report_says_what_happened_to_each_layer():
    model = random_model(11)
    network = quantize(model, weight_bits=4)
    images = random_pixels(40)
    labels = folded(model)(images).argmax(1).numpy()  # so the whole model is right everywhere
    done = []
    rows = report(model, network, images=images.numpy(), labels=labels, progress=lambda *x: done.append(x))
    assert done == [(i + 1, 13) for i in range(13)]
    proven = widths(network)
    for row, layer in zip(rows, network.layers, strict=True):
        assert (row.name, row.weight_bits, row.steps) == (layer.name, 4, layer.steps)
        assert row.accumulator_bits == proven[row.name].accumulator
        assert row.membrane_bits == proven[row.name].membrane
        if layer.kind == "attention":
            assert row.accuracy_lost is None and row.weight_low is None
        else:
            assert row.weight_low < 0 < row.weight_high
            assert 0 <= row.accuracy_lost <= 1
            assert 0 < row.error < 0.3 and 0 <= row.clipped < 0.2
    lost = [row.accuracy_lost for row in rows if row.accuracy_lost is not None]
    assert max(lost) > 0


def test_report_of_clipping():
    model = random_model(12)
    with torch.no_grad():
        model.patch_embed.rpe_conv.weight[0, 0, 0, 0] = 1.3 * model.patch_embed.rpe_conv.weight[0].abs().max()
    network = quantize(model)
    layer = network.layer("rpe")
    weight, _ = fold(model.stages()[4])
    wanted = np.rint(weight / weight_unit(layer)[:, None, None, None])
    share = ((wanted > 127) | (wanted < -128)).sum() / wanted.size
    row = next(x for x in report(model, network) if x.name == "rpe")
    assert row.clipped == share
    assert row.accuracy_lost is None


def test_unknown_scales_are_refused():
    with pytest.raises(ValueError, match="scales must be power-of-two or free, not 'log'"):
        quantize(random_model(0), scales="log")


def test_other_weight_bits_are_refused():
    with pytest.raises(ValueError, match=r"weight_bits must be 4 or 8, not 6 \(layer 'sps.0'\)"):
        quantize(random_model(0), weight_bits=6)


def test_weight_bits_of_an_unknown_layer_are_refused():
    with pytest.raises(ValueError, match="unknown layer 'sps.9'; the layers are sps.0, "):
        quantize(random_model(0), weight_bits={"sps.9": 4})


def test_a_mask_that_is_no_prefix_is_refused():
    model = random_model(0)
    model.stages()[2].neurons.time_mask.tp.data = torch.tensor([1.0, -1.0, 1.0, 0.5])
    with pytest.raises(ValueError, match="layer 'sps.2': the time mask 1010 is no prefix"):
        quantize(model)


def test_a_threshold_off_the_scales_is_refused():
    with pytest.raises(ValueError, match="layer 'sps.0': threshold .* is no multiple of its scale"):
        quantize(random_model(0, threshold=0.3))


def test_weights_that_are_not_finite_are_refused():
    model = random_model(0)
    model.patch_embed.proj_conv2.weight.data[3, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="layer 'sps.2': channel 3 has weights that are not finite"):
        quantize(model)


def test_a_network_that_no_model_made_has_no_floating_point_twin():
    from spikeloom.golden.network.random_network import random_network

    with pytest.raises(ValueError, match="network 'random-0' was not made from a model"):
        quantized(random_network(0))
