"""Membrane shortcuts: the model, its integers, the executor, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from spikeloom.gen.compiler import compile_network
from spikeloom.gen.errors import CompileError
from spikeloom.gen.sizing import smallest_core
from spikeloom.golden.models import checkpoints
from spikeloom.golden.models.spikformer import Spikformer, record_spikes
from spikeloom.golden.models.spikformer_config import SpikformerConfig, official
from spikeloom.golden.models.time_mask import initial_parameters
from spikeloom.golden.network import MOST_SHIFT, Network
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images, random_network
from spikeloom.golden.network.widths import accumulator_bounds, membrane_bounds, widths
from spikeloom.golden.quantization.folded import folded as fold_norms
from spikeloom.golden.quantization.folded import quantized
from spikeloom.golden.quantization.folding import fold
from spikeloom.golden.quantization.quantize import quantize
from support import golden_reference

BRANCHES = ["rpe", "block.0.proj", "block.0.fc2", "block.1.proj", "block.1.fc2"]
NEURONS = ["block.0.attn_in", "block.0.mlp_in", "block.1.attn_in", "block.1.mlp_in", "head_in"]
TINY = dict(height=4, width=4, stem=(4, 8), hidden=8, classes=4, residual="ms")


def random_model(seed, *, dtype=torch.float32, **options):
    """A model with random weights and statistics at which all layers fire, and random masks."""
    torch.manual_seed(seed)
    options = {"dim": 16, "heads": 2, "depth": 2, "mlp_ratio": 2, "dynamic": True, "residual": "ms"} | options
    config = SpikformerConfig(**options)
    model = Spikformer(config)
    gain = 2 if config.neuron == "spikingjelly" else 1
    for layer in model.layers():
        if layer.norm is not None:
            least = 1.0 if layer.neurons is not None else 0.25  # branches of different scales
            torch.nn.init.uniform_(layer.norm.weight, least * gain, 2.0 * gain)
            busy = 0.7 * gain * (layer.name[-2:] in (".q", ".k", ".v"))  # or the attention is silent
            torch.nn.init.uniform_(layer.norm.bias, busy - 0.5 * gain, busy + 1.0 * gain)
    for stage in model.stages():
        if stage.neurons.time_mask is not None:
            drawn = int(torch.randint(1, config.steps + 1, ()))
            stage.neurons.time_mask.tp.data = initial_parameters(config.steps, drawn)
    for _ in range(20):
        model(pixels(config, 32))
    return model.to(dtype).eval()


def pixels(config, count):
    shape = (count, config.channels, config.height, config.width)
    return (torch.randint(0, 256, shape) * (torch.rand(shape) < 0.7)).to(torch.uint8)


def test_model_equals_its_equations_written_out():
    """The embedding, one block and the head of Spikingformer, with the neurons of the head before it."""
    model = random_model(0, dtype=torch.float64, depth=1, dynamic=False, steps=3)
    images = pixels(model.config, 3)
    scores, spikes = record_spikes(model, images)

    def lif(currents, threshold=1.0):
        v, out = torch.zeros_like(currents[0]), []
        for x in currents:
            h = v + (x - v) / 2
            s = (h >= threshold).double()
            v = h * (1 - s)
            out.append(s)
        return out

    def linear(owner, part, tokens):
        projection, norm = getattr(owner, f"{part}_linear"), getattr(owner, f"{part}_bn")
        return [norm(projection(step).transpose(1, 2)).transpose(1, 2) for step in tokens]

    embed, attn, mlp = model.patch_embed, model.block[0].attn, model.block[0].mlp
    x = [images.double() / 256] * 3
    for number, pool in zip(("", "1", "2", "3"), model.config.pools, strict=True):
        conv, norm = (getattr(embed, f"proj_{kind}{number}") for kind in ("conv", "bn"))
        x = lif([norm(conv(step)) for step in x])
        if pool:
            x = [torch.nn.functional.max_pool2d(step, 3, 2, 1) for step in x]
    u = [embed.rpe_bn(embed.rpe_conv(step)).flatten(2).transpose(1, 2) for step in x]  # currents
    x = lif(u)
    q, k, v = (lif(linear(attn, part, x)) for part in "qkv")
    mixed = []
    for a, b, c in zip(q, k, v, strict=True):
        parts = (slice(0, 8), slice(8, 16))
        mixed.append(torch.cat([(a[..., i] @ b[..., i].transpose(1, 2) * 0.125) @ c[..., i] for i in parts], -1))
    u = [a + b for a, b in zip(u, linear(attn, "proj", lif(mixed, 0.5)), strict=True)]
    x = lif(u)
    assert torch.equal(torch.stack(x).transpose(2, 3), spikes["block.0.mlp_in"].flatten(3))
    u = [a + b for a, b in zip(u, linear(mlp, "fc2", lif(linear(mlp, "fc1", x))), strict=True)]
    x = torch.stack(lif(u))
    assert torch.equal(x.transpose(2, 3), spikes["head_in"].flatten(3))
    assert torch.allclose(scores, model.head(x.mean(0).mean(1)), rtol=1e-12, atol=1e-12)
    assert all(0 < float(s.mean()) < 1 for s in spikes.values())


def test_only_binary_spikes_reach_a_dot_product():
    network = quantize(random_model(0))
    done = execute(network, pixels(random_model(0).config, 4).numpy(), record=True)
    for layer in network.layers:
        if layer.kind != "neurons" and not layer.direct:
            assert all(done.tensors[name].max() <= 1 for name in layer.inputs), layer.name
    assert [x.name for x in network.layers if not x.fires] == BRANCHES
    assert [x.name for x in network.layers if x.kind == "neurons"] == NEURONS
    assert not {x.name for x in network.spiking} & set(BRANCHES)
    assert {x.name: x.residual for x in network.layers if x.residual} == dict(
        zip(BRANCHES[1:], BRANCHES[:-1], strict=True)
    )


def differences(network, images):
    """Spikes that differ between executor and floating point, and the rates of the layers."""
    done = execute(network, images.numpy(), record=True)
    scores, spikes = record_spikes(quantized(network, dtype=torch.float64), images)
    assert set(spikes) == set(done.spikes)
    wrong = 0
    for name, x in spikes.items():
        steps = network.layer(name).steps
        assert not x[steps:].any()
        wrong += int((x[:steps].numpy().astype(bool) != done.spikes[name]).sum())
    head = network.layers[-1]
    real = done.sums * head.scale / (head.positions * network.steps)
    assert np.allclose(scores.numpy(), real, rtol=1e-9, atol=1e-12)
    return wrong, {name: x.mean() for name, x in done.spikes.items()}


@pytest.mark.parametrize("neuron", ["spikingjelly", "dts"])
@pytest.mark.parametrize("steps, bits, seed", [(1, 8, 0), (2, 4, 1), (4, 8, 2), (4, 4, 3), (8, 8, 4)])
def test_theorem(neuron, steps, bits, seed):
    """The integer network equals the floating-point model with the quantised weights, spike by spike."""
    model = random_model(seed, neuron=neuron, steps=steps)
    network = quantize(model, weight_bits=bits)
    wrong, rates = differences(network, pixels(model.config, 16))
    assert wrong == 0
    assert all(0.001 < rate < 0.97 for rate in rates.values()), rates
    assert len({int(x) for name in BRANCHES for x in network.layer(name).shift}) > 1


def test_theorem_needs_the_shifts():
    network = quantize(random_model(2))
    layer = network.layer("block.0.fc2")
    changed = replace(layer, shift=np.where(layer.shift > 0, layer.shift - 1, 1))
    layers = tuple(changed if x is layer else x for x in network.layers)
    images = pixels(random_model(2).config, 16)
    done = execute(replace(network, layers=layers), images.numpy(), record=True)
    _, spikes = record_spikes(quantized(network, dtype=torch.float64), images)
    assert (spikes["head_in"][: len(done.spikes["head_in"])].numpy() != done.spikes["head_in"]).any()


def test_branches_keep_power_of_two_scales():
    """Also where the others are free, so that the shifts stay exact."""
    free, strict = (quantize(random_model(5), weight_bits=4, scales=x) for x in ("free", "power-of-two"))
    for name in BRANCHES:
        assert (free.layer(name).scale == strict.layer(name).scale).all()
        assert (np.log2(free.layer(name).scale) % 1 == 0).all()
    assert (np.log2(free.layer("block.0.fc1").scale) % 1 != 0).any()
    execute(free, pixels(random_model(5).config, 2).numpy())


def test_stream_has_the_finest_scale_and_its_shifts_stay_in_range():
    model = random_model(6)
    with torch.no_grad():
        model.block[0].mlp.fc2_bn.weight[:8] *= 2.0**-12  # a branch that hardly matters in half the channels
    network = quantize(model)
    stream = network.layer("head_in").scale
    units = np.stack([network.layer(name).scale for name in BRANCHES])
    shifts = np.stack([network.layer(name).shift for name in BRANCHES])
    assert (units == stream * 2.0**shifts).all()
    assert (units.min(0) == stream).all() and shifts.max() == MOST_SHIFT
    for name in NEURONS:
        assert (network.layer(name).scale == stream).all() and not network.layer(name).bias.any()
        assert (network.layer(name).threshold == np.rint(2 / stream)).all()
    assert differences(network, pixels(model.config, 8))[0] == 0


def test_branches_hold_the_folded_numbers():
    """Weights within half a unit (or clipped), biases within half a unit of the stream, both in real values."""
    model = random_model(6)
    network = quantize(model)
    for branch in model.layers():
        if branch.name in BRANCHES:
            weight, bias = fold(branch)
            layer = network.layer(branch.name)
            unit = layer.scale[:, None, None, None]
            inside = abs(weight / unit) <= 127.5
            assert (abs(layer.weight * unit - weight) <= unit * 0.501)[inside].all() and inside.mean() > 0.9
            stream = layer.scale / 2.0**layer.shift
            assert (abs(layer.bias * stream - bias) <= stream / 2).all()


def test_folding_changes_nothing():
    model = random_model(7, dtype=torch.float64)
    images = pixels(model.config, 8)
    scores, spikes = record_spikes(model, images)
    folded_scores, folded = record_spikes(fold_norms(model, dtype=torch.float64), images)
    for stage in model.stages():
        steps = stage.neurons.steps
        assert torch.equal(spikes[stage.name][:steps], folded[stage.name][:steps])
    assert torch.allclose(scores, folded_scores, rtol=1e-9, atol=1e-12)


def test_official_dialect_and_normalised_images():
    model = random_model(
        8, **vars(official("imagenet", depth=1, dim=16, heads=2, height=8, width=8, classes=5)) | {"residual": "ms"}
    )
    assert "mlp.fc2_conv.weight" in {key.split(".", 2)[-1] for key in model.state_dict()}
    wrong, _ = differences(quantize(model), pixels(model.config, 6))
    assert wrong == 0


def test_every_parameter_learns():
    model = random_model(9).train()
    loss = torch.nn.functional.cross_entropy(model(pixels(model.config, 8)), torch.arange(8) % 10)
    loss.backward()
    silent = [n for n, x in model.named_parameters() if x.grad is None or not x.grad.abs().sum() > 0]
    assert not [n for n in silent if "time_mask" not in n]
    assert model.masks(("qkv",)) and len(model.stages()) == 4 + 2 * 7 + 1


def test_checkpoint_and_network_files_keep_it(tmp_path):
    model = random_model(10)
    checkpoints.save(tmp_path / "c.safetensors", model)
    loaded, _ = checkpoints.load(tmp_path / "c.safetensors")
    assert loaded.config == model.config and loaded.config.residual == "ms"
    network = quantize(model)
    network.save(tmp_path / "n.safetensors")
    again = Network.load(tmp_path / "n.safetensors")
    images = pixels(model.config, 4).numpy()
    assert (execute(again, images).sums == execute(network, images).sums).all()
    assert (again.layer("rpe").shift == network.layer("rpe").shift).all() and not again.layer("rpe").fires


@pytest.mark.parametrize("neuron", ["spikingjelly", "dts"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_executor_equals_plain_integers(neuron, seed):
    """Spikes, potentials, streams and sums of random networks, against loops over Python's integers."""
    network = random_network(seed, neuron=neuron, **TINY)
    images = random_images(network, 2, seed=seed)
    done = execute(network, images, record=True)
    accumulators, membranes = accumulator_bounds(network), membrane_bounds(network)
    for b, image in enumerate(images):
        sums, spikes, potentials, tensors, _ = golden_reference.run(network, image)
        assert done.sums[b].tolist() == sums
        for layer in network.layers[:-1]:
            if layer.fires:
                for (t, o, y, x), value in spikes[layer.name].items():
                    assert done.spikes[layer.name][t, b, o, y, x] == value, layer.name
                    assert done.potentials[layer.name][t, b, o, y, x] == potentials[layer.name][t, o, y, x]
            else:
                stream = done.tensors[layer.name]
                assert stream.dtype == np.int64 and len(stream) == network.steps
                for (t, o, y, x), value in tensors[layer.name].items():
                    assert stream[t, b, o, y, x] == value, layer.name
    for layer in network.layers[:-1]:
        values = done.potentials[layer.name] if layer.fires else done.tensors[layer.name]
        low, high = membranes[layer.name]
        assert not values.size or low <= values.min() and values.max() <= high
        if layer.kind == "neurons":
            low, high = accumulators[layer.name]
            stream = done.tensors[layer.inputs[0]]
            assert low <= stream.min() and stream.max() <= high
    assert any(done.spike_counts["head_in"]) or not network.layer("head_in").steps


