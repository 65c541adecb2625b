"""Sweeps: from a file to runs, what a run measures, and the tables."""

import csv
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from spikeloom.golden.analysis.energy import spiking
from spikeloom.golden.analysis.energy_constants import CONSTANTS
from spikeloom.golden.analysis.operations import TOTAL, operations
from spikeloom.golden.data import datasets
from spikeloom.golden.models import checkpoints
from spikeloom.golden.network.execute import execute
from spikeloom.golden.quantization.quantize import quantize
from spikeloom.golden.training.evaluation import accuracy
from spikeloom.golden.training.run_config import from_mapping
from spikeloom.golden.training.sweep import load
from spikeloom.golden.training.sweep_figure import AXES, draw, points
from spikeloom.golden.training.sweep_point import check_results, folder_of, run_point
from spikeloom.golden.training.sweep_tables import as_csv, report, tables

BASE = """
base:
  data: {train_images: 48, test_images: 30}
  model: {dim: 8, heads: 2, mlp_ratio: 1, dynamic: true, neuron: dts, attention_threshold: 1.0, initial_steps: 3}
  train: {epochs: 2, batch_size: 16, device: cpu}
"""
GRID = """
tables:
  III:
    grid:
      masks.groups: [[qkv, attn, mlp, sps], [mlp, qkv], []]
  IV:
    points:
      - {model.initial_steps: 1, masks.weight: 1e-1}
    grid:
      model.initial_steps: [1, 3]
      masks.weight: [5e-3, 1e-1]
  I:
    points:
      - {model.dynamic: false, model.steps: 1}
      - {model.dynamic: false, model.steps: 1, masks.weight: 3.0, model.floor: false}
      - {model.steps: 6}
"""


def sweep_of(folder, text, **options):
    path = folder / "small.yaml"
    path.write_text(text)
    return load(path, **options)


def test_grids_and_points_become_runs_each_once(tmp_path):
    sweep = sweep_of(tmp_path, BASE + GRID + "seeds: [4, 7]\n")
    assert sweep.name == "small" and sweep.images == 1000
    expected = {
        "III": ["masks.groups=[attn,mlp,qkv,sps]", "", "masks.groups=[]"],
        "IV": ["model.initial_steps=1, masks.weight=0.1", "model.initial_steps=1", "", "masks.weight=0.1"],
        "I": ["model.steps=1, model.dynamic=false", "model.steps=6"],
    }
    wanted = {
        table: tuple(f"{text}, seed={seed}".removeprefix(", ") for text, seed in product(texts, (4, 7)))
        for table, texts in expected.items()
    }
    assert sweep.tables == wanted
    runs = {job.key: job.run for job in sweep.jobs}
    assert len(runs) == len(sweep.jobs) == 2 * 8 and set(runs) == {key for keys in wanted.values() for key in keys}
    assert runs["model.steps=6, seed=4"].model.initial_steps == 3  # half of them, as nothing else is said
    assert runs["seed=7"].train.seed == 7 and runs["seed=7"].model.initial_steps == 3
    assert runs["model.steps=1, model.dynamic=false, seed=4"].model.steps == 1
    assert runs["masks.weight=0.1, seed=4"].masks.weight == 0.1
    assert runs["masks.groups=[], seed=4"].masks.groups == ()


def test_arguments_make_the_run_again_and_hold_no_defaults(tmp_path):
    sweep = sweep_of(tmp_path, BASE + GRID)
    for job in sweep.jobs:
        arguments = sweep.arguments()[job.key]
        assert arguments["key"] == job.key and arguments["images"] == 1000
        assert from_mapping({**arguments["run"], "name": "small"}) == job.run
        assert "augment" not in arguments["run"] and "weight_decay" not in arguments["run"]["train"]
    folders = {folder_of(key, x["run"]) for key, x in sweep.arguments().items()}
    assert len(folders) == len(sweep.jobs)
    assert any(x.startswith("initial_steps=1-weight=0.1-seed=0-") for x in folders)


def test_a_base_may_be_a_file_and_is_changed_by_the_sweep_and_by_the_user(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "base.yaml").write_text("train: {epochs: 9, batch_size: 5}\nname: other\n")
    text = "base: runs/base.yaml\nset: {train.batch_size: 6, train.clip: 2.0}\ngrid: {train.epochs: [1, 9]}\n"
    sweep = sweep_of(tmp_path, text, overrides=["train.clip=3.0"])
    assert [job.key for job in sweep.jobs] == ["train.epochs=1, seed=0", "seed=0"] and sweep.tables.keys() == {"points"}
    assert {(x.run.train.batch_size, x.run.train.clip, x.run.name) for x in sweep.jobs} == {(6, 3.0, "small")}


