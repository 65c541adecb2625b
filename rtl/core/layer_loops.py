"""The loops of a layer: tiles, steps and positions become work items and jobs."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import CoreConfig
from .layouts import DESCRIPTOR, Kind, Scan, Write, coordinate, image_hop, job, position_count, work_item
from .time_mask import TimeMaskController


def _walk(config: CoreConfig) -> data.StructLayout:
    """Where the loops of a layer are, loop by loop: its index and the addresses at which its present pass began."""
    layer, address = {name: field.shape for name, field in DESCRIPTOR}, config.address_width
    side, position = config.side_width, config.position_width
    return data.StructLayout(
        {
            "tile": data.StructLayout(
                {
                    "index": ceil_log2(config.parameter_words + 1),
                    "word": address,  # number of its first spike word in a position
                    "weight_row": config.row_width,
                    "parameter": config.parameter_width,
                    "head": address,  # attention: first word of the head in a position of Q and K
                    "head_word": layer["field"]["words"].shape,  # of the tile, in its head
                }
            ),
            "step": data.StructLayout(
                {
                    "index": layer["steps"],
                    "input": address,
                    "key": address,
                    "value": address,
                    "output": address,
                    "residual": address,
                }
            ),
            "token": data.StructLayout({"index": position, "offset": address}),  # from the step's first token
            "row": data.StructLayout({"y": side, **_at(config), "in_y": coordinate(config)}),
            "group": data.StructLayout({"x": side, "position": position, **_at(config), "in_x": coordinate(config)}),
        }
    )


def _at(config):
    """Of the first position of a row or group: its first tap from that of the step, its word from that of the tile.

    Both begin at 0, which a register's reset does: each source of a register more is a table for each of its bits.
    """
    return {"input": config.address_width, "output": config.address_width}


def _group(config: CoreConfig) -> data.StructLayout:
    """Of the layer's groups of positions: how many these are, and how far from one group to the next."""
    return data.StructLayout(
        {
            "positions": position_count(config),
            "last_x": config.side_width,  # of the last group in a row: its first position
            "in_x": coordinate(config),
            "input": config.address_width,
            "output": config.address_width,
        }
    )


def _fixed(config: CoreConfig) -> data.StructLayout:
    """Of the layer."""
    return data.StructLayout(
        {
            "attention": 1,
            "readout": 1,
            "last_y": config.side_width,
            "last_tile": DESCRIPTOR["tiles"].shape,
            "tail_words": job(config)["words"].shape,  # of the last tile
        }
    )


_ENDS = data.StructLayout({"x": 1, "positions": 1, "steps": 1, "tiles": 1, "layer": 1})
"""Which loops end with the group at hand; positions: with its row."""


_STEP = data.StructLayout({"active": 1, "scan": 1, "first": 1, "last": 1, "keep": 1})
"""What is done at a step: as `TimeMaskController` says."""


def _place(config: CoreConfig) -> data.StructLayout:
    """What the walk has come to."""
    return data.StructLayout(
        {
            "kv": 1,  # a token of K and V
            "field": 1,  # an item for a group of positions
            "step": _STEP,
            "ends": _ENDS,
            "columns": position_count(config),
            "input": config.address_width,  # of the group's first tap
            "key": config.address_width,  # of the token
            "value": config.address_width,
            "head": config.address_width,  # words from there to the head's, or to the window's in the image's row
        }
    )


def _offer(config: CoreConfig) -> data.StructLayout:
    """What is offered."""
    return data.StructLayout({"kv": 1, "field": 1, "last": 1, "item": work_item(config), "job": job(config)})


