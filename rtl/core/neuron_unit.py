"""Integrate, fire, reset and leak, in integers."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..primitives.ports import MemoryReadPort, MemoryWritePort
from .config import CoreConfig
from .layouts import DESCRIPTOR, Kind, Write, destination, job, parameters, potentials, spike_word, sums
from .neuron_lane import NeuronLane
from .sum_selector import SumSelector

STAGES = 6  # cycles from the issue of a word to its spikes
FENCE = 6  # cycles from a read of potentials to the next read of the same
QUEUE_DEPTH = 16  # spike words; all stages may be full of such


def _control(config: CoreConfig) -> data.StructLayout:
    """What every stage knows of its word; means nothing where there is none."""
    return data.StructLayout(
        {
            "active": 1,
            "first": 1,
            "last": 1,
            "final": 1,
            "part": range(config.neuron_words_per_spike_word),  # of the spike word
            "complete": 1,  # the last part of its spike word
            "job_end": 1,  # the last word of its job
            "membrane": config.membrane_width,  # address of the potentials
            "result": config.result_width,  # address of the class sums
            "to": destination(config),
        }
    )


class NeuronUnit(wiring.Component):
    """Runs the neurons of a job, `neuron_lanes` a cycle: `golden.neurons.lif`, one step a job.

    ::

        H = U + sum + bias              (U = 0 at the first step)
        S = H >= threshold              (strict: H > threshold)
        R = S ? 0 : H                   (soft reset: H - threshold if S else H)
        U = R >> 1                      (strict: (R + 1) >> 1; without leak: R)

    What lies in the membrane memory is R, of strict neurons less one: see `NeuronLane`. A job reads and writes a
    potential at most once; nothing at the first step is read, nothing after the last is written, and a masked job
    touches no potential and fires nothing. A readout integrates without firing, adds the bias once, and sends its
    final potentials to the results.

    A word of `neuron_lanes` a cycle, of a masked job a spike word; its spikes are in the queue of spike words after
    `STAGES` cycles. Nothing stops on the way: a word starts when the queue has room for all that are. Potentials lie
    as [word][position] and come back in the same order after each fence, so a job with `fence` that reads some starts
    `FENCE` cycles after the one with the fence before, and as much later as that was held up.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR), constant while jobs come
    jobs : In(stream of `layouts.job`)
    sums : In(stream of `layouts.sums`), one transfer a job, but none after a job with `keep`
    parameters : Out(MemoryReadPort of `layouts.parameters`), latency 2
    membrane_reads : Out(MemoryReadPort of `layouts.potentials`), latency 2
    membrane_writes : Out(MemoryWritePort of `layouts.potentials`)
    spikes : Out(stream of `layouts.spike_word`), those of the tile for each column of a job
    results : Out(MemoryWritePort of `layouts.potentials`), words of class sums
    finished : Out(1), the last word of a job leaves the pipeline; its spikes come a cycle later
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "layer": In(DESCRIPTOR),
                "jobs": In(stream.Signature(job(config))),
                "sums": In(stream.Signature(sums(config))),
                "parameters": Out(MemoryReadPort(config.parameter_width, parameters(config))),
                "membrane_reads": Out(MemoryReadPort(config.membrane_width, potentials(config))),
                "membrane_writes": Out(MemoryWritePort(config.membrane_width, potentials(config))),
                "spikes": Out(stream.Signature(spike_word(config))),
                "results": Out(MemoryWritePort(config.result_width, potentials(config))),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.selector = selector = SumSelector(config=self.config)
        go, control = self._issue(m, selector)
        valid, controls = Signal(STAGES), [control]  # at 1 ... STAGES - 1 cycles from the issue
        m.d.sync += valid.eq(Cat(go, valid))
        for number in range(1, STAGES):
            stage = Signal(control.shape(), name=f"control_{number}", reset_less=True)
            m.d.sync += stage.eq(controls[-1])
            controls.append(stage)
        lanes = self._integrate(m, selector, controls[2])
        self._retire(m, valid[STAGES - 2], controls[STAGES - 1], lanes)
        return m

    def _issue(self, m, selector):
        """One word of one column of the job; memory addresses go out."""
        config, now, layer = self.config, self.jobs.payload, self.layer
        control, to = Signal(_control(config)), Signal.like(now.to)
        column, word = Signal(range(config.gates + 1)), Signal(range(config.neuron_words + 1))
        beyond = Signal(config.membrane_width)  # the job's first potentials: those of the word at hand
        part_bits = ceil_log2(config.neuron_words_per_spike_word)
        part, spike_word, last_word = word[:part_bits], word[part_bits:], Signal.like(word)
        first, reads, complete, word_end, column_end, go = (Signal() for _ in range(6))
        readout = layer.kind == Kind.READOUT
        fence = now.fence & (word == 0) & ((column == 0) | readout)
        membrane = Mux(readout, 0, now.to.position) + beyond
        m.d.comb += [
            last_word.eq(now.words - 1),
            complete.eq(~now.active | part.all() | (word == last_word)),
            word_end.eq(complete & (spike_word == last_word[part_bits:])),
            column_end.eq(word_end & (column == now.columns - 1)),
            first.eq(now.first & (~readout | (column == 0))),
            reads.eq(now.active & ~first),
            go.eq(self.jobs.valid & self.sums.valid & self._room(m) & ~(fence & reads & self._held(m, go, fence))),
            self.jobs.ready.eq(go & column_end),
            self.sums.ready.eq(self.jobs.ready & ~now.keep),
            self.parameters.enable.eq(self.jobs.valid),  # whether it goes or not: a short path to many memories
            self.parameters.address.eq(now.parameter + word),
            self.membrane_reads.enable.eq(go & reads),
            self.membrane_reads.address.eq(membrane),
            control.active.eq(now.active),
            control.first.eq(first),
            control.last.eq(now.last & (~readout | (column == now.columns - 1))),
            control.final.eq(now.final & (column == now.columns - 1)),
            control.part.eq(part),
            control.complete.eq(complete),
            control.job_end.eq(column_end),
            control.membrane.eq(membrane),
            control.result.eq(now.parameter + word - layer.parameter_base),
            control.to.eq(to),
            selector.sums.eq(self.sums.payload),
        ]
        with m.If(go):
            # of a masked job one word stands for all of its spike word
            following = Mux(now.active, word + 1, (spike_word + 1) << part_bits)
            m.d.sync += [
                word.eq(Mux(word_end, 0, following)),
                beyond.eq(beyond + config.membrane_positions),
            ]
            with m.If(word_end):
                m.d.sync += [
                    column.eq(Mux(column_end, 0, column + 1)),
                    beyond.eq(Mux(column_end | readout, 0, column + 1)),
                ]
        self._select(m, selector, column, word, moves=go & word_end, ends=column_end)
        self._place(m, to, column, spike_word, moves=go & word_end, ends=column_end)
        return go, control

    def _held(self, m, go, fence):
        """Whether potentials that were read since the last fence are still on their way back.

        The words after a fence have the potentials of those after the fence before, in the same order: the first may
        start so many cycles after the first, that each comes `FENCE` cycles or more after its own.
        """
        since, wait = Signal(range(FENCE)), Signal(range(FENCE))  # words since the last fence, at most FENCE - 1
        number = Signal.like(since)
        m.d.comb += number.eq(Mux(fence, 0, since))
        with m.If(go):
            m.d.sync += [
                since.eq(Mux(number == FENCE - 1, number, number + 1)),
                wait.eq(FENCE - 1 - number),
            ]
        with m.Elif(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        return wait != 0

    def _select(self, m, selector, column, word, *, moves, ends):
        """The word of the column, or of the part of the lanes that the position has in a core of one column."""
        config = self.config
        if config.columns > 1:
            m.d.comb += [selector.column.eq(column), selector.word.eq(word)]
            return
        first, part = Signal(range(config.neuron_words)), Signal(range(config.neuron_words + 1))
        m.d.comb += selector.word.eq(first + word)
        m.d.sync += part.eq(config.neuron_words >> self.layer.group)
        with m.If(moves):
            m.d.sync += first.eq(Mux(ends, 0, first + part))

    def _place(self, m, to, column, spike_word, *, moves, ends):
        """Where a spike word goes: the job's place, moved on by the columns and words before."""
        first = self.jobs.payload.to
        offset = Signal.like(first.offset)
        m.d.comb += [
            to.eq(first),
            to.position.eq(first.position + column),
            to.x.eq(first.x + column),
            to.word.eq(first.word + spike_word),
            to.offset.eq(first.offset + offset + spike_word),
        ]
        # two positions share a pooled word
        stays = (self.layer.write == Write.POOL) & ~to.x[0]
        with m.If(moves):
            m.d.sync += offset.eq(Mux(ends, 0, offset + Mux(stays, 0, self.layer.output_position)))

    def _integrate(self, m, selector, control):
        """The neurons; sums, parameters and potentials of their word are here two cycles after its issue."""
        config, layer, lanes = self.config, self.layer, []
        readout = layer.kind == Kind.READOUT
        for i in range(config.neuron_lanes):
            m.submodules[f"lane_{i}"] = lane = NeuronLane(
                sum_width=config.accumulator_width, width=config.potential_width
            )
            m.d.comb += [
                lane.neuron.eq(layer.neuron),
                lane.sum.eq(selector.chosen[i]),
                lane.bias.eq(self.parameters.data[i].bias),
                lane.negated_threshold.eq(self.parameters.data[i].negated_threshold),
                lane.biased.eq(~readout | control.first),
                lane.kept.eq(self.membrane_reads.data[i]),
                lane.first.eq(control.first),
                lane.fires.eq(~readout & control.active),
            ]
            lanes.append(lane)
        return lanes

    def _retire(self, m, valid, control, lanes):
        """Write potentials and class sums, gather the spike word."""
        m.d.comb += [
            self.membrane_writes.enable.eq(valid & control.active & ~control.last),
            self.membrane_writes.address.eq(control.membrane),
            self.results.enable.eq(valid & control.final),
            self.results.address.eq(control.result),
        ]
        for i, lane in enumerate(lanes):
            m.d.comb += [self.membrane_writes.data[i].eq(lane.left), self.results.data[i].eq(lane.left)]
        m.d.sync += self.finished.eq(valid & control.job_end)
        self._gather(m, valid, control, Cat(lane.spike for lane in lanes))

    def _gather(self, m, valid, control, spikes):
        """Words of `neuron_lanes` spikes into a spike word, and that into the queue."""
        config, found = self.config, Signal(spike_word(self.config), reset_less=True)
        complete = Signal()
        for part in range(config.neuron_words_per_spike_word):
            with m.If(valid & (control.part == part)):
                m.d.sync += found.spikes.word_select(part, config.neuron_lanes).eq(spikes)
            with m.Elif(valid & (control.part == 0)):
                m.d.sync += found.spikes.word_select(part, config.neuron_lanes).eq(0)
        m.d.sync += [
            found.to.eq(control.to),
            complete.eq(valid & control.complete & (self.layer.kind != Kind.READOUT)),
        ]
        queue = m.submodules.queue
        m.d.comb += [queue.w_data.eq(found), queue.w_en.eq(complete)]
        wiring.connect(m, wiring.flipped(self.spikes), queue.r_stream)

    def _room(self, m):
        """Whether the queue has room for a word behind all that may be on their way."""
        m.submodules.queue = queue = fifo.SyncFIFO(width=spike_word(self.config).size, depth=QUEUE_DEPTH)
        return queue.level < QUEUE_DEPTH - STAGES
