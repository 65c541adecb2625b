"""`ImageLoader`: pixels to bitmaps of rows."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.image_loader import PIXEL_BITS, ImageLoader
from spikeloom.rtl.core.layouts import DESCRIPTOR
from spikeloom.sim.bench import cycle, pack, parameters, send, start

CASES = [
    {"config": dict(lanes=4, neuron_lanes=4, row_pixels=5)},
    {"config": dict(lanes=8, neuron_lanes=4, row_pixels=33)},
]


def build(*, config):
    return ImageLoader(config=CoreConfig(**config))


def random_image(config, channels):
    """A descriptor, pixels [row][column][channel], and the words that they make."""
    hop = config.word // 2
    width, height, edge = random.randint(1, config.row_pixels // channels), random.randint(1, 4), random.randint(0, 3)
    words = random.randint(1, 1 + (width + edge) // hop)
    plane, base = height * channels * words + 2, random.randrange(100)
    layer = dict(width=width, height=height, tile_tail=channels, output=dict(base=base, plane=plane))
    layer["field"] = dict(words=words, padding=edge)
    pixels = [[[random.getrandbits(PIXEL_BITS) for _ in range(channels)] for _ in range(width)] for _ in range(height)]
    wanted = {}
    for b in range(PIXEL_BITS):
        at = base + b * plane
        for row in pixels:
            for c in range(channels):
                for j in range(words):
                    places = [(i, j * hop + i - edge) for i in range(config.word)]
                    wanted[at] = sum((row[x][c] >> b & 1) << i for i, x in places if 0 <= x < width)
                    at += 1
    return layer, pixels, wanted


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.6])
async def planes(dut, idle):
    """Every plane of every pixel, zeros beside a row; a row comes while the row before is written."""
    config = CoreConfig(**parameters()["config"])
    await start(dut, layer=0, active=0, pixels__valid=0, pixels__payload=0)
    for channels in (1, 3, 2, 1):
        layer, pixels, wanted = random_image(config, channels)
        dut.layer.value = pack(DESCRIPTOR, layer)
        await FallingEdge(dut.clk)
        dut.active.value = 1
        sent = [p for row in pixels for column in row for p in column]
        cocotb.start_soon(send(dut, "pixels", sent, idle=idle))
        written, done, began = {}, False, cycle()
        while not done:
            await FallingEdge(dut.clk)
            await ReadOnly()
            if int(dut.writes__enable.value):
                at = int(dut.writes__address.value)
                assert at not in written
                written[at] = int(dut.writes__data.value)
            done = int(dut.done.value)
        assert written == wanted
        if not idle:
            assert cycle() - began <= most_cycles(config, layer)
        await FallingEdge(dut.clk)
        dut.active.value = 0
        await ReadOnly()
        assert not int(dut.pixels__ready.value) and not int(dut.writes__enable.value)
        await FallingEdge(dut.clk)


def most_cycles(config, layer):
    """To begin and to end 3; the first row comes, then each is written, or comes where that takes longer."""
    words, channels = layer["field"]["words"], layer["tile_tail"]
    of_a_row = channels * ((words - 1) * config.word // 2 + config.word + 9 * words) + 2
    comes = layer["width"] * channels
    return 3 + comes + layer["height"] * max(of_a_row, comes + 2)
