"""`LayerLoops` against a loop nest that multiplies."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layer_loops import LayerLoops
from spikeloom.rtl.core.layouts import DESCRIPTOR, Kind, Scan, Write, job, work_item
from spikeloom.sim.bench import Watch, pack, parameters, start, unpack

CASES = [
    {"config": dict(lanes=4, columns=1, neuron_lanes=1, weight_rows=2000)},
    {"config": dict(lanes=48, columns=2, neuron_lanes=4, weight_rows=3000)},
    {"config": dict(lanes=32, columns=4, neuron_lanes=8, weight_rows=4096)},
]


def build(*, config):
    return LayerLoops(config=CoreConfig(**config))


def random_layer(config, kind, *, steps=None, direct=0, pool=False):
    """A descriptor with strides that tell one loop from another."""
    steps = random.randint(1, 4) if steps is None else steps
    width, height = random.randint(1, 5), random.randint(1, 4)
    stride, padding = random.choice(((1, 0), (1, 1), (2, 1)))
    tiles = random.randint(1, 3)
    readout = kind == Kind.READOUT
    attention = kind == Kind.ATTENTION
    if attention:
        stride, padding = 1, 0
    group = config.columns.bit_length() - 1
    if direct:
        group = random.randrange(config.gates.bit_length()) if tiles == 1 else random.randint(0, group)
    words = random.randint(1, 3)
    if attention:  # of a head that fills tiles
        words = config.tile_words * random.choice([n for n in (1, 2, 3) if tiles % n == 0])
    row, space = 17, random.randrange

    def address():
        return space(1 << config.address_width)

    run = steps if readout or direct else steps + random.choice((0, 0, 2)) * (steps > 0)
    return dict(
        kind=kind,
        index=random.getrandbits(8),
        direct=direct,
        steps=steps,
        steps_in=random.randint(0, 4),
        steps_run=run,
        group=group,
        input=dict(base=address(), step=0 if direct else 301, plane=space(99), row=row),
        key=dict(base=address(), step=317),
        value=dict(base=address(), step=331),
        field=dict(
            position=5,
            row_stride=stride * row,
            position_stride=0 if direct else stride * 5,
            edge=random.randint(0, 3),
            words=words,
            stride=stride,
            padding=padding,
        ),
        width=width,
        height=height,
        positions=width * height,
        tiles=tiles,
        tile_tail=random.randint(1, config.lanes),
        weight_base=space(100),
        tile_rows=space(300),
        parameter_base=space(20),
        write=Write.POOL if pool else random.choice((Write.STORE, Write.ADD)),
        output=dict(base=address(), step=203, row=109),
        output_position=random.randint(1, 9),
        residual=dict(base=address(), step=111),
        residual_steps=random.randint(0, 4),
    )


def loop_nest(config, d):
    """Items and jobs of a layer, in order; addresses before they wrap."""
    items, jobs = [], []
    size = 1 << d["group"]
    groups = [(y, x, min(size, d["width"] - x)) for y in range(d["height"]) for x in range(0, d["width"], size)]
    readout, attention = d["kind"] == Kind.READOUT, d["kind"] == Kind.ATTENTION
    field = d.get("field")
    if not d["steps_run"] and not readout:
        return items, jobs
    for tile in range(d["tiles"]):
        if d["direct"]:
            order = [(step, *group) for group in groups for step in range(d["steps_run"])]
        else:
            order = [(step, *group) for step in range(d["steps_run"]) for group in groups]
        for step, y, x, columns in order:
            scans = step < d["steps"] and step < d["steps_in"] and not (d["direct"] and step)
            first = tile * config.tile_words
            head = first // field["words"] * field["words"] if attention else 0
            if attention and scans and (y, x) == (0, 0):
                for token in range(d["positions"]):
                    key, value = (
                        d[name]["base"] + step * d[name]["step"] + token * field["position"]
                        for name in ("key", "value")
                    )
                    items.append(
                        dict(
                            scan=Scan.KV,
                            pointer=key + head,
                            value_pointer=value + first,
                            row=0,
                            clear=token == 0,
                        )
                    )
            item = dict(scan=Scan.NONE, columns=columns, tail=tile == d["tiles"] - 1)
            if scans:
                pointer = d["input"]["base"] + step * d["input"]["step"] + head
                pointer += y * field["row_stride"] + x * field["position_stride"]
                in_x = x * field["stride"] - field["padding"]
                if d["direct"]:
                    word, in_x = divmod(x * field["stride"] + field["edge"], config.word // 2)
                    pointer += word
                item |= dict(
                    scan=Scan.FIELD,
                    pointer=pointer,
                    x=in_x,
                    y=y * field["stride"] - field["padding"],
                    row=d["weight_base"] + tile * d["tile_rows"] * (d["kind"] != Kind.ATTENTION),
                )
            if not (d["direct"] and step):  # the sums of the first step serve all others
                items.append(item)
            jobs.append(one_job(config, d, tile, step, y, x, columns))
    return items, jobs


def one_job(config, d, tile, step, y, x, columns):
    readout, pool = d["kind"] == Kind.READOUT, d["write"] == Write.POOL
    position = y * d["width"] + x
    ends = position + columns == d["positions"] and step == d["steps_run"] - 1
    words = config.neuron_words
    if tile == d["tiles"] - 1:
        words = -(-d["tile_tail"] // config.neuron_lanes)
    out_y, out_x = (y // 2, x // 2) if pool else (y, x)
    offset = out_y * d["output"]["row"] + out_x * d["output_position"]
    active = step < d["steps"]
    return dict(
        active=active,
        first=step == 0 and (not readout or position == 0) if active else None,
        last=(ends if readout else step == d["steps"] - 1) if active else None,
        final=readout and ends,
        fence=position == 0 or d["direct"] or readout,
        keep=d["direct"] and step < d["steps"] - 1,
        parameter=d["parameter_base"] + tile * config.neuron_words,
        words=words,
        columns=columns,
        to=dict(
            step=step,
            word=tile * config.tile_words,
            position=position,
            x=x,
            y=y,
            offset=offset + tile * config.tile_words,
            out=d["output"]["base"] + step * d["output"]["step"],
            residual=d["residual"]["base"] + step * d["residual"]["step"],
            has_residual=step < d["residual_steps"],
        ),
    )


def check(layout, bits, wanted, where):
    """The fields that are wanted, modulo what they hold."""
    got = unpack(layout, bits)
    for key, value in wanted.items():
        if key == "to":
            check(layout[key].shape, layout.from_bits(bits)[key].as_bits(), value, where)
        elif value is not None:
            mask = (1 << layout[key].width) - 1
            value = value.value if isinstance(value, Scan) else int(value)
            assert got[key] & mask == value & mask, (where, key, got, wanted)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(stall=[0.0, 0.5])
async def items_and_jobs(dut, stall):
    """Layers of every kind; an item, a job or both every other cycle, and `ended` with the last."""
    config = CoreConfig(**parameters()["config"])
    await start(dut, **dict.fromkeys("layer start run items__ready jobs__ready".split(), 0))
    layers = [random_layer(config, Kind.ACCUMULATE, direct=1, pool=i == 1) for i in range(2)]
    layers += [random_layer(config, Kind.ACCUMULATE, pool=i == 1) for i in range(3)]
    layers += [random_layer(config, Kind.ATTENTION) for _ in range(3)] + [random_layer(config, Kind.READOUT)]
    for layer in layers:
        items, jobs = Watch(dut, "items"), Watch(dut, "jobs")
        dut.layer.value, dut.start.value = pack(DESCRIPTOR, layer), 1
        await FallingEdge(dut.clk)
        dut.start.value, dut.run.value, ended = 0, 1, False
        while not ended:
            dut.items__ready.value, dut.jobs__ready.value = (int(random.random() >= stall) for _ in range(2))
            await ReadOnly()
            assert not int(dut.skip.value)
            ended = int(dut.ended.value)
            await FallingEdge(dut.clk)
        dut.run.value = 0
        wanted_items, wanted_jobs = loop_nest(config, layer)
        for payloads, layout, wanted in (
            (items.payloads, work_item(config), wanted_items),
            (jobs.payloads, job(config), wanted_jobs),
        ):
            assert len(payloads) == len(wanted)
            for index, (got, one) in enumerate(zip(payloads, wanted, strict=True)):
                check(layout, got, one, index)
        if not stall:
            busy = sorted({*items.cycles, *jobs.cycles})
            assert busy == list(range(busy[0], busy[0] + 2 * len(busy), 2))
        await FallingEdge(dut.clk)
        await ReadOnly()
        assert not int(dut.items__valid.value) and not int(dut.jobs__valid.value)
        await FallingEdge(dut.clk)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def skips(dut):
    """A layer without a step runs nothing, unless it is the readout."""
    config = CoreConfig(**parameters()["config"])
    await start(dut, **dict.fromkeys("layer start run items__ready jobs__ready".split(), 0))
    for kind, steps, skip in ((Kind.ACCUMULATE, 0, 1), (Kind.ACCUMULATE, 1, 0), (Kind.READOUT, 0, 0)):
        dut.layer.value = pack(DESCRIPTOR, random_layer(config, kind, steps=steps))
        await ReadOnly()
        assert int(dut.skip.value) == skip
        await FallingEdge(dut.clk)