def test_widths_of_a_stream_are_the_sums_of_its_branches():
    network = random_network(4, **TINY)
    info = network.tensors()
    low = high = 0
    for layer in network.layers:
        if not layer.fires:
            rows = layer.weight.reshape(len(layer.weight), -1).astype(int)
            low += min(int(rows[o][rows[o] < 0].sum()) * 2 ** int(s) + int(b) for o, (s, b) in channels(layer))
            high += max(int(rows[o][rows[o] > 0].sum()) * 2 ** int(s) + int(b) for o, (s, b) in channels(layer))
            assert (info[layer.name].minimum, info[layer.name].maximum) == (low, high)
    bits = max(high.bit_length(), (-low - 1).bit_length()) + 1
    assert widths(network)["head_in"].accumulator == bits


def channels(layer):
    return enumerate(zip(layer.shift, layer.bias, strict=True))


def test_compiler_and_counts_refuse_by_name():
    network = random_network(5, **TINY)
    message = r"layer 'rpe': membrane shortcuts come later: .*residual=\"sew\""
    with pytest.raises(CompileError, match=message):
        smallest_core(network)
    core = smallest_core(random_network(5, **TINY | {"residual": "sew"}))
    with pytest.raises(CompileError, match=message):
        compile_network(network, core)


def test_command_line_refuses_to_compile_and_describes(tmp_path, capsys):
    from spikeloom.cli.main import run

    random_network(5, **TINY).save(tmp_path / "n.safetensors")
    assert run(["info", f"{tmp_path}/n.safetensors"]) == 0
    capsys.readouterr()
    for command in ("compile", "simulate", "estimate"):
        assert run([command, f"{tmp_path}/n.safetensors", "--data", "random"]) == 2
        err = capsys.readouterr().err
        assert "layer 'rpe': membrane shortcuts come later" in err and len(err.splitlines()) == 1


