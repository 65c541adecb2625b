"""Placing a network on a core: memory map, Program, sizes, and what is said when something does not fit."""

from dataclasses import replace

import numpy as np
import pytest

from spikeloom.gen.compiler import compile_network
from spikeloom.gen.descriptors import pack_descriptor
from spikeloom.gen.errors import CompileError
from spikeloom.gen.memory_map import map_memory
from spikeloom.gen.plan import make_plan
from spikeloom.gen.sizing import common_core, needs, smallest_core
from spikeloom.golden.network import IMAGE
from spikeloom.golden.network.random_network import random_network
from spikeloom.rtl.core.layouts import DESCRIPTOR, DESCRIPTOR_WORDS, Kind


def network(**changes):
    return random_network(11, **({"stem": (4, 8, 16), "depth": 2, "time_steps": "full"} | changes))


def live_words(net, memory, index):
    """Addresses of every tensor that layer `index` reads or that a later layer still reads."""
    for name, place in memory.placements.items():
        born = -1 if name == IMAGE else [x.name for x in net.layers].index(name)
        readers = [i for i, x in enumerate(net.layers) if name in (*x.inputs, x.residual)]
        if born <= index <= max(readers, default=born):
            yield name, set(range(place.base, place.base + place.size))


@pytest.mark.parametrize("seed", range(4))
def test_living_tensors_never_overlap(seed):
    net = random_network(seed, stem=(4, 8, 16), depth=2)
    memory = map_memory(net, word_bits=8)
    grown = {name: net.layer(name).residual for name in memory.in_place}
    for index in range(len(net.layers)):
        living = dict(live_words(net, memory, index))
        for a in living:
            for b in living:
                if a < b and grown.get(a) != b and grown.get(b) != a:
                    assert not living[a] & living[b], (net.layers[index].name, a, b)


def test_sums_grow_in_place_only_where_nobody_reads_the_old():
    net = network()
    memory = map_memory(net, word_bits=8)
    assert "rpe" not in memory.in_place  # the convolution still reads its neighbours
    assert {"block.0.proj", "block.0.fc2", "block.1.proj", "block.1.fc2"} == memory.in_place
    assert memory.placements["block.0.proj"] == memory.placements["rpe"]


def test_weights_and_parameters_are_where_the_descriptors_say():
    net = network(weight_bits=4)
    config = smallest_core(net, lanes=8, neuron_lanes=4)
    assert config.weight_width == 4
    program = compile_network(net, config).program
    for layer, descriptor in zip(net.layers, program.descriptors[1:-1], strict=True):
        if layer.weight is None:
            continue
        rng = np.random.default_rng(0)
        for _ in range(50):
            o, i, y, x = (int(rng.integers(size)) for size in layer.weight.shape)
            tile, lane = divmod(o, config.lanes)
            tap_row = (y * layer.kernel + x) * layer.channels_in + i
            row = program.weight_rows[descriptor["weight_base"] + tile * descriptor["tile_rows"] + tap_row]
            nibble = row >> 4 * lane & 0xF
            assert nibble - 16 * (nibble >> 3) == layer.weight[o, i, y, x]
            word, index = divmod(o, config.neuron_lanes)
            packed = program.parameter_words[descriptor["parameter_base"] + word]
            width = config.potential_width
            pair = packed >> 2 * width * index
            values = [pair & (1 << width) - 1, pair >> width & (1 << width) - 1]
            signed = [v - (v >> width - 1 << width) for v in values]
            assert signed == [layer.bias[o], layer.threshold[o]]


def test_channels_that_do_not_exist_never_fire():
    net = random_network(1, stem=(3, 8), time_steps="full")
    config = smallest_core(net, lanes=8, neuron_lanes=8)
    first = compile_network(net, config).program.parameter_words[0]
    width = config.potential_width
    thresholds = [first >> (2 * width * i + width) & (1 << width) - 1 for i in range(8)]
    assert thresholds[3:] == [(1 << width - 1) - 1] * 5


