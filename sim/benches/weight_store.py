"""`WeightStore`: rows from the initial contents, after writes of the host and of K^T V."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import COMMAND, WORD_BITS, bank_rows, product_write, row_request
from spikeloom.rtl.core.weight_store import WeightStore
from spikeloom.sim.bench import pack, parameters, start, unpack

CASES = [
    {"config": dict(lanes=4, columns=1, neuron_lanes=1, weight_rows=1)},
    {"config": dict(lanes=8, columns=2, banks=2, neuron_lanes=2, weight_width=4, weight_rows=38)},
    {"config": dict(lanes=32, columns=4, banks=8, neuron_lanes=8, weight_rows=104)},
]
LATENCY = 2


def build(*, config):
    config = CoreConfig(**config)
    return WeightStore(config=config, init=[pack_row(config, row) for row in initial_rows(config)])


CONTENTS: list[list[int]] = []  # as they were left: a reset does not restore a memory


def initial_rows(config):
    """The host's rows, the same in the component and in the bench; the last ones are left at zero."""
    source = random.Random(5)
    count = max(1, config.weight_rows - 3)
    return [random_row(config, source) for _ in range(count)]


def random_row(config, source=random):
    top = 1 << config.weight_width - 1
    return [source.randrange(-top, top) for _ in range(config.lanes)]


def pack_row(config, row):
    mask = (1 << config.weight_width) - 1
    return sum((w & mask) << lane * config.weight_width for lane, w in enumerate(row))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def rows_of_requests(dut):
    """A request a cycle, its rows and gates two cycles later; what the host and K^T V replace counts at once."""
    config = CoreConfig(**parameters()["config"])
    rows = CONTENTS
    rows += initial_rows(config)
    rows += [[0] * config.lanes for _ in range(config.weight_rows - len(rows))]
    ports = "requests writes__enable writes__address writes__data written cleared products"
    await start(dut, **dict.fromkeys(ports.split(), 0))
    for _ in range(4):
        await check_requests(dut, config, rows)
        for index in random.sample(range(len(rows)), min(5, len(rows))):
            rows[index] = random_row(config)
            await host_write(dut, config, index, pack_row(config, rows[index]))
        await check_requests(dut, config, rows)
        await write_products(dut, config, rows)
    await check_requests(dut, config, rows)


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


async def write_products(dut, config, rows):
    """Whole rows in one bank, and zeros in all of them."""
    for kind in random.choices(("written", "cleared"), k=4):
        row, banks = random.randrange(config.bank_rows), (1 << config.banks) - 1
        product = random_row(config)
        if kind == "written":
            banks = 1 << random.randrange(config.banks)
        await FallingEdge(dut.clk)
        dut.products.value = pack_row(config, product)
        getattr(dut, kind).value = pack(product_write(config), dict(banks=banks, row=row))
        await FallingEdge(dut.clk)
        getattr(dut, kind).value = 0
        for bank in range(config.banks):
            if banks >> bank & 1:
                rows[row * config.banks + bank] = product if kind == "written" else [0] * config.lanes


async def check_requests(dut, config, rows):
    waiting = []
    for _ in range(50):
        await FallingEdge(dut.clk)
        banks = [
            dict(
                applies=random.getrandbits(1),
                row=random.randrange(config.bank_rows),
                gates=random.getrandbits(config.gates),
            )
            for _ in range(config.banks)
        ]
        command = {name: random.getrandbits(1) for name, _ in COMMAND}
        request = dict(banks=banks, command=command, tail=0)
        dut.requests.value = pack(row_request(config), request)
        waiting.append(request)
        await ReadOnly()
        if len(waiting) > LATENCY:
            found = unpack(bank_rows(config), int(dut.rows.value))
            check_rows(config, rows, waiting.pop(0), found)
            assert found["command"] == waiting[0]["command"]  # of the next rows
    await FallingEdge(dut.clk)
    dut.requests.value = 0


def check_rows(config, rows, request, found):
    for bank, (asked, got) in enumerate(zip(request["banks"], found["banks"], strict=True)):
        assert got["gates"] == (asked["gates"] if asked["applies"] else 0)
        if got["gates"]:
            assert got["elements"] == rows[asked["row"] * config.banks + bank], (asked["row"], bank)
