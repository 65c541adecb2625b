"""`import spikeloom`: the README's five lines, the tour, and what each function refuses."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import spikeloom
from spikeloom.common.folders import building_in
from spikeloom.golden.network.random_network import random_images
from support.tiny import tiny_network

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder to work in; the core of the digits is compiled once for all tests here."""
    return tmp_path_factory.mktemp("library")


@pytest.fixture(autouse=True)
def there(place, monkeypatch):
    monkeypatch.chdir(place)
    with building_in(place / "build"):
        yield


@pytest.fixture
def tiny():
    return tiny_network()


def example():
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return block


@pytest.mark.slow
def test_the_lines_of_the_readme(capsys):
    exec(compile(example(), "README.md", "exec"), {})
    assert capsys.readouterr().out.split() == ["1.0", "4"]


def test_the_readme_has_five_lines_and_the_module_the_same():
    lines = [line.split("#")[0].strip() for line in example().splitlines()]
    lines = [line for line in lines if line]
    assert lines[0] == "import spikeloom" and len(lines) == 6
    documented = [line.split("#")[0].strip() for line in spikeloom.__doc__.splitlines()]
    assert [line for line in documented if line in lines] == lines


@pytest.mark.slow
def test_the_tour(capsys):
    runpy.run_path(str(ROOT / "examples" / "tour.py"))
    assert "4 of 4 images bit-exact" in capsys.readouterr().out


def test_importing_takes_neither_torch_nor_amaranth():
    code = "import sys, spikeloom; spikeloom.load; spikeloom.Checkpoint; dir(spikeloom)\n"
    code += "print([x for x in ('torch', 'amaranth', 'nir') if x in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_everything_is_there_and_documented():
    for name in spikeloom.__all__:
        assert getattr(spikeloom, name).__doc__, name
        assert name in dir(spikeloom)
    with pytest.raises(AttributeError, match="module 'spikeloom' has no attribute 'quantise'"):
        spikeloom.quantise  # noqa: B018