WRONG = [
    ("[1]", "must hold keys and values (name, base, set, seeds, images, grid, points, tables, lines), not [1]"),
    ("grids: {}", "grids: unknown key; allowed: name, base, set, seeds, images, grid, points, tables, lines"),
    ("seeds: [0]", "has no grid, no points, no tables and no lines: nothing to run"),
    ("lines: {mine: {}}", "line mine: no points and no grid"),
    ("lines: {mine: 3}", "line mine must be keys and values, not 3"),
    ("seeds: []\ngrid: {train.epochs: [1]}", "seeds must be a list of integers, not []"),
    ("images: 0\ngrid: {train.epochs: [1]}", "images must be a positive integer or null, not 0"),
    ("tables: {II: {}}", "tables must be among I, III, IV, not 'II'"),
    ("tables: {I: {}}", "table I: no points and no grid"),
    ("tables: {I: {base: 1}}", "table I: base: unknown key; allowed: grid, points"),
    ("grid: {train.epochs: 3}", "the points: grid: train.epochs must be a list of values, not 3"),
    ("points: {train.epochs: 3}", "the points: points must be a list, not {'train.epochs': 3}"),
    ("points: [3]", "the points: a point must be keys and values, not 3"),
    ("points: [{train.epoch: 3}]", "the points: train.epoch=3: train.epoch: unknown key; allowed: epochs, "),
    ("points: [{train.epochs: many}]", "the points: train.epochs=many: train.epochs must be an integer, not 'many'"),
    (
        "points: [{model.steps: 2, model.initial_steps: 3}]",
        "the points: model.steps=2, model.initial_steps=3: model.initial_steps must be in 0..2, not 3",
    ),
    ("base: {architecture: e_spikeformer}\ngrid: {train.epochs: [1]}", "architecture must be spikformer, which has"),
]


@pytest.mark.parametrize("text,message", WRONG)
def test_a_wrong_file_is_refused_in_one_line(tmp_path, text, message):
    with pytest.raises((ValueError, TypeError)) as caught:
        sweep_of(tmp_path, text)
    assert message in str(caught.value) and "small.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_base_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file: .*none.yaml"):
        sweep_of(tmp_path, "base: none.yaml\ngrid: {train.epochs: [1]}")


def synaptic_operations(network, images):
    """Accumulates an image, each tap counted by a convolution with ones."""
    tensors = execute(network, images, record=True).tensors
    total = 0.0
    for layer in network.layers[1:]:  # the first one reads the pixels
        inputs = [torch.from_numpy(tensors[name]).double()[: layer.steps] for name in layer.inputs]
        steps = min(len(x) for x in inputs)
        x = inputs[0][:steps].flatten(0, 1)
        if layer.kind == "attention":
            q, k = (y[:steps].flatten(0, 1).flatten(2) for y in inputs[:2])  # (T B, C, N)
            width = layer.channels_out // layer.heads
            total += width * float(k.sum() + (q * k.any(2, keepdim=True)).sum())
        elif steps:
            ones = torch.ones(layer.channels_out, layer.channels_in, layer.kernel, layer.kernel, dtype=torch.double)
            total += float(F.conv2d(x, ones, stride=layer.stride, padding=layer.padding).sum())
    return total / len(images)