class LayerLoops(wiring.Component):
    """Work items for the scanner and jobs for the neurons, in the order in which a layer runs.

    A layer runs ``for tile, for step < steps_run, for group of positions``; a direct layer ``for tile, for group, for
    step``, since the sums of one item serve the jobs of all steps. Attention has the tokens of K and V before the
    positions of each scanned step. Masked steps do not run, or scan nothing where a residual is copied. All addresses
    are sums of the descriptor's strides: nothing is multiplied.

    An item and a job every two cycles at most.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR), constant from `start` to `ended`
    start : In(1), to the first item of the layer, a cycle or more before `run`
    run : In(1), items and jobs are offered
    items : Out(stream of `layouts.work_item`)
    jobs : Out(stream of `layouts.job`)
    skip : Out(1), the layer runs no step at all
    ended : Out(1), the last item and job are taken in this cycle
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "layer": In(DESCRIPTOR),
                "start": In(1),
                "run": In(1),
                "items": Out(stream.Signature(work_item(config))),
                "jobs": Out(stream.Signature(job(config))),
                "skip": Out(1),
                "ended": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layer, walk = self.layer, Signal(_walk(self.config))
        m.submodules.time_mask = mask = TimeMaskController()
        fixed, group = self._measure_layer(m), self._measure_groups(m)
        place, now = Signal(_place(self.config)), Signal(_offer(self.config))
        # the walk goes on while what it has come to is offered: two cycles for each place
        looked, moves, over = Signal(), Signal(), Signal()
        known, taken, goes = Signal(), Signal(), Signal()
        self._look(m, place, walk, mask, fixed, group)
        m.d.comb += moves.eq(looked & ~known)
        m.d.sync += looked.eq(self.run & ~over & ~moves)
        with m.If(moves):
            self._offer(m, now, walk, place, fixed)
            m.d.sync += [known.eq(1), over.eq(place.ends.layer)]
        with m.Elif(taken):
            m.d.sync += known.eq(0)
        needed = now.kv | now.field  # an item
        m.d.comb += [
            mask.layer.eq(layer),
            mask.step.eq(walk.step.index),
            self.skip.eq(mask.skip),
            self.items.payload.eq(now.item),
            self.jobs.payload.eq(now.job),
            self.items.valid.eq(known & (self.jobs.ready | now.kv) & needed),
            goes.eq(self.items.ready | ~needed),
            taken.eq(known & (self.jobs.ready | now.kv) & goes),
            self.jobs.valid.eq(known & goes & ~now.kv),
            self.ended.eq(taken & now.last),
        ]
        with m.If(self.start):
            self._start_layer(m, walk)
            m.d.sync += over.eq(0)
        with m.Elif(moves):  # not beside `start`: a third fewer cells
            with m.If(place.kv):
                self._next_token(m, walk)
            with m.Else():
                self._next_group(m, walk, place, fixed, group)
        return m

    def _look(self, m, place, walk, mask, fixed, group):
        """Which loops end where the walk is, what is done there, and where it is in the memory; a cycle later."""
        layer, now = self.layer, Signal.like(place)
        kv, ends = now.kv, now.ends
        hop = ceil_log2(image_hop(self.config.word))
        word = Mux(layer.direct, walk.group.in_x >> hop, 0)  # of the image's row: the one that has the whole window
        m.d.sync += place.eq(now)
        m.d.comb += [
            kv.eq(fixed.attention & mask.scan & (walk.token.index != layer.positions)),
            now.field.eq(~kv & ~mask.again),
            *(now.step[key].eq(getattr(mask, key)) for key in ("active", "scan", "first", "last", "keep")),
            ends.x.eq(walk.group.x == group.last_x),
            ends.positions.eq(ends.x & (walk.row.y == fixed.last_y)),
            ends.steps.eq(mask.end),
            ends.tiles.eq(walk.tile.index == fixed.last_tile),
            ends.layer.eq(~kv & ends.positions & ends.steps & ends.tiles),
            now.columns.eq(Mux(ends.x, layer.width - walk.group.x, group.positions)),
            now.input.eq(walk.step.input + walk.group.input),
            now.key.eq(walk.step.key + walk.token.offset),
            now.value.eq(walk.step.value + walk.token.offset),
            now.head.eq(Mux(fixed.attention, walk.tile.head, word)),
        ]

    def _offer(self, m, now, walk, place, fixed):
        m.d.sync += [now.kv.eq(place.kv), now.field.eq(place.field), now.last.eq(place.ends.layer)]
        self._offer_item(m, now.item, walk, place)
        self._offer_job(m, now.job, walk, place, fixed)

    def _measure_layer(self, m):
        """Constant while the layer runs: no arithmetic in front of the loops."""
        config, layer, fixed = self.config, self.layer, Signal(_fixed(self.config))
        m.d.sync += [
            fixed.attention.eq(layer.kind == Kind.ATTENTION),
            fixed.readout.eq(layer.kind == Kind.READOUT),
            fixed.last_y.eq(layer.height - 1),
            fixed.last_tile.eq(layer.tiles - 1),
            fixed.tail_words.eq((layer.tile_tail + config.neuron_lanes - 1) >> ceil_log2(config.neuron_lanes)),
        ]
        return fixed

    def _measure_groups(self, m):
        """Likewise of the groups of positions."""
        layer, field, group = self.layer, self.layer.field, Signal(_group(self.config))
        by = layer.output_position << layer.group
        two_a_word = (layer.write == Write.POOL) & (layer.group != 0)  # positions that share a pooled word
        m.d.sync += [
            group.positions.eq(1 << layer.group),
            group.last_x.eq((layer.width - 1) >> layer.group << layer.group),
            group.in_x.eq(field.stride << layer.group),
            group.input.eq(field.position_stride << layer.group),
            group.output.eq(Mux(two_a_word, by >> 1, by)),
        ]
        return group

    def _first_x(self):
        """Of the first tap of a row: before the row by its padding, or in the first word of the image's row."""
        field = self.layer.field
        return Mux(self.layer.direct, field.edge, -field.padding)

    def _start_layer(self, m, walk):
        layer = self.layer
        m.d.sync += [
            walk.tile.eq(0),
            walk.tile.weight_row.eq(layer.weight_base),
            walk.tile.parameter.eq(layer.parameter_base),
        ]
        self._start_steps(m, walk)
        self._start_positions(m, walk)

    def _start_steps(self, m, walk):
        """To the first step: of K and V the tokens too."""
        layer = self.layer
        m.d.sync += [
            walk.step.eq(0),
            walk.step.input.eq(layer.input.base),
            walk.step.output.eq(layer.output.base),
            walk.step.residual.eq(layer.residual.base),
            walk.step.key.eq(layer.key.base),
            walk.step.value.eq(layer.value.base),
            walk.token.eq(0),
        ]

    def _start_positions(self, m, walk):
        """To the first position."""
        m.d.sync += [
            walk.row.eq(0),
            walk.group.eq(0),
            walk.row.in_y.eq(-self.layer.field.padding),
            walk.group.in_x.eq(self._first_x()),
        ]

    def _next_group(self, m, walk, place, fixed, group):
        """Advance the innermost loop that has not ended, restart those inside it."""
        layer, ends = self.layer, place.ends
        with m.If(ends.steps | ~layer.direct):
            self._next_position(m, walk, place, group)
        with m.If(layer.direct):
            self._next_step(m, walk)
            with m.If(ends.steps):
                self._start_steps(m, walk)
        with m.If(ends.positions & ~layer.direct):
            self._next_step(m, walk)
            self._start_positions(m, walk)
        with m.If(ends.positions & ends.steps):
            self._start_steps(m, walk)
            self._start_positions(m, walk)
            self._next_tile(m, walk, fixed)

    def _next_token(self, m, walk):
        token = walk.token
        m.d.sync += [token.index.eq(token.index + 1), token.offset.eq(token.offset + self.layer.field.position)]

    def _next_position(self, m, walk, place, by):
        layer, field = self.layer, self.layer.field
        row, group = walk.row, walk.group
        pooled = layer.write == Write.POOL
        stays = pooled & (layer.group == 0) & ~group.x[0]  # the next position shares the pooled word
        m.d.sync += group.position.eq(group.position + place.columns)
        with m.If(~place.ends.x):
            m.d.sync += [
                group.x.eq(group.x + by.positions),
                group.in_x.eq(group.in_x + by.in_x),
                group.input.eq(group.input + by.input),
                group.output.eq(group.output + Mux(stays, 0, by.output)),
            ]
        with m.Else():
            output = row.output + Mux(pooled & ~row.y[0], 0, layer.output.row)
            m.d.sync += [
                row.y.eq(row.y + 1),
                row.in_y.eq(row.in_y + field.stride),
                group.x.eq(0),
                group.in_x.eq(self._first_x()),
                *(at.input.eq(row.input + field.row_stride) for at in (row, group)),
                *(at.output.eq(output) for at in (row, group)),
            ]

    def _next_step(self, m, walk):
        step, layer = walk.step, self.layer
        m.d.sync += [
            step.index.eq(step.index + 1),
            step.input.eq(step.input + layer.input.step),
            step.output.eq(step.output + layer.output.step),
            step.residual.eq(step.residual + layer.residual.step),
            step.key.eq(step.key + layer.key.step),
            step.value.eq(step.value + layer.value.step),
            walk.token.eq(0),
        ]

    def _next_tile(self, m, walk, fixed):
        tile, words = walk.tile, self.layer.field.words
        m.d.sync += [
            tile.index.eq(tile.index + 1),
            tile.word.eq(tile.word + self.config.tile_words),
            tile.parameter.eq(tile.parameter + self.config.neuron_words),
        ]
        with m.If(~fixed.attention):  # whose tiles all have the same rows, of K^T V
            m.d.sync += tile.weight_row.eq(tile.weight_row + self.layer.tile_rows)
        with m.If(tile.head_word == words - self.config.tile_words):  # the next tile belongs to the next head
            m.d.sync += [tile.head_word.eq(0), tile.head.eq(tile.head + words)]
        with m.Else():
            m.d.sync += tile.head_word.eq(tile.head_word + self.config.tile_words)

    def _offer_item(self, m, item, walk, place):
        layer, kv = self.layer, place.kv
        hop = ceil_log2(image_hop(self.config.word))
        m.d.sync += [
            item.scan.eq(Mux(kv, Scan.KV, Mux(place.step.scan, Scan.FIELD, Scan.NONE))),
            item.pointer.eq(Mux(kv, place.key, place.input) + place.head),
            item.value_pointer.eq(place.value + walk.tile.word),
            item.x.eq(Mux(layer.direct, walk.group.in_x[:hop], walk.group.in_x)),
            item.y.eq(walk.row.in_y),
            item.columns.eq(place.columns),
            item.row.eq(Mux(kv, 0, walk.tile.weight_row)),  # K^T V begins at row 0, with its lowest digit
            item.tail.eq(place.ends.tiles),
            item.clear.eq(walk.token.index == 0),
        ]

    def _offer_job(self, m, work, walk, place, fixed):
        config, layer, readout = self.config, self.layer, fixed.readout
        to, step, ends = work.to, place.step, place.ends
        first, ends_all = walk.group.position == 0, ends.positions & ends.steps
        m.d.sync += [
            work.active.eq(step.active),
            work.first.eq(step.first & (first | ~readout)),
            work.last.eq(Mux(readout, ends_all, step.last)),
            work.final.eq(readout & ends_all),
            work.fence.eq(first | layer.direct | readout),
            work.keep.eq(step.keep),
            work.parameter.eq(walk.tile.parameter),
            work.words.eq(Mux(ends.tiles, fixed.tail_words, config.neuron_words)),
            work.columns.eq(place.columns),
            to.step.eq(walk.step.index),
            to.word.eq(walk.tile.word),
            to.position.eq(walk.group.position),
            to.x.eq(walk.group.x),
            to.y.eq(walk.row.y),
            to.offset.eq(walk.group.output + walk.tile.word),
            to.out.eq(walk.step.output),
            to.residual.eq(walk.step.residual),
            to.has_residual.eq(walk.step.index < layer.residual_steps),
        ]
