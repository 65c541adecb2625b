"""Foreign checkpoints: what is recognised, what is ignored, and one line for each way to be wrong."""

import argparse
import json
import pathlib
import pickle
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from spikeloom.cli.main import run
from spikeloom.golden.exchange.import_checkpoint import import_checkpoint
from spikeloom.golden.exchange.import_spikformer import HEADS, recognise
from spikeloom.golden.models import checkpoints
from spikeloom.golden.models.image_config import CIFAR, CIFAR100, IMAGENET
from spikeloom.golden.network import Network
from spikeloom.golden.network.execute import execute
from spikeloom.golden.quantization.quantize import quantize
from spikeloom.golden.zoo.shipped import shipped
from support import official_spikformer

SMALL = dict(depth=2, dim=16, classes=10)


def state(dialect="cifar", **size):
    return official_spikformer.random_state(dialect, **{**SMALL, **size})


def timm(tensors, **args):
    """As timm's CheckpointSaver writes it."""
    args = argparse.Namespace(model="spikformer", num_heads=4, time_step=2, img_size=16, mean=None, **args)
    return {"epoch": 3, "arch": "spikformer", "state_dict": tensors, "args": args, "optimizer": {}, "version": 2}


@pytest.mark.parametrize(
    "dialect, depth, dim, classes, heads, usual",
    [
        ("cifar", 4, 384, 10, 12, CIFAR),
        ("cifar", 4, 384, 100, 12, CIFAR100),
        ("cifar", 2, 256, 10, None, CIFAR),
        ("imagenet", 8, 384, 1000, None, IMAGENET),
        ("imagenet", 8, 512, 1000, 8, IMAGENET),
        ("imagenet", 8, 768, 1000, None, IMAGENET),
    ],
)
def test_architectures_are_recognised_from_keys_and_shapes(dialect, depth, dim, classes, heads, usual):
    from spikeloom.golden.exchange.import_checkpoint import Given, Source, _choose

    found = recognise(official_spikformer.shapes(dialect, depth=depth, dim=dim, classes=classes))
    size = dict(dialect=dialect, depth=depth, dim=dim, classes=classes, mlp_ratio=4, bias=True)
    assert found == size
    if heads is None:
        with pytest.raises(ValueError, match=f"number of heads of width {dim}: give it with --heads"):
            _choose(found, Given(), {}, None)
    usual_heads = HEADS.get((dialect, dim))
    chosen, sources = _choose(found, Given(heads=None if heads else 8), {}, usual_heads)
    assert chosen["heads"] == heads or heads is None and sources["heads"] is Source.OPTION
    assert (chosen["mean"], chosen["std"], chosen["height"]) == (usual["mean"], usual["std"], usual["height"])


@pytest.mark.parametrize("dialect", ["cifar", "imagenet"])
@pytest.mark.parametrize("form", ["bare", "parallel", "timm", "safetensors"])
def test_every_form_of_file_gives_the_same_model(dialect, form, tmp_path):
    tensors = state(dialect)
    path = tmp_path / "model.pth.tar"
    if form == "bare":
        torch.save(tensors, path)
    elif form == "parallel":
        torch.save({"model": {f"module._orig_mod.{key}": x for key, x in tensors.items()}}, path)
    elif form == "timm":
        torch.save(timm({f"module.{key}": x for key, x in tensors.items()}), path)
    else:
        save_file(tensors, path)
    found = import_checkpoint(path, heads=2, steps=3)
    config = found.model.config
    assert (found.name, config.dialect, config.heads, config.steps) == ("Spikformer-2-16", dialect, 2, 3)
    assert config.height == {"timm": 16}.get(form, 32 if dialect == "cifar" else 224)
    assert found.prefix == {"parallel": "module._orig_mod.", "timm": "module."}.get(form, "")
    loaded = found.model.state_dict()
    assert all(torch.equal(loaded[key], x) for key, x in tensors.items() if key not in found.dead)
    assert (
        found.dead == [f"block.{b}.norm{n}.{kind}" for b in (0, 1) for n in (1, 2) for kind in ("weight", "bias")]
        or form == "safetensors"
        and len(found.dead) == 8
    )
    assert found.dead_parameters == 8 * 16
    assert not found.model.training


