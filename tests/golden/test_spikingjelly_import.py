"""SpikingJelly's own Spikformer: what is taken over, the same forward pass, and pooled currents in integers."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from spikeloom.cli.main import run
from spikeloom.gen.errors import CompileError
from spikeloom.gen.sizing import smallest_core
from spikeloom.gen.support import check_supported
from spikeloom.golden.analysis.operations import operations
from spikeloom.golden.exchange import import_spikingjelly
from spikeloom.golden.exchange.import_checkpoint import import_checkpoint
from spikeloom.golden.models.image_config import CIFAR, CIFAR100
from spikeloom.golden.models.pixels import Pixels
from spikeloom.golden.models.spikformer import Spikformer, record_spikes
from spikeloom.golden.models.spikformer_config import SpikformerConfig, official
from spikeloom.golden.network import Network
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images, random_network
from spikeloom.golden.network.widths import accumulator_bounds, membrane_bounds
from spikeloom.golden.quantization.folded import quantized
from support import golden_reference
from support.golden_reference import accumulate
from support.official_spikformer import compare

NO_SPIKINGJELLY = "needs SpikingJelly: pip install --no-deps spikingjelly==2.0.0, and loguru"
SIZE = dict(embed_dims=32, depths=2, num_heads=2, patch_size=4, img_size_h=16, img_size_w=16, num_classes=7)


@pytest.fixture(scope="module")
def spikingjelly():
    return pytest.importorskip("spikingjelly.activation_based.model.spikformer", reason=NO_SPIKINGJELLY)


def pixels(count, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rough = torch.rand(count, 3, size // 4, size // 4, generator=generator)
    smooth = torch.nn.functional.interpolate(rough, scale_factor=4, mode="bilinear")
    return (255 * smooth).round().to(torch.uint8)


def normalised(images, dtype=torch.float32):
    """As torchvision's ToTensor and Normalize do, with the usual numbers of CIFAR-10."""
    mean, std = (torch.tensor(CIFAR[key], dtype=dtype)[:, None, None] for key in ("mean", "std"))
    return (images.to(dtype) / 255 - mean) / std


@torch.no_grad()
def calibrated(model, images, seed=0):
    """The model in evaluation, with random parameters and batch norms that have seen the images."""
    from spikingjelly.activation_based import functional

    generator = torch.Generator().manual_seed(seed)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            low = 0.7 * ("qkv" in name) - 0.5  # or nothing reaches the attention's threshold
            module.weight.uniform_(1, 2, generator=generator)
            module.bias.uniform_(low, low + 1.3, generator=generator)
            module.weight[::5] *= -1  # the norm comes before the pooling, which is no matter for positive factors
            module.momentum = None  # the mean over all batches
        elif hasattr(module, "weight"):
            module.weight.normal_(0, module.weight[0].numel() ** -0.5, generator=generator)
            if module.bias is not None:
                module.bias.normal_(0, 1, generator=generator)
    for _ in range(6):  # each norm settles behind those before it
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                module.reset_running_stats()
        functional.reset_net(model)
        model.train()(normalised(images, model.head.weight.dtype))
    functional.reset_net(model)
    return model.eval()


class Recorded:
    """Spikes and potentials before the reset of SpikingJelly's model, (T, B, C, positions), by names of our layers."""

    @torch.no_grad()
    def __init__(self, model, images):
        self.spikes, self.potentials = {}, {}
        places = {f"sps.{i}": stage.neuron for i, stage in enumerate(model.patch_embed.stages)}
        places["rpe"] = model.patch_embed.positional_encoding.neuron
        for i, block in enumerate(model.blocks):
            parts = dict(qkv=block.attn.qkv_lif, attn=block.attn.attn_lif, proj=block.attn.proj_lif)
            parts |= dict(fc1=block.mlp.neuron1, fc2=block.mlp.neuron2)
            places |= {f"block.{i}.{part}": node for part, node in parts.items()}
        handles = []
        for name, node in places.items():
            node.store_v_seq = True
            handles.append(node.register_forward_hook(self.keeper(name)))
        self.scores = model(normalised(images, model.head.weight.dtype))
        for handle in handles:
            handle.remove()

    def keeper(self, name):
        def keep(node, inputs, spikes):
            before = torch.cat([torch.zeros_like(spikes[:1]), node.v_seq[:-1]])
            potentials = before + (inputs[0] - before) / 2
            for found, x in ((self.spikes, spikes), (self.potentials, potentials)):
                x = x.flatten(2, 3) if name.endswith(".attn") else x  # heads and their channels
                if name.endswith("qkv"):
                    found |= {name[:-3] + part: y for part, y in zip("qkv", x.chunk(3, 2), strict=True)}
                else:
                    found[name] = x.flatten(3)

        return keep


