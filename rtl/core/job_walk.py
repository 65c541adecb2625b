"""The words of the neurons' jobs, one after the other."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import CoreConfig
from .layouts import DESCRIPTOR, Kind, neuron_job


def _pass(config: CoreConfig) -> data.StructLayout:
    """A job, and what is known of all its columns."""
    return data.StructLayout(
        {
            "job": neuron_job(config),
            "before_last": range(config.neuron_words + 1),  # the word before the last of a column
            "single": 1,  # the first word of a column is its last
            "complete": 1,  # the first word of a column is the last of its spike word
        }
    )


def neuron_word(config: CoreConfig) -> data.StructLayout:
    """What a neuron unit does in a cycle: `neuron_lanes` neurons of one position; of a masked job a spike word."""
    return data.StructLayout(
        {
            "active": 1,  # else nothing happens but that there are no spikes
            "first": 1,  # potentials are zero
            "last": 1,  # potentials are not needed again
            "final": 1,  # readout: these potentials are the class sums
            "fence": 1,  # of the job, with its first word or readout's columns
            "held": 1,  # potentials are read, with a fence
            "reads": 1,
            "word": range(config.neuron_words + 1),  # of the tile
            "column": range(config.gates + 1),
            "chosen": range(config.neuron_words + 1),  # word of the sums
            "parameter": config.parameter_width,
            "membrane": config.membrane_width,  # address of the potentials
            "complete": 1,  # the last part of its spike word
            "word_end": 1,  # the last of its column
            "last_column": 1,
            "keep": 1,  # the next job has the same sums
        }
    )


class JobWalk(wiring.Component):
    """Takes jobs and offers their words: all that is known of a word is in registers, found a cycle ahead.

    A word a cycle, the first of a job in the cycle after it is taken; a job is taken with the last word of the one
    before. Words go column by column. Of a masked job one word stands for all of its spike word.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR), constant while jobs come
    jobs : In(stream of `layouts.neuron_job`)
    words : Out(stream of `neuron_word`)
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "layer": In(DESCRIPTOR),
                "jobs": In(stream.Signature(neuron_job(config))),
                "words": Out(stream.Signature(neuron_word(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # the word at hand; `membrane` and `chosen` where its column begins
        valid, now, at = Signal(), Signal(_pass(self.config)), Signal(neuron_word(self.config))
        begin = Signal(data.StructLayout({name: at[name].shape() for name in ("membrane", "chosen")}))
        readout, moves, ends = Signal(), Signal(), Signal()
        m.d.sync += readout.eq(self.layer.kind == Kind.READOUT)
        m.d.comb += [
            ends.eq(~valid | (at.word_end & at.last_column)),
            moves.eq(~valid | self.words.ready),
            self.jobs.ready.eq(moves & ends),
            self.words.valid.eq(valid),
            self.words.payload.eq(at),
            self.words.payload.last.eq(now.job.last & (~readout | at.last_column)),
            self.words.payload.final.eq(now.job.final & at.last_column),
            self.words.payload.active.eq(now.job.active),
            self.words.payload.keep.eq(now.job.keep),
        ]
        coming, position = self._coming(m), Mux(readout, 0, self.jobs.payload.position)
        column, word_end = self._following(m, begin, readout), at.word == now.before_last
        with m.If(moves):
            with m.If(ends):
                m.d.sync += valid.eq(self.jobs.valid)
                m.d.sync += [now.eq(coming), begin.membrane.eq(position), begin.chosen.eq(0)]
                m.d.sync += self._first_word(at, coming, position)
            with m.Elif(at.word_end):
                m.d.sync += [*self._next_column(at, now, column, readout), begin.eq(column)]
            with m.Else():
                m.d.sync += self._next_word(at, now, word_end)
        return m

    def _coming(self, m):
        """The next job."""
        coming, job = Signal(_pass(self.config)), self.jobs.payload
        parts = ceil_log2(self.config.neuron_words_per_spike_word)
        last_word = Signal(range(self.config.neuron_words + 1))
        spike_words = last_word >> parts
        m.d.comb += [
            last_word.eq(job.words - 1),
            coming.job.eq(job),
            coming.before_last.eq(Mux(job.active, last_word - 1, (spike_words - 1) << parts)),
            coming.single.eq(Mux(job.active, last_word == 0, spike_words == 0)),
            coming.complete.eq(~job.active | coming.single if parts else 1),
        ]
        return coming

    def _following(self, m, begin, readout):
        """Where the next column begins. In a core of one column each position has a part of the lanes."""
        config, following = self.config, Signal(begin.shape())
        part = Signal(range(config.neuron_words + 1))
        if config.columns == 1:
            m.d.sync += part.eq(config.neuron_words >> self.layer.group)
        m.d.comb += [
            following.membrane.eq(Mux(readout, 0, begin.membrane + 1)),
            following.chosen.eq(begin.chosen + part),
        ]
        return following

    def _first_word(self, at, coming, position):
        """Assignments: to the first word of a job."""
        job = coming.job
        return [
            at.first.eq(job.first),
            at.fence.eq(job.fence),
            at.reads.eq(job.active & ~job.first),
            at.held.eq(job.fence & job.active & ~job.first),
            at.word.eq(0),
            at.column.eq(0),
            at.chosen.eq(0),
            at.parameter.eq(job.parameter),
            at.membrane.eq(position),
            at.complete.eq(coming.complete),
            at.word_end.eq(coming.single),
            at.last_column.eq(job.columns == 1),
        ]

    def _next_column(self, at, now, column, readout):
        """Assignments: to the first word of the next column."""
        job = now.job
        return [
            at.first.eq(at.first & ~readout),
            at.fence.eq(job.fence & readout),
            at.reads.eq(job.active & (~at.first | readout)),
            at.held.eq(job.fence & readout & job.active),
            at.word.eq(0),
            at.column.eq(at.column + 1),
            at.chosen.eq(column.chosen),
            at.parameter.eq(job.parameter),
            at.membrane.eq(column.membrane),
            at.complete.eq(now.complete),
            at.word_end.eq(now.single),
            at.last_column.eq(at.column + 2 == job.columns),
        ]

    def _next_word(self, at, now, word_end):
        """Assignments: to the next word of the column."""
        active, parts = now.job.active, ceil_log2(self.config.neuron_words_per_spike_word)
        part, spike_word = at.word[:parts], at.word[parts:]
        return [
            at.fence.eq(0),
            at.held.eq(0),
            at.word.eq(Mux(active, at.word + 1, (spike_word + 1) << parts)),
            at.chosen.eq(at.chosen + 1),
            at.parameter.eq(at.parameter + 1),
            at.membrane.eq(at.membrane + self.config.membrane_positions),
            at.complete.eq(~active | word_end | (part == (1 << parts) - 2) if parts else 1),
            at.word_end.eq(word_end),
        ]
