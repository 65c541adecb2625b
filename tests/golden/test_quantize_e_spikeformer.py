"""E-SpikeFormers as integer networks: the executor fires what the floating-point model fires, bit for bit."""

import copy
import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from spikeloom.cli.main import run as command
from spikeloom.golden.data import datasets
from spikeloom.golden.models import checkpoints
from spikeloom.golden.models.e_spikeformer import ESpikeformer, record_spikes
from spikeloom.golden.models.e_spikeformer_config import ESpikeformerConfig
from spikeloom.golden.network import Network
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images as random_pixels
from spikeloom.golden.quantization.firing import Levels
from spikeloom.golden.quantization.folded import folded as fold_norms
from spikeloom.golden.quantization.folded import quantized
from spikeloom.golden.quantization.quantize import quantize
from spikeloom.golden.quantization.report import report
from spikeloom.golden.training.run_config import RunConfig, TrainConfig
from spikeloom.golden.training.train import train_run
from spikeloom.golden.zoo.shipped import shipped
from support.e_spikeformers import make, random_images
from support.easy_pictures import instead_of_digits

DIGITS = ESpikeformerConfig(
    height=8, width=8, dims=(8, 16, 24, 24), heads=2, depths=(1, 0, 1, 0, 1, 0), strides=(1, 2, 1, 1, 1),
    stem_kernel=3, sep_kernel=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model of easy pictures after a little training, and its checkpoint."""
    run = RunConfig(
        architecture="e_spikeformer",
        model=DIGITS,
        train=TrainConfig(epochs=4, batch_size=20, learning_rate=1e-2, warmup_epochs=0.2, device="cpu"),
    )
    with instead_of_digits():
        model, about = train_run(run)
    path = tmp_path_factory.mktemp("digits") / "checkpoint.safetensors"
    checkpoints.save(path, model, **about.as_dict())
    return model, about, path


def check_theorem(network, images, *, unrolled=False):
    """All spikes and the scores of the executor are those of the model in float64; the spikes that were seen."""
    model = quantized(network, dtype=torch.float64)
    scores, spikes = record_spikes(model, torch.from_numpy(images))
    done = execute(network, images, record=True, unrolled=unrolled)
    assert list(done.spikes) == list(spikes) == [layer.name for layer in network.spiking]
    seen = set()
    for name, expected in spikes.items():
        got = done.spikes[name]
        assert (got == expected.numpy().reshape(got.shape)).all(), name
        seen |= set(np.unique(got).tolist())
    assert (done.sums * network.layers[-1].scale == scores.numpy()).all()
    assert done.sums.std(0).min() > 0  # images differ
    return seen


@pytest.mark.parametrize(
    ("seed", "bits", "fields"),
    [
        (0, 8, {}),
        (1, 4, {}),
        (2, 8, {"levels": 8}),
        (3, 4, {"levels": 8, "heads": 1, "dims": (8, 8, 16, 16), "value_ratio": 1}),
        (4, 8, {"channels": 3, "mean": (0.5, 0.4, 0.3), "std": (0.25, 0.2, 0.3)}),
        (5, 8, {"levels": 1, "stem_kernel": 1, "mean": (0.5,), "std": (0.25,)}),
    ],
)
def test_integers_equal_the_model_in_float64(seed, bits, fields):
    """Also of heads of 4 and 6 channels, whose scale is not dyadic, and of a mean over 30 positions."""
    model = make(seed, torch.float64, **fields)
    network = quantize(model, weight_bits=bits)
    seen = check_theorem(network, random_images(model, 6, seed).numpy())
    assert seen == set(range(model.config.levels + 1))
    framed = "channels" in fields  # the other kernel that sees normalised pixels is 1x1
    assert (network.height, len(network.padding_pixel)) == ((16, 3) if framed else (12, 0))
    assert network.image_shape == (model.config.channels, 12, 10)


@pytest.mark.parametrize("bits", [8, 4])
def test_integers_equal_the_model_after_training(trained, bits):
    model, _, _ = trained
    _, test = datasets.open_images("digits", "train"), datasets.open_images("digits", "test")
    check_theorem(quantize(model, weight_bits=bits), test.batch(np.arange(60)))


@pytest.mark.parametrize("bits", [8, 4])
def test_integers_equal_the_shipped_model(bits):
    """28x28 pixels of falling brightness; the model's binary steps sum to the same integers."""
    model, _ = checkpoints.load(shipped("fashion_e"))
    network = quantize(model, weight_bits=bits)
    images = random_images(model, 6, bits)
    assert check_theorem(network, images.numpy()) == set(range(5))
    quantised = quantized(network, dtype=torch.float64)
    scores, spikes = record_spikes(quantised, images)
    with quantised.spike_driven():
        driven, steps = record_spikes(quantised, images)
    assert torch.equal(scores, driven)
    assert all(torch.equal(steps[name].sum(0), x) for name, x in spikes.items())


@pytest.mark.parametrize("coding", ["planes", "unary"])
def test_passes_of_single_bits_make_the_same(trained, coding, tmp_path):
    """Integer spikes as bit-planes and as unary spikes, also from the file."""
    network = quantize(trained[0], coding=coding)
    network.save(tmp_path / "network.safetensors")
    again = Network.load(tmp_path / "network.safetensors")
    assert again.coding == coding and again.provenance["architecture"] == "e_spikeformer"
    check_theorem(again, datasets.open_images("digits", "test").batch(np.arange(8)), unrolled=True)


@pytest.mark.trains
def test_accuracy_stays(trained, easy_digits):
    """Folding changes nothing, 8 bits next to nothing; the model that is quantised is the trained one."""
    model, about, _ = trained
    images, labels = datasets.load("digits", "test")
    assert about.accuracy > 0.5
    exact = copy.deepcopy(model).double()
    with torch.no_grad():
        plain, folded = (x(torch.from_numpy(images)) for x in (exact, fold_norms(exact, dtype=torch.float64)))
        classes = model(torch.from_numpy(images)).argmax(1).numpy()
    # Tolerance: float64, the bias of a batch norm inside or behind the sum; a spike of another size moves more.
    torch.testing.assert_close(folded, plain, rtol=0, atol=1e-5)
    network = quantize(model, images=images, labels=labels)
    done = execute(network, images)
    assert network.provenance["images"] == len(labels)
    assert network.provenance["accuracy_integer"] == done.accuracy(labels)
    assert (done.predictions == classes).mean() > 0.7


def test_thresholds_are_the_least_integers_that_round_up():
    """Against exact fractions: ceil for even levels, floor + 1 for odd ones, of any scale."""
    scales = [0.25, 2.0**-9, 1 / 3, 0.0123, 1.5, 4.0, 2 / np.sqrt(6) / 64]
    got = Levels(count=5).thresholds("x", np.array(scales), lambda h: h * np.array(scales))
    for channel, scale in enumerate(scales):
        for j in range(1, 6):
            tie = (j - Fraction(1, 2)) / Fraction(scale)
            expected = -(-tie // 1) if j % 2 == 0 else tie // 1 + 1
            assert got[j - 1, channel] == expected, (scale, j)


def test_thresholds_follow_the_rounding_of_floats():
    """1/3 is no float: 3/2 of it is a tie in the model, not in exact numbers."""
    real = lambda h: h * 2.0 / 3 * 0.75  # noqa: E731
    got = Levels(count=3).thresholds("x", np.array([0.5]), real)[:, 0]
    assert got.tolist() == [2, 3, 6]  # 0.5 rounds to 0, 1.5 to 2, 2.5 to 2


def test_network_is_the_graph_of_the_model():
    model = make(0, mean=(0.5,), std=(0.25,))
    network = quantize(model)
    layers = {x.name: x for x in network.layers}
    first = layers["downsample1_1.encode_conv"]
    assert (first.kernel, first.stride, first.padding, first.height_in, first.fires) == (5, 2, 0, 16, False)
    depth = layers["block3.0.conv.dwconv"]
    assert depth.depthwise and depth.kernel == 3 and depth.weight.shape == (24, 1, 3, 3)
    attention = layers["block4.0.attn.attn_spike"]
    assert (attention.channels_in, attention.channels_out, attention.heads) == (18, 72, 3)
    assert attention.threshold.shape == (4, 72)
    # 16 ties of n / 64 * 2 / sqrt(6): none, so half up or half to even are the same
    factor = 2 / np.sqrt(6) / 64
    assert attention.threshold[:, 0].tolist() == [int(np.ceil((j - 0.5) / factor)) for j in range(1, 5)]
    head = layers["spike"]
    assert head.whole_map and (head.height_in, head.width_in, head.positions) == (3, 3, 1)
    fc = layers["block4.0.mlp.fc2_conv"]
    assert fc.residual == "block4.0.attn.proj_conv" and not fc.fires
    streams = {x.residual for x in network.layers if not x.fires}
    assert len([x for x in network.layers if not x.fires]) == 5 + 4 * 2 + 2 * 3 and streams >= {None, fc.residual}


def test_report_of_a_trained_model(trained):
    model, _, _ = trained
    network = quantize(model)
    rows = report(model, network)
    assert [row.name for row in rows] == [layer.name for layer in network.layers]
    weighted = [row for row in rows if row.weight_low is not None]
    assert len(weighted) == len([x for x in network.layers if x.weight is not None])
    assert all(0 < row.error < 0.03 and row.clipped < 0.02 for row in weighted)


def test_free_scales_round_less_at_4_bits(trained):
    model, _, _ = trained
    power, free = (report(model, quantize(model, weight_bits=4, scales=x)) for x in ("power-of-two", "free"))
    fired = [(a.error, b.error) for a, b in zip(power, free, strict=True) if a.name.endswith("conv1")]
    assert fired and all(b < a for a, b in fired)
    network = quantize(model, weight_bits=4, scales="free")
    execute(network, random_pixels(network, 2))


def test_bits_of_single_layers(trained):
    network = quantize(trained[0], weight_bits={"head": 4})
    assert {x.name for x in network.layers if x.weight_bits == 4} == {"head"}
    with pytest.raises(ValueError, match="unknown layer 'sps.0'"):
        quantize(trained[0], weight_bits={"sps.0": 4})


def test_only_networks_of_e_spikeformers(trained):
    network = quantize(trained[0])
    with pytest.raises(ValueError, match="network 'e_spikeformer' was not made from a model"):
        quantized(replace(network, provenance={}))


def test_commands(trained, tmp_path, capsys, monkeypatch):
    """From the checkpoint to a network; the compiler says in one line what it cannot do."""
    monkeypatch.chdir(tmp_path)
    path = str(trained[2])
    target = tmp_path / "network.safetensors"
    assert command(["quantize", path, "-o", str(target), "--coding", "planes", "--images", "50", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["coding"] == "planes" and record["images"] == 50
    first, labels = (x[:50] for x in datasets.load("digits", "test"))
    assert record["accuracy_integer"] == execute(Network.load(target), first).accuracy(labels)
    assert command(["info", str(target), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["layers"]) == len(trained[0].layers()) + 1
    assert command(["compile", str(target)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "layer 'downsample1_1.encode_conv': membrane shortcuts come later" in error
    assert command(["quantize", path, "-o", str(target), "--coding", "unary", "--images", "5", "--json"]) == 0
    capsys.readouterr()
    assert command(["compile", str(target)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "unary spikes come later" in error
    assert command(["quantize", path, "-o", str(target), "--finetune", "1"]) == 2
    assert "fine-tuning with quantised weights knows Spikformers alone" in capsys.readouterr().err


def test_loaded_model_is_the_trained_one(trained):
    model, _, path = trained
    again, header = checkpoints.load(path)
    assert isinstance(again, ESpikeformer) and again.config == DIGITS and header["architecture"] == "e_spikeformer"
    assert all(torch.equal(x, again.state_dict()[key]) for key, x in model.state_dict().items())
