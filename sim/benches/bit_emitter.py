"""`BitEmitter` against the set bits of each sub-word, written out."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.bit_emitter import SUB_WORDS_IN_FLIGHT, BitEmitter
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import MARKER, bank_event, sub_word, sub_word_bits
from spikeloom.sim.bench import cycle, idle_cycles, pack, parameters, start, unpack

CASES = [
    {"config": dict(lanes=4, columns=1, neuron_lanes=1, weight_rows=300)},
    {"config": dict(lanes=48, columns=2, banks=4, neuron_lanes=2, weight_width=4, weight_rows=600)},
    {"config": dict(lanes=32, columns=4, banks=8, neuron_lanes=8, weight_rows=4096)},
]
LATENCY = 8  # from the sub-word to its first event at the head


def build(*, config):
    return BitEmitter(config=CoreConfig(**config))


def random_sub_word(config):
    density, end, kv = random.choice((0.1, 0.6, 1)), random.random() < 0.3, random.random() < 0.3
    bits = sub_word_bits(config)
    spikes = [
        sum((random.random() < density) << i for i in range(bits)) * (not (kv and (c or end)))
        for c in range(config.columns)
    ]
    if not any(spikes) and not end:
        spikes[0] = 1 << random.randrange(bits)
    row = random.randrange(config.bank_rows - bits)
    marker = {name: random.getrandbits(1) for name, _ in MARKER}
    image = not kv and random.random() < 0.3
    if image:
        spikes = [spikes[0] & 1, *[0] * (config.columns - 1)]
        end |= not any(spikes)
    fields = dict(gates=random.getrandbits(config.gates), image=int(image))
    return dict(spikes=spikes, row=row, any=int(any(spikes)), kv=int(kv), end=int(end), marker=marker, **fields)


def events_of(config, word):
    """One a bit of any column, else one for the marker; `end` with the last of them."""
    found = []
    for bit in range(sub_word_bits(config)):
        gates = sum((column >> bit & 1) << c for c, column in enumerate(word["spikes"]))
        if gates:
            gates = gates if config.columns > 1 else (1 << config.gates) - 1
            found.append({"row": word["row"] + bit, "gates": word["gates"] if word["image"] else gates})
    found = found or [{"row": word["row"], "gates": word["gates"] if word["image"] else 0}]
    return [
        one
        | {
            "applies": word["any"],
            "kv": word["kv"],
            "end": int(word["end"] and one is found[-1]),
            "marker": word["marker"],
        }
        for one in found
    ]


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.6], stall=[0.0, 0.5, 0.95])
async def bits_become_events(dut, idle, stall):
    """Sparse and full sub-words, markers alone; an event a cycle, nothing lost in front of a head that stays."""
    config = CoreConfig(**parameters()["config"])
    await start(dut, takes=0, sub_word=0, take=0)
    sent = [random_sub_word(config) for _ in range(80)]
    wanted = [events_of(config, word) for word in sent]
    came, gone, got = [], [], []
    cocotb.start_soon(feed(dut, config, sent, idle, came))
    count = sum(map(len, wanted))
    while len(got) < count:
        await FallingEdge(dut.clk)
        states = {name: int(getattr(dut, name).value) for name in ("goes", "waits", "kv")}
        assert sum(states.values()) <= 1
        taken = random.random() >= stall
        dut.take.value = int(taken or not any(states.values()))
        await ReadOnly()
        if taken and any(states.values()):
            event = unpack(bank_event(config), int(dut.head.value))
            assert (states["waits"], states["kv"]) == (event["end"], int(event["kv"] and not event["end"]))
            got.append(event)
            gone.append(cycle())
    assert got == [event for part in wanted for event in part]
    await idle_cycles(dut, 1)
    dut.take.value = 1
    await idle_cycles(dut, LATENCY)
    assert not any(int(getattr(dut, name).value) for name in ("goes", "waits", "kv"))
    if not stall:
        expected, at = [], 0
        for cycle_of, events in zip(came, wanted, strict=True):
            at = max(at, cycle_of + LATENCY)
            expected += range(at, at + len(events))
            at += len(events)
        assert gone == expected


async def feed(dut, config, words, idle, came):
    """Sends as the scanner does: what is on its way when there is no more room still comes."""
    rooms = [1] * (SUB_WORDS_IN_FLIGHT - 1)
    for word in words:
        while True:
            await FallingEdge(dut.clk)
            rooms = [*rooms[1:], int(dut.room.value)]
            if rooms[0] and random.random() >= idle:
                break
            dut.takes.value = 0
        dut.takes.value, dut.sub_word.value = 1, pack(sub_word(config), word)
        came.append(cycle())
    await FallingEdge(dut.clk)
    dut.takes.value = 0
