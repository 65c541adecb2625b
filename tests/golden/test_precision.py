"""Mixed precision: sensitivities are measured, the choice is the best of all, and the hardware computes it."""

import itertools
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from spikeloom.cli.main import run as command
from spikeloom.gen.compiler import compile_network
from spikeloom.gen.sizing import smallest_core
from spikeloom.golden.data import datasets
from spikeloom.golden.models import checkpoints
from spikeloom.golden.network import Network
from spikeloom.golden.quantization.folded import quantized
from spikeloom.golden.quantization.precision import (
    Sensitivity,
    bytes_of,
    choose_bits,
    parse_bytes,
    sensitivities,
    weight_bytes,
)
from spikeloom.golden.quantization.quantize import quantize
from spikeloom.golden.zoo.shipped import shipped
from spikeloom.sim.simulate import simulate


def rows_of(weights, losses):
    pairs = enumerate(zip(weights, losses, strict=True))
    return [Sensitivity(name=f"l{i}", weights=w, loss_lost=x, accuracy_lost=0.0) for i, (w, x) in pairs]


@pytest.mark.parametrize("seed", range(8))
def test_the_choice_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 40, 9) * (64 if seed % 2 else 1)
    rows = rows_of(weights.tolist(), rng.normal(0.02, 0.02, 9).round(4).tolist())
    sizes = {bits: [-(-int(w) * bits // 8) for w in weights] for bits in (4, 8)}
    every = list(itertools.product((4, 8), repeat=9))
    for share in (0.0, 0.3, 0.6, 0.9, 1.0):
        budget = round(sum(sizes[4]) + share * (sum(sizes[8]) - sum(sizes[4])))
        found = choose_bits(rows, budget)
        size = sum(sizes[bits][i] for i, bits in enumerate(found.values()))
        assert size <= budget and size == bytes_of(rows, found)

        def cost(choice):
            return sum(max(row.loss_lost, 0) for row, bits in zip(rows, choice, strict=True) if bits == 4)

        fitting = [x for x in every if sum(sizes[bits][i] for i, bits in enumerate(x)) <= budget]
        assert cost(tuple(found.values())) == pytest.approx(min(map(cost, fitting)), abs=1e-12)


def test_enough_room_keeps_eight_bits_and_too_little_is_an_error():
    rows = rows_of([10, 20, 30], [0.1, -0.1, 0.0])
    assert set(choose_bits(rows, 60).values()) == set(choose_bits(rows, 10**9).values()) == {8}
    assert set(choose_bits(rows, 30).values()) == {4}
    assert choose_bits(rows, 59) == {"l0": 8, "l1": 4, "l2": 8}  # of equals the fewest layers, in order
    noise = rows_of([10, 10, 20], [-0.1, 0.05, 0.04])
    assert choose_bits(noise, 30) == {"l0": 8, "l1": 8, "l2": 4}  # a loss below zero makes no room for another
    with pytest.raises(ValueError, match="a budget of 29 bytes is below 30, the weights at 4 bits"):
        choose_bits(rows, 29)


@pytest.mark.parametrize(
    "text, wanted",
    [("60kB", 60000), ("60 KB", 60000), ("0.5MiB", 524288), ("2 KiB", 2048), ("17", 17), ("17B", 17), ("1MB", 10**6)],
)
def test_sizes(text, wanted):
    assert parse_bytes(text) == wanted


@pytest.mark.parametrize("text", ["", "kB", "-3kB", "3 GB", "3 k B", "1e3"])
def test_sizes_that_are_none(text):
    with pytest.raises(ValueError, match="a size must be a number with B, kB, KiB, MB, MiB or nothing, not"):
        parse_bytes(text)


def test_sensitivities_are_those_of_the_floating_point_twin():
    """Loss and accuracy of PyTorch with one layer at 4 bits; the twin equals the executor spike by spike."""
    model, _ = checkpoints.load(shipped("digits"))
    samples = datasets.load("digits", "train")
    images, labels = samples.images[:40], samples.labels[:40]
    done = []
    rows = sensitivities(model, images, labels, progress=lambda *x: done.append(x))
    assert done == [(i + 1, 13) for i in range(13)]
    assert [x.name for x in rows][:2] == ["sps.0", "sps.1"] and "block.0.attn" not in {x.name for x in rows}

    def measured(bits):
        twin = quantized(quantize(model, weight_bits=bits), dtype=torch.float64)
        with torch.no_grad():
            scores = twin(torch.from_numpy(images))
        right = (scores.argmax(1).numpy() == labels).mean()
        return float(F.cross_entropy(scores, torch.from_numpy(labels))), right

    base = measured(8)
    for row in (rows[0], rows[4], rows[-1]):
        alone = measured({row.name: 4})
        assert row.loss_lost == pytest.approx(alone[0] - base[0], abs=1e-9) and row.loss_lost != 0
        assert row.accuracy_lost == pytest.approx(base[1] - alone[1])
        assert row.bytes(8) == 2 * row.bytes(4) == quantize(model).layer(row.name).weight.size


def test_a_budget_from_the_command_to_the_hardware(tmp_path, capsys, monkeypatch):
    """The network that fits a budget has layers of both kinds, and the simulated core computes it bit for bit."""
    monkeypatch.chdir(tmp_path)
    line = ["quantize", "digits", "--budget", "75kB", "--calibration", "60", "-o", "mixed.safetensors", "--json"]
    assert command(line) == 0
    record = json.loads(capsys.readouterr().out)
    network = Network.load("mixed.safetensors")
    bits = {x.name: x.weight_bits for x in network.layers if x.weight is not None}
    assert record["bits_per_layer"] == bits and set(bits.values()) == {4, 8}
    packed = sum(x.weight.size // (8 // x.weight_bits) for x in network.layers if x.weight is not None)
    assert record["weight_bytes"] == weight_bytes(network) == packed <= 75000 == record["budget"]
    assert {x["name"] for x in record["sensitivities"]} == set(bits)
    samples = datasets.load("digits", "test")
    assert record["images"] == 360 and record["accuracy_integer"] > 0.97
    compiled = compile_network(network, smallest_core(network, lanes=8, neuron_lanes=4))
    report = simulate(compiled, samples.images[:2], build_dir=tmp_path / "simulation")
    assert report.images_bit_exact == 2 and not report.differences and not report.counter_differences
