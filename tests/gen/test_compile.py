"""Placing a network on a core: memory map, Program, sizes, and what is said when something does not fit."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from spikeloom.gen.compiler import compile_network
from spikeloom.gen.descriptors import pack_descriptor
from spikeloom.gen.errors import CompileError
from spikeloom.gen.memory_map import map_memory
from spikeloom.gen.plan import make_plan
from spikeloom.gen.program import make_program
from spikeloom.gen.sizing import common_core, needs, plan_smallest, smallest_core
from spikeloom.golden.network import IMAGE, Layer, Network
from spikeloom.golden.network.random_network import random_network
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import DESCRIPTOR, DESCRIPTOR_WORDS, Kind
from spikeloom.rtl.core.registers import REGION_WORDS


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
    memory = map_memory(net, word_bits=8, image_words=2)
    grown = {name: net.layer(name).residual for name in memory.in_place}
    for index in range(len(net.layers)):
        living = dict(live_words(net, memory, index))
        for a in living:
            for b in living:
                if a < b and grown.get(a) != b and grown.get(b) != a:
                    assert not living[a] & living[b], (net.layers[index].name, a, b)


def test_sums_grow_in_place_only_where_nobody_reads_the_old():
    net = network()
    memory = map_memory(net, word_bits=8, image_words=2)
    assert "rpe" not in memory.in_place  # the convolution still reads its neighbours
    assert {"block.0.proj", "block.0.fc2", "block.1.proj", "block.1.fc2"} == memory.in_place
    assert memory.placements["block.0.proj"] == memory.placements["rpe"]


@pytest.mark.parametrize("banks", [1, 4])
def test_weights_and_parameters_are_where_the_descriptors_say(banks):
    net = network(weight_bits=4)
    config = smallest_core(net, lanes=8, neuron_lanes=4, banks=banks)
    assert config.weight_width == 4
    program = compile_network(net, config).program
    for layer, descriptor in zip(net.layers, program.descriptors[1:-1], strict=True):
        if layer.weight is None:
            continue
        rng = np.random.default_rng(0)
        for _ in range(50):
            o, i, y, x = (int(rng.integers(size)) for size in layer.weight.shape)
            tile, lane = divmod(o, config.lanes)
            parts = 1 << descriptor["group"]
            assert parts == (2 if layer.direct else 1)
            tap, in_bank = y * layer.kernel + x, descriptor["weight_base"] + tile * descriptor["tile_rows"]
            in_bank += tap * -(-layer.channels_in // banks) + i // banks
            row = program.weight_rows[in_bank * banks + (i + tap) % banks]
            if layer.direct:
                tap_row = (y * layer.channels_in + i) * layer.kernel + x
                row = program.weight_rows[
                    (descriptor["weight_base"] + tile * descriptor["tile_rows"]) * banks + tap_row
                ]
            for part in range(parts):  # each position of the group has all channels
                nibble = row >> 4 * (lane + part * config.lanes // parts) & 0xF
                assert nibble - 16 * (nibble >> 3) == layer.weight[o, i, y, x]
            word, index = divmod(o, config.neuron_lanes)
            packed = program.parameter_words[descriptor["parameter_base"] + word]
            width = config.potential_width
            pair = packed >> 2 * width * index
            values = [pair & (1 << width) - 1, pair >> width & (1 << width) - 1]
            signed = [v - (v >> width - 1 << width) for v in values]
            lower = layer.neuron.strict and layer.spiking
            assert signed == [layer.bias[o] - lower, -layer.threshold[o] if layer.spiking else 0]


def test_channels_that_do_not_exist_never_fire():
    net = random_network(1, stem=(3, 8), time_steps="full")
    config = smallest_core(net, lanes=8, neuron_lanes=8)
    first = compile_network(net, config).program.parameter_words[0]
    width = config.potential_width
    thresholds = [first >> (2 * width * i + width) & (1 << width) - 1 for i in range(8)]
    assert thresholds[3:] == [1 << width - 1] * 5  # negated: the least number, which no potential lifts to zero


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
        "side",
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


def test_image_rows_and_head_rows_are_limits():
    colour = network(channels=3)
    with pytest.raises(CompileError, match=f"row_pixels must be at least {3 * colour.width}"):
        smallest_core(colour, lanes=8, neuron_lanes=4, row_pixels=3 * colour.width - 1)
    wide_head = network(stem=(4, 128), heads=1, depth=1)
    with pytest.raises(CompileError, match="'block.0.attn': the heads of a tile must have at most 16 spike words, not"):
        smallest_core(wide_head, lanes=4, neuron_lanes=4)


@pytest.mark.parametrize(("bits", "digits"), [(8, 1), (4, 2)])
def test_the_rows_of_k_t_v_hold_a_count_of_all_tokens(bits, digits):
    """16 tokens: one digit of 8 bits holds up to 127, one of 4 bits up to 7, two up to 119."""
    net = network(weight_bits=bits, stem=(4, 16), pools=(False, False), heads=2, depth=1, height=4, width=4)
    plan = make_plan(net, smallest_core(net, lanes=8, neuron_lanes=4, banks=2))
    attention = plan.by_name["block.0.attn"]
    assert (attention.positions, attention.digits, attention.digit_rows) == (16, digits, 4)
    assert plan.product_rows == 4 * digits
    assert not any(make_program(plan).weight_rows[: 2 * 4 * digits])
    assert min(layer.weight_base for layer in plan.layers if layer.weight_rows) == 4 * digits


def test_rows_are_those_of_whole_banks():
    with pytest.raises(ValueError, match="weight_rows must be a multiple of banks .4., not 30"):
        CoreConfig(banks=4, weight_rows=30)
    with pytest.raises(ValueError, match="banks must be 1, 2, 4 or 8, not 3"):
        CoreConfig(banks=3)
    with pytest.raises(ValueError, match="banks must be at most word .4., not 8"):
        CoreConfig(lanes=4, banks=8, neuron_lanes=4)


def test_heads_that_no_mask_can_select_are_refused():
    net = random_network(3, stem=(4, 12), heads=2, time_steps="full")
    with pytest.raises(CompileError, match="layer 'block.0.attn': channels of a head must be a power of two, not 6"):
        smallest_core(net, lanes=8, neuron_lanes=4)


def test_words_that_attention_would_share_are_refused():
    net = random_network(3, stem=(4, 24), heads=3, time_steps="full")
    with pytest.raises(CompileError, match="must fill whole tiles of 16 lanes"):
        smallest_core(net, lanes=16, neuron_lanes=4)


def test_a_common_core_holds_the_larger_of_each():
    a = smallest_core(network(), lanes=8, neuron_lanes=4)
    b = smallest_core(network(depth=1, classes=12), lanes=8, neuron_lanes=4)
    both = common_core(a, b)
    assert both.classes == 12 and both.weight_rows == max(a.weight_rows, b.weight_rows)
    for net in (network(), network(depth=1, classes=12)):
        compile_network(net, both)
    with pytest.raises(CompileError, match="cores must agree in lanes"):
        common_core(a, replace(b, lanes=16, word=16))


def test_the_manifest_is_json_and_says_what_was_decided():
    import json

    net = network()
    compiled = compile_network(net, smallest_core(net, lanes=8, neuron_lanes=4))
    manifest = json.loads(json.dumps(compiled.manifest()))
    assert [x["name"] for x in manifest["layers"]] == [x.name for x in net.layers]
    assert manifest["core"]["lanes"] == 8
    assert manifest["memory"]["weight_rows"] == len(compiled.program.weight_rows)
    assert manifest["tensors"]["rpe"]["base"] == compiled.plan.memory.placements["rpe"].base


def test_shapes_are_inferred_and_the_memory_is_mapped_once(monkeypatch):
    """From the layers of a network to its Program, manifest, estimate and expected counters."""
    from spikeloom.gen import plan
    from spikeloom.gen.estimate import estimate, random_activity
    from spikeloom.golden.network import network as networks
    from spikeloom.golden.network.execute import execute
    from spikeloom.golden.network.random_network import random_images
    from spikeloom.sim.expected_counters import expected_counters

    made, calls = network(), Counter()

    def counted(module, name):
        function = getattr(module, name)

        def call(*arguments, **keywords):
            calls[name] += 1
            return function(*arguments, **keywords)

        monkeypatch.setattr(module, name, call)

    counted(networks, "infer")
    counted(plan, "map_memory")
    counted(plan, "widths")
    net = replace(made, name="again")
    compiled = compile_network(net, lanes=8, neuron_lanes=4)
    compiled.manifest()
    estimate(compiled.plan, random_activity(net, 0.1))
    expected_counters(compiled.plan, execute(net, random_images(net, 1), record=True))
    assert calls == {"infer": 1, "map_memory": 1, "widths": 1}


def wide_image(side, *, channels=4, kernel=1, padding=0, stride=1):
    """A convolution and a readout over an image of so many pixels squared."""
    out = (side + 2 * padding - kernel) // stride + 1

    def shared(count):
        zeros = np.zeros(count, np.int64)
        return {"channels_out": count, "bias": zeros, "threshold": zeros + 1, "scale": np.ones(count), "steps": 1}

    conv = Layer(
        name="conv", inputs=(IMAGE,), channels_in=1, height_in=side, width_in=side, kernel=kernel, padding=padding,
        stride=stride, weight=np.ones((channels, 1, kernel, kernel), np.int8), **shared(channels),
    )  # fmt: skip
    head = Layer(
        name="head", kind="readout", group="head", inputs=("conv",), channels_in=channels, height_in=out, width_in=out,
        weight=np.ones((4, channels, 1, 1), np.int8), **shared(4),
    )  # fmt: skip
    return Network(name="wide", steps=1, channels=1, height=side, width=side, layers=(conv, head))


def test_addresses_beyond_the_descriptor_name_the_layer_and_the_field():
    """The spikes, 9 words a position, lie before the image: its eighth plane has an address of 19 bits."""
    compiled = compile_network(wide_image(100, channels=72), lanes=8, neuron_lanes=4)
    assert compiled.program.descriptors[1]["input"]["base"] == 9 * 100**2 + 7 * 100 * 25  # a word for four pixels
    message = r"layer 'conv': descriptor field input\.base holds 0\.\.262143, not 311270; what would help: earlier pool"
    with pytest.raises(CompileError, match=message):
        compile_network(wide_image(170, channels=72), lanes=8, neuron_lanes=4)


def test_padding_before_the_memory_is_a_twos_complement():
    compiled = compile_network(wide_image(4, kernel=3, padding=1), lanes=8, neuron_lanes=4)
    place, field = compiled.plan.image, compiled.program.descriptors[1]["input"]
    assert place.base == 0 and field["base"] == 7 * 4 - 1
    moved = replace(compiled.plan.layers[0], inputs=(replace(place, base=-7 * 4),))
    plan = replace(compiled.plan, layers=(moved, *compiled.plan.layers[1:]))
    assert make_program(plan).descriptors[1]["input"]["base"] == (1 << 18) - 1
    with pytest.raises(CompileError, match="layer 'conv': padding at address .* at most 262144 words, not 262145"):
        make_program(replace(plan, config=replace(plan.config, activation_words=(1 << 18) + 1)))


@pytest.mark.parametrize(
    ("size", "fields", "group", "words"),
    [
        # the image is 40 wide, its layer has 4 channels, kernel 3, stride 1; words have 32 bits and begin every 16
        (dict(lanes=32), dict(), 8, 3),
        (dict(lanes=32, neuron_lanes=8), dict(), 4, 3),  # a part of the lanes is whole words of neurons
        (dict(lanes=16), dict(), 4, 5),  # lanes for four positions
        (dict(lanes=32), dict(stride=2), 8, 3),  # eight see 17 pixels
        (dict(lanes=32), dict(stride=2, kernel=5), 4, 3),  # eight would see more
        (dict(lanes=32), dict(stride=3), 1, 3),  # no word gives every third pixel
        (dict(lanes=32, columns=4), dict(), 4, 3),  # the columns are the group
        (dict(lanes=32), dict(kernel=17), 1, 2),
        (dict(lanes=32), dict(kernel=15), 2, 2),
    ],
)
def test_positions_that_the_image_s_layer_computes_at_once(size, fields, group, words):
    net = wide_image(40, **{"kernel": 3, **fields})
    plan = plan_smallest(net, **({"neuron_lanes": 4} | size))
    assert (plan.layers[0].group, plan.image.words) == (group, words)
    assert plan.layers[1].group == plan.config.columns
    assert plan.image.size == 8 * 40 * words


def test_a_memory_larger_than_its_region_of_the_host_bus_is_refused():
    net = wide_image(4)
    config = smallest_core(net, lanes=128, neuron_lanes=8)
    rows = REGION_WORDS // 32  # of 128 x 8 bits
    compile_network(net, replace(config, weight_rows=rows))
    with pytest.raises(CompileError, match=f"region WEIGHTS must have at most {REGION_WORDS} words .* 4-bit weights"):
        compile_network(net, replace(config, weight_rows=rows + 1))


def test_what_no_core_has_is_named_with_its_layer():
    message = "layer 'conv': a kernel over the image must be at most 5, half a spike word and one, not 6; .* wider"
    with pytest.raises(CompileError, match=message):
        smallest_core(wide_image(6, kernel=6), lanes=8, neuron_lanes=4)
    net = wide_image(4)
    conv = replace(net.layers[0], bias=np.full(4, 1 << 38))
    with pytest.raises(CompileError, match="layer 'conv': potential_width must be at least 40, .* at most 32"):
        smallest_core(replace(net, layers=(conv, net.layers[1])), lanes=8, neuron_lanes=4)


def test_the_pixel_of_a_frame_has_room_for_so_many_channels():
    def framed(channels):
        net = network(channels=channels, depth=1)
        first = net.layers[0]
        first = replace(first, padding=0, height_in=first.height_in + 2, width_in=first.width_in + 2)
        wider = {"height": net.height + 2, "width": net.width + 2, "layers": (first, *net.layers[1:])}
        return replace(net, padding_pixel=(7,) * channels, frame=1, **wider)

    assert compile_network(framed(40), lanes=64).program.image.padding_pixel == (7,) * 40
    with pytest.raises(
        CompileError, match="layer 'sps.0': an image with a frame must have at most 40 channels, not 41"
    ):
        compile_network(framed(41), lanes=64)


def test_what_golden_ignores_and_the_core_would_follow_is_refused():
    net = network(depth=1)
    head = net.layers[-1]
    with pytest.raises(ValueError, match="layer 'head': a readout runs all 4 steps of its input, not 1"):
        smallest_core(replace(net, layers=(*net.layers[:-1], replace(head, steps=1))), lanes=8, neuron_lanes=4)
    with pytest.raises(ValueError, match="layer 'head': readout has kernel 1, stride 1 and padding 0, not 1, 2 and 0"):
        smallest_core(replace(net, layers=(*net.layers[:-1], replace(head, stride=2))), lanes=8, neuron_lanes=4)


def test_a_core_and_sizes_at_once_are_refused():
    net = wide_image(4)
    with pytest.raises(TypeError, match="sizes belong to a core of their own, not beside one: lanes"):
        compile_network(net, smallest_core(net, lanes=8, neuron_lanes=4), lanes=8)
