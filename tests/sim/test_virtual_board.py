"""The real driver against the real core behind its bridge, pins and all: what a host can load, and what it survives."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.lib import data

from spikeloom.gen.compiler import compile_network
from spikeloom.gen.host.link import HostError
from spikeloom.gen.sizing import common_core, smallest_core
from spikeloom.golden.models import checkpoints
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images, random_network
from spikeloom.golden.quantization.quantize import quantize
from spikeloom.golden.zoo.shipped import shipped
from spikeloom.rtl.core.layouts import DESCRIPTOR, DESCRIPTOR_WORDS, WORD_BITS, significant
from spikeloom.rtl.core.registers import Control, Region, Register, Status
from spikeloom.sim.virtual_board import CLOCK_HZ, VirtualBoard

SIZE = dict(lanes=4, columns=1, neuron_lanes=4, weight_width=8)
TINY = dict(channels=2, height=4, width=3, stem=[4, 4], heads=1, hidden=4, classes=3, steps=2)
WATCHDOG = 12
PATIENCE_S = 3 * (1 << WATCHDOG) / CLOCK_HZ


@pytest.fixture(scope="module")
def build_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("board")


@pytest.fixture(scope="module")
def tiny():
    """A tiny model, its images and their class sums."""
    network = random_network(3, **TINY)
    images = random_images(network, 2, seed=4)
    return compile_network(network, smallest_core(network, **SIZE)), images, execute(network, images).sums.tolist()


@pytest.fixture(scope="module")
def board(tiny, build_dir):
    """One for all: each test begins with a load, as whoever finds a board does."""
    with VirtualBoard(tiny[0].config, build_dir=build_dir) as board:
        yield board


def with_frame(network, pixel):
    """The network for normalised pixels: its image has a frame in the place of zero padding."""
    first = network.layers[0]
    assert first.padding == 1
    first = replace(first, padding=0, height_in=first.height_in + 2, width_in=first.width_in + 2)
    height, width = network.height + 2, network.width + 2
    layers = (first, *network.layers[1:])
    return replace(network, height=height, width=width, layers=layers, padding_pixel=pixel, frame=1)


def leaves(layout, at=0):
    """Offset and width of every field that has no fields itself."""
    for _, field in layout:
        if isinstance(field.shape, data.StructLayout):
            yield from leaves(field.shape, at + field.offset)
        else:
            yield at + field.offset, field.width


def test_two_models(build_dir):
    """The digits and a model with normalised pixels, one after the other into one core; a third does not fit."""
    framed = with_frame(random_network(5, channels=2, height=6, width=5, steps=3, classes=4), (30, 200))
    networks = [quantize(checkpoints.load(shipped("digits"))[0]), framed]
    sizes = dict(lanes=32, columns=1, neuron_lanes=8)
    config = common_core(*(smallest_core(network, **sizes) for network in networks))
    larger = replace(config, weight_rows=config.weight_rows * 2)
    with VirtualBoard(config, build_dir=build_dir) as board:
        device = board.device()
        with pytest.raises(HostError, match="the core holds no Program: load one"):
            _ = device.image
        assert device.core == config
        for network in networks:
            compiled = compile_network(network, config)
            assert not device.holds(compiled.program)
            device.load(compiled.program)
            assert device.holds(compiled.program)
            images = random_images(network, 2, seed=6)
            wanted = execute(network, images).sums.tolist()
            again = board.device()  # knows only what the core says
            for image, sums in zip(images, wanted, strict=True):
                assert again.infer(image).sums == sums
        wrong = compile_network(framed, replace(larger, columns=2, banks=2, lanes=16, word=16)).program
        message = (
            "the Program is for another core: lanes 16, the core has 32; columns 2, the core has 1; "
            f"banks 2, the core has 1; weight_rows {larger.weight_rows}, the core has {config.weight_rows}; "
            "word 16, the core has 32"
        )
        with pytest.raises(HostError, match=message):
            device.load(wrong)
        assert device.infer(images[0]).sums == wanted[0]


def test_flipped_descriptors(tiny, board):
    """No wrong bit of a descriptor hangs the core for good: watchdog, descriptor check or abort bring it back."""
    compiled, images, sums = tiny
    device = board.device(timeout_s=PATIENCE_S)
    device.load(compiled.program)
    words = compiled.program.program_words
    fields = list(leaves(DESCRIPTOR))
    kinds = ["image", *(planned.layer.kind for planned in compiled.plan.layers), "end"]  # a descriptor each
    assert len(words) == len(kinds) * DESCRIPTOR_WORDS
    seen, stopped = significant(compiled.config), 0
    for number, first in enumerate(range(0, len(words), DESCRIPTOR_WORDS)):
        for offset, width in fields:
            bits = [offset + i for i in range(width) if seen >> offset + i & 1]
            bit = bits[(number * 7 + offset) % len(bits)]
            index = first + bit // WORD_BITS
            address = Region.PROGRAM.address(index)
            device.set_watchdog(WATCHDOG if bit & 1 else 0)
            device.write_words(address, [words[index] ^ 1 << bit % WORD_BITS])
            try:
                device.infer(images[0])
            except HostError:
                stopped += 1
            device.abort()
            device.write_words(address, [words[index]])
            if device.infer(images[1]).sums != sums[1]:  # wrong attention writes its K^T V among the weights
                assert kinds[number] == "attention" or offset == DESCRIPTOR["kind"].offset, (number, bit)
                device.load(compiled.program)
                assert device.infer(images[1]).sums == sums[1], (number, bit)
    assert stopped >= 20


def test_watchdog_and_descriptor_check(tiny, board):
    """An image that takes longer than it may, a kind that does not exist, a second image."""
    compiled, images, sums = tiny
    words = compiled.program.program_words
    first, last = list(words[:DESCRIPTOR_WORDS]), len(words) - DESCRIPTOR_WORDS
    device = board.device()
    device.load(compiled.program)
    cycles = device.infer(images[0]).counters["cycles"]
    for log2_cycles in (cycles.bit_length() - 1, cycles.bit_length()):  # the largest below, the smallest above
        device.set_watchdog(log2_cycles)
        if 1 << log2_cycles > cycles:
            assert device.infer(images[0]).sums == sums[0]
        else:
            with pytest.raises(HostError, match="the core's watchdog stopped the image"):
                device.infer(images[0])
    kind = DESCRIPTOR["kind"]
    assert kind.offset == 0 and kind.width == 3
    for wrong in (first, [5], [6], [7]):
        device.write_words(Region.PROGRAM.address(last), wrong)
        with pytest.raises(HostError, match="the core stopped at a descriptor that it does not know"):
            device.infer(images[0])
        assert not device.status() & Status.BUSY
    device.load(compiled.program)
    assert device.infer(images[1]).sums == sums[1]


def test_busy(tiny, board):
    """While an image is computed no write reaches the Program; the host hears of it, and may load after an abort."""
    compiled, images, sums = tiny
    device = board.device()
    device.load(compiled.program)
    device.write_words(Region.REGISTERS.address(Register.CONTROL), [Control.START])
    for region in (Region.PROGRAM, Region.PARAMETERS, Region.WEIGHTS):
        device.write_words(region.address(), [0x5A5A5A5A] * 2)
    device.write_words(Region.REGISTERS.address(Register.PROGRAM_INFO), [1])
    device.write_words(Region.WEIGHTS.address(1 << 23), [1])
    assert device.refused_writes() == 8
    assert device.infer(images[0]).sums == sums[0]  # aborts the image that broke off
    device.write_words(Region.REGISTERS.address(Register.CONTROL), [Control.START])
    device.write_words(Region.REGISTERS.address(Register.PIXELS), [1, 2], fixed=True)
    device.load(compiled.program)
    assert device.infer(images[1]).sums == sums[1]
    assert device.read_words(Region.RESULTS.address(3), 2) == [0, 0]  # there are three classes
    device.write_words(Region.REGISTERS.address(Register.CONTROL), [Control.START])
    assert device.read_words(Region.RESULTS.address(), 3) == [0, 0, 0]


def test_damage_on_the_way(tiny, board):
    """A bit that changes on the line is found, and the core holds no Program until it is loaded well."""
    compiled, images, sums = tiny
    device = board.device()
    device.load(compiled.program)
    honest = board.write

    def damaged(sent):
        return honest(sent if len(sent) < 400 else sent[:200] + bytes([sent[200] ^ 4]) + sent[201:])

    board.write = damaged
    with pytest.raises(HostError, match="the Program did not arrive whole .checksum .*: load again"):
        device.load(compiled.program)
    board.write = honest
    with pytest.raises(HostError, match="the core holds no Program"):
        device.infer(images[0])
    board.write(b"\x01\x05")  # and half a frame
    device.identify()
    device.load(compiled.program)
    assert device.infer(np.asarray(images[0])).sums == sums[0]
