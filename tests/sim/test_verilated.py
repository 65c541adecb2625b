"""The whole core under Verilator: every spike, class sum and counter equals golden's."""

import tempfile
import threading
from dataclasses import replace

import numpy as np
import pytest

from spikeloom.gen.compiler import compile_network
from spikeloom.gen.estimate import Activity, estimate
from spikeloom.gen.sizing import common_core, smallest_core
from spikeloom.gen.verilog import core_verilog
from spikeloom.golden.network import IMAGE, Layer, Network, Neuron
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images, random_network, stand_in
from spikeloom.sim import verilator
from spikeloom.sim.simulate import report_of, simulate
from spikeloom.sim.verilated import VerilatedCore
from spikeloom.sim.verilator import SimulationError

# (lanes, word, columns, neuron_lanes) and a random network: all of what a network or a core can vary
CASES = {
    "small": ((4, 4, 1, 1), dict()),
    "dts": ((8, 8, 2, 4), dict(neuron="dts", height=7, width=5, channels=3, steps=8)),
    "int4": ((8, 4, 4, 2), dict(weight_bits=4, stem=(3, 8), heads=1, height=5, width=9, classes=3)),
    "two blocks": ((16, 8, 1, 8), dict(depth=2, stem=(5, 16), heads=4, steps=3)),
    "wide heads": ((4, 4, 2, 2), dict(stem=(4, 16), heads=2, steps=2, neuron="dts", hidden=20)),
    "equal heads": ((8, 8, 1, 8), dict(stem=(4, 16), heads=2, height=6, width=6, pools=(True, True))),
    "full steps": ((16, 16, 2, 4), dict(time_steps="full", stem=(4, 8), steps=2, rate=0.5)),
    "masked": (
        (8, 4, 1, 2),
        dict(time_steps={"sps.0": 1, "sps.1": 0, "block.0.q": 0, "block.0.fc2": 0, "block.0.proj": 5}, steps=5),
    ),
    "silent": ((8, 8, 2, 2), dict(time_steps={"sps.1": 0, "rpe": 0, "block.0.proj": 0, "block.0.fc2": 0}, steps=2)),
    "no pooling": ((32, 32, 4, 8), dict(pools=(False, False), height=4, width=3, stem=(4, 4), channels=2)),
    "three words": ((48, 16, 1, 8), dict(height=6, width=5, stem=(20, 96), heads=6, hidden=50, steps=2)),
}


def compiled_case(name, seed=0):
    size, fields = CASES[name]
    names = ("lanes", "word", "columns", "neuron_lanes")
    return compile_network(random_network(seed, **fields), **dict(zip(names, size, strict=True)))


@pytest.fixture(scope="module")
def build_dir(tmp_path_factory):
    """With all in its path that `make` does not stand."""
    return tmp_path_factory.mktemp("verilated") / 'it\'s (a) "folder" & $HOME'


@pytest.mark.parametrize("name", CASES)
def test_equals_golden(name, build_dir):
    compiled = compiled_case(name)
    images = random_images(compiled.network, 5, seed=1)
    seen = []
    report = simulate(compiled, images, build_dir=build_dir, batch=2, progress=lambda *done: seen.append(done))
    assert [str(d) for d in report.differences] == []
    assert [str(d) for d in report.counter_differences] == []
    assert report.images == report.images_bit_exact == 5
    assert seen[0] == (0, 5, "compiling the core") and seen[-1] == (5, 5, "") and len(seen) == 4
    for layer in compiled.network.layers:
        assert (report.layer_cycles[layer.name] > 0).all()
    if name != "silent":
        assert sum(report.golden["total"]["spikes"]) > 0


def test_attention_when_a_later_sum_makes_room_in_q_k_or_v(build_dir):
    """A tensor that is a residual later has planes for the sum: its steps lie further apart than the others'."""
    made = random_network(5, stem=(4, 8), heads=2, steps=3, time_steps="full", rate=0.4)
    names = [f"block.0.{letter}" for letter in "qkv"]
    proj = made.layer("block.0.proj")
    networks = [
        replace(made, layers=tuple(replace(proj, residual=name) if x is proj else x for x in made.layers))
        for name in names
    ]
    config = common_core(*(smallest_core(n, lanes=8, columns=2, neuron_lanes=4) for n in networks))
    compiled = [compile_network(network, config) for network in networks]
    for i in range(3):
        steps = [compiled[i].plan.memory.placements[name].step for name in names]
        assert steps[i] == 2 * steps[i - 1] == 2 * steps[i - 2]
    images = random_images(made, 3, seed=2)
    core = VerilatedCore(core_verilog(config, compiled[0].program), config=config, build_dir=build_dir)
    for one, run in zip(compiled, core.run_programs([(images, x.program) for x in compiled]), strict=True):
        report = report_of(one, images, run)
        assert [str(d) for d in report.differences] == []
        assert [str(d) for d in report.counter_differences] == []


