"""`BankHeads` against what the heads of the banks may do together, event by event."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.ac_array import HELD_SUMS, LATENCY, stages
from spikeloom.rtl.core.bank_heads import HEADS, BankHeads
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import DESCRIPTOR, MARKER, bank_event, product_write, row_request
from spikeloom.sim.bench import cycle, idle_cycles, pack, parameters, start, unpack

CASES = [
    {"config": dict(lanes=4, columns=1, banks=1, neuron_lanes=1, weight_rows=300), "digits": 2},
    {"config": dict(lanes=8, columns=2, banks=2, neuron_lanes=2, weight_rows=600), "digits": 3},
    {"config": dict(lanes=32, columns=1, banks=8, neuron_lanes=8, weight_rows=4096), "digits": 1},
]
DIGIT_ROWS = 16


def build(*, config, digits):
    return BankHeads(config=CoreConfig(**config))


def segment(config, kind):
    """Events of each bank up to a barrier: of weights and its end, or of K and their token."""
    kv, marker = kind in ("token", "clear"), {name: 0 for name, _ in MARKER} | {kind: 1}
    marker["tail"] = random.getrandbits(1)
    found = []
    for _ in range(config.banks):
        rows = random.sample(range(DIGIT_ROWS if kv else config.bank_rows), random.choice((0, 1, 2, 5)))
        gates = (1 << config.gates) - 1
        gates = 1 if kv and config.columns > 1 else gates
        plain = [dict(row=row, gates=gates, applies=1, kv=int(kv), end=0) for row in rows]
        if kind in ("double", "clear"):
            plain = []
        if kind == "last" and plain and random.random() < 0.7:
            plain[-1]["end"] = 1
        else:
            plain.append(dict(row=0, gates=0, applies=0, kv=int(kv), end=1))
        found.append([event | {"marker": marker} for event in plain])
    if kind == "token" and not any(len(part) > 1 for part in found):
        return segment(config, kind)  # K has spiked
    return kind, found


class Banks:
    """The queues of the banks, with the state of each head; what has been taken, cycle by cycle."""

    def __init__(self, dut, config, segments, *, idle):
        self.dut, self.config, self.idle = dut, config, idle
        self.queues = [[e for _, found in segments for e in found[b]] for b in range(config.banks)]
        self.taken = []  # (cycle, bank, event)
        cocotb.start_soon(self._run())

    async def _run(self):
        config, dut = self.config, self.dut
        heads = [None] * config.banks
        while True:
            await FallingEdge(dut.clk)
            states, shown = 0, 0
            for b, head in enumerate(heads):
                if head is not None:
                    state = "waits" if head["end"] else "kv" if head["kv"] else "goes"
                    states |= pack(HEADS, {state: 1}) << b * HEADS.size
                    shown |= pack(bank_event(config), head) << b * bank_event(config).size
            dut.states.value, dut.heads.value = states, shown
            await ReadOnly()
            take = int(dut.take.value)
            for b in range(config.banks):
                if take >> b & 1:
                    if heads[b] is not None:
                        self.taken.append((cycle(), b, heads[b]))
                    ready = self.queues[b] and random.random() >= self.idle
                    heads[b] = self.queues[b].pop(0) if ready else None


class Requests:
    """What is asked for, cycle by cycle; takes sums some time after they are handed over, and gives words of V."""

    def __init__(self, dut, config, *, stall):
        self.rows, self.commands, self.cleared, self.tokens = [], [], [], 0
        self.waiting, self.most = 0, 0
        cocotb.start_soon(self._run(dut, config, stall))

    async def _run(self, dut, config, stall):
        nothing, valid = dict(double=0, over=0, kv=0, carry=0), False
        while True:
            await FallingEdge(dut.clk)
            takes = self.waiting and random.random() >= stall
            dut.sums_taken.value = int(bool(takes))
            valid = valid or random.random() >= stall
            dut.values__valid.value = int(valid)
            await ReadOnly()
            request = unpack(row_request(config), int(dut.requests.value))
            self.rows += [(cycle(), b, x["row"]) for b, x in enumerate(request["banks"]) if x["applies"]]
            if request["command"] != nothing:
                self.commands.append((cycle(), request["command"]))
            self.waiting += request["command"]["over"] - int(bool(takes))
            self.most = max(self.most, self.waiting)
            cleared = unpack(product_write(config), int(dut.cleared.value))
            if cleared["banks"]:
                assert cleared["banks"] == (1 << config.banks) - 1
                self.cleared.append(cleared["row"])
            if int(dut.values__ready.value):
                assert valid
                self.tokens, valid = self.tokens + 1, False


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.5], stall=[0.0, 0.8])
async def markers_are_barriers(dut, idle, stall):
    """Every event once, none across a marker; never more sums than are held; tokens after their rows are written."""
    config, digits = CoreConfig(**parameters()["config"]), parameters()["digits"]
    layer = {"tile_rows": DIGIT_ROWS, "weight_base": (digits - 1) * DIGIT_ROWS, "field": {"planes": digits}}
    await start(dut, layer=pack(DESCRIPTOR, layer), states=0, heads=0, values__valid=0, values__payload=0, sums_taken=0)
    kinds = ["last", "last", "double", "clear", "token", "token", "token", "last"] * 6
    segments = [segment(config, kind) for kind in kinds]
    asked = Requests(dut, config, stall=stall)
    banks = Banks(dut, config, segments, idle=idle)
    while any(banks.queues):
        await idle_cycles(dut, 10)
    await idle_cycles(dut, 120)
    check_order(config, segments, banks.taken)
    check_rows(config, segments, asked.rows, digits)
    assert asked.cleared == list(range(digits * DIGIT_ROWS)) * kinds.count("clear")
    assert asked.tokens == kinds.count("token")
    assert asked.most <= HELD_SUMS and (stall or asked.most)
    check_commands(config, segments, asked.commands, banks.taken, digits)
    if not idle and not stall and config.banks == 1:
        ends = [at for at, _, event in banks.taken if event["end"] and event["marker"]["last"]]
        assert any(b - a == 1 for a, b in zip(ends, ends[1:], strict=False))


def check_order(config, segments, taken):
    """The ends of a segment are taken in one cycle, after its other events and before those of the next."""
    for b in range(config.banks):
        assert [event for _, bank, event in taken if bank == b] == [e for _, found in segments for e in found[b]]
    at = [[cycle for cycle, bank, _ in taken if bank == b] for b in range(config.banks)]
    for _, found in segments:
        ends = {at[b][len(events) - 1] for b, events in enumerate(found)}
        assert len(ends) == 1
        at = [cycles[len(events) :] for cycles, events in zip(at, found, strict=True)]


def check_rows(config, segments, rows, digits):
    """Rows that are asked for: each once, those of K once a digit."""
    for b in range(config.banks):
        wanted = []
        for _, found in segments:
            for event in found[b]:
                times = digits if event["kv"] else 1
                wanted += [event["row"] + i * DIGIT_ROWS * event["kv"] for i in range(times) if event["applies"]]
        assert [row for _, bank, row in rows if bank == b] == wanted


def check_commands(config, segments, commands, taken, digits):
    """A command a marker, one an event of K and digit; a token's marker leaves when all its rows are written."""
    kv = [at for at, command in commands if command["kv"]]
    assert len(kv) == digits * sum(e["kv"] and not e["end"] for _, found in segments for part in found for e in part)
    assert [c["carry"] for _, c in commands if c["kv"]] == [int(i % digits > 0) for i in range(len(kv))]
    others = [command for _, command in commands if not command["kv"]]
    markers = [found[0][-1]["marker"] for kind, found in segments if kind in ("last", "double")]
    wanted = [dict(double=x["double"], over=x["last"], kv=0, carry=0) for x in markers]
    assert others == wanted
    for at in (when for when, bank, event in taken if event["marker"]["token"] and event["end"] and bank == 0):
        before = [x for x in kv if x <= at + 1]
        # the request is a cycle after the head; the row is written LATENCY + stages cycles after the request
        assert not before or at >= before[-1] - 1 + LATENCY + stages(config)
