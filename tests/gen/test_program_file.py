"""Programs in files: what comes back, and what is refused."""

import json
from dataclasses import replace

import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from spikeloom.gen.compiler import compile_network
from spikeloom.gen.program_file import load_program, save_program
from spikeloom.gen.sizing import smallest_core
from spikeloom.golden.network.random_network import random_network
from spikeloom.rtl.core.layouts import DESCRIPTOR_VERSION


@pytest.fixture(scope="module")
def program():
    network = random_network(1, classes=3)
    return compile_network(network, smallest_core(network, lanes=8, neuron_lanes=2)).program


def altered(path, *, program_header=None, weights=None, **metadata):
    """The file with other metadata, another header or other weights."""
    with safe_open(path, framework="numpy") as file:
        known = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    if program_header is not None:
        known["program"] = json.dumps(json.loads(known["program"]) | program_header)
    if weights is not None:
        tensors["weight_rows"] = weights(tensors["weight_rows"].copy())
    save_file(tensors, path, metadata=known | metadata)


def test_there_and_back(program, tmp_path):
    save_program(program, tmp_path / "p.safetensors")
    found = load_program(tmp_path / "p.safetensors")
    assert found == replace(program, descriptors=())
    assert found.hash == program.hash and found.host_writes() == program.host_writes()


def flip(rows):
    rows[3, 1] ^= 1
    return rows


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"version": "2"}, "was written by a newer version of SpikeLoom, in format 2; this program reads up to 1"),
        ({"format": "spikeloom.network"}, "is no Program of spikeloom's"),
        ({"program": "{"}, "is no Program of spikeloom's"),
        ({"program_header": {"descriptor_version": 99}}, f"is not for descriptors of version {DESCRIPTOR_VERSION}"),
        ({"program_header": {"config": {"lanes": 3}}}, "does not describe a Program: lanes must be a multiple of 16"),
        ({"program_header": {"image": {}}}, "does not describe a Program"),
        ({"weights": flip}, "is damaged: compile the network again"),
    ],
)
def test_refused(program, tmp_path, changes, message):
    path = tmp_path / "p.safetensors"
    save_program(program, path)
    altered(path, **changes)
    with pytest.raises(ValueError, match=message):
        load_program(path)


def test_no_program_at_all(tmp_path):
    (tmp_path / "x").write_bytes(b"not a file of tensors")
    with pytest.raises(ValueError, match="is no Program of spikeloom's"):
        load_program(tmp_path / "x")
