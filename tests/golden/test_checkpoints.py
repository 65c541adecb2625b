"""Checkpoints: what the shipped one says, a way there and back, and one line for each way to be wrong."""

import json
import subprocess
import sys
from dataclasses import asdict, fields

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from spikeloom.common.files import file_hash
from spikeloom.golden.data import datasets
from spikeloom.golden.models import checkpoints
from spikeloom.golden.models.architectures import architecture_of
from spikeloom.golden.models.spikformer import Spikformer
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.training.evaluation import accuracy
from spikeloom.golden.training.run_config import of_header
from spikeloom.golden.training.train import DIGITS, DIGITS_RUN
from spikeloom.golden.zoo.shipped import catalogue, shipped


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Spikformer(SpikformerConfig(dim=16, heads=2, dynamic=True)).eval()


def tamper(model, path, *, metadata=None, change=None, header=None):
    """Save a checkpoint and then change the file."""
    checkpoints.save(path, model)
    with safe_open(path, framework="pt") as file:
        about, tensors = dict(file.metadata()), {k: file.get_tensor(k) for k in file.keys()}
    if change is not None:
        change(tensors)
    if header is not None:
        known = json.loads(about["checkpoint"])
        header(known)
        about["checkpoint"] = json.dumps(known)
    save_file(tensors, path, metadata=about | (metadata or {}))


def test_shipped_model_keeps_what_its_header_says():
    model, about = checkpoints.load(shipped("digits"))
    images, labels = datasets.load("digits", "test")
    # Ties and roundings of another machine's float32 may move an image or two.
    assert abs(accuracy(model, images, labels) - about["accuracy"]) <= 2 / 360
    assert about["accuracy"] >= 0.96
    assert about["split"] == datasets.describe_split("digits")
    assert about["command"].startswith("spikeloom train")
    assert of_header(about, model.config) == DIGITS_RUN  # from a header of before, which is flat
    assert model.config == DIGITS
    steps = model.time_steps()
    assert steps == about["t_per_layer"]
    assert min(steps.values()) == 1 and len(set(steps.values())) > 1
    assert sum(steps.values()) / len(steps) == about["t_avg"] < model.config.steps


def test_save_and_load_keep_everything(model, tmp_path):
    path = tmp_path / "new" / "x.safetensors"
    checkpoints.save(path, model, command="c", accuracy=0.5)
    loaded, about = checkpoints.load(path)
    assert [p.name for p in path.parent.iterdir()] == ["x.safetensors"]
    assert loaded.config == model.config and not loaded.training
    assert (about["command"], about["accuracy"]) == ("c", 0.5)
    for key, x in model.state_dict().items():
        assert torch.equal(x, loaded.state_dict()[key])
    assert len(file_hash(path)) == 64


def test_a_mask_that_is_no_prefix_is_refused_with_its_layer(model, tmp_path):
    def change(tensors):
        tensors["block.0.attn.k_lif.time_mask.tp"] = torch.tensor([1.0, -1.0, 1.0, 0.5])

    tamper(model, tmp_path / "x", change=change)
    with pytest.raises(ValueError, match="x: layer 'block.0.k': the time mask 1010 is no prefix"):
        checkpoints.load(tmp_path / "x")
    model.block[0].attn.k_lif.time_mask.tp.data = torch.tensor([1.0, -1.0, 1.0, 0.5])
    with pytest.raises(ValueError, match="layer 'block.0.k': the time mask 1010 is no prefix"):
        checkpoints.save(tmp_path / "y", model)


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such checkpoint: .*x"):
        checkpoints.load(tmp_path / "x")


def test_corrupt_file(tmp_path):
    (tmp_path / "x").write_bytes(b"\x80\x02pickle")
    with pytest.raises(ValueError, match="is corrupt or not a safetensors file"):
        checkpoints.load(tmp_path / "x")


def test_file_of_another_format(model, tmp_path):
    tamper(model, tmp_path / "x", metadata={"format": "other"})
    with pytest.raises(ValueError, match="is not a SpikeLoom checkpoint; make one with `spikeloom train`"):
        checkpoints.load(tmp_path / "x")


