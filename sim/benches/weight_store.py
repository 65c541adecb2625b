"""`WeightStore`: rows from the initial contents and after writes of the host."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import WORD_BITS, event, row_event
from spikeloom.rtl.core.weight_store import WeightStore
from spikeloom.sim.bench import Watch, cycle, pack, parameters, receive, send, start, unpack

CASES = [
    {"config": dict(lanes=4, columns=1, neuron_lanes=1, kv_rows=4, weight_rows=1)},
    {"config": dict(lanes=8, columns=2, neuron_lanes=2, kv_rows=8, weight_width=4, weight_rows=37)},
    {"config": dict(lanes=32, columns=4, neuron_lanes=8, weight_rows=100)},
]


def build(*, config):
    config = CoreConfig(**config)
    return WeightStore(config=config, init=[pack_row(config, row) for row in initial_rows(config)])


CONTENTS: list[list[int]] = []  # as the host has left them: a reset does not restore a memory


def initial_rows(config):
    """The same in the component and in the bench; the last rows are left at zero."""
    source = random.Random(5)
    count = max(1, config.weight_rows - 3)
    return [random_row(config, source) for _ in range(count)]


def random_row(config, source):
    top = 1 << config.weight_width - 1
    return [source.randrange(-top, top) for _ in range(config.lanes)]


def pack_row(config, row):
    mask = (1 << config.weight_width) - 1
    return sum((w & mask) << lane * config.weight_width for lane, w in enumerate(row))


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.4], stall=[0.0, 0.6])
async def rows_of_events(dut, idle, stall):
    """Each event comes out one cycle later with its row; only `add` reads. Rows replaced by the host count."""
    config = CoreConfig(**parameters()["config"])
    rows = CONTENTS
    if not rows:
        rows += initial_rows(config)
        rows += [[0] * config.lanes for _ in range(config.weight_rows - len(rows))]
    await start(
        dut, events__valid=0, events__payload=0, rows__ready=0, writes__enable=0, writes__address=0, writes__data=0
    )
    fetched = []
    cocotb.start_soon(watch_fetched(dut, fetched))
    for _ in range(2):
        fetched.clear()
        await check_events(dut, config, rows, fetched, idle, stall)
        for index in random.sample(range(len(rows)), min(5, len(rows))):
            rows[index] = random_row(config, random)
            await host_write(dut, config, index, pack_row(config, rows[index]))
    await check_events(dut, config, rows, fetched=None, idle=idle, stall=stall)


async def host_write(dut, config, index, bits):
    words = config.lanes * config.weight_width // WORD_BITS
    stride = 1 << (words - 1).bit_length()
    for word in random.sample(range(words), words):
        await FallingEdge(dut.clk)
        dut.writes__enable.value = 1
        dut.writes__address.value = index * stride + word
        dut.writes__data.value = bits >> WORD_BITS * word & (1 << WORD_BITS) - 1
    await FallingEdge(dut.clk)
    dut.writes__enable.value = 0


async def check_events(dut, config, rows, fetched, idle, stall):
    events = []
    for _ in range(60):
        add = random.random() < 0.7
        events.append(
            {
                "row": random.randrange(config.weight_rows),
                "gates": random.getrandbits(config.gates),
                "values": random.getrandbits(config.lanes),
                "add": add,
                "marker": {
                    "double": int(not add) and random.getrandbits(1),
                    **{key: random.getrandbits(1) for key in ("tail", "last")},
                },
            }
        )
    incoming, outgoing = Watch(dut, "events"), Watch(dut, "rows")
    cocotb.start_soon(send(dut, "events", [pack(event(config), e) for e in events], idle=idle))
    got = [unpack(row_event(config), bits) for bits in await receive(dut, "rows", len(events), stall=stall)]
    for sent, row in zip(events, got, strict=True):
        assert row["marker"] == sent["marker"]
        assert row["gates"] == (sent["gates"] if sent["add"] else 0)
        if sent["add"]:
            assert row["elements"] == rows[sent["row"]], sent["row"]
    if fetched is not None:
        adds = [c for c, e in zip(incoming.cycles, events, strict=True) if e["add"]]
        assert fetched == adds
    if not stall:
        assert outgoing.cycles == [c + 1 for c in incoming.cycles]
        if not idle:
            assert incoming.cycles[-1] - incoming.cycles[0] == len(events) - 1


async def watch_fetched(dut, cycles):
    while True:
        await FallingEdge(dut.clk)
        await ReadOnly()
        if int(dut.fetched.value):
            cycles.append(cycle())
