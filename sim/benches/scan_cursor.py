"""`ScanCursor` against loops that multiply."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import DESCRIPTOR, HEAD_WORDS, Kind, Scan, slot, work_item
from spikeloom.rtl.core.scan_cursor import ScanCursor
from spikeloom.sim.bench import Watch, idle_cycles, pack, parameters, send, start, unpack

CASES = [
    {"config": dict(lanes=4, columns=1, neuron_lanes=1, weight_rows=300)},
    {"config": dict(lanes=48, columns=2, banks=4, neuron_lanes=2, weight_width=4, weight_rows=600)},
    {"config": dict(lanes=32, columns=4, banks=8, neuron_lanes=8, weight_rows=1000)},
]


def build(*, config):
    return ScanCursor(config=CoreConfig(**config))


def random_layer(config, planes, *, direct=False):
    """Strides that tell one loop from another."""
    kernel, stride, words = random.choice((1, 3)), random.choice((1, 2)), random.randint(1, 3)
    field = dict(position=5, row_stride=stride * 37, position_stride=stride * 5, words=words, planes=planes)
    field |= dict(tail=random.randint(1, config.word), width=random.randint(2, 5), height=random.randint(2, 5))
    field |= dict(kernel=kernel, stride=stride, padding=kernel // 2)
    if direct:
        field |= dict(words=-(-kernel // config.banks), position_stride=0)
    attention = not direct and random.random() < 0.4
    layer = {"kind": Kind.ATTENTION if attention else Kind.ACCUMULATE, "tile_rows": 32 * attention}
    layer |= {"tile_tail": random.randint(1, config.lanes)}
    return layer | {"input": {"plane": 401, "row": 37}, "direct": int(direct), "field": field}


def field_slots(config, layer, item):
    """The slots of a receptive field, in order; None where a value means nothing."""
    if layer["direct"]:
        return image_slots(config, layer, item)
    field, slots = layer["field"], []
    rows = -(-((field["words"] - 1) * config.word + field["tail"]) // config.banks)
    attention = layer["kind"] == Kind.ATTENTION
    for plane in range(field["planes"]):
        if plane:
            slots += [a_slot(item, complete=1, double=1) for _ in range(config.weight_width if attention else 1)]
        for tap in range(field["kernel"] ** 2):
            tap_y, tap_x = divmod(tap, field["kernel"])
            y, xs = item["y"] + tap_y, [item["x"] + tap_x + c * field["stride"] for c in range(config.columns)]
            in_y = 0 <= y < field["height"]
            for word in range(field["words"]):
                for column in range(config.columns):
                    reads = in_y and 0 <= xs[column] < field["width"] and column < item["columns"]
                    at = item["pointer"] - plane * 401 + tap_y * 37 + tap_x * 5 + word
                    at += column * field["position_stride"]
                    known = {
                        "reads": int(reads),
                        "address": at % (1 << config.address_width) if reads else None,
                        "column": column,
                        "complete": int(column == config.columns - 1),
                        "channels": (field["tail"] if word == field["words"] - 1 else config.word) if reads else None,
                        "turn": tap % config.banks,
                        "masked": int(attention),
                        "place": word % HEAD_WORDS if attention and reads else None,
                    }
                    row = item["row"] + tap * rows + word * config.word // config.banks
                    known["row"] = (row - plane * layer["tile_rows"]) % (1 << config.row_width)
                    slots.append(a_slot(item, **known))
    slots[-1]["marker"]["last"] = 1
    return slots


def image_slots(config, layer, item):
    """Of a layer that reads the image: a word for each row of the kernel and channel, a slot for a tap of each bank."""
    field, slots = layer["field"], []
    kernel, row = field["kernel"], item["row"]
    for plane in range(field["planes"]):
        if plane:
            slots.append(a_slot(item, complete=1, double=1))
        for tap_y in range(kernel):
            reads = 0 <= item["y"] + tap_y < field["height"]
            for channel in range(field["tail"]):
                at = item["pointer"] - plane * 401 + tap_y * 37 + channel * 5
                for tap_x in range(0, kernel, config.banks):
                    taps = min(config.banks, kernel - tap_x)
                    known = dict(reads=int(reads), again=int(tap_x > 0), complete=1, image=1, channels=taps)
                    known["address"] = at % (1 << config.address_width) if reads and not tap_x else None
                    number = (tap_y * field["tail"] + channel) * kernel + tap_x
                    known["row"] = (row + number // config.banks) % (1 << config.row_width)
                    known["turn"] = number % config.banks
                    known |= dict(pixel=item["x"] + tap_x, positions=item["columns"])
                    slots.append(a_slot(item, **known))
    slots[-1]["marker"]["last"] = 1
    return slots


def token_slots(config, layer, item):
    wrap = 1 << config.address_width
    values = -(-layer["tile_tail"] // config.word) if item["tail"] else config.tile_words
    first, slots = item["clear"], []
    for i in range(values):
        at, clear = (item["value_pointer"] + i) % wrap, int(first and i == 0)
        slots.append(a_slot(item, reads=1, address=at, complete=1, value=1, value_word=i, first=first, clear=clear))
    for word in range(layer["field"]["words"]):
        at, row = (item["pointer"] + word) % wrap, item["row"] + word * config.word // config.banks
        known = dict(row=row % (1 << config.row_width), turn=0, place=word, first=first)
        slots.append(a_slot(item, reads=1, address=at, column=0, complete=1, **known))
    return [*slots, a_slot(item, complete=1, token=1)]


def a_slot(item, *, complete, reads=0, value=0, double=0, clear=0, token=0, **known):
    """A slot; None where a value means nothing."""
    names = ("again", "address", "pixel", "positions", "column", "channels", "row", "turn", "image", "first")
    unknown = dict.fromkeys((*names, "masked", "place", "value_word"))
    marker = dict(tail=item["tail"], double=double, last=0, clear=clear, token=token)
    kv = int(item["scan"] == Scan.KV)
    return unknown | dict(reads=reads, complete=complete, value=value, kv=kv, marker=marker) | known


def random_item(config, layer):
    field = layer["field"]
    item = dict(scan=random.choice(list(Scan)), row=random.randrange(config.weight_rows))
    item |= {name: random.randrange(1 << config.address_width) for name in ("pointer", "value_pointer")}
    item |= {name: random.getrandbits(1) for name in ("tail", "clear")}
    item |= dict(x=random.randint(-field["padding"], field["width"]), y=random.randint(-field["padding"], 4))
    item["columns"] = random.randint(1, config.columns)
    if layer["direct"]:
        item["scan"] = Scan.FIELD
        item |= dict(x=random.randint(0, config.word - field["kernel"]), columns=random.randint(1, config.gates))
    if item["scan"] == Scan.FIELD:
        return item, field_slots(config, layer, item)
    if item["scan"] == Scan.KV:
        return item, token_slots(config, layer, item)
    slots = [a_slot(item, complete=1)]
    slots[0]["marker"]["last"] = 1
    return item, slots


async def receive_slots(dut, count, stall):
    """Take that many slots; in a cycle there is no room with that probability, and none comes in the next."""
    got, room = [], False
    while len(got) < count:
        await FallingEdge(dut.clk)
        had, room = room, random.random() >= stall
        dut.room.value = int(room)
        await ReadOnly()
        if int(dut.slots__valid.value):
            assert had
            got.append(int(dut.slots__payload.value))
    return got


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.4], stall=[0.0, 0.5])
async def slots_equal_loops(dut, idle, stall):
    """Random geometry and items; a slot a cycle, and one cycle more an item."""
    config = CoreConfig(**parameters()["config"])
    await start(dut, layer=0, items__valid=0, items__payload=0, slots__ready=1, room=0)
    for index in range(6):
        layer = random_layer(config, planes=1 + index % 3, direct=index % 2)
        dut.layer.value = pack(DESCRIPTOR, layer)
        await idle_cycles(dut, 2)
        work = [random_item(config, layer) for _ in range(8)]
        wanted = [s for part in work for s in part[1]]
        items = Watch(dut, "items")
        cocotb.start_soon(send(dut, "items", [pack(work_item(config), part[0]) for part in work], idle=idle))
        got = [unpack(slot(config), bits) for bits in await receive_slots(dut, len(wanted), stall)]
        for number, (a, b) in enumerate(zip(got, wanted, strict=True)):
            assert a == b | {key: a[key] for key in b if b[key] is None}, (number, a, b)
        await idle_cycles(dut, 3)
        assert not int(dut.slots__valid.value)
        if not idle and not stall:
            spent = [b - a for a, b in zip(items.cycles, items.cycles[1:], strict=False)]
            assert spent == [len(part[1]) + 1 for part in work[:-1]]
