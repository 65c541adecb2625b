"""A user's mistake: one line on standard error, exit code 2, no traceback; the same line as JSON."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from spikeloom.cli.main import run
from spikeloom.flow import errors
from spikeloom.golden.models import checkpoints
from spikeloom.golden.network.random_network import random_network
from support.mistakes import refused, spoil
from support.tiny import tiny_model, tiny_network

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a tiny network and a tiny checkpoint, good and spoilt."""
    folder = tmp_path_factory.mktemp("files")
    tiny_network().save(folder / "tiny.safetensors")
    good = (folder / "tiny.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(good[: len(good) // 2])
    (folder / "text.safetensors").write_text("no tensors here")
    save_file({"x": torch.zeros(1)}, folder / "foreign.safetensors")
    checkpoints.save(folder / "model.safetensors", tiny_model())
    spoil(folder / "model.safetensors", folder / "holes.safetensors", tensors=with_holes)
    np.savez(folder / "small.npz", images=np.zeros((2, 1, 5, 5), np.uint8))
    np.savez(folder / "real.npz", images=np.zeros((2, 1, 4, 4), np.float32))
    np.savez(folder / "nameless.npz", pictures=np.zeros((2, 1, 4, 4), np.uint8))
    np.savez(folder / "labels.npz", images=np.zeros((2, 1, 4, 4), np.uint8), labels=np.zeros(3, np.int64))
    (folder / "broken.npz").write_bytes(b"PK not really")
    four = np.zeros((4, 1, 4, 4), np.uint8)
    np.savez(folder / "objects.npz", images=np.array([{}], object))
    np.savez(folder / "four.npz", images=four, labels=np.array([0, 1, 2, 3]))
    np.savez(folder / "far.npz", images=four, labels=np.array([0, 1, 2, 4]))
    np.savez(folder / "below.npz", images=four, labels=np.array([0, 1, 2, -1]))
    np.savez(folder / "halves.npz", images=four, labels=np.array([0, 1, 2, 0.5]))
    np.save(folder / "renamed.npy", four)
    (folder / "renamed.npy").rename(folder / "renamed.npz")
    (folder / "readable").mkdir()
    return folder


def with_holes(tensors):
    """A time mask that is no prefix: scores 1.5, 0.5, 1.5, 0."""
    name = next(key for key in tensors if key.endswith("time_mask.tp"))
    tensors[name] = torch.tensor([1.0, -1.0, 1.5, 0.0])


CASES = {
    "missing file": ("info missing.safetensors", "no such file: missing.safetensors"),
    "missing folder": ("info there/is/nothing", "no such file"),
    "unknown shipped model": ("info imagenet", "no shipped model 'imagenet'; known: digits"),
    "half a file": ("info cut.safetensors", "cut.safetensors is corrupt or not a safetensors file"),
    "text for tensors": ("simulate text.safetensors", "is corrupt or not a safetensors file"),
    "foreign tensors": ("compile foreign.safetensors", "foreign.safetensors is not a SpikeLoom"),
    "network for a checkpoint": ("quantize tiny.safetensors", "is not a SpikeLoom checkpoint"),
    "mask that is no prefix": ("quantize holes.safetensors", "is no prefix"),
    "mask that is no prefix, in info": ("info holes.safetensors", "is no prefix"),
    "bits": ("quantize model.safetensors --bits 5", "weight_bits must be 4 or 8, not 5"),
    "bits that are no number": ("quantize model.safetensors --bits many", "'--bits'"),
    "scales": ("quantize model.safetensors --scales log", "'--scales'"),
    "unknown layer": ("info tiny.safetensors --steps blok.0=1", "unknown layer 'blok.0'; the layers are sps.0"),
    "steps above T_max": ("info tiny.safetensors --steps sps.0=9", "T_l must be in 0..4, not 9"),
    "steps without a number": ("simulate tiny.safetensors --steps sps.0", "--steps must be LAYER=T"),
    "negative steps": ("estimate tiny.safetensors --steps sps.0=-1", "--steps must be LAYER=T"),
    "images of another size": ("simulate tiny.safetensors", "takes images of shape (1, 4, 4), not (1, 8, 8)"),
    "images of a file's other size": ("estimate tiny.safetensors --data small.npz", "not (1, 5, 5)"),
    "images of reals": ("simulate tiny.safetensors --data real.npz", "images must be uint8, not float32"),
    "no images": ("simulate tiny.safetensors --data nameless.npz", "no array called images; it has pictures"),
    "labels of another number": ("simulate tiny.safetensors --data labels.npz", "labels must have shape (2,)"),
    "corrupt images": ("simulate tiny.safetensors --data broken.npz", "is corrupt or no .npz file"),
    "objects for images": ("simulate tiny.safetensors --data objects.npz", "Python objects, which are never loaded"),
    "an array for arrays": ("simulate tiny.safetensors --data renamed.npz", "is corrupt or no .npz file"),
    "labels above the classes": ("simulate tiny.safetensors --data far.npz", "must be in 0..3, the classes of"),
    "labels below": ("simulate tiny.safetensors --data below.npz", "not -1..2"),
    "labels that are no integers": ("simulate tiny.safetensors --data halves.npz", "must be integers, not float64"),
    "more images than there are": ("compile tiny.safetensors --data four.npz --images 5", "--images must be at most 4"),
    "a core that cannot, before its data": (
        "compile fashion_e --data-folder nowhere",
        "come later",
    ),
    "a simulated core that cannot": ("simulate fashion_e --data-folder nowhere", "come later"),
    "a budget that no bits meet, at once": (
        "quantize model.safetensors --budget 10 --calibration 100000 --images 10",
        "a budget of 10 bytes is below",
    ),
    "waves that cannot be written": (
        "simulate tiny.safetensors --data four.npz --waves tiny.safetensors/w.fst",
        "tiny.safetensors",
    ),
    "waves for a folder": ("simulate tiny.safetensors --data four.npz --waves readable", "readable: is a folder"),
    "a network that NIR cannot begin": (
        "nir export digits --partial",
        "NIR cannot express network 'digits', not even a part of it: that would end before the first layer, 'sps.0': ",
    ),
    "missing images": ("simulate tiny.safetensors --data none.npz", "no such file: none.npz"),
    "unknown data": ("simulate tiny.safetensors --data mnist", "folder:DIR, random or an .npz file, not 'mnist'"),
    "too many images": ("quantize model.safetensors --images 361", "at most 360"),
    "no image at all": ("simulate tiny.safetensors --images 0", "'--images'"),
    "lanes": (
        "compile tiny.safetensors --data random --lanes 12",
        "or a power of two below 16, not 12",
    ),
    "negative lanes": ("compile tiny.safetensors --data random --lanes -4", "lanes"),
    "no counters": (
        "energy tiny.safetensors --data random --hardware 1 --no-counters",
        "the energy of the core is that of its counters: leave out --no-counters",
    ),
    "columns": ("estimate tiny.safetensors --data random --columns 3", "columns must be a power of two, not 3"),
    "neuron lanes": ("estimate tiny.safetensors --data random --lanes 8 --neuron-lanes 16", "neuron_lanes"),
    "narrow accumulator": (
        "compile tiny.safetensors --data random --accumulator-width 6",
        "layer 'sps.0': accumulator_width must be at least",
    ),
    "density": ("estimate tiny.safetensors --density 1.5", "must be in 0..1, not 1.5"),
    "unknown board": ("build tiny.safetensors --board arty", "unknown board 'arty'"),
    "device too small": (
        "build digits --board ulx3s-12f",
        "ulx3s-12f has 56; 64 of them hold the weights: what would help is 4-bit weights",
    ),
    "unknown board of the demo": ("demo --board arty", "unknown board 'arty'"),
    "unknown board to program": ("program --board arty", "unknown board 'arty'"),
    "no bitstream": ("program none.bit --board ulx3s-85f", "there is no bitstream none.bit"),
    "impossible clock": ("build tiny.safetensors --clock 1000", "400 MHz"),
    "impossible rate": ("build tiny.safetensors --baud 49000000", "baud must be"),
    "benches and random networks": ("regress core --random 3", "benches, --random and --again exclude each other"),
    "waves of random networks": ("regress --random 3 --waves here", "`spikeloom simulate --waves`"),
    "unknown bench": ("regress toaster", "no bench is called 'toaster'; there are "),
    "too many waves": ("simulate tiny.safetensors --data random --images 61 --waves w.fst", "at most 60 images"),
    "epochs": ("train --epochs 0", "'--epochs'"),
    "neuron": ("train --neuron izhikevich", "neuron must be one of spikingjelly, dts, not 'izhikevich'"),
    "heads": ("train --dim 16 --heads 3", "dim must be a multiple of heads (3), not 16"),
    "unknown command": ("fly", "No such command 'fly'"),
    "unknown option": ("info --fly", "No such option: --fly"),
    "surplus argument": ("info tiny.safetensors more", "more"),
}


@pytest.mark.parametrize("name", CASES)
def test_mistakes_get_one_line_and_code_2(name, files, monkeypatch, capsys):
    line, expected = CASES[name]
    monkeypatch.chdir(files)
    assert expected in refused(line, capsys)
    assert run([*line.split(), "--json"]) == 2
    out, err = capsys.readouterr()
    assert list(json.loads(out)) == ["error"]
    assert expected in json.loads(out)["error"] and "Traceback" not in err


@pytest.mark.parametrize(
    "line, tool, expected",
    [
        ("simulate tiny.safetensors --data random", "verilator", "apt install verilator"),
        ("demo", "verilator", "apt install verilator"),
        ("regress", "iverilog", "apt install iverilog"),
        ("program text.safetensors", "openFPGALoader", "apt install openfpgaloader"),
    ],
)
def test_missing_tools_are_named(line, tool, expected, files, monkeypatch, capsys):
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, **more: None if name == tool else which(name, **more))
    monkeypatch.chdir(files)
    assert run(line.split()) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    [
        "quantize model.safetensors -o tiny.safetensors/here/network.safetensors",
        "compile tiny.safetensors --data random -o tiny.safetensors/here",
        "simulate tiny.safetensors --data random -o tiny.safetensors/here",
        "simulate tiny.safetensors --data random -o simulation --waves tiny.safetensors/here.fst",
        "build tiny.safetensors -o tiny.safetensors/here",
        "train -o tiny.safetensors/here",
        "train digits.yaml -o tiny.safetensors/here",
        "sweep sweep_digits.yaml -o tiny.safetensors/here",
        "demo --no-build -o tiny.safetensors/here",
    ],
)
def test_output_that_cannot_be_written(line, files, monkeypatch, capsys):
    """Said before the work, which would have to fail at once here."""
    from spikeloom.golden.network import execute
    from spikeloom.golden.training import evaluation, train, training_loop
    from spikeloom.jobs import engine

    def work(*arguments, **more):
        raise AssertionError("the work began")

    monkeypatch.setattr(train, "_trained", work)
    monkeypatch.setattr(evaluation, "accuracy", work)
    monkeypatch.setattr(training_loop.TrainingLoop, "fit", work)
    monkeypatch.setattr(execute, "execute", work)
    monkeypatch.setattr(engine, "run", work)
    monkeypatch.chdir(files)
    for name in ("digits.yaml", "sweep_digits.yaml"):
        shutil.copy(ROOT / "examples" / name, files)
    assert run(line.split()) == 2
    err = capsys.readouterr().err
    assert "tiny.safetensors" in err and "cannot be written" in err and "Traceback" not in err


