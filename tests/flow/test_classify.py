"""One's own pictures: what becomes of them, what their classes are called, what `spikeloom classify` says."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from spikeloom.cli.main import run
from spikeloom.flow.classify import answers, class_names, pictures_for, scores
from spikeloom.flow.models import load_network
from spikeloom.flow.pictures import read_pictures
from spikeloom.golden.data import datasets
from spikeloom.golden.data.origin import CLASS_NAMES, names_in
from spikeloom.golden.models import checkpoints
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_network
from spikeloom.golden.training.run_config import DataConfig, RunConfig, TrainConfig
from spikeloom.golden.training.train import train_run
from support.tiny import tiny_network

GREY, COLOUR = (1, 8, 6), (3, 8, 6)


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_picture_of_the_size_comes_as_it_is(pixels):
    Image.fromarray(pixels).save("colour.png")
    Image.fromarray(pixels[..., 0]).save("grey.png")
    np.save("grey.npy", pixels[..., 0])
    np.save("colour.npy", pixels.transpose(2, 0, 1))
    np.save("last.npy", pixels)
    colour = read_pictures(["colour.png", "colour.npy", "last.npy"], COLOUR)
    assert colour.dtype == np.uint8 and (colour == pixels.transpose(2, 0, 1)).all()
    grey = read_pictures(["grey.png", "grey.npy"], GREY)
    assert grey.shape == (2, *GREY) and (grey == pixels[..., 0]).all()
    assert (read_pictures(["grey.png"], COLOUR) == pixels[..., 0]).all()  # three equal channels
    assert (read_pictures(["grey.png"], GREY, invert=True) == 255 - pixels[..., 0]).all()


def test_transparent_turned_and_deep_pictures():
    clear = np.full((8, 6, 4), 200, np.uint8)
    clear[..., 3] = 0
    clear[0, 0, 3] = 255
    Image.fromarray(clear).save("clear.png")
    found = read_pictures(["clear.png"], GREY)[0, 0]
    assert found[0, 0] == 200 and found.sum() == 200
    deep = Image.fromarray(np.full((8, 6), 0x7F80, np.uint16))
    deep.save("deep.png")
    assert (read_pictures(["deep.png"], GREY) == 0x7F).all()
    lying = Image.fromarray(np.repeat(np.arange(6, dtype=np.uint8)[:, None], 8, 1))
    exif = lying.getexif()
    exif[0x0112] = 6  # the camera was turned: the first row is the right column
    lying.save("turned.png", exif=exif)
    assert (read_pictures(["turned.png"], GREY)[0, 0] == np.arange(5, -1, -1)).all()


def test_another_size_keeps_its_proportions():
    wide = np.zeros((16, 40), np.uint8)
    wide[:, 14:26] = 255  # the middle that is as wide as 12 of 16 rows
    Image.fromarray(wide).save("wide.png")
    assert (read_pictures(["wide.png"], GREY)[0, 0, :, 1:-1] == 255).all()
    assert read_pictures(["wide.png"], COLOUR).shape == (1, *COLOUR)


def test_models_of_folders_see_what_they_saw_in_training(folder, pixels):
    for name in ("cat", "dog"):
        (folder / "train" / name).mkdir(parents=True)
        Image.fromarray(np.tile(pixels, (5, 8, 1))).save(folder / "train" / name / "0.png")
    images = datasets.open_images("folder", "train", folder, size=24)
    network = random_network(1, channels=3, height=24, width=24, stem=(4, 8), hidden=8, classes=2)
    file = folder / "train" / "cat" / "0.png"
    whole = pictures_for(network, [file])
    network.provenance["recipe"] = {"data": {"name": "folder"}}
    assert (pictures_for(network, [file]) == images.batch(np.array([0]))).all()
    assert (whole != images.batch(np.array([0]))).any()


def test_names_of_classes():
    assert class_names(load_network("fashion"))[9] == "ankle boot"  # the header is older than the names
    assert names_in({"class_names": ["no", "yes"]}, 2) == ("no", "yes")
    assert names_in({"class_names": ["no", "yes"]}, 3) == ("0", "1", "2")
    assert names_in({"recipe": {"data": {"name": "cifar10"}}}, 10) == CLASS_NAMES["cifar10"]
    assert names_in({"recipe": {"data": {"name": "cifar10"}}}, 4) == ("0", "1", "2", "3")
    assert {name: len(x) for name, x in CLASS_NAMES.items()} == {
        "digits": 10, "fashion": 10, "cifar10": 10, "cifar100": 100,
    }  # fmt: skip
    assert list(CLASS_NAMES["cifar100"]) == sorted(CLASS_NAMES["cifar100"])


def test_training_on_a_folder_keeps_the_names_of_its_classes(folder, pixels):
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            (folder / part / name).mkdir(parents=True)
            for i in range(2):
                Image.fromarray(np.tile(pixels, (3, 4, 1))).save(folder / part / name / f"{i}.png")
    base = RunConfig()
    shape = {"dim": 8, "heads": 2, "mlp_ratio": 1, "steps": 1, "dynamic": False, "threshold": 0.25}
    shape |= {"channels": 3, "height": 16, "width": 16, "classes": 2}
    run_ = RunConfig(
        data=DataConfig(name="folder", folder=str(folder), size=16),
        model=type(base.model)(**shape),
        train=TrainConfig(epochs=1, batch_size=2, device="cpu"),
    )
    model, report = train_run(run_)
    checkpoints.save("mine.safetensors", model, **report.as_dict())
    assert class_names(load_network("mine.safetensors")) == ("cat", "dog")


def test_confidence_is_the_softmax_of_the_trained_scores():
    """Of the network's integers in real units, as PyTorch computes it from the recorded spikes."""
    network = load_network("digits")
    images = datasets.load("digits", "test").images[:5]
    execution = execute(network, images, record=True)
    readout = network.layers[-1]
    spikes = torch.from_numpy(execution.tensors[readout.inputs[0]]).double()  # (T, B, C, H, W)
    spikes = torch.cat([spikes, spikes.new_zeros(network.steps - len(spikes), *spikes.shape[1:])])
    weight = torch.from_numpy(readout.weight[:, :, 0, 0] * readout.scale[:, None])
    count = network.steps * spikes.shape[3] * spikes.shape[4]
    logits = spikes.mean((0, 3, 4)) @ weight.T + torch.from_numpy(readout.bias * readout.scale / count)
    assert np.allclose(scores(network, execution.sums), logits.numpy(), rtol=1e-12)
    found = answers(network, execution.sums)
    assert np.allclose([x.confidence for x in found], logits.softmax(1).max(1).values.numpy())
    assert [x.label for x in found] == execution.predictions.tolist()


