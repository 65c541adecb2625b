"""`EventScanner` against the loops of the rows that are asked for, written out."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.event_scanner import EventScanner
from spikeloom.rtl.core.layouts import DESCRIPTOR, Kind, Scan, product_write, row_request, work_item
from spikeloom.sim.bench import Watch, cycle, idle_cycles, pack, parameters, send, start, unpack

CASES = [
    {"config": dict(lanes=4, columns=1, neuron_lanes=1, weight_rows=300)},
    {"config": dict(lanes=48, columns=2, banks=4, neuron_lanes=2, weight_width=4, weight_rows=600)},
    {"config": dict(lanes=32, columns=4, neuron_lanes=8, weight_rows=1000)},
    {"config": dict(lanes=32, columns=1, banks=8, neuron_lanes=8, weight_rows=2000)},
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
        """Item, segments, addresses read, rows offered and slots of a group."""
        in_y, in_x = y * self.stride - self.padding, x * self.stride - self.padding
        pointer = self.address(self.planes - 1, in_y, in_x, 0) % self.size
        item = dict(scan=Scan.FIELD, pointer=pointer, value_pointer=0, x=in_x, y=in_y, columns=columns)
        item |= dict(row=row, tail=tail, clear=0)
        segments, rows, reads, offered, slots, dirty = [], [], [], 0, 0, False
        full, banks = self.config.columns, self.config.banks
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
                            channel = word * self.config.word + bit
                            number = row + tap * -(-self.channels // banks) + channel // banks
                            gates = gates if full > 1 else (1 << self.config.gates) - 1
                            rows.append(((channel + tap) % banks, (number, gates, tail)))
                            dirty = True
            if plane:
                slots += 1
                if dirty:
                    segments.append((rows, "double"))
                    rows = []
        segments.append((rows, "over"))
        return item, segments, reads, offered, slots

    def token(self, place, *, row, clear):
        """Likewise for a token of K at a place of this tensor, with words of it as V; one plane."""
        count = self.config.tile_words
        pointer = self.address(0, *divmod(place, self.width), 0)
        value = random.choice(list(self.memory)[: 1 - count or None])
        values = range(value, value + count)
        whole = sum(self.memory[at] << i * self.config.word for i, at in enumerate(values))
        item = dict(scan=Scan.KV, pointer=pointer, value_pointer=value, x=0, y=0, columns=1)
        item |= dict(row=row, tail=0, clear=clear)
        rows, banks = [], self.config.banks
        for word in range(self.words):
            for bit in range(self.config.word):
                if self.memory[pointer + word] >> bit & 1:
                    number = row + (word * self.config.word + bit) // banks
                    rows.append((bit % banks, (number, whole)))
        segments = [([], "clear")] * clear + [(rows, None)]
        return item, segments, [*values, *range(pointer, pointer + self.words)], 0, 1 + count + self.words


def joined(segments):
    """What each bank asks for up to each end: ``[({bank: rows}, end)]``."""
    found, so_far = [], {}
    for rows, end in segments:
        for bank, row in rows:
            so_far.setdefault(bank, []).append(row)
        if end:
            found.append((so_far, end))
            so_far = {}
    return found


class Requests:
    """What is asked for, in the form of `joined`; takes sums after a while."""

    def __init__(self, dut, config, *, stall):
        self.segments, self.over_cycles = [], []
        cocotb.start_soon(self._run(dut, config, stall))

    async def _run(self, dut, config, stall):
        waiting, open_rows = 0, {}
        while True:
            await FallingEdge(dut.clk)
            takes = waiting and random.random() >= stall
            dut.sums_taken.value = int(bool(takes))
            await ReadOnly()
            request, command = unpack(row_request(config), int(dut.requests.value)), None
            command = request["command"]
            for bank, one in enumerate(request["banks"]):
                if one["applies"]:
                    what = (one["gates"], request["tail"]) if not command["kv"] else (int(dut.value.value),)
                    open_rows.setdefault(bank, []).append((one["row"], *what))
            end = "double" if command["double"] else "over" if command["over"] else None
            cleared = unpack(product_write(config), int(dut.cleared.value))
            if cleared["banks"] and cleared["row"] == 0:
                end = "clear"
            if end:
                self.segments.append((open_rows, end))
                open_rows = {}
            if command["over"]:
                self.over_cycles.append(cycle())
            waiting += command["over"] - int(bool(takes))


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


async def run_items(dut, memory, asked, tensor, work, *, idle, descriptor=None):
    config = tensor.config
    dut.layer.value = pack(DESCRIPTOR, tensor.descriptor() | (descriptor or {}))
    memory.contents, memory.reads, memory.offered = tensor.memory, [], 0
    asked.segments.clear()
    asked.over_cycles.clear()
    items = Watch(dut, "items")
    await send(dut, "items", [pack(work_item(config), part[0]) for part in work], idle=idle)
    wanted = joined([segment for part in work for segment in part[1]])
    for _ in range(2000):
        await idle_cycles(dut, 5)
        if len(asked.segments) >= len(wanted):
            break
    await idle_cycles(dut, 40)
    for index, (got, meant) in enumerate(zip(asked.segments, wanted, strict=True)):
        assert got == meant, (index, got, meant)
    assert memory.reads == [address for part in work for address in part[2]]
    assert memory.offered == sum(part[3] for part in work)
    return items


async def begin(dut, *, stall):
    ports = dict(layer=0, items__valid=0, items__payload=0, words__data=0, sums_taken=0)
    await start(dut, **ports)
    config = CoreConfig(**parameters()["config"])
    return config, Memory(dut), Requests(dut, config, stall=stall)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def one_bank_alone(dut):
    """More words than a queue holds, all their spikes in one bank: nothing is lost, whichever bank it is."""
    config, memory, asked = await begin(dut, stall=0)
    words = min(36, config.bank_rows * config.banks // config.word)
    size = dict(kernel=1, stride=1, padding=0, height=1, width=config.columns, words=words, planes=1, density=1.0)
    for bank in range(config.banks):
        tensor = Tensor(config, **size)
        spikes = sum(1 << i for i in range(bank, config.word, config.banks))
        tensor.memory = dict.fromkeys(tensor.memory, spikes)
        await run_items(dut, memory, asked, tensor, [tensor.field(*tensor.groups()[0], row=0, tail=0)], idle=0)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.3], stall=[0.0, 0.9])
async def fields(dut, idle, stall):
    """Random geometry: strides, borders, planes, partial groups of columns, words without spikes."""
    config, memory, asked = await begin(dut, stall=stall)
    for index in range(6):
        tensor = random_tensor(config, index + 1)
        last = config.bank_rows - tensor.kernel**2 * -(-tensor.channels // config.banks)
        groups = random.sample(tensor.groups(), min(5, len(tensor.groups())))
        work = [tensor.field(*group, row=random.randint(0, last), tail=random.getrandbits(1)) for group in groups]
        item = dict(scan=Scan.NONE, pointer=0, value_pointer=0, x=0, y=0, columns=1, row=0, tail=0, clear=0)
        work.insert(random.randint(0, len(work)), (item, [([], "over")], [], 0, 1))
        await run_items(dut, memory, asked, tensor, work, idle=idle)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.3], stall=[0.0, 0.9])
async def tokens(dut, idle, stall):
    """K and V before the fields of Q, of which only the channels count that have spiked in K."""
    config, memory, asked = await begin(dut, stall=stall)
    for index in range(4):
        tensor = random_tensor(config, index, planes=1)
        descriptor = dict(kind=Kind.ATTENTION, tile_rows=4, weight_base=0)
        places = range(tensor.height * tensor.width)
        work = [tensor.token(n, row=0, clear=n == 0) for n in places]
        channels = {row[:2] for part in work for rows, _ in part[1] for row in [(b, r[0]) for b, r in rows]}
        fields_ = [tensor.field(*group, row=0, tail=0) for group in tensor.groups()[:2]]
        if tensor.kernel == 1:
            fields_ = [
                (item, [(masked(rows, channels), end) for rows, end in found], *rest) for item, found, *rest in fields_
            ]
            await run_items(dut, memory, asked, tensor, work + fields_, idle=idle, descriptor=descriptor)


def masked(rows, channels):
    return [(bank, row) for bank, row in rows if (bank, row[0]) in channels]


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(density=[0.0, 1.0])
async def speed(dut, density):
    """Silence costs its slots and a cycle an item; noise costs its events."""
    config, memory, asked = await begin(dut, stall=0)
    for padding in (0, 1):
        tensor = Tensor(
            config, kernel=3, stride=1, padding=padding, height=4, width=4, words=2, planes=2, density=density
        )
        work = [tensor.field(*group, row=0, tail=0) for group in tensor.groups()]
        items = await run_items(dut, memory, asked, tensor, work, idle=0)
        if not density:
            spent = [b - a for a, b in zip(items.cycles, items.cycles[1:], strict=False)]
            assert spent == [part[4] + 1 for part in work[:-1]]
        elif not padding and config.columns == 1:
            events = tensor.planes * 9 * tensor.channels // config.banks + tensor.planes - 1
            spent = [b - a for a, b in zip(asked.over_cycles, asked.over_cycles[1:], strict=False)]
            assert spent == [events] * len(spent)
