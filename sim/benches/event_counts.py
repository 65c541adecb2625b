"""`EventCounts` against products and sums of numbers."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.event_counts import EventCounts
from spikeloom.rtl.core.layouts import DESCRIPTOR, Kind, row_request
from spikeloom.sim.bench import pack, parameters, start

CASES = [
    {"config": dict(lanes=16, columns=1, neuron_lanes=1)},
    {"config": dict(lanes=48, columns=2, banks=4, neuron_lanes=2, weight_width=4)},
    {"config": dict(lanes=32, columns=4, banks=8, neuron_lanes=8)},
    {"config": dict(lanes=256, columns=1, banks=4, neuron_lanes=8)},
]
COUNTS = ("rows", "weight_rows", "done", "gated")


def build(*, config):
    return EventCounts(config=CoreConfig(**config))


def random_request(config):
    banks = [
        dict(applies=random.getrandbits(1), row=0, gates=random.randint(1, (1 << config.gates) - 1))
        for _ in range(config.banks)
    ]
    command = dict(double=0, over=0, kv=int(random.random() < 0.2), carry=0)
    return dict(banks=banks, command=command, tail=random.getrandbits(1))


def counts(config, layer, request):
    """What a request adds to the counters, in the order of `COUNTS`."""
    applied = [bank["gates"] for bank in request["banks"] if bank["applies"] and not request["command"]["kv"]]
    lanes = layer["tile_tail"] if request["tail"] else config.lanes
    positions = config.columns if config.columns > 1 else 1 << layer["group"]
    each = config.gates // positions  # gates of a position
    spiking = sum(gates >> each * i & 1 for gates in applied for i in range(positions))
    weights = 0 if layer["kind"] == Kind.ATTENTION else len(applied)
    return len(applied), weights, lanes * spiking, lanes * (len(applied) * positions - spiking)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def counts_of_requests(dut):
    """A request a cycle of any gates, at all groups of positions; each is counted once, all at the same lag."""
    config = CoreConfig(**parameters()["config"])
    await start(dut, layer=0, requests=0)
    groups = range(config.gates.bit_length()) if config.columns == 1 else [config.columns.bit_length() - 1]
    for group in groups:
        for kind in (Kind.ACCUMULATE, Kind.ATTENTION):
            layer = dict(kind=kind, group=group, tile_tail=random.randint(1, config.lanes))
            dut.layer.value = pack(DESCRIPTOR, layer)
            pending = [(0, 0, 0, 0)] * EventCounts.LATENCY
            for number in range(60):
                request = random_request(config) if number < 50 else None
                dut.requests.value = pack(row_request(config), request) if request else 0
                pending.append(counts(config, layer, request) if request else (0, 0, 0, 0))
                await ReadOnly()
                assert tuple(int(getattr(dut, name).value) for name in COUNTS) == pending.pop(0)
                await FallingEdge(dut.clk)