REFUSED = [
    ("rpe", dict(steps=3), "layer 'rpe': a membrane stream has all 4 steps, not 3"),
    ("rpe", dict(shift=None), r"layer 'rpe': shift must have shape \(8,\), not None"),
    ("rpe", dict(shift=np.zeros(3, np.int64)), r"layer 'rpe': shift must have shape \(8,\), not \(3,\)"),
    ("rpe", dict(shift=np.zeros(8)), "layer 'rpe': shift must hold integers, not float64"),
    ("rpe", dict(shift=np.full(8, 8)), r"layer 'rpe': shifts must be in 0\.\.7, not 8\.\.8"),
    ("rpe", dict(pool=True), "layer 'rpe': only an accumulate layer without pooling can be a branch"),
    ("rpe", dict(fires=True, shift=None), "layer 'block.0.attn_in': neurons read a membrane stream, and 'rpe' is none"),
    ("sps.0", dict(shift=np.zeros(4, np.int64)), "layer 'sps.0': only a branch that does not fire has shifts"),
    ("block.0.proj", dict(residual="sps.1"), r"residual 'sps.1' is no membrane stream of shape \(8, 2, 2\)"),
    ("block.0.q", dict(inputs=("rpe",)), "layer 'block.0.q': input 'rpe' is a membrane stream, which neurons alone"),
    ("block.0.fc1", dict(residual="rpe"), "layer 'block.0.fc1': residual 'rpe' is a membrane stream, not spikes"),
    ("head", dict(inputs=("block.0.fc2",)), "layer 'head': input 'block.0.fc2' is a membrane stream"),
    ("head_in", dict(weight=np.zeros(1, np.int8)), "layer 'head_in': neurons have no weights"),
    ("head_in", dict(residual="rpe"), "layer 'head_in': neurons have no residual"),
]


@pytest.mark.parametrize("name, change, message", REFUSED)
def test_bad_networks_are_refused(name, change, message):
    network = random_network(5, time_steps="full", **TINY)
    layers = tuple(replace(x, **change) if x.name == name else x for x in network.layers)
    with pytest.raises(ValueError, match=message):
        replace(network, layers=layers)


def test_bad_configuration_is_refused():
    with pytest.raises(ValueError, match="residual must be one of sew, ms, not 'add'"):
        SpikformerConfig(residual="add")