@pytest.mark.trains
def test_a_run_measures_its_integer_network_and_goes_on_where_it_was(tmp_path):
    sweep = sweep_of(tmp_path, BASE + "images: 20\nseeds: [2]\npoints: [{masks.weight: 0.1, model.steps: 5}]\n")
    ((key, arguments),) = sweep.arguments().items()
    seen = []
    result = run_point(**arguments, runs=str(tmp_path / "runs"), progress=seen.append)
    (folder,) = (tmp_path / "runs").iterdir()
    assert {"run.yaml", "checkpoint.safetensors", "log.csv"} <= {x.name for x in folder.iterdir()}
    model, _ = checkpoints.load(folder / "checkpoint.safetensors")
    images, labels = datasets.load("digits", "test", None)
    held_out = datasets.spread_out(len(labels), 30)
    assert result["accuracy"] == accuracy(model, images[held_out], labels[held_out])
    assert (result["seed"], result["epochs"], result["images"]) == (2, 2, 20)
    measured = images[datasets.spread_out(len(labels), 20)]
    network = quantize(model)
    execution = execute(network, measured)
    assert result["accuracy_integer"] == execution.accuracy(labels[datasets.spread_out(len(labels), 20)])
    fired = sum(int(x.sum()) for x in execution.spike_counts.values())
    neurons = sum(layer.channels_out * layer.height_conv * layer.width_conv for layer in network.spiking)
    assert result["activity"] == pytest.approx(fired / (20 * neurons * 5), rel=1e-12)
    assert result["sops"] == pytest.approx(synaptic_operations(network, measured), rel=1e-12)
    work = operations(network, measured)
    assert result["membrane"] == 2 * work[TOTAL].membrane_reads
    for reuse, energy in result["energy"].items():
        assert energy == spiking(network, work, CONSTANTS["paper"], reuse=reuse)[TOTAL].total
    assert result["t_per_layer"] == model.time_steps() and result["collapsed"] == []
    assert result["t_avg"] == sum(model.time_steps().values()) / 12
    assert result["train_seconds"] == round(sum(48 / x.images_per_second for x in seen), 1) and len(seen) == 2
    again = run_point(**arguments, runs=str(tmp_path / "runs"))
    assert again == result  # the times of the epochs among it: none ran again


def fake(accuracy, *, collapsed=(), older=False, **more):
    """What a run came to; older: before membranes, energies and cycles were measured."""
    found = {
        "accuracy": accuracy, "accuracy_integer": accuracy - 0.01, "t_avg": 2.5, "activity": 0.125, "sops": 1.5e6,
        "collapsed": list(collapsed), "t_per_layer": {"rpe": 1}, "images": 20, "parameters": 9, "epochs": 2,
        "train_seconds": 3.0,
    }  # fmt: skip
    energy = {"none": 4e6, "full": 1e6, "stationary": 2e6}
    return found | ({} if older else {"membrane": 4e3, "cycles": 9e4, "energy": energy}) | more


def test_tables_show_means_and_spreads(tmp_path):
    sweep = sweep_of(tmp_path, BASE + GRID + "seeds: [0, 1]\n")
    results = {
        "seed=0": fake(0.97),
        "seed=1": fake(0.98, collapsed=["rpe"]),
        "masks.groups=[], seed=0": fake(0.9, older=True),
        "model.steps=1, model.dynamic=false, seed=0": None,
    }
    third, fourth, first = tables(sweep, results)
    assert [x.name for x in (third, fourth, first)] == ["III", "IV", "I"]
    measured = ["accuracy %", "integer %", "TS", "SA %", "SOPs M", "membrane k", "cycles k", "uJ", "T_l = 0", "seeds"]
    assert third.columns == ["mask loss on", *measured]
    spreads = ["97.50 ± 0.71", "96.50 ± 0.71", "2.50 ± 0.00", "12.50 ± 0.00", "1.500 ± 0.000"]
    spreads += ["4.0 ± 0.0", "90.0 ± 0.0", "2.00 ± 0.00", "0-1", "2"]
    missing = ["-"] * 9 + ["0 of 2"]
    assert third.rows == [
        ["qkv, attn, mlp, sps", *missing],
        ["qkv, mlp", *spreads],
        ["none", "90.00", "89.00", "2.50", "12.50", "1.500", "-", "-", "-", "0", "1 of 2"],  # of before they were
    ]
    settings = [["1", "4", "0.1"], ["1", "4", "0.005"], ["3", "4", "0.005"], ["3", "4", "0.1"]]
    assert [row[:3] for row in fourth.rows] == settings
    assert fourth.rows[2][3:] == spreads
    assert [row[0] for row in first.rows] == ["1", "dynamic, 3 of 6, weight 0.005"]
    record = third.records[1]
    assert record["accuracy"] == pytest.approx(0.975) and record["accuracy_spread"] == pytest.approx(0.5**0.5 / 100)
    assert record["collapsed"] == ["rpe"] and record["seeds_done"] == record["seeds"] == 2
    (all_dynamic,) = tables(sweep_of(tmp_path, BASE + "grid: {model.dynamic: [true, false]}\n"), results, ["IV"])
    assert [row[:4] for row in all_dynamic.rows] == [["3", "4", "0.005", "97.00"]]


