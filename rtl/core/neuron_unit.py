"""Integrate, fire, reset and leak, in integers."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import CoreConfig
from .layouts import DESCRIPTOR, Kind, Write, destination, job, parameters, potentials, spike_word, sums
from .ports import MemoryReadPort, MemoryWritePort


def _control(config: CoreConfig) -> data.StructLayout:
    """What every stage knows of its word."""
    return data.StructLayout(
        {
            "valid": 1,
            "active": 1,
            "first": 1,
            "last": 1,
            "final": 1,
            "word": range(config.neuron_words + 1),  # of the tile
            "word_end": 1,  # the last word of its column
            "job_end": 1,  # the last word of its job
            "membrane": config.membrane_width,  # address of the potentials
            "to": destination(config),
        }
    )


def _issued(config: CoreConfig) -> data.StructLayout:
    """After stage 0: the memories have been addressed."""
    lanes = data.ArrayLayout(signed(config.accumulator_width), config.neuron_lanes)
    return data.StructLayout({"control": _control(config), "sums": lanes})


def _fetched(config: CoreConfig) -> data.StructLayout:
    """After stage 1: all that is added."""
    terms = dict.fromkeys(("biases", "thresholds", "before"), potentials(config))
    return data.StructLayout({**_issued(config).members, **terms})


def _integrated(config: CoreConfig) -> data.StructLayout:
    """After stage 2: H."""
    words = dict.fromkeys(("potentials", "thresholds"), potentials(config))
    return data.StructLayout({"control": _control(config), **words})


def _fired(config: CoreConfig) -> data.StructLayout:
    """After stage 3: S, and R, what the reset leaves."""
    found = {"spikes": config.neuron_lanes, "reset": potentials(config)}
    return data.StructLayout({"control": _control(config), **found})


LATENCY = 5  # cycles from the issue of a word to its potentials in the memory, and to its spikes


class NeuronUnit(wiring.Component):
    """Runs the neurons of a job, `neuron_lanes` a cycle: `golden.neurons.lif`, one step a job.

    ::

        H = U + sum + bias              (U = 0 at the first step)
        S = H >= threshold              (strict: H > threshold)
        R = S ? 0 : H                   (soft reset: H - threshold if S else H)
        U = R >> 1                      (strict: (R + 1) >> 1; without leak: R)

    A job reads and writes a potential at most once; nothing at the first step is read, nothing after the last is
    written, and a masked job touches no potential and fires nothing. A readout integrates without firing, adds the
    bias once, and sends its final potentials to the results.

    A word of `neuron_lanes` a cycle, latency `LATENCY`. Potentials come back in the same order after each fence: a
    fence lets nothing start before the jobs before it have left the pipeline, but where as many words as that takes
    were issued since the last fence.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR), constant while jobs come
    jobs : In(stream of `layouts.job`)
    sums : In(stream of `layouts.sums`), one transfer a job, but none after a job with `keep`
    parameters : Out(MemoryReadPort of `layouts.parameters`)
    membrane_reads : Out(MemoryReadPort of `layouts.potentials`)
    membrane_writes : Out(MemoryWritePort of `layouts.potentials`)
    spikes : Out(stream of `layouts.spike_word`), one a column of a job
    results : Out(MemoryWritePort of `layouts.potentials`), words of class sums
    finished : Out(1), the last word of a job leaves the pipeline
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
        advance, empty = Signal(), Signal()

        def registered(stage, name):
            after = Signal.like(stage, name=name)
            with m.If(advance):
                m.d.sync += after.eq(stage)
            return after

        issued = registered(self._issue(m, advance, empty), "issued")
        fetched = registered(self._fetch(m, issued), "fetched")
        integrated = registered(self._integrate(m, fetched), "integrated")
        fired = registered(self._fire(m, integrated), "fired")
        self._retire(m, advance, fired)
        m.d.comb += [
            advance.eq(~self.spikes.valid | self.spikes.ready),
            empty.eq(~(issued.control.valid | fetched.control.valid | integrated.control.valid | fired.control.valid)),
        ]
        return m

    def _issue(self, m, advance, empty):
        """Stage 0: one word of one column of the job; memory addresses go out."""
        config, now, layer = self.config, self.jobs.payload, self.layer
        after, to = Signal(_issued(config)), Signal.like(now.to)
        column, word = Signal(range(config.columns + 1)), Signal(range(config.neuron_words + 1))
        first, word_end, column_end, go = Signal(), Signal(), Signal(), Signal()
        readout = layer.kind == Kind.READOUT
        fence, since = Signal(), Signal(range(LATENCY + 1))  # since: words since the last fence
        may_start = empty | ~fence | (since == LATENCY)
        membrane = (Mux(readout, 0, to.position) << ceil_log2(config.neuron_words)) + word
        m.d.comb += [
            word_end.eq(~now.active | (word == now.words - 1)),
            column_end.eq(word_end & (column == now.columns - 1)),
            first.eq(now.first & (~readout | (column == 0))),
            fence.eq(now.fence & (word == 0) & ((column == 0) | readout)),
            go.eq(self.jobs.valid & self.sums.valid & may_start),
            self.jobs.ready.eq(go & advance & column_end),
            self.sums.ready.eq(self.jobs.ready & ~now.keep),
            self.parameters.enable.eq(advance),  # read whether needed or not: a short path to many memories
            self.parameters.address.eq(now.parameter + word),
            self.membrane_reads.enable.eq(go & advance & now.active & ~first),
            self.membrane_reads.address.eq(membrane),
            after.control.valid.eq(go),
            after.control.active.eq(now.active),
            after.control.first.eq(first),
            after.control.last.eq(now.last & (~readout | (column == now.columns - 1))),
            after.control.final.eq(now.final & (column == now.columns - 1)),
            after.control.word.eq(word),
            after.control.word_end.eq(word_end),
            after.control.job_end.eq(column_end),
            after.control.membrane.eq(membrane),
            after.control.to.eq(to),
        ]
        words = data.ArrayLayout(after.sums.shape(), config.neuron_words)
        sums_of_column = self.sums.payload[column] if config.columns > 1 else self.sums.payload[0]
        m.d.comb += after.sums.eq(words(sums_of_column.as_value())[word])
        with m.If(go & advance):
            m.d.sync += [
                word.eq(Mux(word_end, 0, word + 1)),
                since.eq(Mux(fence, 1, Mux(since == LATENCY, since, since + 1))),
            ]
            with m.If(word_end):
                m.d.sync += column.eq(Mux(column_end, 0, column + 1))
        self._place(m, to, column, moves=go & advance & word_end, ends=column_end)
        return after

    def _place(self, m, to, column, *, moves, ends):
        """Where the column's word goes: the job's place, moved on by the columns before."""
        first = self.jobs.payload.to
        offset = Signal.like(first.offset)
        m.d.comb += [
            to.eq(first),
            to.position.eq(first.position + column),
            to.x.eq(first.x + column),
            to.offset.eq(first.offset + offset),
        ]
        # two positions share a pooled word
        stays = (self.layer.write == Write.POOL) & ~to.x[0]
        with m.If(moves):
            m.d.sync += offset.eq(Mux(ends, 0, offset + Mux(stays, 0, self.layer.tiles)))

    def _fetch(self, m, issued):
        """Stage 1: parameters and potentials come from block memories, too late in the cycle to add them."""
        after, first = Signal(_fetched(self.config)), issued.control.first
        no_bias = (self.layer.kind == Kind.READOUT) & ~first
        m.d.comb += [after.control.eq(issued.control), after.sums.eq(issued.sums)]
        for i in range(self.config.neuron_lanes):
            m.d.comb += [
                after.biases[i].eq(Mux(no_bias, 0, self.parameters.data[i].bias)),
                after.thresholds[i].eq(self.parameters.data[i].threshold),
                after.before[i].eq(Mux(first, 0, self.membrane_reads.data[i])),
            ]
        return after

    def _integrate(self, m, fetched):
        """Stage 2: H = U + sum + bias."""
        after = Signal(_integrated(self.config))
        m.d.comb += [after.control.eq(fetched.control), after.thresholds.eq(fetched.thresholds)]
        for i in range(self.config.neuron_lanes):
            m.d.comb += after.potentials[i].eq(fetched.before[i] + fetched.biases[i] + fetched.sums[i])
        return after

    def _fire(self, m, integrated):
        """Stage 3: compare with the threshold, reset."""
        after, neuron = Signal(_fired(self.config)), self.layer.neuron
        silent = (self.layer.kind == Kind.READOUT) | ~integrated.control.active
        m.d.comb += after.control.eq(integrated.control)
        for i in range(self.config.neuron_lanes):
            potential = integrated.potentials[i]
            excess = Signal(signed(self.config.potential_width + 1), name=f"excess_{i}")
            spike = Signal(name=f"spike_{i}")
            m.d.comb += [
                excess.eq(potential - integrated.thresholds[i]),
                spike.eq((excess >= 0) & ~(neuron.strict & (excess == 0)) & ~silent),
                after.spikes[i].eq(spike),
                after.reset[i].eq(Mux(spike, Mux(neuron.hard, 0, excess), potential)),
            ]
        return after

    def _retire(self, m, advance, fired):
        """Stage 4: leak, write the potential, gather the spike word."""
        config, control, neuron = self.config, fired.control, self.layer.neuron
        use = Signal()
        m.d.comb += [
            use.eq(control.valid & advance),
            self.membrane_writes.enable.eq(use & control.active & ~control.last),
            self.membrane_writes.address.eq(control.membrane),
            self.results.enable.eq(use & control.final),
            self.results.address.eq((control.to.tile << ceil_log2(config.neuron_words)) + control.word),
            self.results.data.eq(fired.reset),
            self.finished.eq(use & control.job_end),
        ]
        for i in range(config.neuron_lanes):
            leaked = (fired.reset[i] + neuron.strict) >> 1
            m.d.comb += self.membrane_writes.data[i].eq(Mux(neuron.leak, leaked, fired.reset[i]))
        gathered, joined = Signal(config.lanes), Signal(config.lanes)
        m.d.comb += joined.eq(Mux(control.word == 0, 0, gathered))
        for word in range(config.neuron_words):
            with m.If(control.word == word):
                m.d.comb += joined.word_select(word, config.neuron_lanes).eq(fired.spikes)
        with m.If(use):
            m.d.sync += gathered.eq(joined)
        with m.If(advance):
            m.d.sync += [
                self.spikes.valid.eq(control.valid & control.word_end & (self.layer.kind != Kind.READOUT)),
                self.spikes.payload.spikes.eq(joined),
                self.spikes.payload.to.eq(control.to),
            ]
