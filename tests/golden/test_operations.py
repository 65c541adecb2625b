"""The operations equal loops over taps in plain Python, and the core's counts where both count the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from spikeloom.gen.sizing import plan_smallest
from spikeloom.golden.analysis.energy import not_spiking, spiking
from spikeloom.golden.analysis.energy_constants import CONSTANTS
from spikeloom.golden.analysis.operations import TOTAL, dense_sops, operations
from spikeloom.golden.models.e_spikeformer import ESpikeformer
from spikeloom.golden.models.e_spikeformer_config import ESpikeformerConfig
from spikeloom.golden.network import IMAGE
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images, random_network
from spikeloom.golden.quantization.quantize import quantize
from spikeloom.sim.expected_counters import expected_counters
from support import golden_reference
from support.golden_reference import at, receptive_field


def taps(layer):
    """Input and output of each product of a convolution: (output channel, input channel, row, column)."""
    for y in range(layer.height_conv):
        for x in range(layer.width_conv):
            for _, _, row, column in receptive_field(layer, y, x):
                if 0 <= row < layer.height_in and 0 <= column < layer.width_in:
                    for o in range(layer.channels_out):
                        for i in [o] if layer.depthwise else range(layer.channels_in):
                            yield o, i, row, column


def expected(network, layer, tensors, steps, spikes):
    """One layer's operations of one image, tap by tap."""
    found = dict.fromkeys(("dense", "unary", "planes", "product_unary", "product_planes", "checks", "spikes"), 0)
    if layer.spiking:
        found["spikes"] = sum(spikes[layer.name].values())
    if layer.kind == "neurons":
        return found
    active = range(min(layer.steps, *(steps[name] for name in layer.inputs), *([1] if layer.direct else [])))
    bits = network.tensors()[layer.inputs[0]].maximum.bit_length()
    if layer.kind == "attention":
        q, k, _ = (tensors[name] for name in layer.inputs)
        out = layer.channels_out // layer.heads
        places = [(y, x) for y in range(layer.height_in) for x in range(layer.width_in)]
        for t in active:
            for c in range(layer.channels_in):
                keys = [at(k, t, c, y, x) for y, x in places]
                queries = [at(q, t, c, y, x) if any(keys) else 0 for y, x in places]
                found["product_unary"] += sum(keys) * out
                found["product_planes"] += sum(n.bit_count() for n in keys) * out
                found["unary"] += sum(queries) * out
                found["planes"] += sum(n.bit_count() for n in queries) * out
                found["checks"] += 2 * len(places) * bits
        found["dense"] = 2 * len(places) * layer.channels_in * out
        return found
    for o, i, row, column in taps(layer):
        found["dense"] += 1
        for t in active:
            n = at(tensors[layer.inputs[0]], t, i, row, column)
            found["unary"] += n
            found["planes"] += n.bit_count()
            found["checks"] += bits * (layer.depthwise or o == 0)
    return found


CASES = {
    "sew": dict(neuron="dts", pools=(False, True)),
    "ms": dict(residual="ms", channels=2),
    "full": dict(time_steps="full", depth=2, heads=1),
    "masked": dict(time_steps={"sps.0": 0, "block.0.q": 1, "block.0.fc1": 0, "rpe": 5}, steps=5),
}


@pytest.mark.parametrize("case", CASES)
def test_operations_equal_loops_over_taps(case):
    network = random_network(2, stem=(4, 8), height=4, width=5, classes=3, **CASES[case])
    images = random_images(network, 2)
    got = operations(network, images)
    total = dict.fromkeys(("unary", "planes", "dense", "spikes", "checks"), 0)
    runs = [golden_reference.run(network, image) for image in images]
    for layer in network.layers:
        parts = [expected(network, layer, tensors, steps, spikes) for _, spikes, _, tensors, steps in runs]
        for key in parts[0]:
            mean = sum(part[key] for part in parts) / 2
            assert getattr(got[layer.name], key) == mean, (layer.name, key)
            total[key] = total.get(key, 0) + mean
    for key, value in total.items():
        assert getattr(got[TOTAL], key) == value, key
    assert got[TOTAL].unary > got[TOTAL].planes > 0