def imported(model, path, **options):
    torch.save(model.state_dict(), path)
    return import_checkpoint(path, **options)


@pytest.mark.parametrize("seed, patch", [(0, 4), (1, 4), (2, 16)])
def test_forward_pass_is_spikingjellys(spikingjelly, seed, patch, tmp_path):
    side = 16 if patch == 4 else 48
    options = SIZE | dict(patch_size=patch, img_size_h=side, img_size_w=side)
    images = pixels(6, side, seed)
    theirs = calibrated(spikingjelly.Spikformer(T=4, **options), images, seed)
    found = imported(theirs, tmp_path / "m.pth", heads=2, size=side, patch=patch)
    model = found.model
    model.pixels = Pixels(CIFAR["mean"], CIFAR["std"])  # where it has ImageNet's
    recorded = Recorded(theirs, images)
    scores, spikes = record_spikes(model, images)
    aside, ties = compare(recorded, scores, recorded.scores.mean(0), spikes)
    assert aside <= 2, f"{ties} neurons in {aside} of 6 images decide otherwise"
    assert set(spikes) == set(recorded.spikes) and len(spikes) == 5 + 2 * 7
    assert all(0.003 < float(x.mean()) < 0.97 for x in spikes.values())
    assert spikes["sps.3"].shape[3] == side // patch


def test_forward_pass_of_spikformer_cifar10(spikingjelly, tmp_path):
    """Full size, one image; in float64, whose ties are too rare to matter."""
    images = pixels(1, 32)
    theirs = calibrated(spikingjelly.spikformer_cifar10(T=4), images)
    found = imported(theirs, tmp_path / "m.pth")
    assert found.name == "Spikformer-4-384" and not found.dead
    assert found.sources == {
        "heads": "SpikingJelly's spikformer_cifar10",
        "steps": "the official cifar configuration",
        "size": "the official cifar configuration",
        "normalisation": "the official cifar configuration, as SpikingJelly's model has none of its own",
        "patch": "SpikingJelly's spikformer_cifar10",
    }
    config = found.model.config
    assert (config.heads, config.height, config.pool_first, config.bias) == (12, 32, True, False)
    assert sum(x.numel() for x in found.model.parameters()) == 9_310_906
    recorded = Recorded(theirs.double(), images)
    scores, spikes = record_spikes(found.model.double(), images)
    assert compare(recorded, scores, recorded.scores.mean(0), spikes) == (0, 0)
    assert len(spikes) == 33 and spikes["sps.2"].shape[2:] == (192, 16, 16)


@pytest.mark.parametrize("name, depth, heads", [("spikformer_ti", 4, 8), ("spikformer_s", 6, 12)])
def test_other_models_of_spikingjelly_are_known(spikingjelly, name, depth, heads):
    with torch.device("meta"):
        theirs = getattr(spikingjelly, name)()
    shapes = {key: tuple(x.shape) for key, x in theirs.state_dict().items()}
    found = import_spikingjelly.recognise(shapes)
    preset = import_spikingjelly.PRESETS[found["depth"], found["dim"]]
    assert (preset.name, preset.heads, preset.patch, found["depth"]) == (name, heads, 16, depth)
    config = official("imagenet", **found, heads=heads, pool_first=True)
    assert import_spikingjelly.shapes(config) == shapes and list(import_spikingjelly.shapes(config)) == list(shapes)


