"""The energies equal formulas written out here, with the operations of one small layer after the other."""

from dataclasses import replace

import pytest

from spikeloom.golden.analysis.energy import not_spiking, spiking
from spikeloom.golden.analysis.energy_constants import CONSTANTS, Constants
from spikeloom.golden.analysis.energy_table import full_steps, measure, warnings, without_spikes
from spikeloom.golden.analysis.operations import TOTAL, operations
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images, random_network
from spikeloom.golden.network.widths import widths

# one number each that no other can stand in for
ODD = Constants(
    name="odd", accumulate=2, multiply_accumulate=30, zero_check=0.5, sram_bit=0.25, dram_bit=7, word_bits=None
)
TWICE = replace(ODD, word_bits=16)


@pytest.fixture(scope="module")
def network():
    steps = {"sps.0": 3, "sps.1": 2, "rpe": 2, "block.0.q": 3, "block.0.k": 2, "block.0.v": 4, "block.0.attn": 4}
    shape = dict(stem=(4, 8), height=4, width=4, pools=(False, True), hidden=16, heads=2, classes=3)
    return random_network(1, time_steps=steps, rate=0.4, **shape)


@pytest.fixture(scope="module")
def counted(network):
    return operations(network, random_images(network, 4))


def test_a_row_has_the_totals_of_all_schedules(network):
    images = random_images(network, 2)
    rows = [measure(network, images, reuse=reuse, external=True) for reuse in ("none", "full", "stationary")]
    assert rows[0].totals == rows[1].totals == rows[2].totals
    for row, reuse in zip(rows, ("none", "full", "stationary"), strict=True):
        dense = without_spikes(network, row, reuse=reuse, external=True)
        for name in CONSTANTS:
            assert row.totals[name][reuse] == row.energies[name][TOTAL].total
            assert dense.totals[name][reuse] == dense.energies[name][TOTAL].total


def test_published_constants():
    paper, fp32, int8 = CONSTANTS.values()
    assert (paper.accumulate, paper.multiply_accumulate, paper.zero_check) == (1.8, 13.32, 0.05)
    assert paper.multiply_accumulate / paper.accumulate == pytest.approx(7.4)
    assert (fp32.accumulate, fp32.multiply_accumulate, fp32.sram_bit * 64) == (0.9, 4.6, 10)
    assert (int8.accumulate, int8.multiply_accumulate, int8.dram_bit) == (0.1, 0.3, 12.45)


def test_a_layer_that_reads_the_image_multiplies(network, counted):
    own, done = spiking(network, counted, ODD)["sps.0"], counted["sps.0"]
    assert done.image_macs == 4 * 100 and done.neuron_updates == 3 * 64
    assert own.compute == 400 * 30 + 2 * 192 * 2  # pixels are not checked for spikes
    assert own.weights == 400 * 8 / 4  # bits of an int8, a quarter picojoule each
    assert own.membrane == 2 * 2 * 64 * widths(network)["sps.0"].membrane / 4
    assert own.activations == (100 * 8 + 3 * 64) / 4  # taps inside the map see pixels; spikes are written
    assert own.memory == own.weights + own.membrane + own.activations and own.total == own.compute + own.memory
    full = spiking(network, counted, ODD, reuse="full", external=True)["sps.0"]
    assert full.weights == 36 * 8 / 4 + 36 * 8 * 7  # once for all steps, and once from outside
    assert full.activations == (16 * 8 + 3 * 64) / 4


def test_a_convolution_reads_a_row_an_event(network, counted):
    done = counted["sps.1"]
    assert done.planes > 0 and done.checks == 2 * 4 * 100
    own = spiking(network, counted, ODD)["sps.1"]
    assert own.compute == done.planes * 2 + 800 / 2 + 2 * (2 * 8 * 16) * 2
    assert own.weights == done.planes * 8 / 4
    assert own.activations == (800 + 2 * 8 * 4) / 4  # pooled before it is written
    full = spiking(network, counted, TWICE, reuse="full")["sps.1"]
    assert full.weights == 2 * (8 * 4 * 9) * 16 / 4  # at each of its two steps
    assert full.membrane == 2 * 8 * 16 * 16 / 4
    assert full.activations == (2 * 4 * 16 + 2 * 8 * 4) / 4
    stationary = spiking(network, counted, TWICE, reuse="stationary")["sps.1"]
    assert stationary.weights == (8 * 4 * 9) * 16 / 4  # once for both steps
    assert stationary.activations == own.activations and stationary.compute == full.compute == own.compute


def test_residuals_are_added_and_read(network, counted):
    own, done = spiking(network, counted, ODD)["rpe"], counted["rpe"]
    assert own.compute == (done.planes + 2 * 8 * 4 + 2 * 2 * 8 * 4) * 2 + done.checks / 2
    assert done.checks == 2 * 8 * 16  # a 2x2 map: four taps of each of four positions are inside
    assert own.activations == (done.checks + 2 * 8 * 4 + 2 * 2 * 8 * 4) / 4  # the residual; two planes of sums


