"""`ActivationWriter` against max-pooling and sums of whole tensors."""

import random

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.activation_writer import ActivationWriter
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import DESCRIPTOR, Write, spike_word
from spikeloom.sim.bench import Watch, idle_cycles, pack, parameters, send, start

CASES = [
    {"config": dict(lanes=4, neuron_lanes=4, kv_rows=4, activation_words=1000)},
    {"config": dict(lanes=32, columns=2, neuron_lanes=8)},
]


def build(*, config):
    return ActivationWriter(config=CoreConfig(**config))


class Memory:
    """Starts with garbage: whatever is not written before it is read shows."""

    def __init__(self, dut, config):
        self.words = [random.getrandbits(config.lanes) for _ in range(config.activation_words)]
        self.reads = self.writes = 0
        cocotb.start_soon(self._run(dut))

    async def _run(self, dut):
        following = None
        while True:
            await FallingEdge(dut.clk)
            dut.reads__data.value = random.getrandbits(len(dut.reads__data)) if following is None else following
            await ReadOnly()
            following, at = None, int(dut.reads__address.value)
            if int(dut.reads__enable.value):
                following = self.words[at]
                self.reads += 1
            if int(dut.writes__enable.value):
                to = int(dut.writes__address.value)
                assert following is None or to != at, "collision"
                self.words[to] = int(dut.writes__data.value)
                self.writes += 1


def random_spikes(config, steps, height, width, tiles):
    """uint8 (steps, height, width, tiles, lanes); some words are silent."""
    density = random.choice((0.05, 0.5))
    spikes = np.random.default_rng(random.getrandbits(32)).random((steps, height, width, tiles, config.lanes))
    return (spikes < density).astype(np.uint8)


def word_of(bits):
    return sum(int(b) << i for i, b in enumerate(bits))


def bits_of(config, word):
    return [word >> i & 1 for i in range(config.lanes)]


async def begin(dut):
    config = CoreConfig(**parameters()["config"])
    await start(dut, layer=0, words__valid=0, words__payload=0, reads__data=0)
    return config, Memory(dut, config)


async def write(dut, config, memory, layer, words, *, idle):
    """Send words; returns the cycles that each took."""
    dut.layer.value = pack(DESCRIPTOR, layer)
    taken = Watch(dut, "words")
    await idle_cycles(dut, 1)
    await send(dut, "words", [pack(spike_word(config), w) for w in words], idle=idle)
    await ReadOnly()
    assert int(dut.idle.value)
    await FallingEdge(dut.clk)
    assert len(taken.cycles) == len(words)
    return [b - a for a, b in zip(taken.cycles, taken.cycles[1:], strict=False)]


def destinations(step, height, width, tiles, *, out, half=False, **more):
    """In the order of the jobs: tile by tile, raster."""
    out_width = (width + 1) // 2 if half else width
    for tile in range(tiles):
        for y in range(height):
            for x in range(width):
                place = (y // 2 * out_width + x // 2) if half else y * width + x
                yield dict(
                    step=step, tile=tile, position=y * width + x, x=x, y=y, offset=place * tiles + tile, out=out, **more
                )


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.4])
async def stores(dut, idle):
    """A word a cycle, nothing is read."""
    config, memory = await begin(dut)
    spikes = random_spikes(config, 2, 3, 4, 2)
    words, wanted = [], {}
    for step in range(2):
        for to in destinations(step, 3, 4, 2, out=100 + 24 * step):
            word = word_of(spikes[step, to["y"], to["x"], to["tile"]])
            words.append({"spikes": word, "to": to})
            wanted[to["out"] + to["offset"]] = word
    spent = await write(dut, config, memory, {"write": Write.STORE}, words, idle=idle)
    assert {at: memory.words[at] for at in wanted} == wanted
    assert (memory.reads, memory.writes) == (0, len(words))
    if not idle:
        assert set(spent) == {1}


