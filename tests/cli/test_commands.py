"""Every command on something small: exit code, JSON, files, and the tables for people."""

import json
import multiprocessing
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spikeloom.cli.main import run
from spikeloom.flow import background
from spikeloom.gen.sizing import plan_smallest
from spikeloom.golden.analysis.operations import dense_sops
from spikeloom.golden.data import datasets
from spikeloom.golden.models import checkpoints
from spikeloom.golden.network import Network
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images, random_network
from spikeloom.golden.training.evaluation import accuracy
from spikeloom.sim.expected_counters import TOTAL, expected_counters
from support.tiny import tiny_model, tiny_network

COMMANDS = (
    *("demo", "train", "quantize", "info", "estimate", "energy", "compile", "simulate", "regress", "build", "program"),
)
SCRIPT = Path(sys.executable).with_name("spikeloom")
CORE = ["--lanes", "8", "--neuron-lanes", "4"]


def as_json(capsys, *arguments, code=0):
    assert run([*arguments, "--json"]) == code, capsys.readouterr().err
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    network = tiny_network()
    network.save(folder / "tiny.safetensors")
    images = random_images(network, 6, seed=1)
    np.savez(folder / "images.npz", images=images, labels=execute(network, images).predictions)
    checkpoints.save(folder / "model.safetensors", tiny_model(1, neuron="dts", attention_threshold=1.0))
    return folder


