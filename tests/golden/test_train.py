"""Training: it learns, repeats, keeps masks prefixes, reports, goes on after a kill, and refuses what does not fit."""

import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from spikeloom.cli.main import run as command
from spikeloom.common.lock import InUseError, folder_lock
from spikeloom.golden.data import datasets
from spikeloom.golden.data.images import Samples
from spikeloom.golden.models import checkpoints, neurons
from spikeloom.golden.models.spikformer import Spikformer
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.training import evaluation, training_loop, training_state
from spikeloom.golden.training.augment import Augmentation
from spikeloom.golden.training.evaluation import accuracy
from spikeloom.golden.training.parallel import Processes, local_device
from spikeloom.golden.training.progress import Hooks
from spikeloom.golden.training.run_config import DataConfig, MaskConfig, RunConfig, TrainConfig
from spikeloom.golden.training.train import train_run

SMALL = dict(dim=16, heads=2, mlp_ratio=2, neuron="dts", dynamic=True, attention_threshold=1.0)


@pytest.mark.trains
def test_training_learns_repeats_and_shortens_masks(easy_digits):
    """Pictures that any CPU learns: chance is 10 %, and ten seeds reach 97 % at least."""
    run = RunConfig(
        model=SpikformerConfig(**SMALL, initial_steps=3),
        train=TrainConfig(epochs=3, batch_size=16, learning_rate=1e-2, device="cpu"),
        masks=MaskConfig(weight=0.05, rate=1.0),
    )
    seen = []
    state = torch.get_rng_state()
    model, report = train_run(run, progress=seen.append)
    assert torch.equal(torch.get_rng_state(), state)  # the caller's random numbers are left alone
    assert [x.epoch for x in seen] == [1, 2, 3] and {x.epochs for x in seen} == {3}
    assert seen[-1].loss < seen[0].loss - 0.5
    assert report.accuracy > 0.5 and report.train_accuracy > 0.5
    images, labels = datasets.load("digits", "test")
    assert report.accuracy == accuracy(model, images, labels)
    steps = model.time_steps()
    assert report.t_per_layer == steps and report.t_avg == sum(steps.values()) / 12
    assert min(steps.values()) == 1  # of three at first
    assert steps["sps.0"] >= steps["block.0.q"]  # the mask loss covers qkv and mlp
    assert not model.training
    short, another = (replace(run, train=replace(run.train, epochs=1, seed=seed)) for seed in (0, 1))
    first, again, other = (train_run(x)[0].state_dict() for x in (short, short, another))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def quick_run(masks, **model):
    """A run of a few steps that move the masks far."""
    return RunConfig(
        data=DataConfig(train_images=48, test_images=20),
        model=SpikformerConfig(**{**SMALL, "dim": 8, "mlp_ratio": 1, **model}),
        train=TrainConfig(epochs=2, batch_size=8, device="cpu"),
        masks=MaskConfig(rate=50.0, **masks),
    )


@pytest.mark.trains
def test_the_parameters_of_all_masks_are_projected():
    """With membrane shortcuts there is a mask before the head, in no group of the mask loss."""
    model, report = train_run(quick_run(dict(groups=()), residual="ms", floor=False))
    parameters = {name: x for name, x in model.named_parameters() if "time_mask" in name}
    assert "head_lif.time_mask.tp" in parameters and len(parameters) == len(report.t_per_layer)
    assert all(bool((x >= 0).all()) for x in parameters.values())


def test_recalibration_takes_the_statistics_of_all_images():
    torch.manual_seed(0)
    model = Spikformer(SpikformerConfig(dim=16, heads=2))
    images = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
    samples = Samples(images.numpy(), np.zeros(40, np.int64))
    evaluation.recalibrate(model, samples, np.arange(40), 20)
    currents = model.patch_embed.proj_conv(images / 256).detach()
    norm = model.patch_embed.proj_bn
    # Tolerance: the average of two halves against the average of all, in float32.
    assert torch.allclose(norm.running_mean, currents.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-6)
    assert norm.num_batches_tracked == 2 and norm.momentum == 0.1 and not model.training