def max_pool(spikes):
    """3x3, stride 2, padding 1, of (height, width, ...)."""
    height, width = spikes.shape[:2]
    padded = np.pad(spikes, [(1, 1), (1, 1)] + [(0, 0)] * (spikes.ndim - 2))
    rows = []
    for y in range(0, height, 2):
        rows.append([padded[y : y + 3, x : x + 3].max(axis=(0, 1)) for x in range(0, width, 2)])
    return np.array(rows)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.4])
async def pools(dut, idle):
    """Even and odd sizes, down to one row or column."""
    config, memory = await begin(dut)
    for height, width in ((1, 1), (2, 2), (3, 5), (4, 4), (5, 4), (1, 6), (7, 2)):
        tiles = random.randint(1, 2)
        spikes = random_spikes(config, 1, height, width, tiles)
        out_width = (width + 1) // 2
        layer = dict(write=Write.POOL, tiles=tiles, output=dict(row=out_width * tiles))
        layer |= dict(output_width=out_width, output_height=(height + 1) // 2)
        words = [
            {"spikes": word_of(spikes[0, to["y"], to["x"], to["tile"]]), "to": to}
            for to in destinations(0, height, width, tiles, out=77, half=True)
        ]
        spent = await write(dut, config, memory, layer, words, idle=idle)
        pooled = max_pool(spikes[0])
        for place, wanted in enumerate(pooled.reshape(-1, config.lanes)):
            assert bits_of(config, memory.words[77 + place]) == wanted.tolist(), (height, width, place)
        if not idle:
            assert spent == [pool_cycles(w, height, width) for w in words[1:]]


def pool_cycles(word, height, width):
    """One, and for each window one cycle, or two where its word is read first."""
    to, spent = word["to"], 1
    for window_y in {to["y"] // 2, (to["y"] + 1) // 2} & set(range((height + 1) // 2)):
        for window_x in {to["x"] // 2, (to["x"] + 1) // 2} & set(range((width + 1) // 2)):
            first = to["y"] == max(0, 2 * window_y - 1) and to["x"] == max(0, 2 * window_x - 1)
            spent += 1 if first or not word["spikes"] else 2
    return spent


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.4], in_place=[False, True])
async def adds(dut, idle, in_place):
    """Residuals of 1 to 3 planes, steps without a residual, carries into a new plane."""
    config, memory = await begin(dut)
    height, width, tiles, plane = 2, 3, 2, 12
    for planes, out_planes in ((1, 1), (1, 2), (2, 2), (2, 3), (3, 3)):
        top = (1 << out_planes) - 2 if out_planes == planes else (1 << planes) - 1
        rng = np.random.default_rng(random.getrandbits(32))
        before = rng.integers(0, top + 1, (height * width * tiles, config.lanes))
        spikes = random_spikes(config, 2, height, width, tiles)
        base, out = 200, 200 if in_place else 400
        layer = dict(write=Write.ADD, residual=dict(plane=plane), residual_planes=planes)
        layer |= dict(output=dict(plane=plane), output_planes=out_planes)
        for step in range(2):
            has = int(step == 0)
            for p in range(planes):
                for place, values in enumerate(before):
                    memory.words[base + p * plane + place] = word_of(values >> p & 1)
            words = [
                {"spikes": word_of(spikes[step, to["y"], to["x"], to["tile"]]), "to": to}
                for to in destinations(step, height, width, tiles, out=out, residual=base, has_residual=has)
            ]
            spent = await write(dut, config, memory, layer, words, idle=idle)
            after = has * before + spikes[step].reshape(before.shape)
            for p in range(out_planes):
                for place, values in enumerate(after):
                    assert bits_of(config, memory.words[out + p * plane + place]) == (values >> p & 1).tolist()
            if not idle:
                read = min(planes, out_planes) if has else 0
                assert set(spent) == {1 + out_planes + read}