@pytest.mark.parametrize("coding", ["planes", "unary"])
def test_operations_of_integer_spikes(coding):
    """An E-SpikeFormer: spikes of 0..D, depthwise convolutions, wide values, streams, a sum over the map."""
    torch.manual_seed(0)
    shape = dict(height=8, width=8, dims=(4, 8, 8, 8), heads=2, depths=(1, 0, 1, 0, 1, 0), strides=(1, 2, 1, 1, 1))
    model = ESpikeformer(ESpikeformerConfig(**shape, stem_kernel=3, sep_kernel=3)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.bias, 0, 2)
    network = replace(quantize(model), coding=coding)
    images = random_images(network, 1)
    execution = execute(network, images, record=True)
    tensors, steps = {}, {}
    for name, values in execution.tensors.items():
        tensors[name] = {tuple(map(int, key)): int(values[(key[0], 0, *key[1:])]) for key in np.argwhere(values[:, 0])}
        steps[name] = len(values)
    got = operations(network, images)
    spikes = {name: {0: int(values.sum())} for name, values in execution.spikes.items()}
    for layer in network.layers:
        for key, value in expected(network, layer, tensors, steps, spikes).items():
            assert getattr(got[layer.name], key) == value, (layer.name, key)
    wide = [x for x in network.layers if x.kind == "attention"]
    assert all(x.channels_out > x.channels_in and got[x.name].product_unary > 0 for x in wide) and wide
    assert any(x.depthwise for x in network.layers) and network.layers[1].neuron.levels == 4
    assert got[TOTAL].unary > got[TOTAL].planes and 0 < got[TOTAL].activity < 1
    for constants in CONSTANTS.values():
        energy = spiking(network, got, constants)[TOTAL]
        assert energy.membrane > 0 and np.isfinite(energy.total)
        assert not_spiking(network, got, constants)[TOTAL].compute > energy.compute
    fires = next(x for x in network.layers if x.kind == "neurons")
    done = got[fires.name]  # the bias, and four thresholds
    adds = 5 * done.neurons + done.additions
    assert spiking(network, got, CONSTANTS["int8"])[fires.name].compute == pytest.approx(0.1 * adds) != 0


def test_depthwise_convolutions_add_to_one_channel():
    network = random_network(5, stem=(4, 4), height=4, width=4, pools=(False, False), time_steps="full")
    layer = network.layer("sps.1")
    thin = replace(layer, depthwise=True, weight=layer.weight[:, :1])
    layers = tuple(thin if x.name == "sps.1" else x for x in network.layers)
    network = replace(network, layers=layers)
    images = random_images(network, 1)
    spikes = execute(network, images, record=True).tensors["sps.0"]
    padded = np.pad(spikes, [(0, 0)] * 3 + [(1, 1)] * 2)
    seen = sum(int(padded[..., r : r + 4, c : c + 4].sum()) for r in range(3) for c in range(3))
    got = operations(network, images)["sps.1"]
    assert got.unary == got.planes == seen and got.dense == got.macs == 10 * 10 * 4


@pytest.mark.parametrize("seed", [1, 4])
def test_operations_are_the_core_s_counts_where_both_are_defined(seed):
    network = random_network(seed, stem=(4, 8), heads=2, height=5, width=6, classes=3, neuron="dts")
    images = random_images(network, 4)  # means are exact
    got = operations(network, images, batch=3)
    lanes = 4  # of a head: with more, an event adds to the lanes of other heads too
    plan = plan_smallest(network, lanes=lanes, neuron_lanes=1)
    core = expected_counters(plan, execute(network, images, record=True))
    for layer in network.layers:
        own, of_core = got[layer.name], core[layer.name]
        for name, other in (
            (own.planes, of_core.sops_done),
            (own.spikes, of_core.spikes),
            (own.membrane_reads, of_core.membrane_reads),
            (own.membrane_writes, of_core.membrane_writes),
            (own.product_planes, of_core.kv_updates * lanes),
        ):
            assert name * 4 == other.sum(), layer.name
    assert got[TOTAL].planes * 4 == core[TOTAL].sops_done.sum()


