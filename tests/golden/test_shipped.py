"""The models in the package: files, manifest, and what is said when they are not what it says."""

from dataclasses import replace

import pytest

from spikeloom.golden.zoo import shipped
from spikeloom.golden.zoo.shipped import LARGEST, catalogue


@pytest.mark.parametrize("name", catalogue())
def test_manifest_says_what_the_file_says(name):
    model = catalogue()[name]
    entry = shipped.entry(model.path)
    assert replace(model, **entry) == model
    assert 0 < model.bytes <= LARGEST and model.command.startswith("spikeloom train")


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
