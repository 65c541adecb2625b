"""Where commands write: one option and one variable for all of them, and names that cannot leave the folder."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from spikeloom.cli.main import run
from spikeloom.common.folders import build_folder, building_in, folder_of
from spikeloom.golden.network.random_network import random_network


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPIKELOOM_BUILD", raising=False)
    network = random_network(3, height=4, width=4, stem=(4, 8), hidden=8, classes=4)
    network.save("tiny.safetensors")
    replace(network, name="..").save("dots.safetensors")
    return tmp_path


def bitstream(capsys, *arguments):
    assert run(["program", "--dry-run", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)["bitstream"]


def test_the_option_wins_over_the_variable_and_that_over_build(capsys, monkeypatch):
    end = "digits/ulx3s-85f/spikeloom.bit"
    assert bitstream(capsys) == f"build/{end}"
    monkeypatch.setenv("SPIKELOOM_BUILD", "out")
    assert bitstream(capsys) == f"out/{end}"
    assert bitstream(capsys, "--build-dir", "mine") == bitstream(capsys, "--build-dir=mine") == f"mine/{end}"
    assert run(["--build-dir", "first", "program", "--dry-run"]) == 0
    assert f"first/{end}" in capsys.readouterr().out
    assert build_folder() == Path("out")  # the option is of one command


def test_the_option_needs_a_folder(capsys):
    assert run(["program", "--dry-run", "--build-dir"]) == 2
    assert "requires an argument" in capsys.readouterr().err


def test_a_command_writes_there(home, capsys):
    line = ["compile", "tiny.safetensors", "--data", "random", "--lanes", "8", "--build-dir", "there"]
    assert run([*line, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["folder"] == "there/random-3/verilog" and (home / record["folder"] / "core.v").is_file()
    assert not (home / "build").exists()


def test_no_name_leaves_the_build_folder(home, capsys):
    with building_in("b"):
        for name, expected in {
            "..": "--",
            ".": "-",
            "": "-",
            "a/../b": "a-..-b",
            "/etc": "-etc",
            "x" * 300: "x" * 100,
        }.items():
            assert folder_of(name) == Path("b") / expected
    assert run(["compile", "dots.safetensors", "--data", "random", "--lanes", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == "build/--/verilog"
    assert {path.name for path in home.iterdir()} == {"build", "tiny.safetensors", "dots.safetensors"}
