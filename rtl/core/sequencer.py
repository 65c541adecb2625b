"""Runs the Program: one layer descriptor after another, tiles by steps by positions."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import CoreConfig
from .layouts import DESCRIPTOR, DESCRIPTOR_WORDS, WORD_BITS, Kind, Scan, Write, coordinate, job, work_item
from .time_mask import TimeMaskController


class Sequencer(wiring.Component):
    """Turns descriptors into work items for the scanner and jobs for the neurons.

    A layer runs ``for tile, for step < steps_run, for group of positions``; a direct layer ``for tile, for group, for
    step``, since its sums serve all steps. Attention has the tokens of K and V before the positions of each scanned
    step. Masked steps do not run, or scan nothing where a residual is copied. All addresses are sums of the
    descriptor's strides: nothing is multiplied.

    An item and a job a cycle at most; `DESCRIPTOR_WORDS` + 3 cycles to fetch a layer, which starts when the last
    word of the layer before is written.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    start : In(1), run the Program once
    program_enable, program_address : Out; program_data : In(32), one cycle later
    layer : Out(layouts.DESCRIPTOR), of the layer that runs
    load_image : Out(1), held until image_loaded : In(1)
    items : Out(stream of `layouts.work_item`)
    jobs : Out(stream of `layouts.job`)
    job_finished : In(1); quiet : In(1), the neurons' last word is written
    busy : Out(1); done : Out(1), the cycle in which the Program ends; layer_end : Out(1), a layer has ended
    fault : Out(1), the cycle in which it stops instead: at a kind that does not exist, or at a second image
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        self.program_words = config.program_layers * DESCRIPTOR_WORDS
        super().__init__(
            {
                "start": In(1),
                "program_enable": Out(1),
                "program_address": Out(ceil_log2(self.program_words)),
                "program_data": In(WORD_BITS),
                "layer": Out(DESCRIPTOR),
                "load_image": Out(1),
                "image_loaded": In(1),
                "items": Out(stream.Signature(work_item(config))),
                "jobs": Out(stream.Signature(job(config))),
                "job_finished": In(1),
                "quiet": In(1),
                "busy": Out(1),
                "done": Out(1),
                "fault": Out(1),
                "layer_end": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._registers()
        m.submodules.time_mask = mask = TimeMaskController()
        m.d.comb += [
            self.layer.eq(self.words[: DESCRIPTOR.size]),
            mask.layer.eq(self.layer),
            mask.step.eq(self.step),
        ]
        image_taken = Signal()  # the host gives one image a run
        outstanding = Signal(8)
        issued = self.jobs.valid & self.jobs.ready
        m.d.sync += outstanding.eq(outstanding + issued - self.job_finished)
        # of the layer, constant while it runs
        self.last_y, self.last_tile = Signal.like(self.layer.height), Signal.like(self.layer.tiles)
        self.tail_words = Signal.like(self.jobs.payload.words)
        m.d.sync += [
            self.last_y.eq(self.layer.height - 1),
            self.last_tile.eq(self.layer.tiles - 1),
            self.tail_words.eq(
                (self.layer.tile_tail + self.config.neuron_lanes - 1) >> ceil_log2(self.config.neuron_lanes)
            ),
        ]
        m.d.comb += self.busy.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(0)
                m.d.sync += self.program_address.eq(0)
                m.d.sync += image_taken.eq(0)
                with m.If(self.start):
                    m.next = "FETCH"
            with m.State("FETCH"):
                self._fetch(m)
            with m.State("DISPATCH"):
                self._start_layer(m)
                with m.Switch(self.layer.kind):
                    with m.Case(Kind.END):
                        m.d.comb += self.done.eq(1)
                        m.next = "IDLE"
                    with m.Case(Kind.IMAGE):
                        m.d.sync += image_taken.eq(1)
                        m.d.comb += self.fault.eq(image_taken)
                        m.next = "IMAGE"
                    with m.Case(Kind.ACCUMULATE, Kind.ATTENTION, Kind.READOUT):
                        with m.If(mask.skip):
                            m.next = "DRAIN"
                        with m.Else():
                            m.next = "RUN"
                    with m.Default():
                        m.d.comb += self.fault.eq(1)
                with m.If(self.fault):
                    m.next = "IDLE"
            with m.State("IMAGE"):
                m.d.comb += self.load_image.eq(1)
                with m.If(self.image_loaded):
                    m.next = "DRAIN"
            with m.State("RUN"):
                with m.If(self._run(m, mask)):
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                with m.If((outstanding == 0) & self.quiet):
                    m.d.comb += self.layer_end.eq(1)
                    m.next = "FETCH"
        return m

    def _registers(self):
        config, layer = self.config, self.layer
        address = config.address_width
        self.words = Signal(DESCRIPTOR_WORDS * WORD_BITS)  # of the descriptor
        self.step = Signal.like(layer.steps)
        self.tile = Signal.like(layer.tiles)
        self.x, self.y = Signal.like(layer.width), Signal.like(layer.height)
        self.token = Signal.like(layer.positions)
        self.position, self.row_position = Signal(16), Signal(16)
        self.in_x, self.in_y = Signal(coordinate()), Signal(coordinate())
        for name in ("in_step", "in_row", "in_offset", "head_offset", "key_step", "key", "value_step", "value"):
            setattr(self, name, Signal(address, name=name))
        for name in ("out_step", "residual_step", "row_offset", "offset"):
            setattr(self, name, Signal(address, name=name))
        self.head_word = Signal.like(layer.field.words)
        self.weight_row = Signal(config.row_width)
        self.parameter = Signal(config.parameter_width)

    def _fetch(self, m):
        """Shift the descriptor in, word by word; the address is already that of the first."""
        count = Signal(range(DESCRIPTOR_WORDS + 1))
        m.d.comb += self.program_enable.eq(count != DESCRIPTOR_WORDS)
        m.d.sync += count.eq(count + 1)
        with m.If(self.program_enable):
            m.d.sync += self.program_address.eq(self.program_address + 1)
        with m.If(count != 0):
            m.d.sync += self.words.eq(Cat(self.words[WORD_BITS:], self.program_data))
        with m.If(count == DESCRIPTOR_WORDS):
            m.d.sync += count.eq(0)
            m.next = "DISPATCH"

    def _start_layer(self, m):
        layer = self.layer
        m.d.sync += [self.tile.eq(0), self.weight_row.eq(layer.weight_base)]
        m.d.sync += [self.parameter.eq(layer.parameter_base), self.head_offset.eq(0), self.head_word.eq(0)]
        self._start_steps(m)
        self._start_positions(m, tile=0, in_step=0, key=layer.key.base, value=layer.value.base)

    def _start_steps(self, m):
        layer = self.layer
        m.d.sync += [
            self.step.eq(0),
            self.in_step.eq(0),
            self.key_step.eq(layer.key.base),
            self.value_step.eq(layer.value.base),
            self.out_step.eq(layer.output.base),
            self.residual_step.eq(layer.residual.base),
        ]

    def _start_positions(self, m, *, tile, in_step, key, value):
        negative = -self.layer.field.padding
        m.d.sync += [
            *(signal.eq(0) for signal in (self.x, self.y, self.token, self.position, self.row_position)),
            *(signal.eq(negative) for signal in (self.in_x, self.in_y)),
            *(signal.eq(in_step) for signal in (self.in_row, self.in_offset)),
            *(self.key.eq(key), self.value.eq(value)),
            *(signal.eq(tile) for signal in (self.row_offset, self.offset)),
        ]

    def _run(self, m, mask):
        """Offer the item and the job at hand, go on when they are taken; true at the last of the layer."""
        config, layer = self.config, self.layer
        columns = config.columns
        kv, taken = Signal(), Signal()
        ends_x, ends_y, ends_tiles = Signal(), Signal(), Signal()
        m.d.comb += [
            kv.eq((layer.kind == Kind.ATTENTION) & mask.scan & (self.token != layer.positions)),
            self.items.valid.eq(self.jobs.ready | kv),
            taken.eq(self.items.valid & self.items.ready),
            self.jobs.valid.eq(taken & ~kv),
            ends_x.eq(self.x + columns >= layer.width),
            ends_y.eq(self.y == self.last_y),
            ends_tiles.eq(self.tile == self.last_tile),
        ]
        self._offer(m, mask, kv=kv, ends_x=ends_x, ends_all=ends_x & ends_y & mask.end, ends_tiles=ends_tiles)

        group = taken & ~kv
        positions_end = Signal()  # the positions of this tile (direct) or of this step are through
        tile_end = Signal()
        m.d.comb += [
            positions_end.eq(group & ends_x & ends_y & (mask.end | ~layer.direct)),
            tile_end.eq(positions_end & mask.end),
        ]
        with m.If(taken & kv):
            m.d.sync += [
                self.token.eq(self.token + 1),
                self.key.eq(self.key + layer.field.position),
                self.value.eq(self.value + layer.field.position),
            ]
        with m.If(group & (mask.end | ~layer.direct)):
            self._next_position(m, ends_x)
        with m.If(group & layer.direct):
            self._next_step(m)
        with m.If(group & layer.direct & mask.end):
            self._start_steps(m)
        with m.If(positions_end & ~layer.direct):
            self._next_step(m)
            self._start_positions(
                m,
                tile=self.tile,
                in_step=self.in_step + layer.input.step,
                key=self.key_step + layer.key.step,
                value=self.value_step + layer.value.step,
            )
        with m.If(tile_end):
            self._start_steps(m)
            self._start_positions(m, tile=self.tile + 1, in_step=0, key=layer.key.base, value=layer.value.base)
            self._next_tile(m)
        return tile_end & ends_tiles

    def _next_position(self, m, ends_x):
        layer, columns = self.layer, self.config.columns
        shift = ceil_log2(columns)
        pooled = layer.write == Write.POOL
        moves_pooled = self.x[0] if columns == 1 else 1
        by_group = layer.tiles << shift
        by_pooled = Mux(moves_pooled, layer.tiles << max(shift - 1, 0), 0)
        with m.If(~ends_x):
            m.d.sync += [
                self.x.eq(self.x + columns),
                self.in_x.eq(self.in_x + (layer.field.stride << shift)),
                self.in_offset.eq(self.in_offset + (layer.field.position_stride << shift)),
                self.position.eq(self.position + columns),
                self.offset.eq(self.offset + Mux(pooled, by_pooled, by_group)),
            ]
        with m.Else():
            in_row = self.in_row + layer.field.row_stride
            row_offset = self.row_offset + Mux(pooled & ~self.y[0], 0, layer.output.row)
            position = self.row_position + layer.width
            m.d.sync += [
                self.x.eq(0),
                self.y.eq(self.y + 1),
                self.in_x.eq(-layer.field.padding),
                self.in_y.eq(self.in_y + layer.field.stride),
                *(signal.eq(in_row) for signal in (self.in_row, self.in_offset)),
                *(signal.eq(row_offset) for signal in (self.row_offset, self.offset)),
                *(signal.eq(position) for signal in (self.row_position, self.position)),
            ]

    def _next_step(self, m):
        layer = self.layer
        m.d.sync += [
            self.step.eq(self.step + 1),
            self.in_step.eq(self.in_step + layer.input.step),
            self.key_step.eq(self.key_step + layer.key.step),
            self.value_step.eq(self.value_step + layer.value.step),
            self.out_step.eq(self.out_step + layer.output.step),
            self.residual_step.eq(self.residual_step + layer.residual.step),
        ]

    def _next_tile(self, m):
        layer = self.layer
        m.d.sync += [
            self.tile.eq(self.tile + 1),
            self.weight_row.eq(self.weight_row + layer.tile_rows),
            self.parameter.eq(self.parameter + self.config.neuron_words),
        ]
        with m.If(self.head_word == layer.field.words - 1):  # the next tile belongs to the next head
            m.d.sync += [self.head_word.eq(0), self.head_offset.eq(self.head_offset + layer.field.words)]
        with m.Else():
            m.d.sync += self.head_word.eq(self.head_word + 1)

    def _offer(self, m, mask, *, kv, ends_x, ends_all, ends_tiles):
        """The payloads of the item and of the job."""
        config, layer = self.config, self.layer
        item, work, to = self.items.payload, self.jobs.payload, self.jobs.payload.to
        attention, readout = layer.kind == Kind.ATTENTION, layer.kind == Kind.READOUT
        head = Mux(attention, self.head_offset, 0)
        left = Signal.like(layer.width)
        group = Signal.like(work.columns)
        m.d.comb += [
            left.eq(layer.width - self.x),
            group.eq(Mux(ends_x, left, config.columns)),
            item.scan.eq(Mux(kv, Scan.KV, Mux(mask.scan, Scan.FIELD, Scan.NONE))),
            item.pointer.eq(Mux(kv, self.key, layer.input.base + self.in_offset) + head),
            item.value_pointer.eq(self.value + self.tile),
            item.x.eq(self.in_x),
            item.y.eq(self.in_y),
            item.columns.eq(group),
            item.row.eq(self.weight_row),
            item.tail.eq(ends_tiles),
            item.clear.eq(self.token == 0),
            item.keep.eq(mask.keep),
        ]
        first_position = self.position == 0
        m.d.comb += [
            work.active.eq(mask.active),
            work.first.eq(mask.first & (first_position | ~readout)),
            work.last.eq(Mux(readout, ends_all, mask.last)),
            work.final.eq(readout & ends_all),
            work.fence.eq(first_position | layer.direct | readout),
            work.parameter.eq(self.parameter),
            work.words.eq(Mux(ends_tiles, self.tail_words, config.neuron_words)),
            work.columns.eq(group),
            to.step.eq(self.step),
            to.tile.eq(self.tile),
            to.position.eq(self.position),
            to.x.eq(self.x),
            to.y.eq(self.y),
            to.offset.eq(self.offset),
            to.out.eq(self.out_step),
            to.residual.eq(self.residual_step),
            to.has_residual.eq(self.step < layer.residual_steps),
        ]
