"""Random networks of any graph against simulated cores; a broken core or compiler is found, and the case shrunken."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import spikeloom.rtl.core
from spikeloom.gen.compiler import compile_network
from spikeloom.gen.errors import CompileError
from spikeloom.golden.network import Network
from spikeloom.rtl.core import core as assembled
from spikeloom.sim import fuzz as module
from spikeloom.sim.fuzz import Bench, Failure, fuzz, shrunken
from spikeloom.sim.fuzz_case import CORES, Case, described, draw
from spikeloom.sim.shrink import smaller_networks

NETWORKS = 300
MOST_REFUSED = 0.1  # of the networks of a core; measured: 0.05 at most, 0.03 of all
BROKEN = 40  # networks in which a broken core must be found


@pytest.fixture(scope="module")
def build_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def seeds_of(core, count):
    """Seeds whose networks run on a core."""
    return range(core, core + count * len(CORES), len(CORES))


def said(found):
    return "\n".join(
        str(line) for line in (found.seed, found.failure, found.shrunken_failure, *described(found.shrunken))
    )


@pytest.mark.slow
@pytest.mark.parametrize("core", range(len(CORES)))
def test_equal_golden(core, build_dir):
    """Every spike, class sum and counter; the compiler refuses few, so that the fuzz cannot become empty."""
    count = NETWORKS // len(CORES)
    seen = []
    report = fuzz(
        seeds_of(core, count),
        build_dir=build_dir,
        processes=1,
        progress=lambda done, of, stage="": seen.append((done, of)),
    )
    assert not report.found, "\n\n".join(map(said, report.found))
    assert report.networks == count and seen[-1] == (count, count)
    assert len(report.refused) <= MOST_REFUSED * count, report.refused
    assert report.passed == count - len(report.refused)
    assert report.spikes > 200 * count


def broken(component, name, old, new, monkeypatch):
    """Put a component with one changed text into the core."""
    path = Path(spikeloom.rtl.core.__file__).parent / f"{component}.py"
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} has {text.count(old)} times {old!r}"
    spec = importlib.util.spec_from_loader(f"spikeloom.rtl.core.broken_{component}", loader=None)
    made = importlib.util.module_from_spec(spec)
    exec(compile(text.replace(old, new), f"broken {component}", "exec"), made.__dict__)
    monkeypatch.setattr(assembled, name, getattr(made, name))


@pytest.mark.slow
def test_broken_core_is_found(build_dir, monkeypatch, tmp_path):
    """A carry that is lost, in sums of sums alone: found, and what is left of the network is small."""
    broken("activation_writer", "ActivationWriter", "carried.eq(old & carry)", "carried.eq(old | carry)", monkeypatch)
    monkeypatch.setattr(module, "MOST_SHRUNKEN", 1)
    report = fuzz(seeds_of(0, BROKEN), build_dir=build_dir, processes=1)
    assert report.found
    found = report.found[0]
    assert found.failure.kind == found.shrunken_failure.kind == "spikes"
    assert "layer" in found.failure.where and "channel" in found.failure.where
    small = found.shrunken
    assert any(layer.residual for layer in small.network.layers)
    assert len(small.network.layers) <= 5 and small.images.size <= 16
    small.save(tmp_path / "small.safetensors")
    again = Case.load(tmp_path / "small.safetensors")
    assert Bench(build_dir).failure(again) == found.shrunken_failure
    monkeypatch.undo()
    assert Bench(build_dir).failure(again) is None


def forgetful(network, config):
    """A compiler that knows no neurons that fire at ``H > threshold`` alone."""
    layers = [replace(layer, neuron=replace(layer.neuron, strict=False)) for layer in network.layers]
    other = compile_network(replace(network, layers=tuple(layers)), config)
    return replace(compile_network(network, config), program=other.program)


@pytest.mark.slow
def test_wrong_program_is_found(build_dir, monkeypatch):
    monkeypatch.setattr(module, "compile_network", forgetful)
    report = fuzz(seeds_of(0, BROKEN), build_dir=build_dir, processes=1, shrink=0)
    assert len(report.found) > 3
    assert "golden 0, hardware 1" in str(report.found[0].failure) or "golden 1, hardware 0" in str(
        report.found[0].failure
    )


@pytest.mark.slow
def test_hang_is_found(build_dir, monkeypatch):
    """A core that does not end in time: each network of the run is tried alone."""
    monkeypatch.setattr(module, "MOST_CYCLES", 300)
    report = fuzz(seeds_of(0, 6), build_dir=build_dir, processes=1, shrink=0)
    assert 0 < len(report.found) and report.passed + len(report.refused) + len(report.found) == 6
    assert {found.failure.kind for found in report.found} == {"hang"}
    assert "still busy after 300 cycles" in report.found[0].failure.where


def test_draw():
    """A seed is a core, a network and its images, always the same."""
    for seed in range(8):
        case, again = draw(seed), draw(seed)
        assert case.config == CORES[seed % len(CORES)]
        assert np.array_equal(case.images, again.images) and case.images.shape[1:] == case.network.image_shape
        assert described(case) == described(again)
    assert described(draw(0)) != described(draw(len(CORES)))


def test_tensors_of_attention_that_grow_are_drawn():
    """Q, K and V of different strides, several steps: wrong once, and so rare by chance that it has to be drawn."""
    found = 0
    for seed in range(150):
        case = draw(seed)
        try:
            plan = compile_network(case.network, case.config).plan
        except CompileError:
            continue
        for layer in plan.layers:
            strides = {place.step for place in layer.inputs}
            found += layer.layer.kind == "attention" and layer.shape.active_steps > 1 and len(strides) > 1
    assert found >= 3


def test_file(tmp_path):
    case = replace(draw(5), before=draw(9))
    case.save(tmp_path / "case.safetensors")
    loaded = Case.load(tmp_path / "case.safetensors")
    assert described(loaded) == described(case) and loaded.seed == 5 and loaded.before.seed == 9
    assert np.array_equal(loaded.images, case.images) and loaded.config == case.config
    case.network.save(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="was not saved by `spikeloom regress --random`"):
        Case.load(tmp_path / "other.safetensors")


class Suspicious:
    """Stands for a core that fails on some networks."""

    def __init__(self, fails):
        self.fails, self.runs = fails, 0

    def failure(self, case):
        self.runs += 1
        assert case.images.shape[1:] == case.network.image_shape
        return Failure(kind="spikes", where="somewhere") if self.fails(case) else None


def pools_in_two_steps(case):
    return any(x.kind == "accumulate" and x.pool and x.steps > 1 for x in case.network.layers)


def test_shrinks_to_what_matters():
    """Nothing is left but what the failure needs, whatever the network was."""
    tried = 0
    for seed in range(40):
        case, bench = draw(seed), Suspicious(pools_in_two_steps)
        if not bench.failure(case):
            continue
        tried += 1
        small, failure = shrunken(bench, case, bench.failure(case))
        pooled, head = small.network.layers
        assert failure.where == "somewhere"
        assert (pooled.pool, pooled.steps, small.network.steps, head.channels_out) == (True, 2, 2, 1)
        assert (pooled.channels_in, pooled.channels_out, pooled.kernel, pooled.padding) == (1, 1, 1, 0)
        assert small.images.size == 1 and not small.network.padding_pixel
    assert tried > 10


def test_shrinks_what_ran_before():
    """A case that fails only after another keeps the other, made smaller as well."""
    case = replace(draw(5), before=draw(10))
    bench = Suspicious(lambda case: case.before is not None and case.before.network.classes >= 1)
    small, _ = shrunken(bench, case, bench.failure(case), runs=2000)
    assert len(small.network.layers) == len(small.before.network.layers) == 2
    assert described(small)[0].startswith("after: core of 8 lanes")


def test_shrinking_is_bounded():
    case = draw(4)
    bench = Suspicious(lambda case: True)
    shrunken(bench, case, bench.failure(case), runs=7)
    assert bench.runs == 1 + 7


def test_smaller_networks_are_networks():
    """Each step gives a legal network that differs, and there is an end."""
    for seed in (1, 2, 3):
        network, steps = draw(seed).network, 0
        while (smaller := next(smaller_networks(network), None)) is not None:
            assert isinstance(smaller, Network)
            network, steps = smaller, steps + 1
            assert steps < 500
        assert len(network.layers) == 2