LINES = """
points: [{train.epochs: 9}]
lines:
  fixed steps:
    grid: {model.dynamic: [false], model.steps: [2, 4]}
  learned:
    grid: {masks.weight: [0.1, 0.2]}
"""


def test_lines_are_runs_by_method_and_points_of_the_figure(tmp_path):
    sweep = sweep_of(tmp_path, BASE + LINES + "seeds: [0, 1]\n")
    assert list(sweep.lines) == ["fixed steps", "learned"] and len(sweep.lines["learned"]) == 4
    assert set(sweep.tables["points"]) == {job.key for job in sweep.jobs} and len(sweep.jobs) == 10
    short = next(key for key in sweep.lines["fixed steps"] if "model.steps=2" in key and key.endswith("seed=0"))
    twin = short.replace("seed=0", "seed=1")
    long = next(key for key in sweep.lines["fixed steps"] if "model.steps=2" not in key and key.endswith("seed=0"))
    results = {
        short: fake(0.81, cycles=5e4),
        twin: fake(0.83, cycles=7e4),
        long: fake(0.91, cycles=3e4),
        sweep.lines["learned"][0]: fake(0.9, older=True),
        sweep.lines["learned"][1]: None,
    }
    cycles = AXES[2].cost
    assert points(sweep, results, cycles) == {"fixed steps": [(30, pytest.approx(90)), (60, pytest.approx(81))]}
    assert points(sweep, results, AXES[0].cost)["learned"] == [(2.5, pytest.approx(89))]
    draw(sweep, results, tmp_path / "figure.svg")
    text = (tmp_path / "figure.svg").read_text()
    assert all(axis.title in text for axis in AXES) and "fixed steps" in text and "learned" in text
    draw(sweep, {key: x and {**x, "cycles": None} for key, x in results.items()}, tmp_path / "figure.svg")
    assert AXES[2].title not in (tmp_path / "figure.svg").read_text()
    draw(sweep, {}, tmp_path / "figure.svg")


def test_the_report_and_the_csv_have_every_run(tmp_path):
    sweep = sweep_of(tmp_path, BASE + GRID)
    results = {"seed=0": fake(0.97, collapsed=["rpe", "sps.1"]), "masks.weight=0.1, seed=0": fake(0.5)}
    page = report(sweep, results, {"model.steps=6, seed=0": "ValueError: no"}, "spikeloom sweep small.yaml")
    assert "    spikeloom sweep small.yaml\n" in page and "digits, 2 epochs" in page
    assert "| qkv, mlp | 97.00 | 96.00 | 2.50 | 12.50 | 1.500 | 4.0 | 90.0 | 2.00 | 2 | 1 |\n" in page
    assert "| 3 | 4 | 0.1 | 50.00 | 49.00 | 2.50 | 12.50 | 1.500 | 4.0 | 90.0 | 2.00 | 0 | 1 |\n" in page
    assert "* model.steps=6, seed=0: ValueError: no\n" in page
    assert "| seed=0 | 97.00 | 2.50 | 3 | rpe, sps.1 |\n" in page
    rows = list(csv.DictReader(as_csv(sweep, results).splitlines()))
    assert [(row["masks.weight"], row["seed"], row["accuracy"]) for row in rows] == [
        ("0.005", "0", "0.97"), ("0.1", "0", "0.5"),
    ]  # fmt: skip
    assert rows[0]["collapsed"] == "rpe sps.1" and rows[0]["t_per_layer"] == "rpe=1"
    assert np.isclose(float(rows[0]["sops"]), 1.5e6)
    assert rows[0]["energy"] == "none=4000000 full=1000000 stationary=2000000" and rows[0]["cycles"] == "90000.0"


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda x: x.pop("accuracy"), "seed=0: result.accuracy is missing; delete its line and it runs again"),
        (lambda x: x.update(accuracy="good"), "seed=0: result.accuracy must be a number, not 'good'"),
        (lambda x: x.update(collapsed=None), "seed=0: result.collapsed must be a list, not None"),
    ],
)
def test_results_that_cannot_be_meant(tmp_path, change, message):
    result = fake(0.9)
    check_results({"seed=0": result, "seed=1": None}, tmp_path / "results.jsonl")
    change(result)
    with pytest.raises(ValueError, match=f"results.jsonl: {message}"):
        check_results({"seed=0": result}, tmp_path / "results.jsonl")