def test_cifar100_has_its_normalisation(spikingjelly, tmp_path):
    theirs = spikingjelly.Spikformer(**SIZE | dict(num_classes=100))
    config = imported(theirs, tmp_path / "m.pth", heads=4, patch=4).model.config
    assert (config.mean, config.height, config.heads) == (CIFAR100["mean"], 32, 4)


def test_imported_model_in_integers(spikingjelly, tmp_path, capsys):
    """Through the command line; the integer network equals the quantised model spike by spike, at 8 and at 4 bits."""
    images = pixels(4, 16)
    theirs = calibrated(spikingjelly.Spikformer(T=4, **SIZE), images)
    torch.save(theirs.state_dict(), tmp_path / "m.pth")
    path = tmp_path / "checkpoint.safetensors"
    options = ["--heads", "2", "--patch", "4", "--size", "16", "-o", str(path)]
    assert run(["import", f"{tmp_path}/m.pth", *options, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["pool_first"] and record["heads"] == 2 and record["sources"]["patch"] == "--patch"
    assert run(["import", f"{tmp_path}/m.pth", *options]) == 0
    assert "pooled before the neurons" in capsys.readouterr().out
    np.savez(tmp_path / "x.npz", images=images.numpy(), labels=np.zeros(4, np.int64))
    for bits in ("8", "4"):
        file = tmp_path / f"n{bits}.safetensors"
        line = ["quantize", str(path), "--bits", bits, "--data", f"{tmp_path}/x.npz", "-o", str(file), "--json"]
        assert run(line) == 0
        network = Network.load(file)
        assert [x.pool_first for x in network.layers[:5]] == [False, False, True, True, False]
        done = execute(network, images.numpy(), record=True)
        scores, spikes = record_spikes(quantized(network, dtype=torch.float64), images)
        for name, x in spikes.items():
            assert (x.numpy().astype(bool) == done.spikes[name]).all(), name
            assert 0.001 < x.mean() < 0.97
        head = network.layers[-1]
        real = done.sums * head.scale / (head.positions * network.steps)
        assert np.allclose(scores.numpy(), real, rtol=1e-9, atol=1e-12)
    capsys.readouterr()
    data = ["--data", f"{tmp_path}/x.npz", "--images", "1"]
    line = ["compile", f"{tmp_path}/n8.safetensors", *data, "-o", f"{tmp_path}/out"]
    assert run(line) == 2
    out, err = capsys.readouterr()
    assert "layer 'sps.2': max-pooling before the neurons comes later" in err and len(err.splitlines()) == 1
    assert run(["energy", f"{tmp_path}/n8.safetensors", "--data", f"{tmp_path}/x.npz", "--json"]) == 0


CASES = [
    dict(seed=0, neuron="spikingjelly", pools=(True, True)),
    dict(seed=1, neuron="dts", pools=(False, True), time_steps={"sps.0": 2, "sps.1": 4}),
    dict(seed=2, neuron="dts", pools=(True, True), height=5, width=7, residual="ms"),
    dict(seed=3, pools=(True, True), time_steps={"sps.0": 3, "sps.1": 0}),
    dict(seed=4, pools=(True, True), time_steps={"sps.0": 0, "sps.1": 3}, channels=2, weight_bits=4),
]


@pytest.mark.parametrize("case", CASES)
def test_executor_equals_plain_python(case, tmp_path):
    case = {"stem": (3, 4), "height": 6, "width": 5, "classes": 3, "pool_first": True} | case
    network = random_network(**case)
    network.save(tmp_path / "n.safetensors")
    network = Network.load(tmp_path / "n.safetensors")
    images = random_images(network, 2, seed=9)
    done = execute(network, images, record=True)
    unrolled = execute(network, images, unrolled=True)
    low, high = zip(*(membrane_bounds(network)[name] for name in ("sps.0", "sps.1")), strict=True)
    for b, image in enumerate(images):
        sums, spikes, potentials, tensors, _ = golden_reference.run(network, image)
        assert done.sums[b].tolist() == unrolled.sums[b].tolist() == sums
        for layer in network.spiking:
            pairs = [(spikes, done.spikes), (potentials, done.potentials), (tensors, done.tensors)]
            for wanted, got in pairs:
                array = got[layer.name][:, b]
                assert len(wanted[layer.name]) == array.size
                assert all(array[key] == value for key, value in wanted[layer.name].items()), layer.name
        for i in (0, 1):
            assert all(low[i] <= h <= high[i] for h in potentials[f"sps.{i}"].values())
            assert layer_size(done, f"sps.{i}") == (network.layers[i].height_out, network.layers[i].width_out)


def layer_size(done, name):
    return done.spikes[name].shape[3:]


def test_pooled_maxima_stay_in_the_accumulators_range():
    network = random_network(6, stem=(3, 4), pools=(True, True), pool_first=True, height=6, width=6)
    low, high = accumulator_bounds(network)["sps.0"]
    image = random_images(network, 1)[0]
    source = {(0, 0, y, x): int(image[0, y, x]) for y in range(6) for x in range(6)}
    layer = network.layers[0]
    sums = [sum(accumulate(layer, source, 0, o, y, x)) for o in range(3) for y in range(6) for x in range(6)]
    assert low <= min(sums) < 0 < max(sums) <= high


def test_operations_count_fewer_neurons_and_the_comparisons():
    """5x7 outputs of three channels pool to 3x4 neurons; the dense operations are still those of every output."""
    options = dict(stem=(3, 4), pools=(True, False), height=5, width=7, classes=3, time_steps="full")
    network = random_network(0, pool_first=True, **options)
    other = random_network(0, **options)
    images = random_images(network, 2)
    first, plain = (operations(x, images)["sps.0"] for x in (network, other))
    assert (first.neurons, plain.neurons) == (3 * 3 * 4, 3 * 5 * 7)
    assert first.membrane_reads == 3 * first.neurons and first.neuron_updates == 4 * first.neurons
    assert (first.dense, first.macs, first.planes) == (plain.dense, plain.macs, plain.planes)
    rows, columns = [2, 3, 2], [2, 3, 3, 2]  # of each window that are in the map
    assert first.additions == 3 * sum(r * c - 1 for r in rows for c in columns) and plain.additions == 0
    assert first.activation_writes == 4 * 3 * 3 * 4
    network = random_network(0, pool_first=True, **options | dict(pools=(True, True)))
    second = operations(network, images)["sps.1"]
    assert second.additions == 4 * 4 * sum(r * c - 1 for r in [2, 2] for c in [2, 3])  # 3x4 to 2x2, at four steps


def test_the_order_matters_and_the_default_is_the_old_one():
    assert not SpikformerConfig().pool_first and not any(x.pool_first for x in random_network(0).layers)
    torch.manual_seed(0)
    config = SpikformerConfig(dim=16, heads=2)
    model = Spikformer(config)
    other = Spikformer(replace(config, pool_first=True))
    for stage in model.stages()[:4]:
        torch.nn.init.uniform_(stage.norm.weight, 2, 4)
    images = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8)
    for _ in range(20):
        model(images)
    other.load_state_dict(model.state_dict())
    before, after = (record_spikes(x.eval(), images)[1] for x in (model, other))
    assert before["sps.3"].shape[3:] == (8, 8) and after["sps.3"].shape[3:] == (4, 4)
    pooled = torch.nn.functional.max_pool2d(before["sps.3"].flatten(0, 1), 3, 2, 1)
    assert (pooled != after["sps.3"].flatten(0, 1)).any()


def test_the_hardware_refuses_it():
    network = random_network(0, pool_first=True)
    message = "layer 'sps.1': max-pooling before the neurons comes later: for now the core pools spikes"
    for refuse in (lambda: check_supported(network, 8), lambda: smallest_core(network, lanes=8)):
        with pytest.raises(CompileError, match=message):
            refuse()


@pytest.mark.parametrize("name", ["sps.0", "rpe", "block.0.attn", "head"])
def test_only_a_layer_that_pools_can_pool_its_currents(name):
    network = random_network(0)
    layers = tuple(replace(x, pool_first=True) if x.name == name else x for x in network.layers)
    with pytest.raises(ValueError, match=f"layer '{name}': only an accumulate layer that pools can pool its currents"):
        replace(network, layers=layers)


def test_files_without_the_option_are_read(tmp_path):
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    network = random_network(0)
    network.save(tmp_path / "n.safetensors")
    with safe_open(tmp_path / "n.safetensors", framework="numpy") as file:
        metadata = file.metadata()
    header = json.loads(metadata["network"])
    for entry in header["layers"]:
        del entry["pool_first"]
    metadata["network"] = json.dumps(header)
    save_file(load_file(tmp_path / "n.safetensors"), tmp_path / "old.safetensors", metadata=metadata)
    old = Network.load(tmp_path / "old.safetensors")
    images = random_images(network, 2)
    assert (execute(old, images).sums == execute(network, images).sums).all()


@pytest.fixture(scope="module")
def state(spikingjelly):
    torch.manual_seed(0)
    return spikingjelly.Spikformer(**SIZE).state_dict()


QKV = "blocks.1.attn.qkv_conv_bn"
WRONG = {
    "missing": ({f"{QKV}.1.bias": None}, f"does not fit SpikingJelly's Spikformer-2-32: missing: '{QKV}.1.bias'"),
    "no fused rows": (
        {f"{QKV}.0.weight": torch.ones(64, 32, 1)},
        f"wrong shape: '{QKV}.0.weight' (64, 32, 1) instead of (96, 32, 1)",
    ),
    "trained neurons": ({"blocks.0.mlp.neuron1.w": torch.ones(())}, "unexpected: 'blocks.0.mlp.neuron1.w'"),
    "not finite": ({f"{QKV}.1.weight": torch.full((96,), torch.nan)}, f"not finite: '{QKV}.1.weight'"),
    "no head": ({"head.weight": None}, "is no Spikformer of SpikingJelly: missing or empty: 'head.weight'"),
    "event camera": (
        {"patch_embed.stages.0.conv_bn.block.0.weight": torch.ones(4, 2, 3, 3)},
        "its images have 2 channels, not 3",
    ),
    "odd MLP": (
        {"blocks.0.mlp.fc1.0.weight": torch.ones(40, 32, 1)},
        "its MLP has 40 channels, no multiple of the width 32",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_named(state, name, tmp_path):
    changes, message = WRONG[name]
    tensors = {key: x for key, x in {**state, **changes}.items() if x is not None}
    refused(tensors, message, tmp_path, heads=2, patch=4)


def refused(tensors, message, tmp_path, **options):
    torch.save(tensors, tmp_path / "m.pth")
    with pytest.raises(ValueError) as error:
        import_checkpoint(tmp_path / "m.pth", **options)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_what_the_keys_do_not_tell_is_asked_for(state, tmp_path):
    message = "the keys do not tell the patch size of depth 2 and width 32: give it with --patch, 4 or 16"
    refused(state, message, tmp_path, heads=2)
    refused(state, "the keys do not tell the number of heads of width 32: give it with --heads", tmp_path, patch=4)
    refused(state, "patch must be 4 or 16, as SpikingJelly's, not 8", tmp_path, patch=8)
    from support import official_spikformer

    tensors = official_spikformer.random_state("cifar", depth=1, dim=16, classes=3)
    refused(tensors, "is no Spikformer of SpikingJelly, whose patch size can be chosen", tmp_path, heads=2, patch=4)


def test_files_without_counters_of_batches_are_imported(state, tmp_path):
    torch.save({key: x for key, x in state.items() if not key.endswith("num_batches_tracked")}, tmp_path / "m.pth")
    model = import_checkpoint(tmp_path / "m.pth", heads=2, patch=4).model
    k = state["blocks.1.attn.qkv_conv_bn.0.weight"][32:64, :, 0]
    assert torch.equal(model.block[1].attn.k_linear.weight, k)