def test_what_the_network_alone_decides():
    network = random_network(
        0, stem=(4, 8), height=4, width=4, steps=4, pools=(False, True), classes=3, hidden=16, heads=2,
        time_steps={"sps.0": 3, "sps.1": 2, "rpe": 1, "block.0.q": 4, "block.0.k": 0, "block.0.attn": 4},
    )  # fmt: skip
    got = operations(network, random_images(network, 2))
    first, second, rpe = got["sps.0"], got["sps.1"], got["rpe"]
    assert first.neurons == 4 * 16 and first.neuron_updates == 3 * 64
    assert first.membrane_reads == first.membrane_writes == 2 * 64
    assert first.dense == first.macs == first.image_macs == 4 * 10 * 10  # 3 taps of 4 positions, less the padding
    assert first.checks == 8 * 10 * 10 and first.activation_reads == 8 * 16 and first.activation_writes == 3 * 64
    assert second.image_macs == 0 and second.weights == 8 * 4 * 9
    assert second.activation_reads == 2 * 4 * 16 and second.activation_writes == 2 * 8 * 4  # pooled
    assert rpe.additions == 2 * 8 * 4 and rpe.activation_writes == 2 * 2 * 8 * 4 and rpe.membrane_reads == 0
    assert rpe.activation_reads == 8 * 4 + 2 * 8 * 4  # the second step is the residual's alone
    attention = got["block.0.attn"]
    assert attention.checks == attention.unary == attention.product_unary == 0 and attention.weights == 0
    assert attention.macs == 2 * 4 * 4 * 8 and attention.dense == 2 * 4 * 8 * 4
    assert attention.membrane_reads == 3 * 8 * 4
    head = got["head"]
    assert head.neurons == head.spikes == head.activity == 0 and head.membrane_reads == 3 * (4 * 4 - 1)
    assert head.activation_writes == 0
    total = got[TOTAL]
    assert total.steps == network.t_avg and total.weights == sum(x.weights for n, x in got.items() if n != TOTAL)
    assert total.activity == total.spikes / (4 * total.neurons)


def test_membrane_streams_are_read_and_written_as_words():
    network = random_network(1, stem=(4, 8), height=4, width=4, pools=(False, True), residual="ms")
    got = operations(network, random_images(network, 1))
    words = 8 * 4
    branches = [layer for layer in network.layers if not layer.fires]
    assert [layer.residual is None for layer in branches] == [True, False, False]
    for layer in branches:
        own = got[layer.name]
        assert own.stream_writes == 4 * words and own.stream_reads == (0 if layer.residual is None else 4 * words)
        assert own.additions == own.stream_reads and own.neurons == own.activation_writes == own.membrane_reads == 0
    for layer in network.layers:
        if layer.kind == "neurons":
            own = got[layer.name]
            assert own.stream_reads == own.additions == layer.steps * words
            assert own.neurons == words and own.activation_reads == own.unary == own.dense == 0


def test_batches_have_no_influence_and_report_their_progress():
    network = random_network(3, height=4, width=4)
    images, seen = random_images(network, 5), []
    whole = operations(network, images)
    assert operations(network, images, batch=2, progress=seen.append) == whole
    assert seen == [2, 4, 5]


def test_accumulates_that_skip_nothing():
    network = random_network(3, height=4, width=4, stem=(4, 8), heads=2, time_steps={"rpe": 1})
    info = network.tensors()
    for layer in network.layers:
        if layer.kind == "attention":
            assert dense_sops(network, layer) == 4 * layer.positions * 8 * 4
            continue
        steps = 1 if layer.inputs[0] == IMAGE else 4
        assert dense_sops(network, layer) == steps * len(list(taps(layer))) * info[layer.inputs[0]].planes
    membrane = random_network(3, height=4, width=4, residual="ms")
    assert {dense_sops(membrane, x) for x in membrane.layers if x.kind == "neurons"} == {0}


def test_bad_arguments_are_refused():
    network = random_network(0)
    with pytest.raises(ValueError, match="images must be at least one, not 0"):
        operations(network, np.zeros((0, 1, 8, 8), np.uint8))
    with pytest.raises(ValueError, match="batch must be positive, not 0"):
        operations(network, random_images(network, 1), batch=0)