def test_classify_on_the_command_line(capsys):
    samples = datasets.load("digits", "test")
    for i in range(2):
        Image.fromarray(samples.images[i, 0]).save(f"{i}.png")
    Image.fromarray(255 - samples.images[0, 0]).save("paper.png")
    sums = execute(load_network("digits"), samples.images[:2]).sums
    assert run(["classify", "0.png", "1.png", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["on"] == "golden" and record["bit_exact"] is None and record["class_names"][7] == "7"
    assert [x["file"] for x in record["images"]] == ["0.png", "1.png"]
    assert [x["sums"] for x in record["images"]] == sums.tolist()
    assert run(["classify", "paper.png", "--invert", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"][0]["sums"] == sums[0].tolist()
    assert run(["classify", "0.png", "1.png"]) == 0
    assert "confidence" in capsys.readouterr().out


def test_classify_on_the_simulator(capsys):
    network = tiny_network()
    network.provenance["class_names"] = ["north", "east", "south", "west"]
    network.save("tiny.safetensors")
    np.save("p.npy", np.random.default_rng(2).integers(0, 256, (4, 4), dtype=np.uint8))
    line = ["classify", "p.npy", "-m", "tiny.safetensors", "--json"]
    assert run(line) == 0
    golden = json.loads(capsys.readouterr().out)["images"]
    assert run([*line, "--on", "simulator", "--lanes", "8", "--neuron-lanes", "4"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["images"] == golden and record["bit_exact"] is True
    assert golden[0]["name"] in network.provenance["class_names"]


@pytest.mark.parametrize(
    "name, content, expected",
    [
        ("none.png", None, "no such file: none.png"),
        ("text.png", b"no picture", "text.png is no picture that can be read"),
        ("text.npy", b"no picture", "text.npy is corrupt or no .npy file of numbers"),
        ("real.npy", np.zeros((8, 8)), "real.npy: pixels must be uint8, not float64"),
        ("thick.npy", np.zeros((5, 8, 8), np.uint8), "a picture must be (H, W), (H, W, 3) or (C, H, W), not (5, 8, 8)"),
        ("pickle.npy", np.array([{}], object), "pickle.npy is corrupt or no .npy file of numbers"),
    ],
)
def test_what_is_no_picture_is_one_line(name, content, expected, folder, capsys):
    if isinstance(content, bytes):
        (folder / name).write_bytes(content)
    elif content is not None:
        np.save(name, content, allow_pickle=True)
    assert run(["classify", name, "--json"]) == 2
    out, err = capsys.readouterr()
    assert expected in json.loads(out)["error"] and "pickle=" not in err and "Traceback" not in err