def test_a_file_of_a_newer_version_says_what_to_do(model, tmp_path):
    tamper(model, tmp_path / "x", metadata={"version": "9"}, header=lambda x: x["config"].update(unheard=1))
    with pytest.raises(ValueError) as error:
        checkpoints.load(tmp_path / "x")
    said = "x was written by a newer version of SpikeLoom, in format 9; this program reads up to 3: update SpikeLoom"
    assert str(error.value).endswith(said)


def test_a_file_without_a_version(model, tmp_path):
    tamper(model, tmp_path / "x", metadata={"version": "new"})
    with pytest.raises(ValueError, match="x has no format version: it must be in 1..3, not 'new'"):
        checkpoints.load(tmp_path / "x")


def test_a_file_of_version_2_has_the_neurons_of_its_time(model, tmp_path):
    def older(header):
        del header["config"]["leak"], header["config"]["gain"]

    tamper(model, tmp_path / "x", metadata={"version": "2"}, header=older)
    _, header = checkpoints.load(tmp_path / "x")
    assert (header["config"]["leak"], header["config"]["gain"]) == (0.5, None)


@pytest.mark.parametrize("name", list(catalogue()))
def test_the_shipped_models_of_version_1_are_brought_up_to_date(name):
    path = shipped(name)
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    written = json.loads(about["checkpoint"])
    assert about["version"] == "1"
    model, header = checkpoints.load(path)
    assert header["architecture"] == architecture_of(model.config) == written.get("architecture", "spikformer")
    assert written["config"].items() <= header["config"].items()
    # All that a configuration has is in the header, though the file's writer did not know all of it.
    assert set(header["config"]) == {x.name for x in fields(model.config)}
    assert asdict(type(model.config)(**header["config"])) == asdict(model.config)


@pytest.mark.parametrize(
    "header, message",
    [
        (lambda x: x.pop("config"), "x: config is missing"),
        (
            lambda x: x["config"].update(dim=60),
            "x: config.dim must be a multiple of 8, not 60",
        ),
        (lambda x: x["config"].update(other=1), "x: config.other: unknown key; allowed: channels, "),
    ],
)
def test_header_without_a_model(model, tmp_path, header, message):
    tamper(model, tmp_path / "x", header=header)
    with pytest.raises(ValueError, match=message):
        checkpoints.load(tmp_path / "x")


def test_header_that_is_no_json(model, tmp_path):
    tamper(model, tmp_path / "x", metadata={"checkpoint": "{"})
    with pytest.raises(ValueError, match="x: its header is no JSON: "):
        checkpoints.load(tmp_path / "x")


def test_missing_tensor(model, tmp_path):
    tamper(model, tmp_path / "x", change=lambda x: x.pop("head.bias"))
    with pytest.raises(ValueError, match="x: tensor 'head.bias' is missing"):
        checkpoints.load(tmp_path / "x")


def test_tensor_of_another_shape(model, tmp_path):
    tamper(model, tmp_path / "x", change=lambda x: x.update({"head.bias": torch.zeros(9)}))
    with pytest.raises(ValueError, match=r"x: tensor 'head.bias' must have shape \(10,\), not \(9,\)"):
        checkpoints.load(tmp_path / "x")


def test_unknown_tensor(model, tmp_path):
    tamper(model, tmp_path / "x", change=lambda x: x.update(more=torch.zeros(9)))
    with pytest.raises(ValueError, match="x: unknown tensor 'more'"):
        checkpoints.load(tmp_path / "x")


def test_unknown_shipped_model():
    with pytest.raises(ValueError, match="no shipped model 'imagenet'; known: .*digits"):
        shipped("imagenet")


def test_the_contract_needs_no_torch():
    """The generator imports these; torch would cost it seconds and memory."""
    code = (
        "import sys, spikeloom.golden.network, spikeloom.golden.network.widths;"
        "import spikeloom.golden.models.spikformer_layers;"
        "assert 'torch' not in sys.modules; assert 'amaranth' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
