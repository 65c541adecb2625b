"""`ProductWriter`: the lanes of a head, and where and when its rows are written."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.ac_array import LATENCY, stages
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import product_write, row_request
from spikeloom.rtl.core.product_writer import ProductWriter
from spikeloom.sim.bench import cycle, idle_cycles, pack, parameters, start, unpack

CASES = [
    {"config": dict(lanes=4, columns=1, banks=1, neuron_lanes=1, weight_rows=64)},
    {"config": dict(lanes=8, columns=2, banks=2, neuron_lanes=2, weight_rows=128)},
    {"config": dict(lanes=32, columns=1, banks=8, neuron_lanes=8, weight_rows=512)},
]


def build(*, config):
    return ProductWriter(config=CoreConfig(**config))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def rows_of_heads(dut):
    """All head sizes, a request a cycle or fewer; other requests write nothing."""
    config = CoreConfig(**parameters()["config"])
    await start(dut, head_shift=0, requests=0, word=0)
    for shift in range(config.lanes.bit_length()):
        word = random.getrandbits(config.lanes)
        dut.head_shift.value, dut.word.value = shift, word
        values, written = {}, {}
        watcher = cocotb.start_soon(watch(dut, config, values, written))
        for _ in range(60):
            await FallingEdge(dut.clk)
            kv, bank, row = random.random() < 0.6, random.randrange(config.banks), random.randrange(config.bank_rows)
            asked = dict(applies=1, row=row, gates=random.getrandbits(config.gates))
            other = dict(applies=0, row=random.randrange(config.bank_rows), gates=random.getrandbits(config.gates))
            banks = [asked if b == bank else other for b in range(config.banks)]
            command = dict(double=0, over=0, kv=int(kv), carry=0)
            dut.requests.value = pack(row_request(config), dict(banks=banks, command=command, tail=0))
            if kv:  # the request is here; the heads were a cycle before
                head = (row * config.banks + bank) % config.lanes >> shift
                lanes = sum((lane >> shift == head) << lane for lane in range(config.lanes))
                values[cycle() + LATENCY - 1 + stages(config) - 1] = word & lanes
                written[cycle() + LATENCY + stages(config)] = (1 << bank, row)
        await FallingEdge(dut.clk)
        dut.requests.value = 0
        await idle_cycles(dut, 20)
        watcher.cancel()
        assert not values and not written


async def watch(dut, config, values, written):
    while True:
        await FallingEdge(dut.clk)
        await ReadOnly()
        if cycle() in values:
            assert int(dut.values.value) == values.pop(cycle())
        found = unpack(product_write(config), int(dut.written.value))
        banks, row = written.pop(cycle(), (0, 0))
        assert found["banks"] == banks
        assert not banks or found["row"] == row
