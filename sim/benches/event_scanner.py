"""`EventScanner` against the loops of the event list, written out."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.event_scanner import EventScanner
from spikeloom.rtl.core.layouts import DESCRIPTOR, Scan, event, work_item
from spikeloom.sim.bench import Watch, idle_cycles, pack, parameters, receive, send, start, unpack

CASES = [
    {"config": dict(lanes=4, columns=1, neuron_lanes=1, kv_rows=4, weight_rows=300)},
    {"config": dict(lanes=48, columns=2, neuron_lanes=2, kv_rows=48, weight_width=4, weight_rows=600)},
    {"config": dict(lanes=32, columns=4, neuron_lanes=8, weight_rows=1000)},
]


def build(*, config):
    return EventScanner(config=CoreConfig(**config))


class Tensor:
    """Planes of channel words in an activation memory, with the descriptor of a layer that reads them."""

    def __init__(self, config, *, kernel, stride, padding, height, width, words, planes, density):
        self.config = config
        self.kernel, self.stride, self.padding = kernel, stride, padding
        self.height, self.width, self.words, self.planes = height, width, words, planes
        self.tail = random.randint(1, config.word) if density < 1 else config.word
        self.channels = (words - 1) * config.word + self.tail
        self.row, self.plane = width * words, height * width * words
        self.size = 1 << config.address_width
        self.base = random.randrange(self.size - planes * self.plane)
        self.memory = {}
        for address in range(self.base, self.base + planes * self.plane):
            bits = self.tail if (address - self.base) % words == words - 1 else config.word
            spikes = [random.random() < density for _ in range(bits)]
            empty = density < 1 and random.random() < 0.3
            self.memory[address] = 0 if empty else sum(s << i for i, s in enumerate(spikes))
        self.height_out = (height + 2 * padding - kernel) // stride + 1
        self.width_out = (width + 2 * padding - kernel) // stride + 1

    def address(self, plane, y, x, word):
        return self.base + plane * self.plane + y * self.row + x * self.words + word

    def inside(self, y, x):
        return 0 <= y < self.height and 0 <= x < self.width

    def descriptor(self):
        return {
            "input": {"plane": self.plane, "row": self.row},
            "field": {
                "position": self.words,
                "row_stride": self.stride * self.row,
                "position_stride": self.stride * self.words,
                "words": self.words,
                "planes": self.planes,
                "tail": self.tail,
                "width": self.width,
                "height": self.height,
                "kernel": self.kernel,
                "stride": self.stride,
                "padding": self.padding,
            },
        }

    def groups(self):
        """(y, first x, columns) of the groups of output positions."""
        columns = self.config.columns
        return [
            (y, x, min(columns, self.width_out - x))
            for y in range(self.height_out)
            for x in range(0, self.width_out, columns)
        ]

    def field(self, y, x, columns, *, row, tail):
        """Item, events, addresses read, rows offered and slots of a group."""
        in_y, in_x = y * self.stride - self.padding, x * self.stride - self.padding
        pointer = self.address(self.planes - 1, in_y, in_x, 0) % self.size
        item = dict(scan=Scan.FIELD, pointer=pointer, value_pointer=0, x=in_x, y=in_y, columns=columns)
        item |= dict(row=row, tail=tail, clear=0)
        events, reads, offered, slots, dirty = [], [], 0, 0, False
        config, full = self.config, self.config.columns
        for plane in reversed(range(self.planes)):
            for tap in range(self.kernel**2):
                y_tap, x_tap = in_y + tap // self.kernel, in_x + tap % self.kernel
                places = [(y_tap, x_tap + c * self.stride) for c in range(columns)]
                slots += full * self.words
                for word in range(self.words):
                    at = [self.address(plane, *p, word) for p in places if self.inside(*p)]
                    reads += at
                    channels = self.tail if word == self.words - 1 else self.config.word
                    offered += channels * bool(at)
                    seen = [self.memory[self.address(plane, *p, word)] if self.inside(*p) else 0 for p in places]
                    for bit in range(self.config.word):
                        gates = sum((w >> bit & 1) << c for c, w in enumerate(seen))
                        if gates:
                            gates = gates if config.columns > 1 else (1 << config.gates) - 1
                            number = row + tap * self.channels + word * self.config.word + bit
                            events.append(make_event(add=1, row=number, gates=gates, tail=tail))
                            dirty = True
                    last_word_fired = any(seen)
            if plane:
                slots += 1
                if dirty:
                    events.append(make_event(double=1))
        if not last_word_fired:
            events.append(make_event())
        events[-1]["marker"] |= {"last": 1}
        return item, events, reads, offered, slots

    def token(self, place, *, row, clear):
        """Likewise for a token of K at a place of this tensor, with words of it as V; one plane."""
        count = self.config.tile_words
        pointer = self.address(0, *divmod(place, self.width), 0)
        value = random.choice(list(self.memory)[: 1 - count or None])
        values = range(value, value + count)
        joined = sum(self.memory[at] << i * self.config.word for i, at in enumerate(values))
        item = dict(scan=Scan.KV, pointer=pointer, value_pointer=value, x=0, y=0, columns=1)
        item |= dict(row=row, tail=0, clear=clear)
        events = [make_event(clear=1)] if clear else []
        for word in range(self.words):
            for bit in range(self.config.word):
                if self.memory[pointer + word] >> bit & 1:
                    number = row + word * self.config.word + bit
                    events.append(make_event(kv=1, row=number, values=joined))
        return item, events, [*values, *range(pointer, pointer + self.words)], 0, count + self.words


def make_event(*, tail=0, double=0, last=0, **fields):
    marker = dict(tail=tail, double=double, last=last)
    return dict(row=0, gates=0, values=0, add=0, kv=0, clear=0, marker=marker) | fields


def relevant(e):
    """An event without the fields that mean nothing for its kind."""
    e = e | {"marker": dict(e["marker"])}
    if not (e["add"] or e["kv"]):
        e["row"] = 0
    if not e["add"]:
        e["gates"] = e["marker"]["tail"] = 0
    if not e["kv"]:
        e["values"] = 0
    return e


class Memory:
    """The activation store as the scanner sees it: data two cycles later, else anything."""

    def __init__(self, dut):
        self.contents, self.reads, self.offered = {}, [], 0
        cocotb.start_soon(self._run(dut))

    async def _run(self, dut):
        width = len(dut.words__data)
        coming, comes = None, None  # the words of the two reads before, where there were any
        while True:
            await FallingEdge(dut.clk)
            dut.words__data.value = random.getrandbits(width) if comes is None else comes
            await ReadOnly()
            coming, comes = None, coming
            if int(dut.words__enable.value):
                address = int(dut.words__address.value)
                self.reads.append(address)
                coming = self.contents[address]
            self.offered += int(dut.rows_offered.value)


def random_tensor(config, index, planes=None):
    kernel = random.choice((1, 3))
    density = (0.0, 0.15, 0.6, 1.0)[index % 4]
    return Tensor(
        config,
        kernel=kernel,
        stride=random.choice((1, 2)),
        padding=random.randint(0, kernel // 2),
        height=random.randint(3, 5),
        width=random.randint(3, 6),
        words=random.randint(1, 3),
        planes=planes or random.randint(1, 3),
        density=density,
    )


async def run_items(dut, memory, tensor, work, *, idle, stall):
    config = tensor.config
    dut.layer.value = pack(DESCRIPTOR, tensor.descriptor())
    memory.contents, memory.reads, memory.offered = tensor.memory, [], 0
    items, out = Watch(dut, "items"), Watch(dut, "events")
    wanted = [e for part in work for e in part[1]]
    cocotb.start_soon(send(dut, "items", [pack(work_item(config), part[0]) for part in work], idle=idle))
    got = [relevant(unpack(event(config), bits)) for bits in await receive(dut, "events", len(wanted), stall=stall)]
    for index, (a, b) in enumerate(zip(got, wanted, strict=True)):
        assert a == relevant(b), (index, a, b)
    await idle_cycles(dut, 12)
    assert not int(dut.events__valid.value)
    assert memory.reads == [address for part in work for address in part[2]]
    assert memory.offered == sum(part[3] for part in work)
    return items, out


async def begin(dut):
    await start(dut, layer=0, items__valid=0, items__payload=0, events__ready=0, words__data=0)
    return Memory(dut)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.3], stall=[0.0, 0.5])
async def fields(dut, idle, stall):
    """Random geometry: strides, borders, planes, partial groups of columns, words without spikes."""
    config = CoreConfig(**parameters()["config"])
    memory = await begin(dut)
    for index in range(6):
        tensor = random_tensor(config, index + 1)
        last = config.weight_rows - tensor.kernel**2 * tensor.channels
        groups = random.sample(tensor.groups(), min(5, len(tensor.groups())))
        work = [tensor.field(*group, row=random.randint(0, last), tail=random.getrandbits(1)) for group in groups]
        none = make_event(last=1)
        item = dict(scan=Scan.NONE, pointer=0, value_pointer=0, x=0, y=0, columns=1, row=0, tail=0, clear=0)
        work.insert(random.randint(0, len(work)), (item, [none], [], 0, 1))
        await run_items(dut, memory, tensor, work, idle=idle, stall=stall)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.3], stall=[0.0, 0.5])
async def tokens(dut, idle, stall):
    """K and V before the fields of Q."""
    config = CoreConfig(**parameters()["config"])
    memory = await begin(dut)
    for index in range(4):
        tensor = random_tensor(config, index, planes=1)
        work = [tensor.token(n, row=0, clear=n == 0) for n in range(tensor.height * tensor.width)]
        work += [tensor.field(*group, row=0, tail=0) for group in tensor.groups()[:2]]
        await run_items(dut, memory, tensor, work, idle=idle, stall=stall)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(density=[0.0, 1.0])
async def speed(dut, density):
    """Silence costs its slots and a cycle an item; noise costs its events."""
    config = CoreConfig(**parameters()["config"])
    memory = await begin(dut)
    for padding in (0, 1):
        tensor = Tensor(
            config, kernel=3, stride=1, padding=padding, height=4, width=4, words=2, planes=2, density=density
        )
        work = [tensor.field(*group, row=0, tail=0) for group in tensor.groups()]
        items, out = await run_items(dut, memory, tensor, work, idle=0, stall=0)
        if not density:
            spent = [b - a for a, b in zip(items.cycles, items.cycles[1:], strict=False)]
            assert spent == [part[4] + 1 for part in work[:-1]]
        elif not padding and config.columns == 1:
            count = len(work[0][1])
            assert out.cycles[count - 1] - out.cycles[0] == count - 1