@pytest.fixture(autouse=True)
def at_home(home, monkeypatch):
    monkeypatch.chdir(home)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_that_runs_the_command(command, capsys):
    assert run([command, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"Example: spikeloom {command}" in shown and "--json" in shown


def test_help_lists_every_command(capsys):
    done = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert all(f" {command} " in done.stdout for command in (*COMMANDS, "generate"))
    assert run([]) == 0 and "Usage: spikeloom" in capsys.readouterr().out


def test_help_loads_no_torch_and_no_amaranth():
    code = "import sys; from spikeloom.cli import main; print([x for x in ('torch', 'amaranth') if x in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_info(capsys):
    record = as_json(capsys, "info", "tiny.safetensors", "--steps", "sps.0=2")
    network = Network.load("tiny.safetensors").with_steps({"sps.0": 2})
    assert record["t_per_layer"] == {layer.name: layer.steps for layer in network.spiking}
    assert record["t_avg"] == network.t_avg and record["t_max"] == 4
    assert record["image_shape"] == [1, 4, 4] and record["classes"] == 4
    assert record["weights"] == sum(x.weight.size for x in network.layers if x.weight is not None)
    assert run(["info", "tiny.safetensors"]) == 0
    assert "block.0.attn" in capsys.readouterr().out


def test_info_of_the_shipped_model_and_of_the_boards(capsys):
    record = as_json(capsys, "info")
    assert record["name"] == "digits" and record["t_avg"] < record["t_max"]
    assert 1 in record["t_per_layer"].values() and len(set(record["t_per_layer"].values())) > 1
    boards = {board["name"]: board for board in as_json(capsys, "info", "--boards")["boards"]}
    assert boards["ulx3s-85f"]["luts"] == 83640


def test_quantize(capsys, home):
    record = as_json(capsys, "quantize", "model.safetensors", "--images", "20", "--bits", "4", "--scales", "free")
    assert record["images"] == 20 and record["weight_bits"] == 4
    assert record["network"] == "build/model/network.safetensors"
    network = Network.load(record["network"])
    assert network.name == "model" and {x.weight_bits for x in network.layers} >= {4}
    images, labels = (x[:20] for x in datasets.load("digits", "test"))
    right = execute(network, images).accuracy(labels)
    assert network.provenance["accuracy_integer"] == record["accuracy_integer"] == right
    assert record["accuracy_float"] == accuracy(checkpoints.load("model.safetensors")[0], images, labels)
    assert [x["name"] for x in record["layers"]] == [x.name for x in network.layers]
    assert run(["quantize", "model.safetensors", "--images", "20", "--layer-losses", "--name", "mine"]) == 0
    assert "accuracy lost" in capsys.readouterr().out
    assert Network.load("build/mine/network.safetensors").name == "mine"


def test_estimate(capsys):
    record = as_json(capsys, "estimate", "tiny.safetensors", "--data", "images.npz", "--clock", "10", *CORE)
    assert record["cycles_per_image"] == pytest.approx(sum(x["cycles"] for x in record["layers"]), abs=40)
    assert record["ms_per_image"] == record["cycles_per_image"] / 10_000
    assert record["memory_bits"]["weights"] == record["core"]["weight_rows"] * 8 * 8
    fewer = as_json(capsys, "estimate", "tiny.safetensors", "--density", "0.0", *CORE)
    assert fewer["cycles_per_image"] < record["cycles_per_image"]


def test_estimate_explores(capsys, home, monkeypatch):
    monkeypatch.setenv("SPIKELOOM_BUILD", "explored")
    given = ["estimate", "tiny.safetensors", "--data", "images.npz", "--images", "2", "--clock", "10"]
    sizes = ["--lanes", "8", "--word", "8", "--neuron-lanes", "4"]
    record = as_json(capsys, *given, "--explore", "--workers", "1", *sizes)
    assert record["cores_tried"] == 4 * 4  # banks, columns
    front = record["front"]
    assert [x["ms"] for x in front] == sorted(x["ms"] for x in front) and all(x["fits"] for x in front)
    assert record["why"].endswith("that fit ulx3s-85f") and record["board"] == "ulx3s-85f"
    for point in front[0], front[-1]:
        core = [*sizes, "--banks", str(point["core"]["banks"]), "--columns", str(point["core"]["columns"])]
        alone = as_json(capsys, *given, *core)
        assert alone["cycles_per_image"] == point["cycles"] and alone["ms_per_image"] == point["ms"]
        assert sum(alone["block_rams"].values()) == point["cells"]["block_rams"]
    folder = home / "explored" / "random-3" / "exploration"
    picture = (folder / "cores.svg").read_text()
    for core in (x["core"] for x in front):
        lanes = f"8x{core['columns']}" if core["columns"] > 1 else "8"
        assert f">{lanes}, {core['banks']}<" in picture
    done = (folder / "cores.jsonl").read_text()
    assert run([*given, "--explore", "--workers", "1", *sizes]) == 0  # nothing is estimated twice
    assert (folder / "cores.jsonl").read_text() == done
    shown = capsys.readouterr().out
    assert "at 10 MHz" in shown and "best" in shown and str(folder.relative_to(home)) in shown


def test_compile_writes_a_bench_that_passes(capsys, home):
    record = as_json(capsys, "compile", "tiny.safetensors", "--data", "images.npz", "--images", "6", *CORE)
    folder = home / record["folder"]
    assert sorted(path.name for path in folder.iterdir()) == record["files"]
    vectors = np.load(folder / "vectors.npz")
    network = Network.load(folder / "network.safetensors")
    execution = execute(network, vectors["images"], record=True)
    assert (vectors["sums"] == execution.sums).all()
    for layer in network.spiking:
        assert (vectors[f"spikes.{layer.name}"] == execution.spikes[layer.name]).all()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["host_bus"]["results"] == 1 << 24
    rows = (folder / "weights.hex").read_text().split()
    assert len(rows) == manifest["memory"]["weight_rows"] and len(rows[0]) == 8 * 8 // 4
    assert "$" not in (folder / "README.md").read_text().replace("$readmemh", "")
    subprocess.run(["iverilog", "-g2005", "-o", "bench", "core.v", "testbench.v"], cwd=folder, check=True)
    done = subprocess.run(["vvp", "bench", "+images=6"], cwd=folder, check=True, capture_output=True, text=True)
    assert "PASS: 6 images" in done.stdout
    sums = (folder / "sums.hex").read_text()
    (folder / "sums.hex").write_text(sums.replace(sums.split()[7], "00badbad"))
    done = subprocess.run(["vvp", "bench", "+images=6"], cwd=folder, check=True, capture_output=True, text=True)
    assert "image 1, class 3" in done.stdout and "FAIL: 1 class sums differ" in done.stdout
    assert run(["generate", "tiny.safetensors", "--data", "random", "-o", "other", *CORE]) == 0
    assert (home / "other" / "core.v").is_file()


@pytest.mark.slow
def test_simulate(capsys, home, monkeypatch):
    line = ["simulate", "tiny.safetensors", "--data", "images.npz", *CORE]
    record = as_json(capsys, *line)
    assert record["images"] == record["images_bit_exact"] == 6
    assert record["counters_match"] and record["first_difference"] is None
    assert record["accuracy_integer"] == record["accuracy_hardware"] == 1.0  # golden made the labels
    network = Network.load("tiny.safetensors")
    images = np.load("images.npz")["images"]
    plan = plan_smallest(network, lanes=8, neuron_lanes=4)
    expected = expected_counters(plan, execute(network, images, record=True))[TOTAL]
    for key in ("sops_done", "rows_skipped", "membrane_reads", "membrane_writes", "membrane_reads_saved"):
        assert record[key] == getattr(expected, key).sum()
    assert record["sops_skipped"] > record["sops_done"]
    assert sum(x["sops_done"] for x in record["layers"]) == record["sops_done"]
    assert run(line) == 0
    assert "6 of 6" in capsys.readouterr().out

    # Hardware with another threshold than the golden model: a difference, where it is, and exit code 1.
    from spikeloom.sim import simulate as sim

    honest = sim.execute

    def dishonest(network, images, **more):
        execution = honest(network, images, **more)
        if "record" in more:
            execution.spikes["block.0.fc1"][1, 2, 3, 0, 1] ^= True
        return execution

    monkeypatch.setattr(sim, "execute", dishonest)
    record = as_json(capsys, *line, code=1)
    assert record["images_bit_exact"] == 5
    first = record["first_difference"]
    assert [first[x] for x in ("image", "layer", "step", "position", "channel")] == [2, "block.0.fc1", 1, 1, 3]
    assert run(line) == 1
    assert "layer 'block.0.fc1', step 1, position 1, channel 3" in capsys.readouterr().err


def test_dense_accumulates_are_counted_independently():
    """A network with all spikes set has, without masks, no accumulate to skip."""
    network = random_network(1, height=4, width=4, stem=(4, 8), hidden=8, time_steps="full", neuron="dts")
    tensors = network.tensors()
    for layer in network.layers:
        if layer.kind == "attention":
            assert dense_sops(network, layer) == 4 * layer.positions * 8 * 4
            continue
        info = tensors[layer.inputs[0]]
        ones = torch.ones(1, layer.channels_in, layer.height_in, layer.width_in)
        kernel = torch.ones(layer.channels_out, layer.channels_in, layer.kernel, layer.kernel)
        products = torch.nn.functional.conv2d(ones, kernel, stride=layer.stride, padding=layer.padding).sum()
        steps = 1 if layer.direct else 4
        assert dense_sops(network, layer) == int(products) * steps * info.planes


def test_program_dry_run(capsys):
    record = as_json(capsys, "program", "some.bit", "--board", "ulx3s-45f", "--dry-run", "--flash")
    assert record["command"][0] == "openFPGALoader" and record["command"][-1] == "some.bit"
    assert record["board"] == "ulx3s-45f" and record["programmed"] is False and record["flash"] is True


def test_regress(capsys):
    record = as_json(capsys, "regress", "loadable_memory")
    assert record["passed"] and record["benches"] == 1 and record["tests"] >= 1
    assert record["results"][0]["name"] == "loadable_memory"


def test_regress_that_fails(capsys, monkeypatch):
    from spikeloom.sim import regress

    bad = regress.Result(name="ac_array", passed=False, tests=0, seconds=0.1, message="ac_array failed 1 of 2")
    monkeypatch.setattr(regress, "regress", lambda *args, **more: [bad])
    assert run(["regress"]) == 1
    shown = capsys.readouterr()
    assert "ac_array failed 1 of 2" in shown.err and "FAILED" in shown.out


def test_regress_random_that_fails(capsys, monkeypatch, tmp_path):
    """A failing seed with its shrunken network, and both commands that run it again."""
    from spikeloom.sim import fuzz, fuzz_case

    case = fuzz_case.draw(6)
    wrong = fuzz.Failure(
        kind="spikes", where="image 0: layer 'conv0', step 1, position 2, channel 3: golden 1, hardware 0"
    )
    found = fuzz.Found(seed=6, failure=wrong, shrunken=case, shrunken_failure=wrong)
    report = fuzz.FuzzReport(
        networks=9, refused={7: "no"}, found=(found,), cycles=5, spikes=4, deviation=0.01, deviation_seed=8
    )
    monkeypatch.setattr(fuzz, "fuzz", lambda seeds, **more: report if list(seeds) == list(range(2, 11)) else None)
    arguments = ["--build-dir", str(tmp_path), "regress", "--random", "9", "--seed", "2"]
    assert run(arguments) == 1
    shown = capsys.readouterr()
    path = tmp_path / "fuzz" / "seed-6.safetensors"
    for text in (f"seed 6: {wrong}", "conv0 of image: ", "regress --random 1 --seed 6", f"regress --again {path}"):
        assert text in shown.err, text
    monkeypatch.setattr(fuzz.Bench, "failure", lambda self, case: wrong if case.seed == 6 else None)
    assert run(["--build-dir", str(tmp_path), "regress", "--again", str(path)]) == 1
    assert str(wrong) in capsys.readouterr().out
    monkeypatch.setattr(fuzz.Bench, "failure", lambda self, case: None)
    record = as_json(capsys, "--build-dir", str(tmp_path), "regress", "--again", str(path))
    assert record == {"passed": True, "difference": None}


def test_commands_agree_on_the_core_for_a_board_and_say_why(capsys, monkeypatch):
    from spikeloom.flow import library
    from spikeloom.gen.toolchain.environment import BuildError

    built = []

    def no_tools(design, **more):
        built.append(design.core)
        raise BuildError("no tools")

    monkeypatch.setattr(library, "build", no_tools)
    chosen = library.compile("tiny.safetensors", board="ulx3s-45f")
    why = f"{chosen.why}\n"
    assert chosen.core.summary in why and "fit ulx3s-45f" in why
    core = json.loads(json.dumps(asdict(chosen.core)))
    assert run(["build", "tiny.safetensors", "--board", "ulx3s-45f"]) and why in capsys.readouterr().err
    assert built == [chosen.core]
    for command in ("estimate", "compile"):
        arguments = [command, "tiny.safetensors", "--data", "random", "--board", "ulx3s-45f"]
        assert run([*arguments, "--json"]) == 0
        shown = capsys.readouterr()
        assert json.loads(shown.out)["core"] == core and why in shown.err
        assert as_json(capsys, *arguments, "--lanes", "16", "--neuron-lanes", "2")["core"]["lanes"] == 16


def test_build_reports_timing_in_its_exit_code(capsys, monkeypatch):
    from spikeloom.gen.toolchain import build as gen
    from spikeloom.gen.toolchain.reports import BuildReport

    def pretend(verilog, config, target, folder, *, seed, baud, progress):
        progress(50, 100, "place")
        assert "module spikeloom_core" in verilog and config.lanes == 8
        fmax_mhz = 40.0 + 20 * (seed == 2)
        return BuildReport(
            target=target.name, device=target.device, luts=5, flip_flops=4, block_rams=3, distributed_rams=0,
            multipliers=0, available={"luts": 10}, clock_mhz=target.clock_hz / 1e6, fmax_mhz=fmax_mhz,
            timing_met=fmax_mhz >= target.clock_hz / 1e6, seed=seed, seconds=1.0, tool_versions={},
            bitstream=folder / "spikeloom.bit", critical_path=None,
        )  # fmt: skip

    def pretend_best(verilog, config, target, folder, *, seeds, place_all, baud, progress):
        reports = [pretend(verilog, config, target, folder, seed=seed, baud=baud, progress=progress) for seed in seeds]
        return replace(reports[1], seeds={report.seed: report.fmax_mhz for report in reports})

    monkeypatch.setattr(gen, "build_best", pretend_best)
    record = as_json(capsys, "build", "tiny.safetensors", "--clock", "50", "--seeds", "3", *CORE)
    assert record["seeds"] == {"1": 40.0, "2": 60.0, "3": 40.0} and record["median_mhz"] == 40.0
    assert run(["build", "tiny.safetensors", "--seeds", "3", "--clock", "50", *CORE]) == 0
    shown = capsys.readouterr().out
    assert "clock of seed 2, MHz" in shown and "clock, median of seeds, MHz" in shown
    monkeypatch.setattr(gen, "build", pretend)
    record = as_json(capsys, "build", "tiny.safetensors", "--clock", "50", *CORE, code=1)
    assert record["fmax_mhz"] == 40.0 and record["clock_mhz"] == 50.0 and record["timing_met"] is False
    record = as_json(capsys, "build", "tiny.safetensors", "--seed", "2", "--clock", "50", *CORE)
    assert record["timing_met"] and record["luts"] == 5 and record["board"] == "ulx3s-85f"
    assert record["bitstream"] == "build/random-3/ulx3s-85f/spikeloom.bit"
    assert run(["build", "tiny.safetensors", "--clock", "50", *CORE]) == 1
    assert "timing is not met: 40 of 50 MHz" in capsys.readouterr().err


@pytest.mark.trains
def test_train_a_moment(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["spikeloom", "train", "--seed", "0"])
    line = ["train", "--epochs", "1", "--dim", "8", "--heads", "2", "--time-steps", "2", "--batch-size", "256"]
    record = as_json(capsys, *line, "-o", "mine/checkpoint.safetensors")
    model, header = checkpoints.load("mine/checkpoint.safetensors")
    assert record["t_per_layer"] == header["t_per_layer"] and record["t_max"] == 2
    assert header["accuracy"] == record["accuracy_float"] and header["command"] == "spikeloom train --seed 0"


@pytest.mark.slow
def test_demo_reuses_what_has_not_changed(capsys, home):
    line = ["demo", "model.safetensors", "--images", "3", "--no-build", "-o", "demo"]
    first = as_json(capsys, *line)
    assert first["images_bit_exact"] == 3 and not any(first["stages_cached"].values())
    assert first["accuracy_hardware"] == first["accuracy_integer"]
    again = as_json(capsys, *line)
    assert [again["stages_cached"][x] for x in ("quantize", "compile", "simulate")] == [True] * 3
    same = set(first) - {"seconds", "stages_cached", "stages_seconds", "simulated_cycles_per_second"}
    assert all(first[key] == again[key] for key in same)
    assert json.loads((home / "demo" / "demo.json").read_text())["images"] == 3
    (home / "demo" / "verilog" / "core.v").write_text("// spoilt")
    third = as_json(capsys, *line)
    assert third["stages_cached"]["quantize"] and not third["stages_cached"]["compile"]
    assert third["stages_cached"]["simulate"]  # the Verilog is again what it was
    assert run(line) == 0
    assert "3 of 3" in capsys.readouterr().out


def test_a_build_in_the_background_tells_what_went_wrong(home):
    arguments = {"verilog": "core.v", "config": {}, "board": "ulx3s-85f", "clock_hz": 10**9, "folder": "x"}
    (home / "core.v").write_text("module spikeloom_core; endmodule")
    with background.building(lambda done, whole, stage: None, seed=1, **arguments) as wait:
        with pytest.raises(background.BuildFailed, match="400 MHz"):
            wait()


def test_a_build_in_the_background_ends_with_the_block(home):
    arguments = {"verilog": "core.v", "config": {}, "board": "ulx3s-85f", "clock_hz": None, "folder": "y"}
    (home / "core.v").write_text("module spikeloom_core; endmodule")
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt), background.building(lambda done, whole, stage: None, seed=1, **arguments):
        raise KeyboardInterrupt
    assert time.monotonic() - begin < background.END_SECONDS
    assert not multiprocessing.active_children()
