"""`BitEmitter` against the set bits of each group, written out."""

import random

import cocotb

from spikeloom.rtl.core.bit_emitter import BitEmitter
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import event, spike_group
from spikeloom.sim.bench import Watch, idle_cycles, pack, parameters, receive, send, start, unpack

CASES = [
    {"config": dict(lanes=4, columns=1, neuron_lanes=1, kv_rows=4, weight_rows=300)},
    {"config": dict(lanes=48, columns=2, neuron_lanes=2, kv_rows=48, weight_width=4, weight_rows=600)},
    {"config": dict(lanes=32, columns=4, neuron_lanes=8, weight_rows=1000)},
]


def build(*, config):
    return BitEmitter(config=CoreConfig(**config))


def random_group(config):
    density = random.choice((0, 0, 0.1, 0.6, 1))
    kv, image = random.random() < 0.3, random.random() < 0.3
    spikes = [
        sum((random.random() < density) << i for i in range(config.word)) * (not kv or c == 0)
        for c in range(config.columns)
    ]
    if image:
        spikes = [spikes[0] % (1 << config.gates), *[0] * (config.columns - 1)]
    return {
        "spikes": spikes,
        "values": random.getrandbits(config.lanes),
        "row": random.randrange(config.weight_rows - config.word),
        "image": int(image),
        "kv": int(kv and not image),
        "clear": int(kv and not image and not any(spikes)),
        "marker": {name: random.getrandbits(1) for name in ("tail", "double", "last")},
    }


def events_of(config, group):
    """One a bit of any column, of an image one for all; else one for the marker; `last` with the last of them."""
    found = []
    for bit in range(1 if group["image"] else config.word):
        gates = group["spikes"][0] if group["image"] else gates_of(config, group, bit)
        if gates:
            kind = {"add": 1 - group["kv"], "kv": group["kv"]}
            found.append({"row": group["row"] + bit, "gates": gates, **kind})
    found = found or [{"row": None, "gates": 0, "add": 0, "kv": 0}]
    for number, one in enumerate(found, start=1):
        last = group["marker"]["last"] if number == len(found) else 0
        one |= {"values": group["values"], "clear": group["clear"], "marker": group["marker"] | {"last": last}}
    return found


def gates_of(config, group, bit):
    """The columns that have it; all parts of the lanes of a single one."""
    if config.columns == 1:
        return (group["spikes"][0] >> bit & 1) * ((1 << config.gates) - 1)
    return sum((word >> bit & 1) << c for c, word in enumerate(group["spikes"]))


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.6], stall=[0.0, 0.5])
async def bits_become_events(dut, idle, stall):
    """Silent, sparse and full words; an event a cycle, the first three cycles after its group."""
    config = CoreConfig(**parameters()["config"])
    await start(dut, groups__valid=0, groups__payload=0, events__ready=0)
    sent = [random_group(config) for _ in range(60)]
    wanted = [events_of(config, group) for group in sent]
    groups, out = Watch(dut, "groups"), Watch(dut, "events")
    cocotb.start_soon(send(dut, "groups", [pack(spike_group(config), g) for g in sent], idle=idle))
    count = sum(map(len, wanted))
    got = [unpack(event(config), bits) for bits in await receive(dut, "events", count, stall=stall)]
    for index, (a, b) in enumerate(zip(got, [e for part in wanted for e in part], strict=True)):
        assert a == b | ({"row": a["row"]} if b["row"] is None else {}), index
    await idle_cycles(dut, 5)
    assert not int(dut.events__valid.value)
    if not stall:
        firsts = [sum(map(len, wanted[:i])) for i in range(len(wanted))]
        assert [out.cycles[i] for i in firsts] == [c + 3 for c in groups.cycles]
        if not idle:
            assert out.cycles[-1] - out.cycles[0] == count - 1
