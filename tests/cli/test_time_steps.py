"""Commands about time steps: sweep, similarity, and what is said of a collapse."""

import csv
import json

import pytest
from distributed import LocalCluster

from spikeloom.cli.main import run

SMALL = """
data: {train_images: 32, test_images: 20}
model: {dim: 8, heads: 2, mlp_ratio: 1, steps: 2, dynamic: true, threshold: 0.25}
train: {epochs: 1, batch_size: 16, device: cpu}
"""
SWEEP = """
name: two
base: run.yaml
tables:
  I:
    points:
      - {model.dynamic: false, model.steps: 1}
      - {model.steps: 2}
"""
LINES = """
lines:
  one step:
    points: [{model.dynamic: false, model.steps: 1}]
"""
BROKEN = """
points:
  - {train.learning_rate: 100.0, train.weight_decay: 100.0, train.epochs: 12}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text(SMALL)
    (tmp_path / "two.yaml").write_text(SWEEP)
    return tmp_path


def as_json(capsys, *arguments, code=0):
    assert run([*arguments, "--json"]) == code, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("command", ["sweep", "similarity"])
def test_help_has_an_example(command, capsys):
    assert run([command, "--help"]) == 0
    assert f"Example: spikeloom {command}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.trains
def test_sweep_runs_each_point_once_and_tells_what_failed(folder, capsys):
    record = as_json(capsys, "sweep", "two.yaml", "--workers", "1")
    keys = ["model.steps=1, model.dynamic=false, seed=0", "seed=0"]
    assert [x["run"] for x in record["runs"]] == keys and not record["failed"]
    assert [row["time steps"] for row in record["tables"]["I"]["rows"]] == ["1", "dynamic, 1 of 2, weight 0.005"]
    results = folder / "build" / "two" / "results.jsonl"
    assert record["results"] == "build/two/results.jsonl" and len(results.read_text().splitlines()) == 2
    rows = list(csv.DictReader((folder / "build" / "two" / "runs.csv").read_text().splitlines()))
    assert [float(row["accuracy"]) for row in rows] == [x["accuracy"] for x in record["runs"]]
    assert all(x["cycles"] > 1000 and x["energy"]["none"] > x["energy"]["full"] > 0 for x in record["runs"])
    assert not (folder / "build" / "two" / "figure.svg").exists()
    (folder / "two.yaml").write_text(SWEEP + LINES + BROKEN)
    assert run(["sweep", "two.yaml", "--workers", "1", "--table", "I"]) == 1
    out, err = capsys.readouterr()
    assert "Table I: accuracy against time steps" in out and "Points" not in out and "2 of 3" in out
    failed = "train.epochs=12, train.learning_rate=100.0, train.weight_decay=100.0, seed=0"
    assert f"failed: {failed}: ValueError: the loss became" in err
    assert [json.loads(line)["status"] for line in results.read_text().splitlines()] == ["done", "done", "failed"]
    page = (folder / "build" / "two" / "report.md").read_text()
    assert "one step" in (folder / "build" / "two" / "figure.svg").read_text()
    assert "## Points" in page and "## Failed" in page and "spikeloom sweep two.yaml" in page


def test_sweep_on_a_cluster(folder, capsys):
    options = dict(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50)
    with LocalCluster(**options) as cluster:
        record = as_json(capsys, "sweep", "two.yaml", "--scheduler", cluster.scheduler_address, "-o", "elsewhere")
    assert [x["status"] for x in record["runs"]] == ["done", "done"]
    runs = sorted(x.name for x in (folder / "elsewhere" / "runs").iterdir())
    assert len(runs) == 2 and runs[0].startswith("seed=0-") and runs[1].startswith("steps=1-dynamic=false-seed=0-")


def test_similarity_draws_and_tabulates(folder, capsys):
    record = as_json(capsys, "similarity", "--images", "4", "-o", "figures")
    names = [layer["name"] for layer in record["layers"]]
    assert names[0] == "sps.1" and names[-1] == "head" and record["images"] == 4
    assert len(record["figures"]) == len(names) + 1 and all((folder / name).is_file() for name in record["figures"])
    first = record["layers"][0]
    assert first["inputs"] == ["sps.0"] and first["matrix"][0][0] == pytest.approx(1)
    assert None in first["matrix"][3]  # sps.0 has three steps of four
    assert (folder / "figures" / "similarity.csv").is_file()


@pytest.mark.trains
def test_a_collapse_is_said_once_by_train_and_by_info(folder, capsys):
    heavy = ["--set", "masks.weight=100", "--set", "masks.rate=50", "--set", "model.floor=false"]
    assert run(["train", "run.yaml", *heavy, "--json"]) == 0
    out, err = capsys.readouterr()
    record = json.loads(out)
    silent = [name for name, steps in record["t_per_layer"].items() if not steps]
    assert {"block.0.q", "block.0.fc2"} <= set(silent)  # covered by the mask loss; others may follow
    said = record["collapse"]
    assert said.startswith(f"T_l = 0 in {len(silent)} of 12 layers, which never fire: {', '.join(silent)}; ")
    assert err.count("warning: ") == 1 and f"warning: {said}; model.floor=true keeps one step\n" in err
    assert run(["info", "build/run/checkpoint.safetensors"]) == 0
    assert f"warning: {said}\n" in capsys.readouterr().err
    assert as_json(capsys, "info", "build/run/checkpoint.safetensors")["collapse"] == said
    assert as_json(capsys, "info")["collapse"] is None
