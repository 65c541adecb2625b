"""The expected counters equal loops over bits in plain Python."""

import pytest

from spikeloom.gen.sizing import plan_smallest
from spikeloom.golden.network import IMAGE
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images, random_network
from spikeloom.sim.expected_counters import TOTAL, expected_counters
from support import golden_reference
from support.golden_reference import at, receptive_field


def expected_counts(network, layer, tensors, steps, spikes, lanes, columns, neuron_lanes, group):
    """One layer's counts of one image, event by event."""
    found = dict.fromkeys(("sops_done", "kv_updates", "events", "rows_skipped", "membrane_reads", "membrane_writes"), 0)
    sources = [tensors[name] for name in layer.inputs]
    active = min(layer.steps, *(steps[name] for name in layer.inputs))
    if layer.inputs[0] == IMAGE:
        active = min(layer.steps, 1)
    planes = network.tensors()[layer.inputs[0]].planes
    for first in range(0, layer.channels_out, lanes):
        valid = min(lanes, layer.channels_out - first)
        for t in range(active):
            if layer.kind == "attention":
                attention_tile(found, layer, sources, t, first, valid, lanes, columns)
            else:
                accumulate_tile(found, layer, sources[0], t, planes, valid, group)
        words = -(-valid // neuron_lanes)
        run = list(range(layer.steps))
        for y in range(layer.height_conv):
            for x in range(layer.width_conv):
                for t in run:
                    if layer.kind == "readout":
                        found["membrane_reads"] += words * ((t, y, x) != (0, 0, 0))
                        last = (layer.steps - 1, layer.height_conv - 1, layer.width_conv - 1)
                        found["membrane_writes"] += words * ((t, y, x) != last)
                    else:
                        found["membrane_reads"] += words * (t > 0)
                        found["membrane_writes"] += words * (t < layer.steps - 1)
    found["spikes"] = 0 if layer.kind == "readout" else sum(spikes[layer.name].values())
    return found


def groups(layer, columns):
    """Output positions that share a row of the array."""
    for y in range(layer.height_conv):
        for left in range(0, layer.width_conv, columns):
            yield [(y, x) for x in range(left, min(left + columns, layer.width_conv))]


def accumulate_tile(found, layer, tensor, t, planes, valid, columns):
    for group in groups(layer, columns):
        fields = [list(receptive_field(layer, y, x)) for y, x in group]
        for tap in zip(*fields, strict=True):
            places = [(row, column) for _, _, row, column in tap]
            # a word of the image has all taps of its row, those outside the image too
            if not any(0 <= r < layer.height_in and (layer.direct or 0 <= c < layer.width_in) for r, c in places):
                continue
            for channel in range(layer.channels_in):
                for plane in range(planes):
                    bits = [at(tensor, t, channel, r, c) >> plane & 1 for r, c in places]
                    found["sops_done"] += sum(bits) * valid
                    found["events"] += any(bits)
                    found["rows_skipped"] += not any(bits)


def attention_tile(found, layer, sources, t, first, valid, lanes, columns):
    q, k, _ = sources
    width = layer.channels_in // layer.heads
    if width <= lanes:
        channels = range(first, first + valid)
    else:
        channels = range(first // width * width, (first // width + 1) * width)
    everywhere = [(y, x) for y in range(layer.height_in) for x in range(layer.width_in)]
    touched = set()
    for y, x in everywhere:
        for c in channels:
            if at(k, t, c, y, x):
                touched.add(c)
                found["kv_updates"] += 1
    for group in groups(layer, columns):
        for c in channels:
            bits = [at(q, t, c, y, x) and c in touched for y, x in group]
            found["sops_done"] += sum(bits) * valid
            found["events"] += any(bits)
            found["rows_skipped"] += not any(bits)


# lanes, columns, neuron_lanes, heads: heads wider and narrower than the lanes, tiles with lanes to spare
SIZES = [(4, 1, 1, 2), (4, 2, 4, 1), (4, 4, 2, 4), (8, 4, 8, 2), (8, 8, 4, 1), (16, 2, 4, 2), (32, 1, 16, 4)]


@pytest.mark.parametrize("lanes, columns, neuron_lanes, heads", SIZES)
@pytest.mark.parametrize("seed", [1, 4])
def test_counts_equal_loops_over_bits(lanes, columns, neuron_lanes, heads, seed):
    network = random_network(
        seed, stem=(4, 8), heads=heads, hidden=10, height=5, width=6, classes=3, neuron="dts", pools=(False, seed == 1)
    )
    images = random_images(network, 2)
    plan = plan_smallest(network, lanes=lanes, columns=columns, neuron_lanes=neuron_lanes)
    got = expected_counters(plan, execute(network, images, record=True))
    full = network.with_steps({x.name: network.steps for x in network.spiking})
    total = {}
    for b, image in enumerate(images):
        _, spikes, _, tensors, steps = golden_reference.run(network, image)
        for layer in network.layers:
            group = plan.by_name[layer.name].group
            wanted = expected_counts(network, layer, tensors, steps, spikes, lanes, columns, neuron_lanes, group)
            everything = wanted
            if layer.kind != "readout":
                everything = expected_counts(
                    network, full.layer(layer.name), tensors, steps, spikes, lanes, columns, neuron_lanes, group
                )
            for access in ("membrane_reads", "membrane_writes"):
                wanted[f"{access}_saved"] = everything[access] - wanted[access]
            for key, value in wanted.items():
                assert getattr(got[layer.name], key)[b] == value, (layer.name, key, b)
                total[key, b] = total.get((key, b), 0) + value
    for (key, b), value in total.items():
        assert getattr(got[TOTAL], key)[b] == value
    assert got[TOTAL].sops_done.shape == (2,)


def test_fewer_steps_move_membrane_accesses_from_done_to_saved():
    network = random_network(0, time_steps="full", neuron="dts")
    images = random_images(network, 2)
    shorter = network.with_steps({"block.0.fc1": 1, "rpe": 0})

    def accesses(which):
        plan = plan_smallest(which, lanes=4, neuron_lanes=2)
        return expected_counters(plan, execute(which, images, record=True))

    before, after = accesses(network), accesses(shorter)
    for name in ("block.0.fc1", "rpe"):
        assert (before[name].membrane_reads > 0).all() and not before[name].membrane_reads_saved.any()
        assert not after[name].membrane_reads.any() and not after[name].membrane_writes.any()
        assert (after[name].membrane_reads_saved == before[name].membrane_reads).all()
        assert (after[name].membrane_writes_saved == before[name].membrane_writes).all()
    assert not after["rpe"].sops_done.any() and not after["rpe"].spikes.any()


def test_an_execution_that_was_not_recorded_is_refused():
    network = random_network(0)
    with pytest.raises(ValueError, match=r"the execution was not recorded; call execute\(..., record=True\)"):
        expected_counters(plan_smallest(network, lanes=4, neuron_lanes=1), execute(network, random_images(network, 1)))
