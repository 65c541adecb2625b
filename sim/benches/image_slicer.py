"""`ImageSlicer` against bits that are picked one by one."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.image_slicer import ImageSlicer
from spikeloom.rtl.core.layouts import DESCRIPTOR
from spikeloom.sim.bench import pack, parameters, start

CASES = [
    {"config": dict(lanes=4, columns=1, neuron_lanes=1)},
    {"config": dict(lanes=48, columns=4, banks=2, neuron_lanes=4)},
    {"config": dict(lanes=32, columns=1, neuron_lanes=8, banks=4)},
]


def build(*, config):
    return ImageSlicer(config=CoreConfig(**config))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def gates(dut):
    """Every stride, every size of a group, fewer positions and taps than there could be; a word that stays."""
    config = CoreConfig(**parameters()["config"])
    await start(dut, **dict.fromkeys("layer enable word pixel positions taps".split(), 0))
    before = 0
    for number in range(400):
        enable = int(number == 0 or random.random() < 0.8)
        shift = random.randrange(config.gates.bit_length())
        stride = random.choice((1, 2, 4)) if shift else random.randint(1, 7)
        word, pixel = random.getrandbits(config.word), random.randrange(config.word)
        positions, taps = random.randint(1, 1 << shift), random.randint(1, config.banks)
        if enable:
            dut.layer.value = pack(DESCRIPTOR, {"group": shift, "field": {"stride": stride}})
        dut.word.value, dut.enable.value, dut.pixel.value = word, enable, pixel
        dut.positions.value, dut.taps.value = positions, taps
        before = (word, pixel, positions, taps, shift, stride) if enable else before
        await FallingEdge(dut.clk)
        await ReadOnly()
        kept, at, positions, taps, shift, stride = before
        assert int(dut.kept.value) == kept
        found = int(dut.gates.value)
        for tap in range(config.banks):
            exists = tap < taps
            seen = [exists and g < positions and kept >> at + tap + g * stride & 1 for g in range(1 << shift)]
            wanted = seen if config.columns > 1 else [g for g in seen for _ in range(config.gates >> shift)]
            got = found >> tap * config.gates & (1 << config.gates) - 1
            assert got == sum(bool(g) << i for i, g in enumerate(wanted)), (shift, stride, before, tap)
        await FallingEdge(dut.clk)
        dut.enable.value = 0