def test_a_descriptor_unpacks_to_its_fields():
    fields = {"kind": Kind.ATTENTION, "steps": 17, "tiles": 1023, "head_shift": 7}
    nested = {"input": {"base": 0x2ABCD, "row": 5}, "value": {"step": 0x3FFFF}, "neuron": {"leak": 1}}
    words = pack_descriptor(fields | nested)
    assert len(words) == DESCRIPTOR_WORDS
    bits = sum(word << 32 * i for i, word in enumerate(words))
    for name, value in fields.items():
        field = DESCRIPTOR[name]
        expected = value.value if isinstance(value, Kind) else value
        assert bits >> field.offset & (1 << field.width) - 1 == expected
    for name, values in nested.items():
        for key, value in values.items():
            field = DESCRIPTOR[name].shape[key]
            assert bits >> DESCRIPTOR[name].offset + field.offset & (1 << field.width) - 1 == value


def test_a_field_that_overflows_is_named():
    with pytest.raises(
        CompileError, match=r"a descriptor: descriptor field steps holds 0\.\.31, not 32; .* fewer time steps"
    ):
        pack_descriptor({"steps": 32})
    with pytest.raises(CompileError, match=r"descriptor field residual\.plane holds 0\.\.262143, not 262144"):
        pack_descriptor({"residual": {"plane": 1 << 18}})


@pytest.mark.parametrize(
    "limit",
    [
        "accumulator_width",
        "potential_width",
        "activation_words",
        "weight_rows",
        "membrane_positions",
        "parameter_words",
        "program_layers",
        "tokens",
        "classes",
    ],
)
def test_each_limit_is_named_with_layer_and_remedy(limit):
    net = network()
    config = smallest_core(net, lanes=8, neuron_lanes=4)
    need = next(n for n in needs(make_plan(net, config)) if n.limit == limit)
    changes = {limit: need.least - 1}
    if limit == "potential_width":
        changes["accumulator_width"] = need.least - 1
    with pytest.raises(CompileError) as caught:
        compile_network(net, replace(config, **changes))
    message = str(caught.value)
    named = limit if limit != "potential_width" else "_width"
    assert named in message and "layer '" in message and "would help" in message and "\n" not in message


def test_int8_weights_do_not_fit_a_four_bit_core():
    net = network()
    with pytest.raises(CompileError, match="weight_width must be at least 8"):
        smallest_core(net, lanes=8, neuron_lanes=4, weight_width=4)


def test_image_channels_and_head_rows_are_limits():
    colour = network(channels=3)
    with pytest.raises(CompileError, match="image_channels must be at least 3"):
        smallest_core(colour, lanes=8, neuron_lanes=4, image_channels=1)
    wide_head = network(stem=(4, 16), heads=1, depth=1)
    with pytest.raises(CompileError, match="kv_rows must be at least 16"):
        smallest_core(wide_head, lanes=8, neuron_lanes=4, kv_rows=8)


def test_heads_that_no_mask_can_select_are_refused():
    net = random_network(3, stem=(4, 12), heads=2, time_steps="full")
    with pytest.raises(CompileError, match="layer 'block.0.attn': channels of a head must be a power of two, not 6"):
        smallest_core(net, lanes=8, neuron_lanes=4)


def test_words_that_attention_would_share_are_refused():
    net = random_network(3, stem=(4, 24), heads=3, time_steps="full")
    with pytest.raises(CompileError, match="must fill whole words of 16 lanes"):
        smallest_core(net, lanes=16, neuron_lanes=4)


def test_a_common_core_holds_the_larger_of_each():
    a = smallest_core(network(), lanes=8, neuron_lanes=4)
    b = smallest_core(network(depth=1, classes=12), lanes=8, neuron_lanes=4)
    both = common_core(a, b)
    assert both.classes == 12 and both.weight_rows == max(a.weight_rows, b.weight_rows)
    for net in (network(), network(depth=1, classes=12)):
        compile_network(net, both)
    with pytest.raises(CompileError, match="cores must agree in lanes"):
        common_core(a, replace(b, lanes=16, kv_rows=16))


def test_the_manifest_is_json_and_says_what_was_decided():
    import json

    net = network()
    compiled = compile_network(net, smallest_core(net, lanes=8, neuron_lanes=4))
    manifest = json.loads(json.dumps(compiled.manifest()))
    assert [x["name"] for x in manifest["layers"]] == [x.name for x in net.layers]
    assert manifest["core"]["lanes"] == 8
    assert manifest["memory"]["weight_rows"] == len(compiled.program.weight_rows)
    assert manifest["tensors"]["rpe"]["base"] == compiled.plan.memory.placements["rpe"].base
