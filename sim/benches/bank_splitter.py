"""`BankSplitter` against the bits of each bank, picked one by one."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.bank_splitter import BankSplitter
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import MARKER, spike_group, sub_word, sub_word_bits
from spikeloom.sim.bench import Watch, idle_cycles, pack, parameters, send, start, unpack

CASES = [
    {"config": dict(lanes=8, columns=2, banks=1, neuron_lanes=2, weight_rows=4000)},
    {"config": dict(lanes=64, word=64, columns=1, banks=2, neuron_lanes=2, weight_rows=4000)},
    {"config": dict(lanes=64, word=64, columns=1, banks=4, neuron_lanes=8, weight_rows=4000)},
    {"config": dict(lanes=16, columns=2, banks=8, neuron_lanes=8, weight_rows=4000)},
]


def build(*, config):
    return BankSplitter(config=CoreConfig(**config))


def random_group(config):
    density = random.choice((0, 0.03, 0.2, 1))
    ends = random.choice(("double", "last", "clear", "token", None, None))
    marker = {name: random.getrandbits(1) for name in ("tail",)} | ({ends: 1} if ends else {})
    return {
        "spikes": [sum((random.random() < density) << i for i in range(config.word)) for _ in range(config.columns)],
        "row": random.randrange(config.bank_rows - config.word),
        "turn": random.randrange(config.banks),
        "image": int(random.random() < 0.3),
        "taps": [random.choice((0, random.getrandbits(config.gates))) for _ in range(config.banks)],
        "kv": random.getrandbits(1),
        "marker": {name: marker.get(name, 0) for name, _ in MARKER},
    }


def sub_words_of(config, group, bank):
    """What a bank gets of a group, in order."""
    if group["image"]:
        return image_sub_words_of(config, group, bank)
    bits, pieces = sub_word_bits(config), config.word // config.banks // sub_word_bits(config)
    ends = any(group["marker"][name] for name in ("double", "last", "clear", "token"))
    whole = [
        p for p in range(pieces) if any(w >> p * bits * config.banks & mask(config, bits) for w in group["spikes"])
    ]
    found = []
    for piece in whole or [0]:
        numbers = range(piece * bits * config.banks, (piece + 1) * bits * config.banks)
        mine = [i for i in numbers if (i + group["turn"]) % config.banks == bank]
        spikes = [sum((word >> i & 1) << j for j, i in enumerate(mine)) for word in group["spikes"]]
        end = int(ends and piece == (whole or [0])[-1])
        if any(spikes) or end:
            known = {key: group[key] for key in ("kv", "marker", "image")}
            found.append(dict(spikes=spikes, row=group["row"] + piece * bits, any=int(any(spikes)), end=end, **known))
    return found


def image_sub_words_of(config, group, bank):
    """Rows of an image have an event each, the first in the bank whose turn it is, the last perhaps a row further."""
    ends = any(group["marker"][name] for name in ("double", "last", "clear", "token"))
    gates = group["taps"][(bank - group["turn"]) % config.banks]
    spikes = [int(gates > 0), *[0] * (config.columns - 1)]
    known = {key: group[key] for key in ("kv", "marker", "image")}
    known["row"] = group["row"] + (bank < group["turn"])
    found = dict(spikes=spikes, gates=gates, any=int(gates > 0), end=int(ends), **known)
    return [found] if gates or ends else []


def mask(config, bits):
    return (1 << bits * config.banks) - 1


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.4], stall=[0.0, 0.5])
async def bits_are_dealt(dut, idle, stall):
    """Every turn, silent and full words, markers; a group or a piece a cycle."""
    config = CoreConfig(**parameters()["config"])
    pieces = config.word // config.banks // sub_word_bits(config)
    await start(dut, groups__valid=0, groups__payload=0, room=1)
    got = [[] for _ in range(config.banks)]
    cocotb.start_soon(collect(dut, config, got, stall if pieces > 1 else 0))
    sent = [random_group(config) for _ in range(120)]
    watch = Watch(dut, "groups")
    await send(dut, "groups", [pack(spike_group(config), g) for g in sent], idle=idle)
    await idle_cycles(dut, 30)
    for bank in range(config.banks):
        wanted = [w for g in sent for w in sub_words_of(config, g, bank)]
        assert len(got[bank]) == len(wanted)
        for a, b in zip(got[bank], wanted, strict=True):
            assert {key: a[key] for key in b} == b, bank
    if not idle and not stall and pieces == 1:
        assert watch.cycles[-1] - watch.cycles[0] == len(sent) - 1


async def collect(dut, config, got, stall):
    layout = sub_word(config)
    while True:
        await FallingEdge(dut.clk)
        dut.room.value = int(random.random() >= stall)
        await ReadOnly()
        takes, words = int(dut.takes.value), int(dut.sub_words.value)
        for bank in range(config.banks):
            if takes >> bank & 1:
                got[bank].append(unpack(layout, words >> bank * layout.size))