# layers that read the image: kernel, stride, padding, channels, rows and columns of the image, channels out, pooled
IMAGE_LAYERS = [
    (7, 2, 3, 3, 9, 45, 4, True),
    (3, 1, 1, 1, 5, 37, 4, False),
    (5, 3, 2, 4, 8, 21, 7, False),
    (3, 4, 1, 2, 6, 31, 2, True),
    (1, 1, 0, 3, 3, 17, 20, False),
    (9, 7, 4, 1, 11, 9, 5, False),
]


def image_network(seed, kernel, stride, padding, channels, height, width, out, pool):
    """A layer of random weights over the image, and a readout."""
    rng = np.random.default_rng(seed)
    spare = {"scale": np.ones(out), "bias": rng.integers(-3000, 3000, out), "threshold": rng.integers(1, 30000, out)}
    conv = Layer(
        name="conv", inputs=(IMAGE,), channels_in=channels, height_in=height, width_in=width, kernel=kernel,
        stride=stride, padding=padding, channels_out=out, pool=pool, steps=3, **spare,
        weight=rng.integers(-128, 128, (out, channels, kernel, kernel)).astype(np.int8),
        neuron=Neuron(hard=seed % 2 == 0, strict=seed % 3 == 0, leak=True),
    )  # fmt: skip
    network = Network(
        name="image", steps=3, channels=channels, height=height, width=width, layers=(conv, stand_in(conv, 1, 3))
    )
    return network, rng.integers(0, 256, (2, channels, height, width)).astype(np.uint8)


@pytest.mark.parametrize("columns, banks", [(1, 4), (4, 1)])
def test_layers_that_read_the_image(columns, banks, build_dir):
    """Kernels, strides, channels and rows of several words, on one core: groups of one to eight positions."""
    cases = [image_network(seed, *shape) for seed, shape in enumerate(IMAGE_LAYERS)]
    size = dict(lanes=32, columns=columns, banks=banks, neuron_lanes=4)
    config = common_core(*(smallest_core(network, **size) for network, _ in cases))
    compiled = [compile_network(network, config) for network, _ in cases]
    assert [x.plan.layers[0].group for x in compiled] == ([4, 8, 1, 4, 1, 1] if columns == 1 else [4, 4, 1, 4, 4, 1])
    core = VerilatedCore(core_verilog(config, compiled[0].program), config=config, build_dir=build_dir)
    runs = core.run_programs([(images, x.program) for (_, images), x in zip(cases, compiled, strict=True)])
    for one, (network, images), run in zip(compiled, cases, runs, strict=True):
        report = report_of(one, images, run)
        assert [str(d) for d in report.differences] == []
        assert [str(d) for d in report.counter_differences] == []
        golden = execute(network, images, record=True)
        assert golden.spike_counts["conv"].min() > 0
        for index, cycles in enumerate(report.counters["cycles"]):
            tensors = {name: value[:, index] for name, value in golden.tensors.items()}
            spikes = {name: value[:, index] for name, value in golden.spikes.items()}
            found = estimate(one.plan, Activity(tensors=tensors, spikes=spikes)).cycles
            assert abs(found - cycles) <= 0.03 * cycles


def test_masked_layer_costs_nothing(build_dir):
    """A layer with no step, or a masked step: no accumulate, no membrane access; only the descriptor's fetch."""
    compiled = compiled_case("masked")
    report = simulate(compiled, random_images(compiled.network, 2, seed=3), build_dir=build_dir)
    for name in ("block.0.q",):
        found = report.layer_counters[name]
        for counter in ("array_cycles", "events", "words_read", "membrane_reads", "membrane_writes", "spike_words"):
            assert not found[counter].any(), counter
        assert (found["cycles"] < 25).all()
    assert not report.layer_counters["sps.0"]["membrane_reads"].any()


def test_two_models_on_one_core(build_dir):
    """Programs of networks of different shapes, masks, neurons and weights, loaded by the host, back and forth."""
    networks = [
        random_network(1, stem=(4, 8), heads=2, steps=4),
        random_network(2, stem=(3, 6, 16), depth=2, heads=4, steps=3, height=6, width=5, channels=3, neuron="dts"),
    ]
    config = common_core(*(smallest_core(n, lanes=8, columns=2, neuron_lanes=4) for n in networks))
    compiled = [compile_network(network, config) for network in networks]
    core = VerilatedCore(core_verilog(config, compiled[0].program), config=config, build_dir=build_dir)
    images = [random_images(network, 2, seed=5) for network in networks]
    for turn in ([0], [1], [0, 1, 0, 1]):  # each run loads the first of them, then the others
        programs = [(images[i], compiled[i].program) for i in turn]
        for i, run in zip(turn, core.run_programs(programs), strict=True):
            report = report_of(compiled[i], images[i], run)
            assert [str(d) for d in report.differences] == []
            assert [str(d) for d in report.counter_differences] == []


