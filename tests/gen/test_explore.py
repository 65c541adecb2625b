"""Which cores are tried for a network, which of them are worth a look, which one is best."""

from dataclasses import replace

import pytest

from spikeloom.gen.errors import CompileError
from spikeloom.gen.estimate import estimate, random_activity
from spikeloom.gen.explore import ALL, LIKELY, best, candidates, front, in_the_running, legal_sizes
from spikeloom.gen.targets import target
from spikeloom.golden.network.random_network import random_network
from spikeloom.rtl.core.config import CoreConfig

SMALL = {"lanes": (8, 16, 32, 64), "banks": (1, 2, 4), "neuron_lanes": (2, 8)}


@pytest.fixture(scope="module")
def network():
    return random_network(5, height=8, width=8, stem=(8, 32), hidden=64, heads=4, time_steps="full")


def test_every_size_is_a_core_and_lanes_are_those_that_save_something(network):
    tried = legal_sizes(network, ALL, {})
    for sizes in tried:
        CoreConfig(**sizes)
    # 8 channels in the first layer: twice as many lanes compute two positions at once; 64 in the widest
    assert {x["lanes"] for x in tried} == {4, 8, 16, 32, 64}
    assert {x["banks"] for x in tried} == {1, 2, 4, 8} and max(x["neuron_lanes"] for x in tried) == 32
    assert len({tuple(x.items()) for x in tried}) == len(tried)


def test_sizes_that_are_given_are_kept(network):
    tried = legal_sizes(network, ALL, {"lanes": 48, "word": 16, "accumulator_width": 20, "counters": False})
    assert {(x["lanes"], x["word"], x["accumulator_width"], x["counters"]) for x in tried} == {(48, 16, 20, False)}
    (only,) = candidates(network, LIKELY, {"lanes": 32, "banks": 2, "neuron_lanes": 4, "columns": 2})
    assert only.sizes == {"lanes": 32, "word": 32, "columns": 2, "banks": 2, "neuron_lanes": 4}


def test_front():
    points = [(3, 1), (1, 3), (2, 2), (2, 3), (3, 3), (2, 2)]
    assert front(points, lambda x: x) == [(1, 3), (2, 2), (3, 1)]
    assert front([(100, 10), (98, 10), (100, 5)], lambda x: x, slack=1.05) == [(100, 5)]
    assert front([(100, 10), (80, 10), (100, 5)], lambda x: x, slack=1.05) == [(80, 10), (100, 5)]


def test_the_coarse_estimate_leaves_every_core_of_the_front_in_the_running(network):
    found = candidates(network, SMALL, {})
    running, activity = in_the_running(found), random_activity(network, 0.15)
    assert len(running) < len(found) == len(legal_sizes(network, SMALL, {}))
    true = front(found, lambda x: (estimate(x.plan, activity).cycles, x.cells.cells, x.cells.block_rams))
    assert {x.config for x in true} <= {x.config for x in running}


def test_the_best_core_fits_and_no_other_has_fewer_cells_times_cycles(network):
    board = target("ulx3s-25f")
    choice = best(network, board, {})
    fitting = [x for x in candidates(network, LIKELY, {}) if x.fits(board)]
    assert choice.candidate.fits(board) and choice.fitting == len(fitting)
    least = min(x.cells.cells * x.cycles for x in fitting)
    assert choice.candidate.cells.cells * choice.candidate.cycles == least
    assert best(network, board, {}).candidate.config == choice.candidate.config
    core = choice.candidate.config
    assert choice.why == f"{core.summary}: the least cells times cycles of {len(fitting)} cores that fit ulx3s-25f"
    assert best(network, board, {"lanes": 16, "banks": 1}).candidate.config.lanes == 16


def test_a_board_that_is_too_small_is_told_why(network):
    board = target("ulx3s-25f")
    with pytest.raises(CompileError, match=r"the core needs \d+ block RAMs, ulx3s-25f has 8"):
        best(network, replace(board, block_rams=8), {})
    with pytest.raises(CompileError, match=r"needs [\d,]+ look-up tables, ulx3s-25f has 1,000, of which 85% can"):
        best(network, replace(board, luts=1000), {})


def test_a_network_that_no_core_runs_is_told_why(network):
    with pytest.raises(CompileError, match="accumulator_width must be at least"):
        best(network, target("ulx3s-85f"), {"accumulator_width": 4})
    with pytest.raises(ValueError, match="lanes must be a multiple of 16"):
        best(network, target("ulx3s-85f"), {"lanes": 12})
