"""`KvStore` against K^T V in Python integers."""

import random

import cocotb
from amaranth.utils import ceil_log2
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.kv_store import KvStore
from spikeloom.rtl.core.layouts import event, row_event
from spikeloom.sim.bench import Watch, idle_cycles, pack, parameters, receive, send, start, unpack

CASES = [
    {"config": dict(lanes=4, columns=1, neuron_lanes=1, kv_rows=4, tokens=3)},
    {"config": dict(lanes=8, columns=2, neuron_lanes=2, kv_rows=32, tokens=9, weight_width=4)},
    {"config": dict(lanes=48, columns=1, neuron_lanes=2, kv_rows=48, tokens=5)},
    {"config": dict(lanes=32, columns=4, neuron_lanes=8, kv_rows=32, tokens=64)},
]


def build(*, config):
    return KvStore(config=CoreConfig(**config))


class Model:
    """Rows of K^T V, by event."""

    def __init__(self, config, head_shift):
        self.config, self.head_shift = config, head_shift
        self.rows = {}
        self.dropped = self.updated = 0

    def same_head(self, row, lane):
        return (row % self.config.lanes) >> self.head_shift == lane >> self.head_shift

    def full(self, row):
        """One more could exceed the number of tokens."""
        return max(self.rows.get(row, [0])) >= self.config.tokens

    def apply(self, e):
        """What the event makes of it: a row for the array or None."""
        if e["clear"]:
            self.rows = {}
        row = e["row"]
        if e["kv"]:
            counts = self.rows.get(row, [0] * self.config.lanes)
            self.rows[row] = [
                n + (e["values"] >> lane & self.same_head(row, lane)) % 2 for lane, n in enumerate(counts)
            ]
            self.updated += 1
            return None
        known = row in self.rows and e["add"]
        self.dropped += e["add"] and not known
        if not (known or e["marker"]["double"] or e["marker"]["last"]):
            return None
        gates, elements = (e["gates"], self.rows[row]) if known else (0, None)
        return {"gates": gates, "elements": elements, "marker": e["marker"]}


def random_events(config, model, count):
    """Bursts of kv events, often of the row before, then the others; `clear` now and then."""
    none = dict(tail=0, double=0, last=0)
    blank = dict(row=0, gates=0, values=0, add=0, kv=0, clear=0, marker=none)
    row, events, expected = 0, [], []
    for i in range(count):
        if random.random() < 0.6:
            row = random.randrange(config.kv_rows) if random.random() < 0.7 else random.randrange(2)
        e = blank | {"row": row, "values": random.getrandbits(config.lanes)}
        kind = random.random()
        clear = i == 0 or kind < 0.03
        if clear:
            e |= {"clear": 1, "kv": 0}
        elif kind < 0.55 and not model.full(row):
            e |= {"kv": 1, "gates": 1}
        else:
            add, last = int(kind < 0.9), int(random.random() < 0.2)
            marker = {"tail": random.getrandbits(1), "last": last}
            marker["double"] = int(not add and not last)
            e |= {"gates": random.getrandbits(config.gates), "add": add, "marker": marker}
        events.append(e)
        expected.append(model.apply(e))
    return events, [x for x in expected if x is not None]


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.4], stall=[0.0, 0.6])
async def rows_equal_model(dut, idle, stall):
    """All head sizes; K^T V is summed, read and cleared; a row that was just written costs one cycle more."""
    config = CoreConfig(**parameters()["config"])
    await start(dut, head_shift=0, events__valid=0, events__payload=0, rows__ready=0)
    counted = {"updated": 0, "dropped": 0}
    cocotb.start_soon(count(dut, counted))
    for head_shift in range(ceil_log2(config.lanes) + 1):
        model = Model(config, head_shift)
        events, expected = random_events(config, model, 150)
        counted.update(updated=0, dropped=0)
        dut.head_shift.value = head_shift
        incoming, outgoing = Watch(dut, "events"), Watch(dut, "rows")
        sender = cocotb.start_soon(send(dut, "events", [pack(event(config), e) for e in events], idle=idle))
        got = [unpack(row_event(config), bits) for bits in await receive(dut, "rows", len(expected), stall=stall)]
        dut.rows__ready.value = 1
        await sender
        await idle_cycles(dut, 2)
        for index, (row, wanted) in enumerate(zip(got, expected, strict=True)):
            if wanted["elements"] is None:
                wanted["elements"] = row["elements"]
            assert row == wanted, index
        assert len(outgoing.cycles) == len(expected)
        assert counted == {"updated": model.updated, "dropped": model.dropped}
        if not idle and not stall:
            assert incoming.cycles == cycles(events, incoming.cycles[0])


def cycles(events, at):
    """In which cycle each event is taken when nothing else is in the way."""
    found, before = [], None
    for e in events:
        uses = e["add"] or e["kv"]
        at += bool(found and before["kv"] and uses and before["row"] == e["row"])
        found.append(at)
        at, before = at + 1, e
    return found


async def count(dut, counted):
    while True:
        await FallingEdge(dut.clk)
        await ReadOnly()
        for name in counted:
            counted[name] += int(getattr(dut, name).value)