@pytest.mark.parametrize("which", ["sps.0", "block.0.fc1", "head"])
def test_first_difference(which, build_dir):
    """A weight that is altered on its way to the core shows at its layer, in the channel that it belongs to."""
    network = compiled_case("full steps").network
    config = smallest_core(network, lanes=16, columns=2, neuron_lanes=4, accumulator_width=24, potential_width=24)
    compiled = compile_network(network, config)
    layer = network.layer(which)
    weight = layer.weight.copy()
    weight[2] = np.where(weight[2] > 0, -128, 127)  # of output channel 2
    altered = replace(
        network, layers=tuple(replace(x, weight=weight) if x.name == which else x for x in network.layers)
    )
    images = random_images(network, 3, seed=8)
    core = VerilatedCore(core_verilog(compiled.config, compiled.program), config=compiled.config, build_dir=build_dir)
    run = core.run(images, program=compile_network(altered, compiled.config).program)
    report = report_of(compiled, images, run, first=10)
    assert report.images_bit_exact < 3
    for found in report.differences:
        assert (found.layer, found.channel) == (which, 2)
        assert found.image in (10, 11, 12)
    if which != "head":
        right, wrong = (execute(n, images, record=True).spikes[which] for n in (network, altered))
        for found in report.differences:
            both = np.argwhere((right != wrong)[:, found.image - 10, 2].reshape(len(right), -1))
            assert [found.step, found.position] == both[0].tolist()
            assert found.golden == right[found.step, found.image - 10, 2].flat[found.position]
            assert found.hardware == 1 - found.golden
            assert f"layer '{which}', step {found.step}, position {found.position}, channel 2" in str(found)


def test_waves(build_dir, tmp_path, monkeypatch):
    compiled = compiled_case("small")
    images = random_images(compiled.network, 1)
    report = simulate(compiled, images, build_dir=build_dir, waves=tmp_path / "waves" / "core.fst")
    assert report.images_bit_exact == 1
    assert (tmp_path / "waves" / "core.fst").stat().st_size > 1000
    monkeypatch.setattr(verilator, "_compile", None)  # once is enough
    assert simulate(compiled, images, build_dir=build_dir, waves=build_dir / "a b.fst").images_bit_exact == 1
    assert (build_dir / "a b.fst").stat().st_size > 1000
    monkeypatch.undo()
    core = VerilatedCore(core_verilog(compiled.config, compiled.program), config=compiled.config, build_dir=build_dir)
    with pytest.raises(SimulationError, match="compiled without waves"):
        core.run(images, waves=tmp_path / "other.fst")


def test_waves_that_cannot_be_written(build_dir, tmp_path):
    """Said before anything is compiled; the simulator itself would say nothing."""
    compiled = compiled_case("small")
    images = random_images(compiled.network, 1)
    (tmp_path / "file").write_text("")
    for place, said in [("file/core.fst", "cannot be written: it is a file"), (".", "is a folder: name a file")]:
        with pytest.raises(OSError, match=said):
            simulate(compiled, images, build_dir=tmp_path / "build", waves=tmp_path / place)
    assert not (tmp_path / "build").exists()


def test_compiling_where_make_cannot(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "a b"))
    (tmp_path / "a b").mkdir()
    compiled = compiled_case("small")
    with pytest.raises(SimulationError, match="make does not stand the path .*a b.*: set TMPDIR to another folder"):
        simulate(compiled, random_images(compiled.network, 1), build_dir=tmp_path)


def test_stopped(build_dir):
    """An interrupt, or another simulation's failure, ends the program that simulates."""
    compiled = compiled_case("small")
    core = VerilatedCore(core_verilog(compiled.config, compiled.program), config=compiled.config, build_dir=build_dir)
    stop = threading.Event()
    stop.set()
    with pytest.raises(SimulationError, match="the simulation was stopped"):
        core.run(random_images(compiled.network, 50), stop=stop)


def test_no_images(build_dir):
    compiled = compiled_case("small")
    with pytest.raises(ValueError, match="at least one"):
        simulate(compiled, random_images(compiled.network, 0), build_dir=build_dir)
