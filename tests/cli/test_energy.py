"""`spikeloom energy`: rows, files, warnings, and the simulated core's counters beside the counted operations."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from spikeloom.cli.main import run
from spikeloom.gen.sizing import plan_smallest
from spikeloom.golden.analysis.energy_constants import CONSTANTS
from spikeloom.golden.analysis.operations import TOTAL, operations
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images, random_network
from spikeloom.sim import counter_report
from spikeloom.sim.expected_counters import expected_counters

CORE = ["--lanes", "8", "--neuron-lanes", "4"]


def as_json(capsys, *arguments, code=0):
    assert run(["energy", *arguments, "--json"]) == code, capsys.readouterr().err
    shown = capsys.readouterr()
    return json.loads(shown.out), shown.err


@pytest.fixture(autouse=True, scope="module")
def home(tmp_path_factory):
    """Heads as wide as the lanes and no padded lanes: the core counts what golden counts."""
    folder = tmp_path_factory.mktemp("energy")
    network = random_network(3, height=4, width=4, stem=(8, 16), heads=2, hidden=16, classes=8)
    network.save(folder / "tiny.safetensors")
    images = random_images(network, 4, seed=1)
    np.savez(folder / "images.npz", images=images, labels=execute(network, images).predictions)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield network, images


def test_the_shipped_model_out_of_the_box(capsys):
    record, said = as_json(capsys, "--images", "40")
    assert [row["kind"] for row in record["rows"]] == ["non-spiking", "plain", "dynamic"]
    dense, plain, dynamic = record["rows"]
    assert record["reference"] == dynamic["name"] and dynamic["t_avg"] < plain["t_avg"] == plain["t_max"]
    assert dense["accuracy"] is None and dynamic["accuracy"] > 0.9
    for name in CONSTANTS:
        assert set(dynamic["relative"][name].values()) == {1}
        assert dense["relative"][name]["compute"] > plain["relative"][name]["compute"] > 1  # as in Table V
        assert dynamic["picojoules"][name]["membrane"] < plain["picojoules"][name]["membrane"]
    assert "not networks trained that way" in said and "has no accuracy" in said


def test_what_is_said_about_accuracies(capsys, home):
    record, said = as_json(capsys, "tiny.safetensors", "--data", "random", "--no-plain")
    assert [row["kind"] for row in record["rows"]] == ["non-spiking", "dynamic"]
    assert "no accuracy is known" in record["warnings"][0] and "no accuracy is known" in said
    record, said = as_json(capsys, "tiny.safetensors", "--data", "images.npz")
    plain = record["rows"][1]
    assert plain["accuracy"] < 0.99 and "below" in record["warnings"][0]
    assert "no comparison at equal accuracy" in said


def test_tables_in_files(capsys, home):
    network, images = home
    line = ["energy", "tiny.safetensors", "--data", "images.npz", "--layers", "--external"]
    assert run([*line, "-o", "some/energy.md"]) == 0
    shown = capsys.readouterr().out
    assert "Layers of" in shown and "block.0.attn" in shown
    text = Path("some/energy.md").read_text()
    assert "| paper none | paper full | paper stationary |" in text
    assert text.count("### ") == 1 + len(CONSTANTS) + 2 + 2 and "| non-spiking ViT | - | 1 |" in text
    assert run([*line, "-o", "energy.csv"]) == 0
    lines = Path("energy.csv").read_text().splitlines()
    rows = [row for row in csv.reader(lines) if row[0].startswith("Layers of") and row[1] == "sps.1"]
    assert int(rows[1][4]) == round(operations(network, images)["sps.1"].planes)
    assert run([*line, "-o", "energy.txt"]) == 2
    assert "--output must end in .md or .csv, not energy.txt" in capsys.readouterr().err


def test_counters_of_the_core_equal_the_operations(capsys, home, monkeypatch):
    network, images = home
    line = ["tiny.safetensors", "--data", "images.npz", "--hardware", "2", *CORE]
    record, _ = as_json(capsys, *line)
    found, counted = record["hardware"], operations(network, images[:2])
    assert found["images"] == 2 and found["as_counted"]
    rows = {row["name"]: row for row in found["counters"]}
    shared = {"weight words read", "accumulates skipped"}  # positions of the image's layer share a row
    for name, row in rows.items():
        assert row["hardware"] == row["operations"] and row["layers"] == row["of"] - (name in shared)
        assert set(row["apart"]) == ({"sps.0"} if name in shared else set())
    assert rows["accumulates"]["hardware"] == counted[TOTAL].planes > 0
    assert rows["accumulates of K^T V"]["hardware"] == counted["block.0.attn"].product_planes
    weighted = [layer.name for layer in network.layers if layer.weight is not None]
    assert rows["weight words read"]["hardware"] == sum(counted[name].planes for name in weighted[1:]) > 0
    assert rows["membrane words read"]["hardware"] == counted[TOTAL].membrane_reads > 0
    core, own = found["energy"]["int8"]["core's counters"], found["energy"]["int8"]["operations"]
    bits = found["core"]["potential_width"]
    assert core["membrane"] == pytest.approx(2 * counted[TOTAL].membrane_reads * bits * 10 / 64)
    image = counted["sps.0"]  # all accumulates for the core, multiplications in the table
    updates = 2 * counted[TOTAL].neuron_updates
    adds = counted[TOTAL].planes + counted[TOTAL].product_planes + updates
    assert core["compute"] == pytest.approx(0.1 * adds)
    more = 0.3 * image.image_macs - 0.1 * image.planes + 0.1 * counted[TOTAL].additions
    assert own["compute"] == pytest.approx(core["compute"] + more)

    means = counter_report._means

    def broken(report):
        made = means(report)
        made["block.0.fc1"]["membrane_reads"] += 1
        return made

    monkeypatch.setattr(counter_report, "_means", broken)
    record, said = as_json(capsys, *line, code=1)
    assert not record["hardware"]["as_counted"] and "the core's counters are not golden's" in said


@pytest.mark.parametrize("columns", [1, 2])
def test_what_a_core_counts_in_another_way_is_told(home, columns):
    """Lanes of several heads, padded lanes, shared rows: another number, with the reason, and no claim of equality."""
    network, images = home
    execution = execute(network, images, record=True)
    plan = plan_smallest(network, lanes=16, columns=columns, neuron_lanes=4)
    core = {
        name: {**vars(found), "weight_rows_read": found.events}
        for name, found in expected_counters(plan, execution).items()
    }
    found = counter_report.compare(SimpleNamespace(layer_counters=core), plan, operations(network, images))
    rows = {row.name: row for row in found}
    assert all(row.equal for row in found)
    hardware, counted, why = rows["accumulates"].apart["block.0.attn"]
    assert hardware == 2 * counted and "16 lanes are several heads of 8 channels" in why
    weights = rows["weight words read"]
    if columns == 1:
        assert weights.apart["sps.0"][2] == "2 positions share a row" and weights.layers == weights.of - 2
        assert weights.apart["head"][2] == "16 lanes, 8 channels"
        assert rows["accumulates skipped"].layers == weights.layers
    else:
        hardware, counted, why = weights.apart["sps.1"]
        assert hardware < counted and why == "2 positions share a row" and weights.layers == 0
