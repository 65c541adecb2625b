"""`Sequencer`: Programs of layers, fetched and run one after the other."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import DESCRIPTOR, DESCRIPTOR_WORDS, WORD_BITS, Kind, job, work_item
from spikeloom.rtl.core.sequencer import Sequencer
from spikeloom.sim.bench import Watch, cycle, pack, parameters, start, unpack
from spikeloom.sim.benches.layer_loops import check, loop_nest, random_layer

CASES = [
    {"config": dict(lanes=4, columns=1, neuron_lanes=1, weight_rows=2000)},
    {"config": dict(lanes=8, columns=2, neuron_lanes=4, weight_rows=3000)},
    {"config": dict(lanes=32, columns=4, neuron_lanes=8, weight_rows=4096)},
]


def build(*, config):
    return Sequencer(config=CoreConfig(**config))


class Surroundings:
    """Program memory, image loader, scanner, neurons and writer."""

    def __init__(self, dut, words, *, stall):
        self.words, self.stall = words, stall
        self.outstanding, self.ends, self.images, self.layers = 0, [], 0, []
        self.fetches = []
        cocotb.start_soon(self._run(dut))

    async def _run(self, dut):
        address, finish = None, 0
        while True:
            await FallingEdge(dut.clk)
            if address is not None:
                dut.program__data.value = self.words[address]
            dut.items__ready.value = int(random.random() >= self.stall)
            dut.jobs__ready.value = int(random.random() >= self.stall)
            finish = int(self.outstanding > 0 and random.random() < 0.5)
            dut.job_finished.value = finish
            dut.quiet.value = int(random.random() < 0.5)
            dut.image_loaded.value = int(random.random() < 0.2)
            await ReadOnly()
            address = int(dut.program__address.value) if int(dut.program__enable.value) else None
            if address is not None:
                self.fetches.append((cycle(), address))
            self.outstanding += int(dut.jobs__valid.value) * int(dut.jobs__ready.value) - finish
            self.images += int(dut.load_image.value) * int(dut.image_loaded.value)
            if int(dut.layer_end.value):
                assert self.outstanding == -finish + finish and int(dut.quiet.value)
                self.ends.append(cycle())
                self.layers.append(unpack(DESCRIPTOR, int(dut.layer.value)))


@cocotb.test(timeout_time=4, timeout_unit="ms")
@cocotb.parametrize(stall=[0.0, 0.5])
async def program(dut, stall):
    """Layers of every kind, some without a step; twice, as for two images."""
    config = CoreConfig(**parameters()["config"])
    layers = [dict(kind=Kind.IMAGE, positions=3)]
    layers.append(random_layer(config, Kind.ACCUMULATE, direct=1, pool=True))
    layers += [random_layer(config, Kind.ACCUMULATE, pool=i == 1) for i in range(4)]
    layers.append(random_layer(config, Kind.ACCUMULATE, steps=0))
    layers += [random_layer(config, Kind.ATTENTION) for _ in range(3)]
    layers.append(random_layer(config, Kind.READOUT))
    bits = [pack(DESCRIPTOR, d) for d in layers] + [0]
    words = [b >> WORD_BITS * i & (1 << WORD_BITS) - 1 for b in bits for i in range(DESCRIPTOR_WORDS)]
    ports = "start program__data image_loaded items__ready jobs__ready job_finished"
    await start(dut, **dict.fromkeys(ports.split(), 0), quiet=1)
    around = Surroundings(dut, words, stall=stall)
    nests = [loop_nest(config, d) if d["kind"] != Kind.IMAGE else ([], []) for d in layers]
    for image in range(2):
        items, jobs = Watch(dut, "items"), Watch(dut, "jobs")
        around.ends.clear(), around.layers.clear(), around.fetches.clear()
        dut.start.value = 1
        await FallingEdge(dut.clk)
        dut.start.value = 0
        done = False
        while not done:
            await ReadOnly()
            assert int(dut.busy.value)
            done = int(dut.done.value)
            await FallingEdge(dut.clk)
        assert not int(dut.busy.value)
        assert around.images == image + 1
        assert [d["index"] for d in around.layers] == [d.get("index", 0) for d in layers]
        wanted = [item for nest in nests for item in nest[0]]
        assert len(items.payloads) == len(wanted)
        for index, (got, item) in enumerate(zip(items.payloads, wanted, strict=True)):
            check(work_item(config), got, item, index)
        wanted = [one for nest in nests for one in nest[1]]
        assert len(jobs.payloads) == len(wanted)
        for index, (got, one) in enumerate(zip(jobs.payloads, wanted, strict=True)):
            check(job(config), got, one, index)
        assert [at for _, at in around.fetches] == list(range(len(words)))
        begins = [c for c, at in around.fetches if at % DESCRIPTOR_WORDS == 0]
        assert begins[1:] == [c + 1 for c in around.ends]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def fetch_time(dut):
    """`DESCRIPTOR_WORDS` + 5 cycles from a layer's end to the next layer's first item."""
    config = CoreConfig(**parameters()["config"])
    layers = [random_layer(config, Kind.ACCUMULATE, steps=s) for s in (0, 0, 1)]
    bits = [pack(DESCRIPTOR, d) for d in layers] + [0]
    words = [b >> WORD_BITS * i & (1 << WORD_BITS) - 1 for b in bits for i in range(DESCRIPTOR_WORDS)]
    ports = "start program__data image_loaded items__ready jobs__ready job_finished"
    await start(dut, **dict.fromkeys(ports.split(), 0), quiet=1)
    around, items = Surroundings(dut, words, stall=0), Watch(dut, "items")
    dut.start.value = 1
    await FallingEdge(dut.clk)
    dut.start.value = 0
    while len(around.ends) < 3:
        await FallingEdge(dut.clk)
    fetched = [c for c, at in around.fetches if at % DESCRIPTOR_WORDS == 0]
    assert items.cycles[0] == fetched[2] + DESCRIPTOR_WORDS + 4


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(kinds=[(5,), (6,), (7,), (1, 1), (1, 0)])
async def faults(dut, kinds):
    """A kind that does not exist and a second image end the Program, without a word that it is done."""
    words = [word for kind in kinds for word in (kind, *[0] * (DESCRIPTOR_WORDS - 1))]
    ports = "start program__data image_loaded items__ready jobs__ready job_finished"
    await start(dut, **dict.fromkeys(ports.split(), 0), quiet=1)
    around = Surroundings(dut, words, stall=0)
    dut.start.value = 1
    await FallingEdge(dut.clk)
    dut.start.value = 0
    while not int(dut.fault.value) and not int(dut.done.value):
        await FallingEdge(dut.clk)
        await ReadOnly()
    right = kinds[-1] == Kind.END.value
    assert (int(dut.fault.value), int(dut.done.value)) == (not right, right)
    assert len(around.ends) == around.images == len(kinds) - 1
    await FallingEdge(dut.clk)
    await ReadOnly()
    assert not int(dut.busy.value) and not int(dut.fault.value)