def test_types_are_known_outside(place):
    (place / "user.py").write_text(
        "import spikeloom\n"
        'network = spikeloom.quantize(spikeloom.load("digits"))\n'
        "images, labels = spikeloom.load_images(network, count=4)\n"
        "reveal_type(spikeloom.simulate(network, images).images_bit_exact)\n"
        "reveal_type(spikeloom.compile(network, lanes=16).verilog())\n"
        "spikeloom.compile(network, lane=16)\n"
    )
    command = [sys.executable, "-m", "mypy", "--ignore-missing-imports", "--follow-imports=silent", "user.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=place)
    assert 'Revealed type is "int"' in done.stdout and 'Revealed type is "str"' in done.stdout, done.stdout
    assert 'Unexpected keyword argument "lane"' in done.stdout and "Found 1 error" in done.stdout


def test_a_checkpoint_a_file_or_a_name_will_do_for_a_network(place):
    checkpoint = spikeloom.load("digits")
    assert isinstance(checkpoint, spikeloom.Checkpoint) and checkpoint.name == "digits"
    images = spikeloom.load_images("digits", count=3).images
    sums = spikeloom.execute(spikeloom.quantize(checkpoint), images).sums
    spikeloom.quantize("digits").save(place / "d.safetensors")
    for source in (checkpoint, "digits", place / "d.safetensors", spikeloom.load(place / "d.safetensors")):
        assert (spikeloom.execute(source, images).sums == sums).all()


def test_what_is_printed_is_one_short_line(tiny):
    design = spikeloom.compile(tiny, board="ulx3s-85f", lanes=8, columns=2, neuron_lanes=4)
    core = "8 lanes, 2 columns, 4 banks, 4 neuron lanes"
    weights = sum(x.weight.size for x in tiny.layers if x.weight is not None)
    execution = spikeloom.execute(tiny, random_images(tiny, 2), record=True)
    shown = [
        (design, f"<Design: 'random-3' on {core}, for ulx3s-85f>"),
        (design.compiled, f"<Compiled: 'random-3' on {core}>"),
        (design.compiled.plan, f"<Plan: 'random-3' on {core}: {len(tiny.layers)} layers, "),
        (design.program, f"<Program {design.program.hash:08x}: {len(tiny.layers) + 2} descriptors, "),
        (tiny, f"<Network 'random-3': {len(tiny.layers)} layers, {weights:,} weights, "),
        (tiny.layers[0], f"<Layer {tiny.layers[0].name!r}: accumulate, "),
        (execution, f"<Execution: 2 images, 4 classes, {len(execution.spikes)} layers recorded>"),
        (spikeloom.load("digits"), "<Checkpoint 'digits': Spikformer, "),
        (spikeloom.Samples(random_images(tiny, 2), None), "<Samples: 2 images"),
    ]
    for made, begin in shown:
        assert repr(made).startswith(begin) and repr(made).endswith(">")
        assert len(repr(made)) <= 120 and "\n" not in repr(made), repr(made)


def test_quantize_takes_bits_steps_and_a_name():
    network = spikeloom.quantize("digits", bits={"sps.1": 4}, steps={"block.0.fc1": 1}, name="mine")
    assert network.name == "mine" and network.layer("block.0.fc1").steps == 1
    assert [x.name for x in network.layers if x.weight_bits == 4] == ["sps.1"]
    with pytest.raises(TypeError, match="this is a network of integers already"):
        spikeloom.quantize(network)


def test_a_design(tiny, place):
    design = spikeloom.compile(tiny, lanes=8, neuron_lanes=4)
    assert design.core.lanes == 8 and design.network is tiny and design.board is None
    assert "module spikeloom_core" in design.verilog() and design.verilog() is design.verilog()
    images = random_images(tiny, 2, seed=1)
    manifest = design.save(place / "mine", images)
    assert {path.name for path in (place / "mine").iterdir()} == {*manifest["files"], "manifest.json"}
    with np.load(place / "mine" / "vectors.npz") as vectors:
        assert (vectors["images"] == images).all()
        assert (vectors["sums"] == spikeloom.execute(tiny, images).sums).all()
    assert spikeloom.compile(tiny, board="ulx3s-85f").board == "ulx3s-85f"


def test_simulate_a_design_into_a_folder_with_progress(tiny, place):
    said = []
    images = random_images(tiny, 2, seed=1)
    design = spikeloom.compile(tiny, lanes=8, neuron_lanes=4)
    report = spikeloom.simulate(design, images, folder=place / "s", progress=lambda *x: said.append(x))
    assert report.images_bit_exact == 2 and said[-1][:2] == (2, 2)
    assert repr(report).startswith("<SimulationReport: 2 of 2 images bit-exact, 0 counters differ, ")
    assert (report.sums == spikeloom.execute(tiny, images).sums).all() and list((place / "s").iterdir())


def test_a_board_gets_the_best_core_unless_a_size_is_given(tiny):
    from spikeloom.gen.explore import best
    from spikeloom.gen.targets import target

    board = target("ulx3s-85f")
    design, choice = spikeloom.compile(tiny, board="ulx3s-85f"), best(tiny, board, {})
    assert design.core == choice.candidate.config and design.why == choice.why
    wide = spikeloom.compile(tiny, board="ulx3s-85f", accumulator_width=24, counters=False)
    assert wide.core.accumulator_width == 24 and not wide.core.counters and "that fit ulx3s-85f" in wide.why
    by_hand = spikeloom.compile(tiny, board="ulx3s-85f", banks=2)
    assert (by_hand.core.lanes, by_hand.core.banks, by_hand.why) == (board.core["lanes"], 2, "")
    assert spikeloom.compile(tiny).why == ""


def test_build_wants_a_board_and_gives_its_report(tiny, place, monkeypatch):
    from spikeloom.gen.toolchain import build

    asked = []
    monkeypatch.setattr(build, "build", lambda *arguments, **more: asked.append((arguments, more)) or "report")
    with pytest.raises(ValueError, match="name a board: the design was compiled for none"):
        spikeloom.build(spikeloom.compile(tiny, lanes=8))
    design = spikeloom.compile(tiny, board="ulx3s-85f")
    assert spikeloom.build(design, clock_mhz=40, seed=3) == "report"
    (verilog, core, target, folder), more = asked[0]
    assert verilog == design.verilog(target.cells) != design.verilog()
    assert core == design.core and target.clock_hz == 40e6 and more["seed"] == 3
    assert folder == place / "build" / "random-3" / "ulx3s-85f"


def test_a_device_is_identified_when_it_is_opened():
    from spikeloom.gen.host.link import HostError

    with pytest.raises(HostError, match="cannot open /dev/no-such-port"):
        spikeloom.Device("/dev/no-such-port")

    class Dumb:
        def read(self, size=1):
            return b""

        def write(self, data):
            return len(data)

    with pytest.raises(HostError, match="does not answer"):
        spikeloom.Device(Dumb())
