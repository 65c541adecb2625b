"""`WordGatherer` against a list of slots and what their words make of them."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import DESCRIPTOR, slot, spike_group
from spikeloom.rtl.core.word_gatherer import WordGatherer
from spikeloom.sim.bench import Watch, cycle, idle_cycles, pack, parameters, send, start, unpack

CASES = [
    {"config": dict(lanes=4, columns=1, neuron_lanes=1, activation_words=64)},
    {"config": dict(lanes=48, columns=2, banks=4, neuron_lanes=2, weight_width=4, activation_words=64)},
    {"config": dict(lanes=32, columns=4, banks=8, neuron_lanes=8, activation_words=64)},
]


def build(*, config):
    return WordGatherer(config=CoreConfig(**config))


NO_MARKER = dict(tail=0, double=0, last=0, clear=0, token=0)


class Surroundings:
    """The activation memory, and what the gatherer sends."""

    def __init__(self, dut, words):
        self.words = words
        self.reads, self.groups, self.cycles, self.offered, self.values = [], [], [], 0, []
        cocotb.start_soon(self._run(dut))

    async def _run(self, dut):
        coming, comes = None, None  # the words of the two reads before, where there were any
        while True:
            await FallingEdge(dut.clk)
            dut.words__data.value = random.getrandbits(len(dut.words__data)) if comes is None else comes
            await ReadOnly()
            coming, comes = None, coming
            if int(dut.words__enable.value):
                self.reads.append(int(dut.words__address.value))
                coming = self.words[self.reads[-1]]
            if int(dut.groups__valid.value):
                self.groups.append(int(dut.groups__payload.value))
                self.cycles.append(cycle())
            if int(dut.values__valid.value):
                self.values.append(int(dut.values__payload.value))
            self.offered += int(dut.rows_offered.value)


def blank(config, **fields):
    names = "reads again address pixel positions column row turn image kv value value_word first masked place"
    return dict.fromkeys(names.split(), 0) | dict(complete=1, channels=config.word, marker=NO_MARKER) | fields


def random_window(config, words):
    """Likewise of an image: words of which several taps are seen, at stride 1."""
    slots, groups, reads, offered, dirty = [], [], [], 0, False
    for number in range(random.randint(1, 4)):
        marker = NO_MARKER | {"tail": 1}
        if number:
            slots.append(blank(config, marker=marker | {"double": 1}))
            groups += [dict(spikes=[0] * config.columns, marker=marker | {"double": 1})] * dirty
        row, address, inside = random.randrange(100), random.choice(list(words)), random.random() < 0.8
        reads += [address] * inside
        for tap in range(random.randint(1, 3)):
            positions = random.randint(1, config.columns)
            taps = random.randint(1, config.banks)
            fields = dict(reads=int(inside), again=int(tap > 0), address=address, pixel=tap, positions=positions)
            slots.append(blank(config, **fields, row=row + tap, image=1, channels=taps, marker=marker))
            gates = [words[address] >> tap + i & (1 << positions) - 1 if inside else 0 for i in range(taps)]
            whole = 1 if config.columns > 1 else (1 << config.gates) - 1  # one position has all lanes
            gates = [g * whole for g in gates] + [0] * (config.banks - taps)
            offered += inside * taps
            if any(gates):
                groups.append(dict(spikes=[0] * config.columns, taps=gates, row=row + tap, image=1, marker=marker))
            dirty |= any(gates)
    slots[-1]["marker"] = slots[-1]["marker"] | {"last": 1}
    if groups and groups[-1].get("row") == slots[-1]["row"] and groups[-1].get("image") and any(gates):
        groups[-1] = groups[-1] | {"marker": slots[-1]["marker"]}
    else:
        groups.append(dict(spikes=[0] * config.columns, marker=slots[-1]["marker"]))
    return slots, groups, reads, offered


def random_field(config, words, known):
    """Slots of a receptive field of random geometry, the groups that are kept, the words read, the rows offered.

    known: the channels that have spiked in K, by the word's place in its head; None for what is not Q.
    """
    slots, groups, reads, offered, dirty = [], [], [], 0, False
    tail, count = random.getrandbits(1), random.randint(1, 8)
    for number in range(count):
        marker = NO_MARKER | {"tail": tail}
        if number and random.random() < 0.3:
            slots.append(blank(config, marker=marker | {"double": 1}))
            if dirty:
                groups.append(dict(spikes=[0] * config.columns, marker=marker | {"double": 1}))
        row, channels = random.randrange(100), random.randint(1, config.word)
        turn, place = random.randrange(config.banks), random.choice(list(known)) if known else 0
        outside = random.random() < 0.2  # a tap that is not read takes one slot
        seen, any_read = [0] * config.columns, False
        last = int(number == count - 1)
        for column in range(1 if outside else config.columns):
            address, inside = random.choice(list(words)), not outside and random.random() < 0.8
            complete = int(outside or column == config.columns - 1)
            fields = dict(reads=int(inside), address=address, column=column, complete=complete, channels=channels)
            fields |= dict(row=row, turn=turn, masked=int(known is not None), place=place)
            slots.append(blank(config, **fields, marker=marker | {"last": last * complete}))
            if inside:
                seen[column], any_read = words[address] & (known[place] if known else -1), True
                reads.append(address)
        offered += channels * any_read
        if any(seen) or last:
            groups.append(dict(spikes=seen, row=row, turn=turn, marker=marker | {"last": last}))
        dirty |= any(seen)
    return slots, groups, reads, offered


def random_token(config, words, known, first):
    """Likewise of a token of K and V, and its words of V where K spikes; known: what Q is masked with from now on."""
    values = random.choices(list(words), k=random.randint(1, config.tile_words))
    value = sum(words[at] << i * config.word for i, at in enumerate(values))
    zeros, slots, groups = [0] * (config.columns - 1), [], []
    for i, at in enumerate(values):
        marker = NO_MARKER | {"clear": int(first and i == 0)}
        slots.append(blank(config, reads=1, address=at, kv=1, value=1, value_word=i, first=int(first), marker=marker))
    if first:
        groups.append(dict(spikes=[0, *zeros], kv=1, marker=NO_MARKER | {"clear": 1}))
    reads, fired = list(values), False
    for place in known:
        address, row = random.choice(list(words)), random.randrange(100)
        slots.append(blank(config, reads=1, address=address, kv=1, row=row, first=int(first), place=place))
        reads.append(address)
        known[place] = words[address] | (0 if first else known[place])
        if words[address]:
            groups.append(dict(spikes=[words[address], *zeros], row=row, kv=1))
            fired = True
    end = NO_MARKER | {"token": 1}
    slots.append(blank(config, kv=1, marker=end))
    if fired:
        groups.append(dict(spikes=[0, *zeros], kv=1, marker=end))
    return slots, groups, reads, [value] * fired


def random_work(config, words):
    """Fields of a layer, or tokens and then fields of Q: each as `random_field`, and the words of V."""
    if random.random() < 0.5:
        return [(*random_field(config, words, None), [])]
    if random.random() < 0.3:
        return [(*random_window(config, words), [])]
    known = dict.fromkeys(range(random.randint(1, 3)), 0)
    tokens = [random_token(config, words, known, first=n == 0) for n in range(random.randint(1, 4))]
    work = [(slots, groups, reads, 0, values) for slots, groups, reads, values in tokens]
    return work + [(*random_field(config, words, known), []) for _ in range(3)]


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.4])
async def words_become_groups(dut, idle):
    """Fields and tokens in any order: joined by column, silence dropped, markers kept; a slot a cycle."""
    config = CoreConfig(**parameters()["config"])
    words = {a: random.getrandbits(config.word) * (random.random() < 0.5) for a in range(config.activation_words)}
    names = "layer slots__valid slots__payload words__data groups__ready values__ready"
    await start(dut, **dict.fromkeys(names.split(), 0))
    dut.layer.value = pack(DESCRIPTOR, dict(field=dict(stride=1), group=config.columns.bit_length() - 1))
    around, taken = Surroundings(dut, words), Watch(dut, "slots")
    work = [part for _ in range(14) for part in random_work(config, words)]
    sent = [s for part in work for s in part[0]]
    await send(dut, "slots", [pack(slot(config), s) for s in sent], idle=idle)
    await idle_cycles(dut, 6)
    wanted = [g for part in work for g in part[1]]
    assert len(around.groups) == len(wanted)
    for index, (bits, group) in enumerate(zip(around.groups, wanted, strict=True)):
        got = unpack(spike_group(config), bits)
        assert {key: got[key] for key in group} == group, index
        assert got["kv"] == group.get("kv", 0), index
    assert around.values == [v for part in work for v in part[4]]
    assert around.reads == [a for part in work for a in part[2]]
    assert around.offered == sum(part[3] for part in work)
    ends = {c + 5 for c, s in zip(taken.cycles, sent, strict=True) if s["complete"]}
    assert set(around.cycles) <= ends
    if not idle:
        assert taken.cycles[-1] - taken.cycles[0] == len(sent) - 1
