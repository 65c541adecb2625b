"""A number of images that nobody typed is at most the number of images that there are; and what is said of outputs."""

import json

import numpy as np
import pytest
import torch

from spikeloom.cli.main import run
from spikeloom.golden.models import checkpoints
from spikeloom.golden.models.spikformer import Spikformer
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.network import Network
from spikeloom.golden.network.random_network import random_images, random_network


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = random_network(3, height=4, width=4, stem=(4, 8), hidden=8, classes=4)
    network.save("tiny.safetensors")
    np.savez("one.npz", images=random_images(network, 1, seed=1))
    return tmp_path


@pytest.mark.parametrize("command", ["compile", "estimate"])
def test_a_file_with_one_image_is_enough(command, capsys):
    assert run([command, "tiny.safetensors", "--data", "one.npz", "--json"]) == 0, capsys.readouterr().err
    assert json.loads(capsys.readouterr().out)["images"] == 1


def test_an_output_that_is_a_folder_gets_the_file(home, capsys):
    torch.manual_seed(0)
    config = SpikformerConfig(dim=8, heads=2, dynamic=True)
    checkpoints.save("model.safetensors", Spikformer(config))
    (home / "there").mkdir()
    assert run(["quantize", "model.safetensors", "--data", "random", "-o", "there", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["network"] == "there/network.safetensors"
    assert Network.load("there/network.safetensors").name == "model"


def test_waves_are_named(home, capsys):
    line = ["simulate", "tiny.safetensors", "--data", "one.npz", "--lanes", "8", "--neuron-lanes", "4"]
    assert run([*line, "--waves", "deep/w.fst"]) == 0
    assert (home / "deep" / "w.fst").stat().st_size
    assert "Signals: deep/w.fst" in capsys.readouterr().out
