"""`AcArray` against sums in Python integers."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.ac_array import HELD_SUMS, AcArray, stages
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import bank_rows, sums
from spikeloom.sim.bench import Watch, cycle, idle_cycles, pack, parameters, start, unpack

CASES = [
    {"config": dict(lanes=4, columns=1, neuron_lanes=1, accumulator_width=9)},
    {"config": dict(lanes=8, columns=2, banks=2, neuron_lanes=2, weight_width=4, accumulator_width=13)},
    {"config": dict(lanes=16, columns=1, banks=4, neuron_lanes=8, weight_width=4)},
    {"config": dict(lanes=16, columns=4, banks=8, neuron_lanes=8)},
]
NO_COMMAND = dict(double=0, over=0, kv=0, carry=0)


def build(*, config):
    return AcArray(config=CoreConfig(**config))


def wrapped(value, width):
    half = 1 << width - 1
    return (value + half) % (2 * half) - half


def random_row(config):
    top = 1 << config.weight_width - 1
    return [random.choice((-top, top - 1, random.randrange(-top, top))) for _ in range(config.lanes)]


def random_request(config):
    """Rows of some banks, or a command; `kv` has its own."""
    kind = random.random()
    command = dict(NO_COMMAND, double=int(kind < 0.15))
    if 0.15 <= kind < 0.4:
        command |= {"over": 1}
    gates = 0 if command["double"] else 1 << config.gates
    banks = [dict(elements=random_row(config), gates=random.randrange(max(gates, 1))) for _ in range(config.banks)]
    return dict(banks=banks, command=command)


def random_kv(config):
    """An event of K: a row of one bank for each digit, the word of V, and the rows that they become."""
    bank, digits, values = random.randrange(config.banks), random.randint(1, 3), random.getrandbits(config.lanes)
    requests, carry, products = [], values, []
    for digit in range(digits):
        banks = [dict(elements=random_row(config), gates=0) for _ in range(config.banks)]
        banks[bank]["gates"] = (1 << config.gates) - 1
        requests.append(dict(banks=banks, command=dict(NO_COMMAND, kv=1, carry=int(digit > 0))))
        totals = [x + (carry >> lane & 1) for lane, x in enumerate(banks[bank]["elements"])]
        products.append([wrapped(total, config.weight_width) for total in totals])
        carry = sum((total != now) << lane for lane, (total, now) in enumerate(zip(totals, products[-1], strict=True)))
    return requests, values, products


def added(config, acc, request):
    """The accumulators ``[column][lane]`` after a request; sums wrap, as the compiler proves that they never do."""
    for column, sums_ in enumerate(acc):
        for lane in range(config.lanes):
            gate = column if config.columns > 1 else lane * config.gates // config.lanes
            if request["command"]["double"]:
                sums_[lane] *= 2
            for bank in request["banks"]:
                sums_[lane] += bank["elements"][lane] if bank["gates"] >> gate & 1 else 0
            sums_[lane] = wrapped(sums_[lane], config.accumulator_width)
    return acc


class Model:
    """Feeds requests, never more items than two that are not taken, and knows what comes of them."""

    def __init__(self, dut, config):
        self.dut, self.config = dut, config
        self.acc = self.zero()
        self.sums, self.products, self.values, self.overs, self.taken = [], {}, {}, [], 0
        self.followed = False
        self.rows = self.no_rows()  # of the command that was put last

    def zero(self):
        return [[0] * self.config.lanes for _ in range(self.config.columns)]

    async def feed(self, count, idle):
        for _ in range(count):
            while len(self.overs) - self.taken >= HELD_SUMS:
                await self.put(None)
            if random.random() < 0.1 and not any(map(any, self.acc)):
                requests, values, products = random_kv(self.config)
                for request, product in zip(requests, products, strict=True):
                    await self.put(request)
                    self.values[cycle() + stages(self.config)] = values
                    self.products[cycle() + stages(self.config) + 2] = product
                continue
            while random.random() < idle:
                await self.put(None)
            request = random_request(self.config)
            await self.put(request)
            self.acc = added(self.config, self.acc, request)
            if request["command"]["over"]:
                self.overs.append(cycle())
                self.sums.append([list(row) for row in self.acc])
                self.acc = self.zero()
        await self.put(None)
        await self.put(None)

    def no_rows(self):
        return [dict(elements=random_row(self.config), gates=0)] * self.config.banks

    async def put(self, request):
        """The command of a request; its rows come with the next command."""
        await FallingEdge(self.dut.clk)
        command = request["command"] if request else NO_COMMAND
        self.dut.rows.value = pack(bank_rows(self.config), dict(banks=self.rows, command=command))
        self.rows = request["banks"] if request else self.no_rows()

    async def watch(self):
        """The values when they are wanted, else anything; the products when they must be there."""
        while True:
            await FallingEdge(self.dut.clk)
            self.dut.values.value = self.values.pop(cycle(), random.getrandbits(self.config.lanes))
            await ReadOnly()
            if cycle() in self.products:
                layout = AcArray(config=self.config).products.shape()
                assert unpack(layout, int(self.dut.products.value)) == self.products.pop(cycle())
            valid, ready = int(self.dut.sums__valid.value), int(self.dut.sums__ready.value)
            assert valid or not self.followed, "sums follow"
            self.followed = int(self.dut.follows.value)
            self.taken += valid & ready


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.4], stall=[0.0, 0.7])
async def sums_equal_model(dut, idle, stall):
    """Random rows, gates, doublings, hand-overs and rows of K^T V; a request a cycle, sums at their time."""
    config = CoreConfig(**parameters()["config"])
    await start(dut, rows=0, values=0, sums__ready=0, takes=0)
    model, out = Model(dut, config), Watch(dut, "sums")
    cocotb.start_soon(model.watch())
    got = cocotb.start_soon(take_all(dut, stall))
    await model.feed(150, idle)
    await idle_cycles(dut, 60)
    got.cancel()
    assert [unpack(sums(config), bits) for bits in out.payloads] == model.sums
    assert len(model.sums) > 5 and not model.products
    if not stall:
        assert out.cycles == [at + stages(config) + 3 for at in model.overs]


async def take_all(dut, stall):
    takes = 0
    while True:
        await FallingEdge(dut.clk)
        dut.sums__ready.value, takes = takes, int(random.random() >= stall)
        dut.takes.value = takes
