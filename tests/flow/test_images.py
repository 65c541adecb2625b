"""Which images a command takes: `--data`, `--data-folder`, and without them the data set of the training."""

import json
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from spikeloom.cli.main import run
from spikeloom.flow.images import load_samples
from spikeloom.golden.data import datasets
from spikeloom.golden.data.origin import trained_on
from spikeloom.golden.models import checkpoints
from spikeloom.golden.models.spikformer import Spikformer
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.network.random_network import random_network
from spikeloom.golden.training.run_config import DataConfig, RunConfig
from spikeloom.golden.training.train import DIGITS_RUN

SHAPES = {"fashion": (1, 28, 28), "cifar10": (3, 32, 32), "cifar100": (3, 32, 32), "digits": (1, 8, 8)}


def network_for(shape, **about):
    """A network that takes images of a shape; about: what its checkpoint tells."""
    channels, height, width = shape
    made = random_network(1, channels=channels, height=height, width=width, stem=(4, 8), hidden=8, classes=10)
    made.provenance.update(about)
    return made


def recipe(name, folder=None):
    return RunConfig(data=DataConfig(name=name, folder=folder)).as_dict()


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A folder with five held-out images of each data set, in the published formats."""
    monkeypatch.delenv("SPIKELOOM_DATA", raising=False)
    folder = tmp_path / "published"
    folder.mkdir()
    pixels = np.random.default_rng(0)
    images = pixels.integers(0, 256, (5, 28, 28), dtype=np.uint8)
    header = struct.pack(">4BIII", 0, 0, 8, 3, 5, 28, 28)
    (folder / "t10k-images-idx3-ubyte").write_bytes(header + images.tobytes())
    (folder / "t10k-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, 5) + bytes(range(5)))
    for name, labels in (("test_batch.bin", 1), ("test.bin", 2)):
        rows = pixels.integers(0, 10, (5, labels + 3072), dtype=np.uint8)
        (folder / name).write_bytes(rows.tobytes())
    for place in ("cat", "dog"):
        (folder / "val" / place).mkdir(parents=True)
        for i in range(3):
            picture = pixels.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(picture).save(folder / "val" / place / f"{i}.png")
    return folder


@pytest.mark.parametrize("name", SHAPES)
def test_each_data_set_by_its_name(name, published, monkeypatch):
    found = load_samples(name, network_for(SHAPES[name]), 4, folder=published)
    wanted = datasets.load(name, "test", published)
    assert (found.images == wanted.images[:4]).all() and (found.labels == wanted.labels[:4]).all()
    monkeypatch.setenv("SPIKELOOM_DATA", str(published))
    assert (load_samples(name, network_for(SHAPES[name])).images == wanted.images).all()


def test_a_folder_for_each_class(published):
    network = network_for((3, 24, 24))
    images, labels = load_samples(f"folder:{published}", network)
    assert images.shape == (6, 3, 24, 24) and labels.tolist() == [0, 0, 0, 1, 1, 1]
    few = load_samples(f"folder:{published}", network, 2)
    assert few.labels.tolist() == [0, 1] and (few.images == images[[0, 5]]).all()
    assert load_samples("folder", network, folder=published, most=3).labels.tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match="--images must be at most 6, the images there are, not 7"):
        load_samples(f"folder:{published}", network, 7)


def test_the_data_set_of_the_training_is_the_default(published):
    found = load_samples(None, network_for(SHAPES["fashion"], recipe=recipe("fashion")), folder=published)
    assert found.labels.tolist() == [0, 1, 2, 3, 4]
    recorded = network_for(SHAPES["cifar10"], recipe=recipe("cifar10", str(published)))
    assert len(load_samples(None, recorded).images) == 5  # the folder that the training had
    assert len(load_samples(None, network_for(SHAPES["digits"])).images) == 360  # none is told
    old = DIGITS_RUN.as_dict()
    assert trained_on({"recipe": old}) == trained_on({"recipe": {"dataset": "digits"}}) == ("digits", None)


def test_the_environment_wins_over_the_folder_of_the_training(published, tmp_path, monkeypatch):
    network = network_for(SHAPES["fashion"], recipe=recipe("fashion", str(tmp_path / "gone")))
    with pytest.raises(FileNotFoundError, match="no such folder: .*gone"):
        load_samples(None, network)
    monkeypatch.setenv("SPIKELOOM_DATA", str(published))
    assert len(load_samples(None, network).images) == 5


def test_most_is_a_default_and_count_is_not():
    network = network_for(SHAPES["digits"])
    assert len(load_samples("digits", network, most=7).images) == 7
    assert len(load_samples("digits", network, 9, most=7).images) == 9
    assert len(load_samples("digits", network, most=7000).images) == 360


def test_commands_take_the_data_set_of_the_training(published, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    config = SpikformerConfig(dim=8, heads=2, height=28, width=28, pools=(True, True, True, True))
    checkpoints.save("clothes.safetensors", Spikformer(config), recipe=recipe("fashion"))
    folder = ["--data-folder", str(published)]
    assert run(["quantize", "clothes.safetensors", *folder, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["images"] == 5 and record["accuracy_float"] in (0, 0.2, 0.4, 0.6, 0.8, 1)
    for command in ("estimate", "compile"):
        assert run([command, record["network"], *folder, "--images", "1", "--json"]) == 0, capsys.readouterr().err
    monkeypatch.setenv("SPIKELOOM_DATA", str(published))
    assert run(["estimate", record["network"], "--images", "1", "--json"]) == 0
    assert run(["data", "show", "digits", "--data-folder", str(published), "--json"]) == 0


@pytest.mark.parametrize(
    "options, expected",
    [
        ([], "name their folder with --data-folder or in SPIKELOOM_DATA; `spikeloom data download fashion --to DIR`"),
        (["--data-folder", "empty"], "; `spikeloom data download fashion --to empty` fetches them"),
        (["--data", "folder"], "the data set folder is read from files: name their folder with --data-folder"),
        (["--data", "folder:empty"], "no folder empty/val with a folder for each class"),
        (["--data", "folder:gone"], "no such folder: gone"),
    ],
)
def test_absent_files_are_one_line(options, expected, published, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    network_for(SHAPES["fashion"], recipe=recipe("fashion")).save("n.safetensors")
    assert run(["estimate", "n.safetensors", *options]) == 2
    shown = capsys.readouterr().err
    assert expected in shown and len(shown.strip().splitlines()) == 1 and "Traceback" not in shown