def test_what_does_not_fit_the_data_set_is_refused():
    with pytest.raises(ValueError, match=r"the images of digits are \(1, 8, 8\), not \(3, 8, 8\)"):
        train_run(RunConfig(model=SpikformerConfig(channels=3)))
    with pytest.raises(ValueError, match="digits has more than 9 classes"):
        train_run(RunConfig(model=SpikformerConfig(classes=9)))


# Whole runs: a configuration, a folder.

TINY = RunConfig(
    name="tiny",
    data=DataConfig(train_images=96, test_images=40),
    model=SpikformerConfig(**(SMALL | {"dim": 8}), steps=2),
    augment=Augmentation(crop=1, flip=True, operations=1, erase=0.5, mixup=0.5, cutmix=1.0, mix_epochs=2),
    train=TrainConfig(epochs=3, batch_size=32, learning_rate=1e-2, clip=1.0, ema=0.9, device="cpu"),
    masks=MaskConfig(groups=("qkv",)),
)


def equal(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.trains
def test_a_folder_changes_nothing(tmp_path):
    """The bits of a run are the same with and without one."""
    run = replace(TINY, data=DataConfig(), train=TrainConfig(epochs=1, batch_size=256, device="cpu"))
    one, _ = train_run(run)
    other, report = train_run(run, tmp_path)
    assert equal(one, other)
    assert report.split == datasets.describe_split("digits") and report.recipe == run
    assert {"log.csv", "state.safetensors"} <= {x.name for x in tmp_path.iterdir()}


def test_a_finished_run_is_not_trained_again(tmp_path):
    first, _ = train_run(TINY, tmp_path)
    seen, steps = [], []
    again, _ = train_run(TINY, tmp_path, progress=seen.append, stepped=lambda *x: steps.append(x))
    assert equal(first, again) and not steps
    assert [x.epoch for x in seen] == [1, 2, 3]
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(x["epoch"]) for x in rows] == [1, 2, 3] and float(rows[2]["loss"]) == seen[2].loss
    assert seen[0].rate == 1e-2 > seen[2].rate > 0 and seen[0].images_per_second > 0
    train_run(TINY, tmp_path, restart=True, stepped=lambda *x: steps.append(x))
    assert steps == [(i, 9) for i in range(1, 10)]


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from test_train import TINY
from spikeloom.golden.training.train import train_run

def stepped(done, whole):
    if done == {step}:
        os.kill(os.getpid(), signal.SIGKILL)

