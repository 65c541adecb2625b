"""`ActivationWriter` against max-pooling and sums of whole tensors."""

import random

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.activation_writer import WRITE_LATENCY, ActivationWriter
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import DESCRIPTOR, Write, spike_word
from spikeloom.sim.bench import cycle, idle_cycles, pack, parameters, send, start

CASES = [
    {"config": dict(lanes=4, neuron_lanes=4, activation_words=1000)},
    {"config": dict(lanes=48, columns=2, neuron_lanes=8)},
]


def build(*, config):
    return ActivationWriter(config=CoreConfig(**config))


class Memory:
    """Starts with garbage: whatever is not written before it is read shows."""

    def __init__(self, dut, config):
        self.words = [random.getrandbits(config.word) for _ in range(config.activation_words)]
        self.reads, self.writes = [], []  # their cycles
        cocotb.start_soon(self._run(dut))

    async def _run(self, dut):
        data, coming, comes = dut.memory__data, None, None  # the words of the two cycles before, if they read
        while True:
            await FallingEdge(dut.clk)
            data.value = random.getrandbits(len(data)) if comes is None else comes
            await ReadOnly()
            coming, comes = None, coming
            if int(dut.memory__enable.value):
                at = int(dut.memory__address.value)
                if int(dut.memory__write.value):
                    self.words[at] = int(dut.memory__write_data.value)
                    self.writes.append(cycle())
                else:
                    coming = self.words[at]
                    self.reads.append(cycle())


def random_spikes(config, steps, height, width, tiles):
    """uint8 (steps, height, width, tiles, lanes); some words are silent."""
    density = random.choice((0.05, 0.5))
    spikes = np.random.default_rng(random.getrandbits(32)).random((steps, height, width, tiles, config.word))
    return (spikes < density).astype(np.uint8)


def word_of(bits):
    return sum(int(b) << i for i, b in enumerate(bits))


def bits_of(config, word):
    return [word >> i & 1 for i in range(config.word)]


async def begin(dut):
    config = CoreConfig(**parameters()["config"])
    await start(dut, layer=0, words__valid=0, words__payload=0, memory__data=0)
    return config, Memory(dut, config)


async def write(dut, config, memory, layer, words, accesses, *, idle):
    """Send words and check the port: for each word what its accesses are, True for one that reads."""
    dut.layer.value = pack(DESCRIPTOR, layer)
    memory.reads, memory.writes = [], []
    await idle_cycles(dut, 2)
    await send(dut, "words", [pack(spike_word(config), w) for w in words], idle=idle)
    while not int(dut.idle.value):
        await idle_cycles(dut, 1)
    flat = [reads for found in accesses for reads in found]
    assert (len(memory.reads), len(memory.writes)) == (sum(flat), len(flat))
    if not idle:
        starts = port_schedule(accesses)
        assert [c - memory.writes[0] for c in memory.writes] == [c - starts[0] for c in starts]


def port_schedule(accesses):
    """When the accesses of words that come as fast as they can begin: one a cycle, no read while one is written."""
    starts, at = [], 0
    for found in accesses:
        for reads in found:
            at += 1
            while reads and at - WRITE_LATENCY in starts:
                at += 1
            starts.append(at)
        at += not found  # nothing to write: a cycle
    return starts


def destinations(step, height, width, tiles, *, out, half=False, **more):
    """In the order of the jobs: tile by tile, raster."""
    out_width = (width + 1) // 2 if half else width
    for tile in range(tiles):
        for y in range(height):
            for x in range(width):
                place = (y // 2 * out_width + x // 2) if half else y * width + x
                yield dict(
                    step=step, word=tile, position=y * width + x, x=x, y=y, offset=place * tiles + tile, out=out, **more
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
            word = word_of(spikes[step, to["y"], to["x"], to["word"]])
            words.append({"spikes": word, "to": to})
            wanted[to["out"] + to["offset"]] = word
    await write(dut, config, memory, {"write": Write.STORE}, words, [[False]] * len(words), idle=idle)
    assert {at: memory.words[at] for at in wanted} == wanted
    if not idle:
        assert memory.writes[-1] - memory.writes[0] == len(words) - 1


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
    """Even and odd sizes, down to one row or column; windows of which several words are on their way."""
    config, memory = await begin(dut)
    for height, width in ((1, 1), (2, 2), (3, 5), (4, 4), (5, 4), (1, 6), (7, 2), (6, 8)):
        tiles = random.randint(1, 2)
        spikes = random_spikes(config, 1, height, width, tiles)
        out_width = (width + 1) // 2
        layer = dict(write=Write.POOL, output_position=tiles, output=dict(row=out_width * tiles))
        layer |= dict(output_width=out_width, output_height=(height + 1) // 2)
        words = [
            {"spikes": word_of(spikes[0, to["y"], to["x"], to["word"]]), "to": to}
            for to in destinations(0, height, width, tiles, out=77, half=True)
        ]
        accesses = [pool_accesses(w, height, width) for w in words]
        await write(dut, config, memory, layer, words, accesses, idle=idle)
        pooled = max_pool(spikes[0])
        for place, wanted in enumerate(pooled.reshape(-1, config.word)):
            assert bits_of(config, memory.words[77 + place]) == wanted.tolist(), (height, width, place)
        if not idle:  # the port is hardly ever idle: two cycles a window that is read, one that is not
            assert memory.writes[-1] - memory.writes[0] <= 2 * sum(map(len, accesses)) + accesses.count([])


def pool_accesses(word, height, width):
    """One for each window that it is in, which reads unless it is the window's first; none of silence but those."""
    to, found = word["to"], []
    for window_y in sorted({to["y"] // 2, (to["y"] + 1) // 2} & set(range((height + 1) // 2))):
        for window_x in sorted({to["x"] // 2, (to["x"] + 1) // 2} & set(range((width + 1) // 2))):
            first = to["y"] == max(0, 2 * window_y - 1) and to["x"] == max(0, 2 * window_x - 1)
            found += [not first] if first or word["spikes"] else []
    return found


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.4], in_place=[False, True])
async def adds(dut, idle, in_place):
    """Residuals of 1 to 3 planes, steps without a residual, carries into a new plane."""
    config, memory = await begin(dut)
    height, width, tiles, plane = 2, 3, 2, 12
    for planes, out_planes in ((1, 1), (1, 2), (2, 2), (2, 3), (3, 3)):
        top = (1 << out_planes) - 2 if out_planes == planes else (1 << planes) - 1
        rng = np.random.default_rng(random.getrandbits(32))
        before = rng.integers(0, top + 1, (height * width * tiles, config.word))
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
                {"spikes": word_of(spikes[step, to["y"], to["x"], to["word"]]), "to": to}
                for to in destinations(step, height, width, tiles, out=out, residual=base, has_residual=has)
            ]
            accesses = [[bool(has) and p < planes for p in range(out_planes)]] * len(words)
            await write(dut, config, memory, layer, words, accesses, idle=idle)
            after = has * before + spikes[step].reshape(before.shape)
            for p in range(out_planes):
                for place, values in enumerate(after):
                    assert bits_of(config, memory.words[out + p * plane + place]) == (values >> p & 1).tolist()