def test_bugs_keep_their_traceback(files, monkeypatch, capsys):
    from spikeloom.golden import network

    monkeypatch.chdir(files)
    monkeypatch.setattr(network.Network, "load", lambda path: int("not a number"))
    assert run(["info", "tiny.safetensors"]) == 70
    err = capsys.readouterr().err
    assert "Traceback" in err and "bug of SpikeLoom" in err
    assert run(["info", "tiny.safetensors", "--json"]) == 70
    out, err = capsys.readouterr()
    assert "bug of SpikeLoom" in json.loads(out)["error"] and "not a number" in json.loads(out)["error"]
    assert "Traceback" in err


def test_what_counts_as_a_mistake():
    def message(raising):
        try:
            raising()
        except Exception as error:
            return errors.user_message(error)

    def ours():
        random_network(0, stem=(4, 8), pools=(True,))

    def not_ours():
        np.zeros(3).reshape(2, 2)

    assert message(ours) == "the stem has 2 stages, but 1 pooling flags"
    assert message(not_ours) is None
    assert message(lambda: {}["x"]) is None
    assert message(lambda: open("/nowhere/at/all")) == "/nowhere/at/all: No such file or directory"


def test_interruption_has_its_own_code(monkeypatch, capsys):
    from spikeloom.golden.zoo import shipped

    def interrupt(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(shipped, "shipped", interrupt)
    assert run(["info"]) == 130
    err = capsys.readouterr().err
    assert "Traceback" not in err


ESCAPES = "\x1b[2Jwiped\x1b]0;title\x07 \u202egnp"


def test_nothing_in_a_file_reaches_the_terminal_as_a_command(files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    network = random_network(3, height=4, width=4, stem=(4, 8), hidden=8, classes=4)
    named = replace(network, name=ESCAPES, provenance={"command": ESCAPES, "split": "[red]brackets[/red]"})
    named.save("escapes.safetensors")
    assert run(["info", "escapes.safetensors"]) == 0
    out, err = capsys.readouterr()
    assert "wiped" in out and "[red]brackets[/red]" in out
    assert run(["simulate", "escapes.safetensors"]) == 2  # images of another size; the name is in the message
    err += capsys.readouterr().err
    assert "wiped" in err
    assert not set(out + err) & set("\x1b\x07\u202e")
