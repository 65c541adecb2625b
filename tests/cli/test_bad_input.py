"""Hostile and damaged files: each ends with one line that names the file and the place, and code 2, at once."""

from dataclasses import replace

import pytest
import torch

from spikeloom.cli.main import run
from spikeloom.flow import errors
from spikeloom.golden.models import checkpoints
from spikeloom.golden.training import training_state
from spikeloom.golden.training.training_state import TrainingState
from support.mistakes import refused, spoil
from support.tiny import tiny_model, tiny_network


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a good network and a good checkpoint."""
    folder = tmp_path_factory.mktemp("files")
    tiny_network().save(folder / "network")
    checkpoints.save(folder / "checkpoint", tiny_model())
    return folder


def of_layer(number, **fields):
    return lambda header: header["layers"][number].update(fields)


def of(**fields):
    return lambda header: header.update(fields)


NETWORK = {
    "no heads": (of_layer(6, heads=0), "bad: layers.6.heads must be at least 1, not 0"),
    "negative heads": (of_layer(6, heads=-2), "bad: layers.6.heads must be at least 1, not -2"),
    "no stride": (of_layer(2, stride=0), "bad: layers.2.stride must be at least 1, not 0"),
    "half a step": (of_layer(1, steps=1.5), "bad: layers.1.steps must be an integer, not 1.5"),
    "a step that is true": (of_layer(1, steps=True), "bad: layers.1.steps must be an integer, not True"),
    "a flag in words": (of_layer(0, fires="no"), "bad: layers.0.fires must be true or false, not 'no'"),
    "a scale in words": (of(pixel_scale="x"), "bad: pixel_scale must be a number, not 'x'"),
    "a scale of NaN": (of(pixel_scale=float("nan")), "bad: pixel_scale must be a finite number, not nan"),
    "no scale": (of(pixel_scale=0), "bad: pixel_scale must be above 0, not 0"),
    "a name that is no text": (of(name=3), "bad: name must be text, not 3"),
    "a layer's name that is none": (of_layer(0, name=None), "bad: layers.0.name must be text, not None"),
    "inputs that are no list": (of_layer(0, inputs="image"), "bad: layers.0.inputs must be a list, not 'image'"),
    "no provenance": (of(provenance=None), "bad: provenance must have keys"),
    "an accuracy in words": (
        of(provenance={"accuracy_float": "good"}),
        "bad: provenance.accuracy_float must be a number, not 'good'",
    ),
    "a recipe without keys": (of(provenance={"recipe": []}), "bad: provenance.recipe must have keys"),
    "a folder that is no text": (
        of(provenance={"recipe": {"data": {"name": "digits", "folder": 3}}}),
        "bad: provenance.recipe.data.folder must be text, not 3",
    ),
    "layers without keys": (of(layers=[3]), "bad: layers.0 must have keys of its own"),
    "no list of layers": (of(layers={}), "bad: layers must be a list, not {}"),
    "a neuron of another kind": (of_layer(0, neuron={"hard": 1}), "bad: layers.0.neuron.hard must be true or false"),
    "a million channels": (of_layer(0, channels_out=1 << 30), "bad: layers.0.channels_out must be at most 1048576"),
    "a million steps": (of(steps=1_000_000), "bad: steps must be at most 256, not 1000000"),
    "an unknown field": (of_layer(0, colour="red"), "bad: layers.0.colour: unknown key; allowed: name, kind"),
}


@pytest.mark.parametrize("name", NETWORK)
def test_networks(name, files, tmp_path, monkeypatch, capsys):
    change, expected = NETWORK[name]
    spoil(files / "network", tmp_path / "bad", change)
    monkeypatch.chdir(tmp_path)
    assert expected in refused("info ./bad", capsys)


DEEP = "[" * 100_000 + "]" * 100_000
HEADERS = {
    "nested": (DEEP, "bad: its header is nested too deeply"),
    "with a number of 5,000 digits": (f'{{"name": {"9" * 5000}}}', "bad: its header is no JSON: "),
    "a list": ("[]", "bad: its header must be keys and values, not []"),
    "nothing": ("null", "bad: its header must be keys and values, not None"),
    "half of it": ('{"name": ', "bad: its header is no JSON: "),
}


@pytest.mark.parametrize("kind", ["network", "checkpoint"])
@pytest.mark.parametrize("name", HEADERS)
def test_headers(name, kind, files, tmp_path, monkeypatch, capsys):
    text, expected = HEADERS[name]
    spoil(files / kind, tmp_path / "bad", text=text)
    monkeypatch.chdir(tmp_path)
    assert expected in refused("info ./bad", capsys)


def of_config(**fields):
    return lambda header: header["config"].update(fields)


CHECKPOINT = {
    "ten million blocks": (of_config(depth=10_000_000), "bad: config.depth must be at most 256, not 10000000"),
    "a dimension of a million": (of_config(dim=1 << 20), "bad: config.dim must be at most 8192, not 1048576"),
    "the largest that is allowed": (of_config(dim=8192, mlp_ratio=64, depth=1), "must have shape (1024, 1, 3, 3)"),
    "no heads": (of_config(heads=0), "bad: config.heads must be at least 1, not 0"),
    "negative heads": (of_config(heads=-2), "bad: config.heads must be at least 1, not -2"),
    "a flag in words": (of_config(dynamic="no"), "bad: config.dynamic must be true or false, not 'no'"),
    "a hundred thousand steps": (of_config(steps=100_000), "bad: config.steps must be at most 256, not 100000"),
    "a configuration that is a list": (of(config=[]), "bad: config must have keys of its own"),
    "no configuration": (lambda x: x.pop("config"), "bad: config is missing"),
    "another architecture": (of(architecture=3), "bad: architecture must be one of spikformer, e_spikeformer, not 3"),
    "an accuracy of NaN": (of(accuracy=float("nan")), "bad: header.accuracy must be a finite number, not nan"),
    "a recipe that is text": (of(recipe="mine"), "bad: header.recipe must have keys"),
}


@pytest.mark.parametrize("name", CHECKPOINT)
def test_checkpoints(name, files, tmp_path, monkeypatch, capsys):
    change, expected = CHECKPOINT[name]
    spoil(files / "checkpoint", tmp_path / "bad", change)
    monkeypatch.chdir(tmp_path)
    assert expected in refused("info ./bad", capsys)


def first(wanted, value):
    def change(tensors):
        key = next(x for x in tensors if x.endswith(wanted))
        tensors[key] = value(tensors[key])

    return change


TENSORS = {
    "NaN in a time mask": ("checkpoint", first("time_mask.tp", lambda x: x * float("nan")), "must hold finite numbers"),
    "infinite weights": ("checkpoint", first("weight", lambda x: x / 0), "must hold finite numbers"),
    "bfloat16 weights": ("checkpoint", first("weight", torch.Tensor.bfloat16), "must hold float32, not bfloat16"),
    "integer weights": ("checkpoint", first("weight", torch.Tensor.int), "must hold float32, not int32"),
    "bfloat16 in a network": ("network", first("scale", torch.Tensor.bfloat16), "not BF16"),
    "a scale of NaN": ("network", first("scale", lambda x: x * float("nan")), "scale must be finite and above 0"),
    "no scale": ("network", first("scale", lambda x: x * 0), "scale must be finite and above 0"),
    "real thresholds": (
        "network",
        first("threshold", torch.Tensor.double),
        "threshold must hold integers, not float64",
    ),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors(name, files, tmp_path, monkeypatch, capsys):
    kind, change, expected = TENSORS[name]
    spoil(files / kind, tmp_path / "bad", tensors=change)
    monkeypatch.chdir(tmp_path)
    said = refused("info ./bad", capsys)
    assert expected in said and "bad: " in said


def test_names_are_shown_as_they_are(files, tmp_path, monkeypatch, capsys):
    spoil(files / "network", tmp_path / "bad", of(name="[/red]", provenance={"split": "[/bold]"}))
    monkeypatch.chdir(tmp_path)
    assert run(["info", "./bad"]) == 0
    out, _ = capsys.readouterr()
    assert "[/red]" in out and "[/bold]" in out


YAML = {
    "a hundred thousand steps": ("model: {steps: 100000}", "model.steps must be at most 256, not 100000"),
    "a million blocks": ("model: {depth: 1000000}", "model.depth must be at most 256, not 1000000"),
    "a mask weight of NaN": ("masks: {weight: .nan}", "masks.weight must be a finite number, not nan"),
    "a negative mask weight": ("masks: {weight: -1}", "masks.weight must be at least 0, not -1"),
    "a rotation of NaN": ("augment: {rotation: .nan}", "augment.rotation must be a finite number, not nan"),
    "a learning rate of NaN": ("train: {learning_rate: .nan}", "train.learning_rate must be a finite number, not nan"),
    "an infinite one": ("train: {learning_rate: .inf}", "train.learning_rate must be a finite number, not inf"),
    "a seed of 23 digits": (f"train: {{seed: {'9' * 23}}}", "train.seed must be below 9223372036854775808, not"),
    "a number of 5,000 digits": (f"train: {{seed: {'9' * 5000}}}", "bad.yaml: no valid YAML: "),
    "20,000 brackets": ("a: " + "[" * 20_000, "bad.yaml is nested too deeply to be read"),
    "300 brackets": ("name: " + "[" * 300 + "]" * 300, "nested too deeply"),
    "a date": ("train: {seed: 2026-01-01}", "train.seed must be an integer, not"),
    "no date": ("train: {seed: 2026-13-45}", "bad.yaml: no valid YAML: "),
    "aliases": ("a: &a [1, 1]\nb: [*a, *a]", "bad.yaml, line 2: no valid YAML: the alias *a is not taken"),
    "keys that are numbers": ("train: {1: 2}", "train.1: unknown key; allowed: epochs"),
    "a name that is a number": ("name: 3", "name must be text, not 3"),
    "an architecture that is a list": ("architecture: [1]", "architecture must be one of spikformer, e_spikeformer"),
}


@pytest.mark.parametrize("name", YAML)
def test_configurations(name, tmp_path, monkeypatch, capsys):
    text, expected = YAML[name]
    (tmp_path / "bad.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert expected in refused("train bad.yaml", capsys)


def test_text_that_is_none(tmp_path, monkeypatch, capsys):
    (tmp_path / "bad.yaml").write_bytes(b"name: \xff\xfe")
    monkeypatch.chdir(tmp_path)
    for command in ("train", "sweep"):
        assert "bad.yaml is no text in UTF-8: byte 7 begins no letter" in refused(f"{command} bad.yaml", capsys)


def test_options_of_the_digits_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "depth must be at most 256, not 10000000" in refused("train --depth 10000000", capsys)
    assert "train.seed must be below 9223372036854775808" in refused(f"train --seed {'9' * 23}", capsys)
    assert "'--learning-rate'" in refused("train --learning-rate nan", capsys)


def test_a_sweep_of_too_many_runs(tmp_path, monkeypatch, capsys):
    sizes = {"train.epochs": 300, "train.batch_size": 299, "train.seed": 299}
    lists = "\n".join(f"  {key}: {list(range(1, count + 1))}" for key, count in sizes.items())
    (tmp_path / "bad.yaml").write_text(f"grid:\n{lists}\n")
    monkeypatch.chdir(tmp_path)
    assert "there must be at most 10,000 points, not 26,820,300" in refused("sweep bad.yaml", capsys)


def test_memory_that_is_not_there_is_no_bug():
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 4 bytes")):
        assert "not enough memory" in errors.user_message(error)
    assert errors.user_message(RecursionError()) is None and errors.user_message(RuntimeError("x")) is None


def test_state_dicts_with_keys_that_are_no_text(tmp_path, monkeypatch, capsys):
    torch.save({1: torch.zeros(2), 2: torch.zeros(2)}, tmp_path / "bad.pth")
    monkeypatch.chdir(tmp_path)
    assert "bad.pth is no state dict: its key 1 must be text" in refused("import bad.pth", capsys)


def test_more_random_images_than_anybody_needs(files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    said = refused("compile ./network --data random --images 100000000", capsys)
    assert "--images must be at most 100000 of random ones, not 100000000" in said


def good_state():
    """Of a run with one parameter."""
    return TrainingState(
        model={"x": torch.zeros(2)},
        mean=None,
        optimizer={0: {"step": torch.zeros(()), "exp_avg": torch.zeros(2)}},
        random=[torch.get_rng_state()],
        epoch=1,
        history=[{"epoch": 1}],
        run={"name": "x"},
    )


STATES = {
    "without an optimizer": (dict(optimizer={}), "the optimizer's tensors are missing"),
    "without one of its tensors": (
        dict(optimizer={0: {"step": torch.zeros(())}, 1: {"step": torch.zeros(()), "exp_avg": torch.zeros(2)}}),
        "tensor 'optimizer.0.exp_avg' is missing",
    ),
    "without random numbers": (dict(random=[]), "the states of the random numbers are missing"),
    "with too few": (dict(random=[torch.zeros(3, dtype=torch.uint8)]), "tensor 'random.0' must hold "),
    "of half an epoch": (dict(epoch=0.5), "epoch must be an integer, not 0.5"),
    "with a history of words": (dict(history="long"), "history must be a list, not 'long'"),
    "of no run": (dict(run=None), "run must have keys of its own"),
}


@pytest.mark.parametrize("name", STATES)
def test_states_of_training(name, tmp_path):
    change, expected = STATES[name]
    path = tmp_path / "state.safetensors"
    training_state.save(path, good_state())
    assert training_state.load(path).epoch == 1
    training_state.save(path, replace(good_state(), **change))
    with pytest.raises(ValueError) as caught:
        training_state.load(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: {expected}") and said.endswith("; begin anew with --restart")
