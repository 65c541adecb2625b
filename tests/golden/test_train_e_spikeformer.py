"""E-SpikeFormers in the loop of training: chosen in a YAML file, resumed, saved; Spikformers' files stay readable."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spikeloom.cli.main import run as command
from spikeloom.golden.models import checkpoints
from spikeloom.golden.models.architectures import architecture_of, config_class, config_from, make_model
from spikeloom.golden.models.e_spikeformer import ESpikeformer
from spikeloom.golden.models.e_spikeformer_config import ESpikeformerConfig
from spikeloom.golden.models.spikformer import Spikformer
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.training import run_config
from spikeloom.golden.training.run_config import RunConfig
from spikeloom.golden.training.train import train_run

EXAMPLES = Path(__file__).parents[2] / "examples"
YAML = """
architecture: e_spikeformer
data: {name: digits, train_images: 64, test_images: 20}
model:
  height: 8
  width: 8
  dims: [8, 8, 8, 8]
  depths: [1, 0, 0, 0, 1, 0]
  strides: [1, 2, 1, 1, 1]
  stem_kernel: 3
  sep_kernel: 3
  heads: 2
  mlp_ratio: 2
train: {epochs: 2, batch_size: 32, device: cpu}
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "small.yaml").write_text(YAML)
    return tmp_path / "small.yaml"


def test_file_chooses_the_architecture(file, tmp_path):
    run = run_config.load(file)
    assert run.architecture == "e_spikeformer" and isinstance(run.model, ESpikeformerConfig)
    assert run.model.dims == (8, 8, 8, 8) and run.model.levels == 4
    assert run_config.load(file, ["model.levels=8"]).model.levels == 8
    (tmp_path / "again.yaml").write_text(run_config.to_yaml(run))
    assert run_config.load(tmp_path / "again.yaml") == run
    assert isinstance(run_config.from_mapping({}).model, SpikformerConfig)
    assert run_config.from_mapping({"architecture": "e_spikeformer"}).model == ESpikeformerConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("architecture: resnet", "architecture must be one of spikformer, e_spikeformer, not 'resnet'"),
        ("architecture: [1]", r"architecture must be one of spikformer, e_spikeformer, not \[1\]"),
        ("architecture: e_spikeformer\nmodel: {dim: 8}", "model.dim: unknown key; allowed: channels, height"),
        ("model: {dims: [8, 8, 8, 8]}", "model.dims: unknown key"),
        ("architecture: e_spikeformer\nmodel: {dims: [8, 8]}", "model.dims must have 4 items, not 2"),
        ("architecture: e_spikeformer\nmodel: {levels: 0}", "model.levels must be at least 1, not 0"),
    ],
)
def test_mistakes_in_the_file(text, message, tmp_path):
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises((ValueError, TypeError), match=message):
        run_config.load(tmp_path / "wrong.yaml")


def test_architecture_and_model_must_agree():
    with pytest.raises(ValueError, match="architecture must be that of the model, e_spikeformer, not 'spikformer'"):
        RunConfig(model=ESpikeformerConfig())


@pytest.mark.trains
def test_training_through_the_command_resumes_bit_for_bit(file, tmp_path, capsys):
    path = tmp_path / "one" / "checkpoint.safetensors"
    assert command(["train", str(file), "-o", str(path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["t_max"] == 1 and set(record["t_per_layer"].values()) == {1}
    run = run_config.load(file)

    class Stopped(Exception):
        pass

    def stop(done, count):
        if done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        train_run(run, tmp_path / "two", stepped=stop)
    whole, _ = train_run(run, tmp_path / "two")
    model, header = checkpoints.load(path)
    assert isinstance(model, ESpikeformer) and header["architecture"] == "e_spikeformer"
    assert header["recipe"]["architecture"] == "e_spikeformer"
    assert all(torch.equal(x, whole.state_dict()[key]) for key, x in model.state_dict().items())
    with open(tmp_path / "two" / "log.csv") as log:
        assert len(list(csv.DictReader(log))) == 2
    with pytest.raises(ValueError, match="holds a run with another model.levels"):
        train_run(replace(run, model=replace(run.model, levels=2)), tmp_path / "two")
    assert command(["train", str(file), "-o", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "held-out accuracy" in shown and "T_avg" not in shown and "T_l" not in shown


def test_old_headers_are_spikformers(tmp_path):
    """Checkpoints and states of before say nothing of an architecture."""
    config = SpikformerConfig(dim=8, heads=2)
    header = {"config": {"dim": 8, "heads": 2}}
    assert config_from(header) == config and architecture_of(config) == "spikformer"
    assert isinstance(make_model(config), Spikformer)
    with pytest.raises(ValueError, match="architecture must be one of"):
        config_class("x")


@pytest.mark.trains
def test_bfloat16_trains(file, easy_digits, monkeypatch):
    seen, types = [], set()
    forward = ESpikeformer.forward
    monkeypatch.setattr(
        ESpikeformer, "forward", lambda self, x: (y := forward(self, x), self.training and types.add(y.dtype))[0]
    )
    options = ["train.precision=bfloat16", "train.batch_size=16", "train.learning_rate=1e-2", "data.train_images=480"]
    model, _ = train_run(run_config.load(file, options), progress=seen.append)
    assert types == {torch.bfloat16, torch.float32}  # to learn, and to take the batch norms' statistics
    assert seen[1].loss < seen[0].loss - 0.1  # 0.36 from the worst of four seeds
    assert model.head.weight.dtype == torch.float32


def test_example_is_small_enough():
    run = run_config.load(EXAMPLES / "fashion_e.yaml")
    parameters = sum(x.numel() for x in make_model(run.model).parameters())
    assert isinstance(run.model, ESpikeformerConfig) and parameters < 450_000
