"""`NeuronUnit` against `golden.neurons.lif`, with every memory access checked."""

import random

import cocotb
import torch
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.golden.network import Neuron
from spikeloom.golden.network.neurons import lif
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import DESCRIPTOR, Kind, Write, job, potentials, spike_word, sums
from spikeloom.rtl.core.layouts import parameters as parameter_layout
from spikeloom.rtl.core.neuron_unit import NeuronUnit
from spikeloom.sim.bench import Watch, cycle, idle_cycles, pack, parameters, receive, send, start, unpack

SIZES = dict(membrane_positions=12, parameter_words=32, accumulator_width=11, potential_width=14)
CASES = [
    {"config": dict(lanes=4, columns=1, neuron_lanes=4, **SIZES)},
    {"config": dict(lanes=48, columns=1, neuron_lanes=8, weight_width=4, classes=96, **SIZES)},
    {"config": dict(lanes=16, word=8, columns=4, neuron_lanes=4, classes=30, **SIZES)},
]
FLAGS = (False, True)
NEURONS = [Neuron(hard=h, strict=s, leak=k) for h in FLAGS for s in FLAGS for k in FLAGS]


def build(*, config):
    return NeuronUnit(config=CoreConfig(**config))


class Memory:
    """A memory of the bench: data two cycles after the address, until those of the next read."""

    def __init__(self, dut, reads, contents, *, writes=None):
        self.contents, self.reads, self.writes, self.written = contents, [], [], []
        self.task = cocotb.start_soon(self._run(dut, reads, writes))

    async def _run(self, dut, reads, writes):
        enable, address, data = (getattr(dut, f"{reads}__{part}") for part in ("enable", "address", "data"))
        latched, following = 0, 0
        while True:
            await FallingEdge(dut.clk)
            data.value, latched = latched, following
            await ReadOnly()
            if int(enable.value):
                self.reads.append(int(address.value))
                at = int(address.value)
                # parameters are read in vain too: anything comes back
                following = self.contents[at] if writes else self.contents.get(at, random.getrandbits(8))
            if writes and int(getattr(dut, f"{writes}__enable").value):
                at = int(getattr(dut, f"{writes}__address").value)
                assert not (int(enable.value) and at == self.reads[-1]), "collision"
                self.writes.append(at)
                self.written.append(int(getattr(dut, f"{writes}__data").value))
                self.contents[at] = self.written[-1]


