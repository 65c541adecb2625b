"""`ImageLoader`: pixels to bit-planes."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.image_loader import PIXEL_BITS, ImageLoader
from spikeloom.rtl.core.layouts import DESCRIPTOR
from spikeloom.sim.bench import cycle, pack, parameters, send, start

CASES = [
    {"config": dict(lanes=4, neuron_lanes=4, kv_rows=4, image_channels=1)},
    {"config": dict(lanes=8, neuron_lanes=4, kv_rows=8, image_channels=3)},
]


def build(*, config):
    return ImageLoader(config=CoreConfig(**config))


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.5])
async def planes(dut, idle):
    """Every plane of every pixel; a cycle a pixel and eight a position; missing channels are zero."""
    config = CoreConfig(**parameters()["config"])
    await start(dut, layer=0, active=0, pixels__valid=0, pixels__payload=0)
    for channels in (*range(1, config.image_channels + 1), 1):
        positions, base = random.randint(1, 7), random.randrange(100)
        output = dict(base=base, plane=positions + 2)
        layer = dict(positions=positions, tile_tail=channels, output=output)
        pixels = [random.getrandbits(PIXEL_BITS) for _ in range(positions * channels)]
        dut.layer.value = pack(DESCRIPTOR, layer)
        dut.active.value = 1
        cocotb.start_soon(send(dut, "pixels", pixels, idle=idle))
        written, done, began = {}, False, cycle()
        while not done:
            await FallingEdge(dut.clk)
            await ReadOnly()
            if int(dut.writes__enable.value):
                at = int(dut.writes__address.value)
                assert at not in written
                written[at] = int(dut.writes__data.value)
            done = int(dut.done.value)
        wanted = {}
        for plane in range(PIXEL_BITS):
            for p in range(positions):
                bits = [pixels[p * channels + c] >> plane & 1 for c in range(channels)]
                wanted[base + plane * (positions + 2) + p] = sum(b << c for c, b in enumerate(bits))
        assert written == wanted
        if not idle:
            assert cycle() - began == positions * (channels + PIXEL_BITS)
        await FallingEdge(dut.clk)
        dut.active.value = 0
        await ReadOnly()
        assert not int(dut.pixels__ready.value) and not int(dut.writes__enable.value)
        await FallingEdge(dut.clk)
