"""Checkpoints of the official E-SpikeFormer: recognised from keys and shapes, loaded, executed; others refused."""

import argparse
import json

import pytest
import torch

from spikeloom.cli.main import run
from spikeloom.golden.exchange.import_checkpoint import import_checkpoint
from spikeloom.golden.exchange.import_e_spikeformer import name_of, recognise
from spikeloom.golden.models import checkpoints
from spikeloom.golden.models.e_spikeformer import ESpikeformer
from spikeloom.golden.models.e_spikeformer_config import PRESETS, ESpikeformerConfig, official
from support.official_e_spikeformer import Official

SMALL = official("t", dims=(8, 16, 16, 24), depths=(1, 1, 0, 1, 1, 2), classes=7, height=32, width=32)


def state(seed=0, config=SMALL):
    torch.manual_seed(seed)
    model = ESpikeformer(config)
    with torch.no_grad():
        for key, x in model.state_dict().items():
            if key.endswith("running_var"):
                x.uniform_(0.01, 0.1)
        model.head.weight.normal_()
    return model.state_dict()


@pytest.mark.parametrize("size", PRESETS)
def test_official_sizes_are_recognised(size):
    with torch.device("meta"):
        shapes = {key: tuple(x.shape) for key, x in ESpikeformer(official(size)).state_dict().items()}
    found = recognise(shapes)
    assert found == dict(
        dims=PRESETS[size], depths=(1, 1, 1, 1, 6, 2), stem_kernel=7, sep_kernel=7, classes=1000, sep_ratio=2,
        mlp_ratio=4, value_ratio=4,
    )  # fmt: skip
    assert name_of(ESpikeformerConfig(**found, channels=3)) == f"E-SpikeFormer-{size}"


@pytest.mark.parametrize("form", ["bare", "parallel", "engine"])
def test_imported_model_computes_the_official_equations(form, tmp_path):
    tensors = state()
    path = tmp_path / "model.pth"
    if form == "bare":
        torch.save(tensors, path)
    elif form == "parallel":
        torch.save({f"module.{key}": x for key, x in tensors.items()}, path)
    else:  # as the official engine writes it
        args = argparse.Namespace(model="spikformer", input_size=32)
        torch.save({"model": tensors, "args": args, "epoch": 1, "scaler": {}}, path)
    found = import_checkpoint(path, size=None if form == "engine" else 32)
    assert found.model.config == SMALL and found.name == "E-SpikeFormer-8-16-16-24" and found.dead == []
    assert found.sources["heads"] == "the official imagenet configuration"
    assert found.sources["size"] == ("the checkpoint's args" if form == "engine" else "--size")
    assert found.prefix == ("module." if form == "parallel" else "")
    model = found.model.double()
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    mean, std = (torch.tensor(x, dtype=torch.float64).view(3, 1, 1) for x in (SMALL.mean, SMALL.std))
    expected = Official({key: x.double() for key, x in tensors.items()})((images / 255.0 - mean) / std)
    assert expected.std(0).max() > 0
    torch.testing.assert_close(model(images), expected, rtol=0, atol=1e-5)


def test_command(tmp_path, capsys):
    torch.save(state(), tmp_path / "small.pth")
    path = tmp_path / "checkpoint.safetensors"
    line = ["import", f"{tmp_path}/small.pth", "--size", "32", "--heads", "4", "-o", str(path)]
    assert run([*line, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["architecture"] == "e_spikeformer" and record["name"] == "E-SpikeFormer-8-16-16-24"
    assert record["dims"] == [8, 16, 16, 24] and record["levels"] == 4 and record["image_shape"] == [3, 32, 32]
    model, header = checkpoints.load(path)
    assert model.config.heads == 4 and header["imported"]["sources"]["heads"] == "--heads"
    assert record["parameters"] == sum(x.numel() for x in model.parameters())
    assert run(line) == 0
    assert "E-SpikeFormer-8-16-16-24, 4 levels" in capsys.readouterr().out


def changed(*removed, **tensors):
    found = {**state(), **tensors}
    return {key: x for key, x in found.items() if key not in removed}


WRONG = {
    "Large": (
        lambda: changed(**{"block3.0.attn.q_conv.0.conv1.0.weight": torch.ones(24, 16, 1)}),
        "'block3.0.attn.q_conv.0.conv1.0.weight' is of the Large models of V3, or of V2, whose attention has",
    ),
    "layer scale": (lambda: changed(**{"block3.0.layer_scale1": torch.ones(16)}), "'block3.0.layer_scale1' is of the"),
    "event camera": (
        lambda: changed(**{"downsample1_1.encode_conv.weight": torch.ones(4, 2, 7, 7)}),
        "its images have 2 channels, not 3",
    ),
    "no head": (lambda: changed("head.weight"), "missing or empty: 'head.weight'"),
    "odd MLP": (
        lambda: changed(**{"block4.0.mlp.fc1_conv.weight": torch.ones(25, 24, 1)}),
        "mlp_ratio must be an integer, not 25 / 24 channels",
    ),
    "missing": (
        lambda: changed("block4.1.attn.proj_conv.0.weight"),
        "does not fit E-SpikeFormer-8-16-16-24: missing: 'block4.1.attn.proj_conv.0.weight'",
    ),
    "steps": (state, "is an E-SpikeFormer, which has one time step: leave out --steps"),
    "heads": (state, "the last two of dims must be multiples of heads (5), not 16"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_named_in_one_line(name, tmp_path, capsys):
    content, expected = WRONG[name]
    path = tmp_path / "m.pth"
    torch.save(content(), path)
    options = {"steps": ["--steps", "4"], "heads": ["--heads", "5"]}.get(name, [])
    assert run(["import", str(path), "-o", str(tmp_path / "out"), *options]) == 2
    out, err = capsys.readouterr()
    assert out == "" and expected in err and len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