class Work:
    """A layer: jobs in the sequencer's order, and what must come of them."""

    def __init__(self, config, *, steps, steps_run, width, height, neuron, **kinds):
        direct, pool, readout = (kinds.get(name, False) for name in ("direct", "pool", "readout"))
        # a direct layer of one column: as many positions as the lanes have room for
        self.group = kinds.get("group", 1) if config.columns == 1 else config.columns
        self.config, self.steps, self.neuron = config, steps, neuron
        self.width, self.height, self.readout, self.pool = width, height, readout, pool
        self.positions, self.steps_run = width * height, steps_run
        lanes, p = config.lanes, config.neuron_lanes
        grouped = self.group > config.columns
        channels = random.randint(lanes + 1, min(2 * lanes, config.classes if readout else 99))
        channels = random.randint(1, lanes // self.group) if grouped else channels
        self.channels, self.tiles = channels, 1 if grouped else 2
        self.tail = channels - lanes * (self.tiles - 1)
        bound = 1 << config.accumulator_width - 1
        small = 1 << config.potential_width - 5
        if readout:
            bound = max(2, (1 << config.potential_width - 2) // (self.positions * steps_run))
        shape = (steps_run, self.positions, self.tiles * lanes)
        self.sums = torch.randint(-bound, bound, shape)
        if direct:
            self.sums[:] = self.sums[:1].clone()
        self.bias = torch.randint(-small, small, (self.tiles * lanes,))
        self.threshold = torch.randint(1, small, (self.tiles * lanes,))
        self.base = random.randrange(config.parameter_words - self.tiles * config.neuron_words + 1)
        self.words = [*[config.neuron_words] * (self.tiles - 1), -(-self.tail // p)]
        self.order = [(tile, step, first) for tile in range(self.tiles) for step, first in self._loops(direct)]
        self.direct = direct

    def _loops(self, direct):
        groups = [y * self.width + x for y in range(self.height) for x in range(0, self.width, self.group)]
        if direct:
            return [(step, first) for first in groups for step in range(self.steps_run)]
        return [(step, first) for step in range(self.steps_run) for first in groups]

    def parameter_contents(self):
        p = self.config.neuron_lanes
        contents = {}
        for word in range(self.tiles * self.config.neuron_words):
            pairs = [
                {"bias": int(self.bias[c]) - self.neuron.strict, "negated_threshold": -int(self.threshold[c])}
                for c in range(word * p, word * p + p)
            ]
            contents[self.base + word] = pack(parameter_layout(self.config), pairs)
        return contents

    def columns(self, first):
        return min(self.group, self.width - first % self.width)

    def fenced(self, first):
        return first == 0 or self.direct or self.readout

    def kept(self, step):
        return self.direct and step < self.steps_run - 1

    def is_last(self, step, first):
        return step == self.steps - 1 and first + self.columns(first) == self.positions

    def job(self, tile, step, first):
        x, y = first % self.width, first // self.width
        last = self.is_last(step, first) if self.readout else step == self.steps - 1
        return {
            "active": step < self.steps,
            "first": step == 0 and (first == 0 or not self.readout),
            "last": last,
            "final": self.readout and last,
            "fence": self.fenced(first),
            "keep": self.kept(step),
            "parameter": self.base + tile * self.config.neuron_words,
            "words": self.words[tile],
            "columns": self.columns(first),
            "to": self.destination(tile, step, first, x, y),
        }

    def destination(self, tile, step, position, x, y):
        k = self.config.tile_words
        half = (y // 2 * self.width + x // 2) * self.tiles * k + tile * k
        return {
            "step": step,
            "word": tile * k,
            "position": position,
            "x": x,
            "y": y,
            "offset": half if self.pool else (position * self.tiles + tile) * k,
            "out": 7 * step,
            "residual": 5 * step,
            "has_residual": step % 2,
        }

    def sum_words(self, tile, step, first):
        """Columns that do not exist hold anything; of a group each position has a part of the lanes."""
        lanes, found = self.config.lanes, []
        if self.group > self.config.columns:
            part = lanes // self.group
            places = [min(first + g, self.positions - 1) for g in range(self.group)]
            return [[x for at in places for x in self.sums[step, at, :part].tolist()]]
        for column in range(self.config.columns):
            position = min(first + column, self.positions - 1)
            found.append(self.sums[step, position, tile * lanes : tile * lanes + lanes].tolist())
        return found

    def spikes(self):
        """(position, ...) words of each job, from golden."""
        fired, _ = self.golden()
        lanes, size, found = self.config.lanes, self.config.word, []
        for tile, step, first in self.order:
            end = lanes * tile + self.words[tile] * self.config.neuron_lanes
            for position in range(first, first + self.columns(first)):
                to = self.destination(tile, step, position, position % self.width, position // self.width)
                for i, word in enumerate(range(lanes * tile, end, size)):
                    valid = range(word, min(word + size, end))
                    bits = [c - word for c in valid if step < self.steps and fired[step, 0, c, position]]
                    place = to | {"word": to["word"] + i, "offset": to["offset"] + i}
                    found.append({"spikes": sum(1 << b for b in bits), "to": place})
        return found

    def golden(self):
        """Spikes and potentials before the reset, (T, 1, C, P)."""
        return lif(
            self.sums.permute(0, 2, 1)[:, None],
            bias=self.bias,
            threshold=self.threshold,
            neuron=self.neuron,
            steps=self.steps,
        )

    def potentials(self):
        """The words written: what the reset leaves, of strict neurons less one."""
        fired, before = (x[:, 0].permute(0, 2, 1) for x in self.golden())  # (T, P, C)
        after = 0 if self.neuron.hard else before - self.threshold
        kept = torch.where(fired, after, before) - int(self.neuron.strict)
        lanes, p, found = self.config.lanes, self.config.neuron_lanes, []
        for tile, step, first in self.order:
            for position in range(first, first + self.columns(first)) if step < self.steps - 1 else ():
                for c in range(lanes * tile, lanes * tile + self.words[tile] * p, p):
                    found.append(kept[step, position, c : c + p].tolist())
        return found

    def accesses(self):
        """Addresses of the potentials that are read and written, in order."""
        reads, writes = [], []
        for tile, step, first in self.order:
            for column in range(self.columns(first)):
                position = 0 if self.readout else first + column
                begins = step == 0 and (not self.readout or first + column == 0)
                ends = self.readout and step == self.steps - 1 and first + column == self.positions - 1
                ends |= not self.readout and step == self.steps - 1
                at = [word * self.config.membrane_positions + position for word in range(self.words[tile])]
                if step < self.steps:
                    reads += [] if begins else at
                    writes += [] if ends else at
        return reads, writes


async def run(dut, work, *, idle, stall):
    config = work.config
    garbage = {
        i: random.getrandbits(potentials(config).size) for i in range(config.membrane_positions * config.neuron_words)
    }
    dut.layer.value = pack(
        DESCRIPTOR,
        {
            "kind": Kind.READOUT if work.readout else Kind.ACCUMULATE,
            "neuron": {
                "hard": work.neuron.hard or work.readout,
                "strict": work.neuron.strict and not work.readout,
                "leak": work.neuron.leak and not work.readout,
            },
            "output_position": work.tiles * config.tile_words,
            "parameter_base": work.base,
            "write": Write.POOL if work.pool else Write.STORE,
            "direct": work.direct,
            "group": work.group.bit_length() - 1,
        },
    )
    membrane = Memory(dut, "membrane_reads", garbage, writes="membrane_writes")
    constants = Memory(dut, "parameters", work.parameter_contents())
    out = Watch(dut, "spikes")
    results, finished = {}, []
    watcher = cocotb.start_soon(watch(dut, config, results, finished))
    order = work.order
    cocotb.start_soon(send(dut, "jobs", [pack(job(config), work.job(*o)) for o in order], idle=idle))
    given = [work.sum_words(*o) for o in order if not work.kept(o[1])]
    cocotb.start_soon(give_sums(dut, [pack(sums(config), x) for x in given], idle=idle))
    if work.readout:
        while len(finished) < len(order):
            await FallingEdge(dut.clk)
    else:
        wanted = work.spikes()
        got = await receive(dut, "spikes", len(wanted), stall=stall)
        for index, bits in enumerate(got):
            assert unpack(spike_word(config), bits) == wanted[index], index
    await idle_cycles(dut, 8)
    reads, writes = work.accesses()
    assert membrane.reads == reads
    assert membrane.writes == writes
    if not work.readout:
        assert [unpack(potentials(config), bits) for bits in membrane.written] == work.potentials()
    assert len(finished) == len(order)
    for task in (watcher, membrane.task, constants.task):
        task.cancel()
    return finished, out, results


async def give_sums(dut, words, *, idle):
    """As the array does: sums that are kept take the place of those that are taken."""
    given, kept, words = None, None, list(words)
    while words or kept is not None or given is not None:
        await FallingEdge(dut.clk)
        dut.sums__valid.value, dut.follows.value = int(given is not None), int(kept is not None)
        dut.sums__payload.value = random.getrandbits(len(dut.sums__payload)) if given is None else given
        await ReadOnly()
        if given is None or int(dut.sums__ready.value):
            given, kept = kept, None
        if kept is None and words and random.random() >= idle:
            kept = words.pop(0)
    await FallingEdge(dut.clk)
    dut.sums__valid.value = 0


async def watch(dut, config, results, finished):
    while True:
        await FallingEdge(dut.clk)
        await ReadOnly()
        if int(dut.finished.value):
            finished.append(cycle())
        if int(dut.results__enable.value):
            results[int(dut.results__address.value)] = unpack(potentials(config), int(dut.results__data.value))


async def begin(dut):
    ports = dict(layer=0, jobs__valid=0, jobs__payload=0, sums__valid=0, sums__payload=0, follows=0, spikes__ready=0)
    await start(dut, **ports, parameters__data=0, membrane_reads__data=0)
    return CoreConfig(**parameters()["config"])


def random_work(config, index, **fields):
    steps = fields.pop("steps", random.randint(1, 4))
    return Work(
        config,
        steps=steps,
        steps_run=max(1, steps + index % 2),
        width=random.randint(1, 4),
        height=random.randint(1, 3),
        neuron=NEURONS[index % 8],
        **fields,
    )


@cocotb.test(timeout_time=200, timeout_unit="us")
@cocotb.parametrize(idle=[0.0, 0.4], stall=[0.0, 0.6])
async def spikes_equal_golden(dut, idle, stall):
    """Every neuron, layers of any order, masked steps; potentials of no step are read or written in vain."""
    config = await begin(dut)
    for index in range(8):
        direct = index % 3 == 1
        group = 1 << index % 4 if direct and not config.neuron_words % (1 << index % 4) else 1
        kinds = dict(direct=direct, group=group, pool=index % 3 == 2)
        await run(dut, random_work(config, index, **kinds), idle=idle, stall=stall)
    await run(dut, random_work(config, 1, steps=0), idle=idle, stall=stall)


@cocotb.test(timeout_time=200, timeout_unit="us")
@cocotb.parametrize(idle=[0.0, 0.4])
async def class_sums(dut, idle):
    """The readout: all steps and positions in one potential a class, the bias once."""
    config = await begin(dut)
    if config.classes <= config.lanes:
        config = CoreConfig(**{**parameters()["config"], "classes": 2 * config.lanes})
    for steps in (1, 3):
        work = Work(config, steps=steps, steps_run=steps, width=3, height=2, neuron=NEURONS[0], readout=True)
        _, _, results = await run(dut, work, idle=idle, stall=0)
        wanted = work.sums.sum(dim=(0, 1)) + work.bias
        got = [x for word in range(-(-work.channels // config.neuron_lanes)) for x in results[word]]
        assert got[: work.channels] == wanted[: work.channels].tolist()


@cocotb.test(timeout_time=200, timeout_unit="us")
@cocotb.parametrize(shape=[(4, 3, False), (2, 1, False), (1, 1, False), (4, 1, True)])
async def speed(dut, shape):
    """A word a cycle, spikes nine cycles after the last word of a column; potentials come back after six."""
    config = await begin(dut)
    width, height, direct = shape
    work = Work(config, steps=3, steps_run=3, width=width, height=height, neuron=NEURONS[0], direct=direct)
    finished, out, _ = await run(dut, work, idle=0, stall=0)
    ends = [c for i, c in enumerate(out.cycles) if i + 1 == len(out.cycles) or new_job(work, i + 1)]
    assert ends == [c + 1 for c in finished]
    at, since, wanted = finished[0] - work.words[0] * work.columns(0), 0, []
    for tile, step, first in work.order:
        if work.fenced(first):
            at = max(at, at - since + 6) if step else at
            since = 0
        at += work.words[tile] * work.columns(first)
        since += work.words[tile] * work.columns(first)
        wanted.append(at)
    assert finished == wanted


@cocotb.test(timeout_time=200, timeout_unit="us")
async def a_full_queue(dut):
    """Who takes no spikes stops the neurons, not a word on its way: none is lost, in the queue or before it."""
    config = await begin(dut)
    work = Work(config, steps=2, steps_run=2, width=10, height=1, neuron=NEURONS[0])
    await run(dut, work, idle=0, stall=0.95)


def new_job(work, index):
    """Whether a spike word is the first of its job."""
    per = work.config.neuron_words_per_spike_word
    counts = [work.columns(first) * -(-work.words[tile] // per) for tile, _, first in work.order]
    return index in {sum(counts[:i]) for i in range(len(counts))}