train_run(TINY, {folder!r}, stepped=stepped)
"""


@pytest.mark.trains
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path):
    whole, report = train_run(TINY, tmp_path / "whole")
    folder = tmp_path / "killed"
    for step, epochs in ((5, 1), (8, 2)):  # of three steps an epoch: in the middle of the second and third
        code = KILLED.format(tests=str(Path(__file__).parent), folder=str(folder), step=step)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert training_state.load(folder / "state.safetensors").epoch == epochs
    steps = []
    resumed, again = train_run(TINY, folder, stepped=lambda *x: steps.append(x[0]))
    assert steps == [7, 8, 9]
    assert equal(whole, resumed)
    assert again.accuracy == report.accuracy and again.train_accuracy == report.train_accuracy
    one, other = (load_file(x / "state.safetensors") for x in (tmp_path / "whole", folder))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_kill_while_writing_leaves_the_state_before(tmp_path, monkeypatch):
    train_run(replace(TINY, train=replace(TINY.train, epochs=1)), tmp_path)
    before = (tmp_path / "state.safetensors").read_bytes()

    def half(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(training_state, "save_file", half)
    with pytest.raises(KeyboardInterrupt):
        train_run(replace(TINY, train=replace(TINY.train, epochs=1)), tmp_path, restart=True)
    assert (tmp_path / "state.safetensors").read_bytes() == before


def test_one_run_at_a_time_in_a_folder(tmp_path):
    with folder_lock(tmp_path, "train"), pytest.raises(InUseError, match="is in use by process .*train, since"):
        train_run(TINY, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written: it is a file"):
        train_run(TINY, tmp_path / "file")


def test_another_configuration_does_not_go_on(tmp_path):
    train_run(replace(TINY, train=replace(TINY.train, epochs=1)), tmp_path)
    with pytest.raises(ValueError, match="holds a run with another train.epochs; go on with the same configuration"):
        train_run(TINY, tmp_path)
    (tmp_path / "state.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match="state.safetensors is corrupt: .*; begin anew with --restart"):
        train_run(TINY, tmp_path)
    torch.manual_seed(0)
    checkpoints.save(tmp_path / "state.safetensors", Spikformer(TINY.model))
    with pytest.raises(ValueError, match="is no training state; begin anew with --restart"):
        train_run(TINY, tmp_path)
    metadata = {"format": training_state.FORMAT, "version": str(training_state.VERSION + 1)}
    save_file({"model.x": torch.zeros(1)}, tmp_path / "state.safetensors", metadata=metadata)
    with pytest.raises(ValueError, match="state.safetensors was written by a newer version of SpikeLoom"):
        train_run(TINY, tmp_path)


@pytest.mark.trains
def test_the_mean_of_the_weights_is_what_comes_out():
    """With a share of 0 the mean is the last value; with a share near 1 it is the first."""
    plain, _ = train_run(replace(TINY, train=replace(TINY.train, ema=None)))
    last, _ = train_run(replace(TINY, train=replace(TINY.train, ema=0.0)))
    first, _ = train_run(replace(TINY, train=replace(TINY.train, ema=0.999999)))
    assert equal(plain, last)
    torch.manual_seed(TINY.train.seed)
    start = Spikformer(TINY.model)
    assert torch.allclose(first.head.weight, start.head.weight, atol=1e-4)  # 9 steps of at most 1e-2, by 1e-6
    assert not torch.allclose(plain.head.weight, start.head.weight, atol=1e-4)


def test_learning_rate_follows_warm_up_and_cosine():
    train_config = TrainConfig(epochs=4, learning_rate=2.0, min_learning_rate=0.5, warmup_epochs=0.5, device="cpu")
    parts = (datasets.load("digits", x) for x in ("train", "test"))
    run, device = replace(TINY, train=train_config), torch.device("cpu")
    training = training_loop.TrainingLoop(run, Processes(), device, *parts, None, Spikformer(TINY.model))
    training.batches = 10
    rates = []
    for step in range(40):
        training._set_rate(step)
        rates.append([x["lr"] for x in training.optimizer.param_groups])
    assert [x[0] for x in rates[:6]] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0, 2.0])
    assert rates[22][0] == pytest.approx(0.5 + 1.5 / 2 * (1 + np.cos(np.pi * 17 / 35)))
    assert 0.5 < rates[39][0] < 0.51
    assert all(x[2] == pytest.approx(0.3 * x[0]) for x in rates)


def loop_of(run):
    parts = (datasets.load("digits", x) for x in ("train", "test"))
    return training_loop.TrainingLoop(run, Processes(), torch.device("cpu"), *parts, None, Spikformer(TINY.model))


def test_the_loss_smooths_labels():
    """A share of the cross entropy is that of all classes alike."""
    training = loop_of(replace(TINY, augment=Augmentation(), train=replace(TINY.train, label_smoothing=0.4)))
    images, labels = torch.from_numpy(training.train_set.images[:16]), torch.arange(16) % 10
    found = training.loss(images, labels, 1, lambda x: torch.eye(16, 10) * 3)
    likely = torch.log_softmax(torch.eye(16, 10) * 3, 1)
    one, all_alike = likely[torch.arange(16), labels], likely.mean(1)
    assert float(found) == pytest.approx(float(-(0.6 * one + 0.4 * all_alike).mean()), rel=1e-5)


def test_weight_decay_is_of_matrices_and_kernels_alone():
    training = loop_of(replace(TINY, train=replace(TINY.train, weight_decay=0.3)))
    decays = {id(x): group["weight_decay"] for group in training.optimizer.param_groups for x in group["params"]}
    named = dict(training.model.named_parameters())
    assert len(decays) == len(named)
    decayed = {name for name, x in named.items() if decays[id(x)]}
    assert {"head.weight", "patch_embed.proj_conv.weight"} <= decayed
    assert decayed == {name for name, x in named.items() if x.dim() > 1}
    assert any("time_mask" in name for name in named) and not any("time_mask" in name for name in decayed)


@pytest.mark.trains
def test_batch_norms_end_with_the_statistics_of_the_final_weights():
    model, _ = train_run(replace(TINY, train=replace(TINY.train, epochs=1)))
    train_set = datasets.load("digits", "train")
    images = train_set.images[datasets.spread_out(len(train_set.labels), 96)]
    with torch.no_grad():
        currents = model.patch_embed.proj_conv(torch.from_numpy(images) / 256)
    norm = model.patch_embed.proj_bn
    # Tolerance: float32 in another order; one epoch's running mean is a third on its way from zero.
    assert torch.allclose(norm.running_mean, currents.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert norm.num_batches_tracked == 1  # of 96 images


@pytest.mark.trains
def test_gradients_are_clipped():
    moved = {}
    for clip in (None, 1e-12):
        run = replace(TINY, train=replace(TINY.train, epochs=1, clip=clip, ema=None, weight_decay=0.0))
        model, _ = train_run(run)
        torch.manual_seed(0)
        moved[clip] = (model.head.weight - Spikformer(TINY.model).head.weight).abs().max()
    assert moved[1e-12] < 1e-3 < moved[None]  # AdamW's eps is far above so small gradients


@pytest.mark.trains
def test_half_precision_is_switched_on(monkeypatch, easy_digits):
    types = set()
    forward = Spikformer.forward

    def watched(self, images):
        scores = forward(self, images)
        if self.training and torch.is_grad_enabled():
            types.add(scores.dtype)
        return scores

    monkeypatch.setattr(Spikformer, "forward", watched)
    seen = []
    train_config = TrainConfig(epochs=2, batch_size=16, learning_rate=1e-2, precision="bfloat16", device="cpu")
    model, _ = train_run(RunConfig(model=SpikformerConfig(**SMALL), train=train_config), progress=seen.append)
    assert types == {torch.bfloat16} and model.head.weight.dtype == torch.float32
    assert seen[1].loss < seen[0].loss - 0.2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
def test_compiled_neurons_train(monkeypatch):
    """One step, forwards and backwards in kernels, makes the loss and the weights of the plain loops."""
    loops = []
    original = neurons._compiled
    monkeypatch.setattr(neurons, "_compiled", lambda loop: loops.append(loop.__name__) or original(loop))
    found = {}
    for compiled in (False, True):
        train_config = TrainConfig(epochs=1, batch_size=32, learning_rate=1e-4, compile=compiled, device="cpu")
        run = RunConfig(
            data=DataConfig(train_images=32, test_images=10),
            model=SpikformerConfig(**(SMALL | {"dim": 8}), steps=2),
            train=train_config,
        )
        seen = []
        model, _ = train_run(run, progress=seen.append)
        found[compiled] = seen[0].loss, model.head.weight
        assert bool(loops) == compiled
    assert {"_dts_forward", "_dts_backward"} <= set(loops)
    # Tolerance: the last bits of float32; AdamW's first step moves a weight by the learning rate, up or down.
    assert found[True][0] == pytest.approx(found[False][0], rel=1e-4)
    assert (found[True][1] - found[False][1]).abs().max() <= 2.1e-4


def test_a_loss_that_is_no_number_ends_the_run(monkeypatch):
    monkeypatch.setattr(training_loop.F, "cross_entropy", lambda *args, **kw: args[0].sum() * float("nan"))
    with pytest.raises(ValueError, match="the loss became nan in epoch 1; lower train.learning_rate"):
        train_run(TINY)


def test_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="train.device is cuda, but PyTorch finds no GPU"):
        local_device("cuda")
    assert local_device("auto").type == "cpu"


def test_tensorboard_gets_each_epoch_where_it_is_installed(tmp_path, monkeypatch):
    import types

    seen = []

    class Writer:
        def __init__(self, folder, purge_step):
            seen.append((folder, purge_step))

        def add_scalar(self, key, value, epoch):
            seen.append((key, epoch))

        flush = close = lambda self: seen.append("flushed")

    stub = types.ModuleType("torch.utils.tensorboard")
    stub.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stub)
    train_run(replace(TINY, train=replace(TINY.train, epochs=1)), tmp_path)
    assert seen[0] == (str(tmp_path), 1) and ("accuracy", 1) in seen and seen[-1] == "flushed"


# Two processes, as torchrun starts them.

TWO = """
name: two
data: {train_images: 97, test_images: 41}
model: {dim: 8, heads: 2, mlp_ratio: 2, steps: 2, neuron: dts, attention_threshold: 1.0, dynamic: true}
augment: {crop: 1, flip: true}
train: {epochs: 2, batch_size: 32, learning_rate: 1e-2, device: cpu}
"""


def torchrun(folder, *options):
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    line += ["-m", "spikeloom.cli.main", "train", "two.yaml", "-o", "out/checkpoint.safetensors", "--json", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.trains
def test_two_processes_train_one_model(tmp_path):
    (tmp_path / "two.yaml").write_text(TWO)
    done = torchrun(tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)  # of one process alone
    first, header = checkpoints.load(tmp_path / "out" / "checkpoint.safetensors")
    assert header["accuracy"] == record["accuracy_float"]
    state = training_state.load(tmp_path / "out" / "state.safetensors")
    assert len(state.random) == 2 and not torch.equal(*state.random)
    assert [x["epoch"] for x in state.history] == [1, 2]
    done = torchrun(tmp_path, "--restart")
    assert done.returncode == 0, done.stderr
    assert equal(first, checkpoints.load(tmp_path / "out" / "checkpoint.safetensors")[0])


def test_processes_share_each_batch(monkeypatch):
    """What two processes take of an epoch is, together, every image once; one image alone waits."""
    parts = [datasets.load("digits", x) for x in ("train", "test")]
    taken = []
    for rank in range(2):
        team = Processes(rank, 2)
        monkeypatch.setattr(Processes, "of_main", lambda self, x, device: torch.arange(97))
        monkeypatch.setattr(Processes, "summed", lambda self, *x, device: list(x))
        training = training_loop.TrainingLoop(TINY, team, torch.device("cpu"), *parts, None, Spikformer(TINY.model))
        training.chosen = np.arange(97)
        training.batches = 4
        monkeypatch.setattr(training, "_step", lambda share, *rest: taken.append(share) or 1.0)
        state = training._epoch(1, training.model, Hooks())
        assert state.loss == 1.0
    assert sorted(torch.cat(taken).tolist()) == list(range(96)) and len(taken) == 6


# The command.


@pytest.mark.trains
def test_train_command_with_a_file(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("two.yaml").write_text(TWO)
    line = ["train", "two.yaml", "--set", "train.epochs=1", "--set", "name=mine"]
    assert command([*line, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["checkpoint"] == "build/mine/checkpoint.safetensors" and record["epochs"] == 1
    assert {"checkpoint.safetensors", "log.csv"} <= {x.name for x in Path("build/mine").iterdir()}
    assert command(["train", "two.yaml", "--set", "train.epochs=2", "-o", record["checkpoint"]]) == 2
    assert "build/mine holds a run with another name" in capsys.readouterr().err
    assert command([*line, "--set", "data.name=fashion", "--data", "gone", "--restart"]) == 2
    assert "no such folder: gone" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line, expected",
    [
        (["train", "gone.yaml"], "no such file: gone.yaml"),
        (["train", "gone.yaml", "--epochs", "3"], "--epochs is for the digits model; with a file, use --set"),
        (["train", "gone.yaml", "--time-steps", "3"], "--time-steps is for the digits model"),
        (["train", "--set", "train.epochs=3"], "--set, --data, --restart and --init need a configuration file"),
    ],
)
def test_train_command_mistakes(line, expected, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command(line) == 2
    assert expected in capsys.readouterr().err