def test_options_of_the_training_are_used_and_the_callers_win(tmp_path):
    path = tmp_path / "m.pth.tar"
    whole = timm(state(), std=None)
    whole["args"].mean, whole["args"].std = [0.5, 0.4, 0.3], [0.2, 0.2, 0.1]
    torch.save(whole, path)
    found = import_checkpoint(path)
    config = found.model.config
    assert (config.heads, config.steps, config.width) == (4, 2, 16)
    assert (config.mean, config.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    assert set(found.sources.values()) == {"the checkpoint's args"}
    found = import_checkpoint(path, heads=8, size=8)
    assert (found.model.config.heads, found.model.config.height) == (8, 8)
    assert found.sources["heads"] == "--heads" and found.sources["steps"] == "the checkpoint's args"


def test_other_sizes_are_recognised(tmp_path):
    """Another MLP ratio, no biases, half precision, and a file of a PyTorch without counters of batches."""
    tensors = {
        key: x.half() if x.is_floating_point() else x
        for key, x in state(mlp_ratio=2, depth=1, classes=3).items()
        if not key.endswith("num_batches_tracked") and not key.endswith("_linear.bias")
    }
    torch.save(tensors, tmp_path / "m.pth")
    model = import_checkpoint(tmp_path / "m.pth", heads=2).model
    config = model.config
    assert (config.mlp_ratio, config.depth, config.classes, config.bias) == (2, 1, 3, False)
    assert model.head.weight.dtype == torch.float32


def test_imported_model_is_quantised_and_executed(tmp_path, capsys):
    """Through the command line: import, then the rest as with a checkpoint of ours."""
    torch.save(timm(state(depth=1)), tmp_path / "best.pth.tar")
    path = tmp_path / "out" / "checkpoint.safetensors"
    assert run(["import", f"{tmp_path}/best.pth.tar", "-o", str(path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["name"], record["dialect"], record["heads"], record["t_max"]) == ("Spikformer-1-16", "cifar", 4, 2)
    assert record["dead_keys"] == [f"block.0.norm{n}.{kind}" for n in (1, 2) for kind in ("weight", "bias")]
    assert record["dead_parameters"] == 64 and record["image_shape"] == [3, 16, 16]
    assert record["sources"]["heads"] == "the checkpoint's args"
    model, about = checkpoints.load(path)
    assert record["parameters"] == sum(x.numel() for x in model.parameters())
    assert about["imported"]["sha256"] == record["sha256"] and about["imported"]["file"] == "best.pth.tar"
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16)).astype(np.uint8)
    np.savez(tmp_path / "x.npz", images=images, labels=np.zeros(2, np.int64))
    network = tmp_path / "n.safetensors"
    assert run(["quantize", str(path), "--data", f"{tmp_path}/x.npz", "-o", str(network), "--json"]) == 0
    capsys.readouterr()
    network = Network.load(network)
    assert network.provenance["imported"]["file"] == "best.pth.tar"
    assert (execute(network, images).sums == execute(quantize(model), images).sums).all()
    assert run(["import", f"{tmp_path}/best.pth.tar", "-o", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "Spikformer-1-16, cifar dialect" in shown and "norm1, norm2" in shown


class Code:
    """What a file must not make us run."""

    def __reduce__(self):
        return (pathlib.Path("/nowhere/at/all").touch, ())


def changed(**tensors):
    """A state with other tensors; None takes one away."""
    found = {**state(), **tensors}
    return {key: x for key, x in found.items() if x is not None}


WRONG = {
    "code": (lambda: {"state_dict": Code()}, "holds pickled code (getattr), which is never run: save the state"),
    "a whole model": (lambda: torch.nn.Linear(2, 2), "holds pickled code (torch.nn.modules.linear.Linear), which is"),
    "a list": (lambda: [torch.zeros(2)], "holds a list, not a state dict"),
    "numbers": (lambda: {"epoch": 3, "loss": 0.5}, "is no state dict: 'epoch' is a int, not a tensor"),
    "nothing": (lambda: {}, "holds no tensor"),
    "another model": (
        lambda: {"conv1.weight": torch.zeros(1)},
        "neither block.0.attn.q_linear nor q_conv; its keys begin with conv1.weight",
    ),
    "missing": (
        lambda: changed(**{"block.1.attn.k_bn.bias": None, "head.bias": None}),
        "does not fit Spikformer-2-16 (cifar): missing: 'block.1.attn.k_bn.bias', 'head.bias'",
    ),
    "unexpected": (lambda: changed(**{"block.0.gate": torch.ones(1)}), "(cifar): unexpected: 'block.0.gate'"),
    "many unexpected": (
        lambda: changed(**{f"extra.{i}": torch.ones(1) for i in range(5)}),
        "unexpected: 'extra.0', 'extra.1', 'extra.2' and 2 more",
    ),
    "wrong shape": (
        lambda: changed(**{"block.1.attn.v_linear.weight": torch.ones(16, 8)}),
        "wrong shape: 'block.1.attn.v_linear.weight' (16, 8) instead of (16, 16)",
    ),
    "not finite": (
        lambda: changed(**{"block.0.attn.v_bn.weight": torch.full((16,), torch.nan)}),
        "not finite: 'block.0.attn.v_bn.weight'",
    ),
    "no head": (lambda: changed(**{"head.weight": None}), "is no official Spikformer: missing or empty: 'head.weight'"),
    "event camera": (
        lambda: changed(**{"patch_embed.proj_conv.weight": torch.ones(2, 2, 3, 3)}),
        "its images have 2 channels, not 3",
    ),
    "odd MLP": (
        lambda: changed(**{"block.0.mlp.fc1_linear.weight": torch.ones(40, 16)}),
        "its MLP has 40 channels, no multiple of the width 16",
    ),
    "SpikingJelly": (
        lambda: {"patch_embed.final_stage.0.weight": torch.ones(3, 1, 1)},
        "is SpikingJelly 2.x's Spike-driven Transformer, which cannot be imported: its attention has no matrix product",
    ),
    "Spikingformer": (lambda: {"block.0.mlp.mlp1_conv.weight": torch.ones(1)}, "is a Spikingformer, which cannot be"),
    "E-SpikeFormer": (
        lambda: {"downsample1_1.encode_conv.weight": torch.ones(1)},
        "is no official E-SpikeFormer of the Base size: missing or empty: 'downsample1_1.encode_conv.weight'",
    ),
    "no heads": (state, "the keys do not tell the number of heads of width 16: give it with --heads"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_named_in_one_line(name, tmp_path, monkeypatch, capsys):
    content, expected = WRONG[name]
    monkeypatch.chdir(tmp_path)
    torch.save(content(), "m.pth")
    options = [] if name == "no heads" else ["--heads", "2"]
    refused(["import", "m.pth", *options], expected, capsys)
    assert not pathlib.Path("build").exists()


def refused(line, expected, capsys):
    assert run(line) == 2
    out, err = capsys.readouterr()
    assert out == "" and expected in err and len(err.splitlines()) == 1 and "Traceback" not in err


@pytest.mark.parametrize(
    "line, expected",
    [
        ("none.pth", "no such checkpoint: none.pth"),
        ("cut.pth", "cut.pth is corrupt or no PyTorch checkpoint"),
        ("text.pth", "text.pth is corrupt, or neither a PyTorch checkpoint nor a safetensors file"),
        ("zip.pth", "zip.pth is corrupt or no PyTorch checkpoint"),
        ("old.pth", "old.pth holds pickled code ("),
        ("empty.pth", "empty.pth is corrupt, or neither"),
        ("ours.safetensors", "is a file of SpikeLoom already: give it to spikeloom quantize or info"),
        ("good.pth --heads 3", "dim must be a multiple of heads (3), not 16"),
        ("good.pth --heads 0", "'--heads'"),
        ("good.pth --heads 2 --steps 0", "'--steps'"),
        ("", "Missing argument 'CHECKPOINT'"),
    ],
)
def test_bad_files_and_options(line, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save(state(), "good.pth")
    pathlib.Path("cut.pth").write_bytes(pathlib.Path("good.pth").read_bytes()[:4000])
    pathlib.Path("old.pth").write_bytes(pickle.dumps(Code(), 2))
    pathlib.Path("text.pth").write_text("no tensors")
    pathlib.Path("empty.pth").touch()
    pathlib.Path("inside").mkdir()
    shutil.make_archive("zip", "zip", "inside")
    pathlib.Path("zip.zip").rename("zip.pth")
    shutil.copy(shipped("digits"), "ours.safetensors")
    refused(["import", *line.split()], expected, capsys)


def test_a_block_of_number_ten_million_makes_no_model(tmp_path):
    shapes = official_spikformer.shapes("cifar", depth=1, dim=64, classes=10)
    tensors = {key: torch.zeros(shape) for key, shape in shapes.items()}
    torch.save(tensors | {"block.9999999.x": torch.zeros(1)}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="bad.pth: depth must be at most 256, not 10000000"):
        import_checkpoint(tmp_path / "bad.pth", heads=4)
