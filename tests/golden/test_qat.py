"""Fine-tuning: what is trained is the integer network, gradients pass the rounding, and a kill changes nothing."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from spikeloom.cli.main import run as command
from spikeloom.golden.data import datasets
from spikeloom.golden.models import checkpoints
from spikeloom.golden.models.e_spikeformer import ESpikeformer
from spikeloom.golden.models.e_spikeformer_config import ESpikeformerConfig
from spikeloom.golden.models.spikformer import Spikformer
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.models.time_mask import initial_parameters
from spikeloom.golden.network import Network
from spikeloom.golden.network.execute import execute
from spikeloom.golden.quantization.folding import fold
from spikeloom.golden.quantization.quantize import quantize
from spikeloom.golden.training import qat
from spikeloom.golden.training.qat import QuantizationAware, finetune, finetuning
from spikeloom.golden.training.run_config import DataConfig, RunConfig, TrainConfig
from spikeloom.golden.training.train import train_run
from support.easy_pictures import instead_of_digits

KINDS = {
    "spikingjelly": dict(),
    "dts": dict(neuron="dts", dynamic=True),
    "membrane": dict(residual="ms"),
    "normalised": dict(mean=(0.3,), std=(0.25,), bias=True),
}
BITS = {8: 8, 4: 4, "mixed": {"sps.0": 8, "rpe": 4, "block.0.fc1": 4, "head": 4}}


@cache
def lively_model(kind):
    """A model of which every layer fires, with masks of different lengths where it has any."""
    torch.manual_seed(0)
    options = KINDS[kind]
    config = SpikformerConfig(**({"dim": 16, "heads": 2, "mlp_ratio": 2} | options))
    model = Spikformer(config)
    for layer in model.layers():
        if layer.norm is not None:
            torch.nn.init.uniform_(layer.norm.weight, 1.5, 3.0)
            torch.nn.init.uniform_(layer.norm.bias, -0.5, 1.0)
    for stage in model.stages():
        if stage.neurons.time_mask is not None:
            length = int(torch.randint(1, config.steps + 1, ()))
            stage.neurons.time_mask.tp.data = initial_parameters(config.steps, length)
    for _ in range(30):
        model(pixels(16))
    return model.eval()


def pixels(count):
    """Random images of very different brightness."""
    return (torch.randint(0, 256, (count, 1, 8, 8)) * torch.rand(count, 1, 1, 1)).to(torch.uint8)


def assert_is_the_network(aware, images, **options):
    """The scores are the class sums of the integer executor, times their scale."""
    network = quantize(aware.plain(), weight_bits=aware.weight_bits, scales=aware.scales)
    sums = execute(network, images.numpy()).sums
    head = network.layers[-1]
    wanted = sums * head.scale / (head.positions * network.steps)
    with torch.no_grad():
        scores = aware(images).numpy()
    assert np.abs(sums).max() > 10 and len(np.unique(sums)) > 20
    assert np.allclose(scores, wanted, **options)


@pytest.mark.trains
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", BITS)
def test_forward_is_the_integer_network_while_it_learns(kind, bits):
    aware = QuantizationAware(lively_model(kind), weight_bits=BITS[bits], scales="power-of-two")
    images, labels = pixels(24), torch.randint(0, 10, (24,))
    optimizer = torch.optim.Adam([x for x in aware.parameters() if x.requires_grad], lr=3e-3)
    for _ in range(2):
        assert_is_the_network(aware.eval(), images, rtol=1e-5, atol=1e-6)  # the sums are exact, the mean is not
        aware.train()
        loss = F.cross_entropy(aware(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_free_scales_are_trained_too():
    aware = QuantizationAware(lively_model("spikingjelly"), weight_bits=4, scales="free")
    images = pixels(48)
    network = quantize(aware.plain(), weight_bits=4, scales="free")
    with torch.no_grad():
        classes = aware(images).argmax(1).numpy()
    # Floating point holds these weights rounded: a spike at the very threshold may differ.
    assert (classes == execute(network, images.numpy()).predictions).mean() > 0.9


def test_gradients_pass_the_rounding_to_weights_and_batch_norms():
    aware = QuantizationAware(lively_model("spikingjelly"), weight_bits=4, scales="power-of-two").train()
    held = {}
    original = aware._tensors

    def kept():
        held.update(original())
        for x in held.values():
            x.retain_grad()
        return held

    aware._tensors = kept
    F.cross_entropy(aware(pixels(16)), torch.randint(0, 10, (16,))).backward()
    embed = aware.patch_embed
    outer, outer_bias = (held[f"patch_embed.proj_{x}"].grad.double() for x in ("conv2.weight", "bn2.bias"))
    norm, weight = embed.proj_bn2, embed.proj_conv2.weight.double()
    slope = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).double()
    assert outer.abs().max() > 0
    assert torch.allclose(embed.proj_conv2.weight.grad.double(), outer * slope.view(-1, 1, 1, 1), rtol=1e-4)
    assert torch.allclose(norm.bias.grad.double(), outer_bias, rtol=1e-4)
    of_slope = (outer * weight).sum((1, 2, 3)) - outer_bias * norm.running_mean
    wanted = of_slope / torch.sqrt(norm.running_var + norm.eps)
    assert torch.allclose(norm.weight.grad.double(), wanted, rtol=1e-3, atol=1e-7)
    assert torch.equal(aware.head.weight.grad, held["head.weight"].grad)


SMALL = SpikformerConfig(dim=16, heads=2, mlp_ratio=2, neuron="dts", dynamic=True, attention_threshold=1.0)


@pytest.fixture(scope="module")
def trained():
    """A small model of easy pictures that 4 bits ruin, on any CPU, and what its checkpoint tells.

    The stream's first channel never fires, so that its weights in the head are free to be large; the others, brought
    just below half of what is then the unit of 4 bits, are rounded to zero: all pictures get one class. 8 bits keep
    them.
    """
    with instead_of_digits():
        train = TrainConfig(epochs=3, batch_size=16, learning_rate=1e-2, device="cpu")
        model, report = train_run(RunConfig(model=SMALL, train=train))
    unit = 2.0**-4
    with torch.no_grad():
        for layer in model.layers():
            if layer.name in ("sps.3", "rpe", "block.0.proj", "block.0.fc2"):
                layer.norm.weight[0], layer.norm.bias[0] = 0.0, -1.0
        model.head.weight[:, 0] = 0.0
        shrink = 0.49 * unit / model.head.weight.abs().max()
        model.head.weight.mul_(shrink)
        model.head.bias.mul_(shrink)
        model.head.weight[:, 0] = 7 * unit
    return model, json.loads(json.dumps({"recipe": report.as_dict()["recipe"]}))


def bits_of(model, bits):
    return {x.name: bits for x in quantize(model).layers if x.weight is not None}


@pytest.mark.trains
def test_finetuning_regains_what_four_bits_cost(trained, easy_digits):
    """From one class for all to most pictures right: six seeds reached 85 % at least."""
    model, header = trained
    bits = bits_of(model, 4)
    images, labels = datasets.load("digits", "test")
    assert execute(quantize(model), images).accuracy(labels) > 0.5
    before = execute(quantize(model, weight_bits=bits), images).accuracy(labels)
    state = {key: x.clone() for key, x in model.state_dict().items()}
    run = finetuning(model, header, "sha", weight_bits=bits, scales="power-of-two", epochs=2, learning_rate=1e-2)
    seen = []
    tuned, report = finetune(model, run, progress=seen.append)
    assert all(torch.equal(x, state[key]) for key, x in model.state_dict().items())
    after = execute(quantize(tuned, weight_bits=bits), images).accuracy(labels)
    assert report.accuracy == after == seen[-1].accuracy  # of integers
    assert before == 0.1 and after > 0.5 and seen[-1].loss < seen[0].loss - 0.2
    kept = [key for key in state if "running" in key or "time_mask" in key]
    assert len(kept) > 20 and all(torch.equal(tuned.state_dict()[key], state[key]) for key in kept)
    changed = [key for key, x in tuned.state_dict().items() if not torch.equal(x, state[key])]
    assert {"patch_embed.rpe_conv.weight", "patch_embed.rpe_bn.bias", "head.bias"} <= set(changed)
    assert not tuned.training and type(tuned) is Spikformer


@pytest.mark.trains
def test_an_interrupted_run_goes_on_to_the_same_bits(trained, tmp_path):
    model, header = trained
    run = finetuning(model, header, "sha", weight_bits=bits_of(model, 4), scales="free", epochs=2)
    run = replace(run, data=replace(run.data, train_images=48, test_images=40))  # three steps an epoch
    whole, report = finetune(model, run, tmp_path / "whole")

    def stop(done, steps):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(model, run, tmp_path / "stopped", stepped=stop)
    steps = []
    resumed, again = finetune(model, run, tmp_path / "stopped", stepped=lambda done, of: steps.append((done, of)))
    assert steps == [(4, 6), (5, 6), (6, 6)] and again.accuracy == report.accuracy
    one, other = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)
    for change in (
        dict(scales="power-of-two"),
        dict(weight_bits=bits_of(model, 8)),
        dict(epochs=3),
        dict(checkpoint="other"),
    ):
        options = dict(weight_bits=bits_of(model, 4), scales="free", epochs=2, checkpoint="sha") | change
        changed = finetuning(model, header, options.pop("checkpoint"), **options)
        key = next(iter(change)).replace("epochs", "train.epochs")
        key = key if key.startswith("train") else f"finetune.{key}"
        with pytest.raises(ValueError, match=f"holds a run with another {key}; go on with the same configuration"):
            finetune(model, replace(changed, data=run.data), tmp_path / "whole")


def test_the_run_is_that_of_the_training_with_another_end():
    model = lively_model("spikingjelly")
    first = RunConfig(
        data=DataConfig(name="fashion", folder="there", train_images=7),
        model=model.config,
        train=TrainConfig(epochs=9, batch_size=32, learning_rate=1.0, weight_decay=0.3, ema=0.9, label_smoothing=0.2),
    )
    header = json.loads(json.dumps({"recipe": first.as_dict()}))
    run = finetuning(model, header, "sha", weight_bits={"rpe": 4}, scales="free", epochs=2, learning_rate=1e-4)
    assert run.data == first.data and run.model == model.config and run.augment == first.augment
    train = run.train
    assert (train.epochs, train.learning_rate, train.warmup_epochs, train.ema) == (2, 1e-4, 0.0, None)
    assert (train.weight_decay, train.batch_size, train.label_smoothing) == (0.0, 32, 0.2)
    assert run.finetune.weight_bits == ("rpe=4",) and run.finetune.checkpoint == "sha"
    imported = finetuning(model, {}, "sha", weight_bits={}, scales="free", epochs=1, data=("cifar10", None))
    assert imported.data.name == "cifar10" and imported.train.epochs == 1
    with pytest.raises(ValueError, match="fine-tuning needs the training images of a data set .*, not 'random'"):
        finetuning(model, {}, "sha", weight_bits={}, scales="free", epochs=1, data=("random", None))


def test_what_cannot_be_tuned_is_refused():
    other = ESpikeformer(ESpikeformerConfig())
    with pytest.raises(ValueError, match="fine-tuning with quantised weights knows Spikformers alone"):
        finetuning(other, {}, "sha", weight_bits={}, scales="free", epochs=1)
    run = finetuning(lively_model("spikingjelly"), {}, "sha", weight_bits={"rpe": 4}, scales="free", epochs=1)
    with pytest.raises(ValueError, match="is tuned by `spikeloom quantize CHECKPOINT --finetune EPOCHS`"):
        train_run(run)
    with pytest.raises(ValueError, match="the run has no section finetune; make it with finetuning"):
        qat.finetune(lively_model("spikingjelly"), RunConfig())


def test_a_tuned_model_has_its_own_beginning_and_no_loss_but_the_images():
    """Whatever the run that trained it began with and was pressed by."""
    model = lively_model("spikingjelly")
    header = {"recipe": {"init": "fashion", "spikes": {"weight": 1.0}, "train": {"tet": 0.1, "ema": 0.9}}}
    run = finetuning(model, header, "sha", weight_bits={"rpe": 4}, scales="free", epochs=1)
    assert (run.init, run.spikes.weight, run.train.tet, run.train.ema) == (None, 0, None, None)


@pytest.mark.trains
def test_quantize_command_finetunes_and_goes_on(trained, easy_digits, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, header = trained
    checkpoints.save("small.safetensors", model, **header)
    line = ["quantize", "small.safetensors", "--bits", "4", "--layer-bits", "sps.0=8", "--finetune", "1", "--json"]
    line += ["--learning-rate", "1e-2"]
    assert command(line) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["tuned_checkpoint"] == "build/small/network-finetune/checkpoint.safetensors"
    assert set(record["bits_per_layer"].values()) == {4, 8} and record["bits_per_layer"]["sps.0"] == 8
    assert record["accuracy_before_finetuning"] == 0.1 and record["accuracy_integer"] > 0.3
    network = Network.load(record["network"])
    images, labels = datasets.load("digits", "test")
    assert execute(network, images).accuracy(labels) == record["accuracy_integer"]
    assert network.provenance["finetune_epochs"] == 1
    tuned, told = checkpoints.load(record["tuned_checkpoint"])
    assert told["accuracy_integer"] == record["accuracy_integer"]
    weight, _ = fold({x.name: x for x in tuned.layers()}["rpe"])
    unit = network.layer("rpe").scale[:, None, None, None]
    assert (np.clip(np.rint(weight / unit), -8, 7) == network.layer("rpe").weight).all()
    assert command(line) == 0  # nothing is trained again
    assert json.loads(capsys.readouterr().out) == record
    assert command([*line, "--finetune", "2"]) == 2
    assert "network-finetune holds a run with another train.epochs" in capsys.readouterr().err
    assert command([*line, "--data", "random"]) == 2
    assert "fine-tuning needs the training images of a data set" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--budget", "9kB", "--bits", "4"], "--budget chooses the bits: leave out --bits and --layer-bits"),
        (["--budget", "9 bottles"], "a size must be a number with B, kB, KiB, MB, MiB or nothing, not '9 bottles'"),
        (["--budget", "9kB"], "a budget of 9,000 bytes is below 55,460, the weights at 4 bits"),
        (["--budget", "80kB", "--data", "random"], "training images are needed, of a data set (digits, fashion"),
        (["--layer-bits", "rpe"], "--layer-bits must be LAYER=BITS, as in sps.0=8, not 'rpe'"),
        (["--layer-bits", "rp=4"], "unknown layer 'rp'; the layers are sps.0"),
        (["--finetune", "1", "--steps", "rpe=1"], "--finetune keeps the trained time steps: leave out --steps"),
    ],
)
def test_quantize_command_mistakes(options, expected, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command(["quantize", "digits", "--calibration", "2", "--images", "2", *options]) == 2
    assert expected in " ".join(capsys.readouterr().err.split())
