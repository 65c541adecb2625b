"""The models in the package: files, manifest, and what is said when they are not what it says."""

import os
from dataclasses import replace

import pytest

from spikeloom.golden.data import datasets
from spikeloom.golden.models import checkpoints
from spikeloom.golden.training.evaluation import accuracy
from spikeloom.golden.zoo import shipped
from spikeloom.golden.zoo.shipped import LARGEST, catalogue


@pytest.mark.parametrize("name", catalogue())
def test_manifest_says_what_the_file_says(name):
    model = catalogue()[name]
    entry = shipped.entry(model.path)
    assert replace(model, **entry) == model
    assert 0 < model.bytes <= LARGEST and model.command.startswith("spikeloom train")


NEEDS_FILES = pytest.mark.skipif(
    not os.environ.get(datasets.ENVIRONMENT), reason="SPIKELOOM_DATA names no folder with Fashion-MNIST and CIFAR-10"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["digits", pytest.param("fashion_e", marks=NEEDS_FILES), pytest.param("cifar10_small", marks=NEEDS_FILES)]
)
def test_the_accuracy_of_the_manifest_is_that_of_the_file(name):
    """On all held-out images. The other two, which take as long again: in integers, tests/sim/test_fashion_in_hardware.

    Tolerance: ties and roundings of float32 on another CPU may move two images in a thousand.
    """
    entry = catalogue()[name]
    model, _ = checkpoints.load(entry.path)
    images, labels = datasets.load(entry.data, "test")
    assert str(len(labels)) in entry.split
    assert abs(accuracy(model, images, labels) - entry.accuracy) <= max(0.002, 1 / len(labels))


def test_every_file_is_in_the_manifest():
    folder = catalogue()["digits"].path.parent
    assert {x.stem for x in folder.glob("*.safetensors")} == set(catalogue())


def test_another_file_is_refused():
    digits = catalogue()["digits"]
    with pytest.raises(ValueError, match="the file of the shipped model 'digits' was changed; install SpikeLoom again"):
        replace(digits, sha256="0" * 64).check()
    with pytest.raises(ValueError, match="the file of the shipped model 'other' is missing"):
        replace(digits, name="other").check()


def test_large_files_do_not_go_into_the_package(monkeypatch):
    monkeypatch.setattr(shipped, "LARGEST", 1000)
    with pytest.raises(ValueError, match="has 464648 bytes, more than the 1000 of a file in the package"):
        shipped.entry(catalogue()["digits"].path)
