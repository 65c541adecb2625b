"""`AcArray` against sums in Python integers."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.ac_array import AcArray
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import row_event, sums
from spikeloom.sim.bench import Watch, idle_cycles, pack, parameters, receive, send, start, unpack

CASES = [
    {"config": dict(lanes=4, columns=1, neuron_lanes=1, kv_rows=4, accumulator_width=9)},
    {"config": dict(lanes=8, columns=2, neuron_lanes=2, kv_rows=8, weight_width=4, accumulator_width=13)},
    {"config": dict(lanes=32, columns=4, neuron_lanes=8, tokens=300)},
]


def build(*, config):
    return AcArray(config=CoreConfig(**config))


def random_event(config):
    top = 1 << config.element_width - 1
    marker = {
        "tail": random.getrandbits(1),
        "double": int(random.random() < 0.15),
        "last": int(random.random() < 0.3),
    }
    return {
        "elements": [random.choice((-top, top - 1, random.randrange(-top, top))) for _ in range(config.lanes)],
        "gates": random.getrandbits(config.gates),
        "marker": marker,
    }


def model(config, events):
    """``[transfer][column][lane]``; sums wrap, as the compiler proves that they never do."""
    half = 1 << config.accumulator_width - 1
    acc = [[0] * config.lanes for _ in range(config.columns)]
    found = []
    for event in events:
        for column in range(config.columns):
            for lane in range(config.lanes):
                if event["marker"]["double"]:
                    acc[column][lane] *= 2
                elif event["gates"] >> (column if config.columns > 1 else lane * config.gates // config.lanes) & 1:
                    acc[column][lane] += event["elements"][lane]
                acc[column][lane] = (acc[column][lane] + half) % (2 * half) - half
        if event["marker"]["last"]:
            found.append([list(row) for row in acc])
            acc = [[0] * config.lanes for _ in range(config.columns)]
    return found


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.4], stall=[0.0, 0.7])
async def sums_equal_model(dut, idle, stall):
    """Random rows, gates, doublings and hand-overs; an event a cycle, sums two cycles later."""
    config = CoreConfig(**parameters()["config"])
    events = [random_event(config) for _ in range(120)]
    events[-1]["marker"]["last"] = 1
    expected = model(config, events)
    await start(dut, rows__valid=0, rows__payload=0, sums__ready=0)
    rows, out = Watch(dut, "rows"), Watch(dut, "sums")
    cocotb.start_soon(only_last_waits(dut, config, rows))
    cocotb.start_soon(send(dut, "rows", [pack(row_event(config), e) for e in events], idle=idle))
    got = await receive(dut, "sums", len(expected), stall=stall)
    assert [unpack(sums(config), bits) for bits in got] == expected
    await idle_cycles(dut, 3)
    assert not int(dut.sums__valid.value)
    if not idle and not stall:
        assert (rows.cycles, out.cycles) == cycles(events, rows.cycles[0])


def cycles(events, at):
    """When each event is taken and each sum handed over, when a `last` waits only for the `last` before it."""
    taken, handed = [], []
    for event in events:
        taken.append(at)
        at += 1  # it is added
        if event["marker"]["last"]:
            at = max(at, handed[-1] + 1) if handed else at
            handed.append(at + 1)
    return taken, handed


async def only_last_waits(dut, config, rows):
    """An event that hands nothing over never waits for the taker."""
    while True:
        await FallingEdge(dut.clk)
        await ReadOnly()
        if int(dut.rows__valid.value) and not int(dut.rows__ready.value):
            assert unpack(row_event(config), rows.payloads[-1])["marker"]["last"]
            assert int(dut.sums__valid.value)