def test_attention_keeps_its_sums_in_memory(network, counted):
    done, tokens = counted["block.0.attn"], 4
    assert done.product_planes > 0 and done.planes > 0
    own = spiking(network, counted, TWICE)["block.0.attn"]
    checks = 2 * 2 * 8 * tokens  # Q and K at the two steps that all three have
    assert own.compute == (done.planes + done.product_planes + 2 * 4 * 8 * tokens) * 2 + checks / 2
    rows = done.product_planes + (2 * done.product_planes + done.planes) * 16  # rows of V; K^T V read, written, read
    assert own.weights == 0 and own.activations == (checks + rows + 4 * 8 * tokens) / 4
    full = spiking(network, counted, TWICE, reuse="full")["block.0.attn"]
    assert full.activations == (2 * 3 * 8 * tokens + 2 * 2 * (8 * 4) * 16 + 4 * 8 * tokens) / 4
    assert spiking(network, counted, TWICE, reuse="stationary")["block.0.attn"] == full


def test_a_network_without_spikes(network, counted):
    dense, full = (not_spiking(network, counted, TWICE, reuse=reuse) for reuse in ("none", "full"))
    second = dense["sps.1"]
    assert second.compute == 8 * 4 * 100 * 30 + 2 * 8 * 16 * 2 and second.membrane == 0
    assert second.weights == 8 * 4 * 100 * 16 / 4 and full["sps.1"].weights == 8 * 4 * 9 * 16 / 4
    assert second.activations == (4 * 100 + 8 * 4) * 16 / 4 and full["sps.1"].activations == (4 * 16 + 8 * 4) * 16 / 4
    assert dense["sps.0"].activations == (100 * 8 + 4 * 16 * 16) / 4  # pixels have 8 bits
    stationary = not_spiking(network, counted, TWICE, reuse="stationary")
    assert (stationary["sps.1"].weights, stationary["sps.1"].activations) == (full["sps.1"].weights, second.activations)
    assert stationary["block.0.attn"] == full["block.0.attn"]
    attention = dense["block.0.attn"]
    assert attention.compute == 2 * 4 * 4 * 8 * 30 + 2 * 8 * 4 * 2
    scores, rows = 2 * 4 * 4 * 2, 2 * 4 * 4 * 8
    assert attention.activations == (4 * 8 + rows + scores + 4 * 8) * 16 / 4
    assert full["block.0.attn"].activations == (3 * 4 * 8 + scores + 4 * 8) * 16 / 4
    other = network.with_steps({"sps.0": 1, "block.0.fc1": 0})
    again = not_spiking(other, operations(other, random_images(other, 1)), TWICE)
    assert again == dense  # no time steps, and no dependence on the images


def test_totals_and_unary_coding(network, counted):
    found = spiking(network, counted, ODD)
    for part in ("compute", "weights", "membrane", "activations", "memory", "total"):
        layers = sum(getattr(value, part) for name, value in found.items() if name != TOTAL)
        assert getattr(found[TOTAL], part) == pytest.approx(layers)
    unary = spiking(replace(network, coding="unary"), counted, ODD)
    more = counted["block.0.q"].unary - counted["block.0.q"].planes
    assert more > 0
    assert unary["block.0.q"].compute - found["block.0.q"].compute == pytest.approx(2 * more)
    assert unary["block.0.q"].weights - found["block.0.q"].weights == pytest.approx(2 * more)


def test_membrane_streams_are_membranes():
    network = random_network(1, stem=(4, 8), height=4, width=4, pools=(False, True), residual="ms")
    counted = operations(network, random_images(network, 1))
    proj = spiking(network, counted, TWICE)["block.0.proj"]
    assert proj.membrane == 2 * 4 * 8 * 4 * 16 / 4  # the stream is read and written at all steps
    assert proj.activations == counted["block.0.proj"].checks / 4


def test_rows_and_their_ratios(network):
    images = random_images(network, 3)
    labels = execute(network, images).predictions
    row = measure(network, images, labels)
    assert row.kind == "dynamic" and row.accuracy == 1 and row.t_avg == network.t_avg and row.t_max == 4
    plain = measure(full_steps(network), images)
    assert plain.kind == "plain" and plain.accuracy is None and plain.t_avg == 4
    assert row.relative(row, "paper") == (1, 1, 1)
    ratio = plain.relative(row, "int8")
    own, other = (x.energies["int8"][TOTAL] for x in (plain, row))
    assert ratio == (own.compute / other.compute, own.memory / other.memory, own.total / other.total)
    dense = without_spikes(network, row)
    assert dense.accuracy is None and dense.t_avg is None and dense.energies["paper"][TOTAL].membrane == 0


def test_accuracies_that_differ_are_no_equal_accuracy():
    assert warnings([("a", 0.9), ("b", 0.91), ("c", None)]) == []
    assert warnings([("a", 0.9), ("b", 0.88), ("c", 0.925)]) == [
        "b is 2.0 points below a: no comparison at equal accuracy",
        "c is 2.5 points above a: no comparison at equal accuracy",
    ]
    assert "no accuracy is known" in warnings([("a", None), ("b", 0.9)])[0]


@pytest.mark.parametrize("function", [spiking, not_spiking])
def test_another_reuse_is_refused(function, network, counted):
    with pytest.raises(ValueError, match="reuse must be none, full or stationary, not 'some'"):
        function(network, counted, ODD, reuse="some")
