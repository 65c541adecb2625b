"""Integrate, fire, reset and leak, in integers."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..primitives.ports import MemoryReadPort, MemoryWritePort
from .bank_queue import DEPTH as QUEUE_DEPTH  # spike words; all stages may be full of such
from .bank_queue import BankQueue
from .config import CoreConfig
from .job_walk import JobWalk
from .layouts import DESCRIPTOR, Kind, job, neuron_job, parameters, potentials, spike_word, sums
from .neuron_lane import NeuronLane
from .spike_placer import SpikePlacer
from .sum_selector import SumSelector

STAGES = 7  # cycles from the issue of a word to its spikes
FENCE = 6  # cycles from a read of potentials to the next read of the same
JOBS_AHEAD = 8  # jobs that wait while one is at hand
READ, LANES = 1, 3  # stages at which memories are read, and at which what they gave and the sums come to the lanes


def _control(config: CoreConfig) -> data.StructLayout:
    """What every stage knows of its word; means nothing where there is none."""
    return data.StructLayout(
        {
            "first": 1,
            "fires": 1,
            "biased": 1,
            "stores": 1,  # potentials
            "final": 1,
            "part": range(config.neuron_words_per_spike_word),  # of the spike word
            "complete": 1,  # the last part of its spike word
            "column_end": 1,  # the last word of its column
            "job_end": 1,  # of its job
            "parameter": config.parameter_width,
            "membrane": config.membrane_width,  # address of the potentials
            "result": config.result_width,  # address of the class sums
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
    `STAGES` cycles. Nothing stops on the way: a word starts when the queue has room for all that are, and when the sums
    are there in the next cycle, which holds the words of one job as close as those of another. Potentials lie
    as [word][position] and come back in the same order after each fence, so a job with `fence` that reads some starts
    `FENCE` cycles after the one with the fence before, and as much later as that was held up.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR), constant while jobs come
    jobs : In(stream of `layouts.job`); up to `JOBS_AHEAD` wait here
    sums : In(stream of `layouts.sums`), one transfer a job, but none after a job with `keep`;
        takes : Out(1), that is in the next cycle
    follows : In(1), there are sums in the next cycle, those of the next transfer where these are taken
    parameters : Out(MemoryReadPort of `layouts.parameters`), latency 2
    membrane_reads : Out(MemoryReadPort of `layouts.potentials`), latency 2
    membrane_writes : Out(MemoryWritePort of `layouts.potentials`)
    spikes : Out(stream of `layouts.spike_word`), those of the tile for each column of a job
    results : Out(MemoryWritePort of `layouts.potentials`), words of class sums
    finished : Out(1), a job is through; its last spikes come a cycle later
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "layer": In(DESCRIPTOR),
                "jobs": In(stream.Signature(job(config))),
                "sums": In(stream.Signature(sums(config))),
                "takes": Out(1),
                "follows": In(1),
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
        m.submodules.walk = walk = JobWalk(config=self.config)
        m.submodules.placer = placer = SpikePlacer(config=self.config)
        m.submodules.queue = BankQueue(layout=spike_word(self.config))
        m.submodules.selector = selector = SumSelector(config=self.config)
        self._take_jobs(m, walk, placer)
        word = walk.words.payload
        go = self._issue(m, walk)
        m.d.comb += [
            selector.column.eq(word.column if self.config.columns > 1 else 0),
            selector.word.eq(word.chosen),
            selector.sums.eq(self.sums.payload),
        ]
        valid, controls = Signal(STAGES), [self._begin(m, word)]  # at 1 ... cycles from the issue
        m.d.sync += valid.eq(Cat(go, valid))
        for number in range(1, STAGES + 1):
            stage = Signal(controls[0].shape(), name=f"control_{number}", reset_less=True)
            m.d.sync += stage.eq(controls[-1])
            controls.append(stage)
        m.d.sync += self.membrane_reads.enable.eq(go & word.reads)
        m.d.comb += [
            self.parameters.enable.eq(valid[READ - 1]),
            self.parameters.address.eq(controls[READ].parameter),
            self.membrane_reads.address.eq(controls[READ].membrane),
        ]
        lanes = self._integrate(m, selector, controls[LANES])
        self._retire(m, valid, controls, lanes)
        self._gather(m, valid, controls, placer, Cat(lane.spike for lane in lanes))
        return m

    def _take_jobs(self, m, walk, placer):
        """Jobs into their queue, places into that of the placer, which has room where this has."""
        taken, jobs = self.jobs.payload, BankQueue(layout=neuron_job(self.config))
        m.submodules.jobs = jobs
        m.d.sync += self.jobs.ready.eq(jobs.count < JOBS_AHEAD - 2)  # two may be on their way, one is the head
        m.d.comb += [
            jobs.write.eq(self.jobs.valid & self.jobs.ready),
            *(jobs.entry[name].eq(taken[name]) for name, _ in job(self.config) if name != "to"),
            jobs.entry.position.eq(taken.to.position),
            jobs.take.eq(~jobs.valid | walk.jobs.ready),
            walk.layer.eq(self.layer),
            walk.jobs.valid.eq(jobs.valid),
            walk.jobs.payload.eq(jobs.head),
            placer.layer.eq(self.layer),
            placer.write.eq(jobs.write),
            placer.first.eq(taken.to),
        ]

    def _issue(self, m, walk):
        """Whether the word at hand starts. Its sums must be there a cycle later, when they have been chosen."""
        word, go, room, queue = walk.words.payload, Signal(), Signal(), m.submodules.queue
        m.d.sync += room.eq(queue.count < QUEUE_DEPTH - STAGES - 1)  # with all that are on their way, and this one
        there = self.follows | (self.sums.valid & ~self.sums.ready)
        m.d.comb += [
            go.eq(walk.words.valid & there & room & ~(word.held & self._held(m, go, word.fence))),
            walk.words.ready.eq(go),
        ]
        m.d.comb += self.takes.eq(go & word.word_end & word.last_column & ~word.keep)
        m.d.sync += self.sums.ready.eq(self.takes)
        return go

    def _begin(self, m, word):
        """What the stages have to know of a word."""
        config, control, readout = self.config, Signal(_control(self.config)), Signal()
        m.d.sync += readout.eq(self.layer.kind == Kind.READOUT)
        m.d.comb += [
            control.first.eq(word.first),
            control.biased.eq(~readout | word.first),
            control.fires.eq(~readout & word.active),
            control.stores.eq(word.active & ~word.last),
            control.final.eq(word.final),
            control.part.eq(word.word[: ceil_log2(config.neuron_words_per_spike_word)]),
            control.complete.eq(word.complete),
            control.column_end.eq(word.word_end),
            control.job_end.eq(word.word_end & word.last_column),
            control.parameter.eq(word.parameter),
            control.membrane.eq(word.membrane),
            control.result.eq(word.parameter - self.layer.parameter_base),
        ]
        return control

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

    def _integrate(self, m, selector, control):
        """The neurons."""
        config, layer, lanes = self.config, self.layer, []
        for i in range(config.neuron_lanes):
            m.submodules[f"lane_{i}"] = lane = NeuronLane(
                sum_width=config.accumulator_width, width=config.potential_width
            )
            m.d.comb += [
                lane.neuron.eq(layer.neuron),
                lane.sum.eq(selector.chosen[i]),
                lane.bias.eq(self.parameters.data[i].bias),
                lane.negated_threshold.eq(self.parameters.data[i].negated_threshold),
                lane.biased.eq(control.biased),
                lane.kept.eq(self.membrane_reads.data[i]),
                lane.first.eq(control.first),
                lane.fires.eq(control.fires),
            ]
            lanes.append(lane)
        return lanes

    def _retire(self, m, valid, controls, lanes):
        """Write potentials and class sums in the stage before the last."""
        before, control = controls[STAGES - 2], controls[STAGES - 1]
        m.d.sync += [
            self.membrane_writes.enable.eq(valid[STAGES - 3] & before.stores),
            self.results.enable.eq(valid[STAGES - 3] & before.final),
        ]
        m.d.comb += [self.membrane_writes.address.eq(control.membrane), self.results.address.eq(control.result)]
        for i, lane in enumerate(lanes):
            m.d.comb += [self.membrane_writes.data[i].eq(lane.left), self.results.data[i].eq(lane.left)]

    def _gather(self, m, valid, controls, placer, spikes):
        """Words of `neuron_lanes` spikes into a spike word, and that into the queue."""
        config, found = self.config, Signal(self.config.word, reset_less=True)
        control, last = controls[STAGES - 1], controls[STAGES]
        for part in range(config.neuron_words_per_spike_word):
            with m.If(valid[STAGES - 2] & (control.part == part)):
                m.d.sync += found.word_select(part, config.neuron_lanes).eq(spikes)
            with m.Elif(valid[STAGES - 2] & (control.part == 0)):
                m.d.sync += found.word_select(part, config.neuron_lanes).eq(0)
        leaves, fires, queue = Signal(), Signal(), m.submodules.queue
        m.d.sync += [
            leaves.eq(valid[STAGES - 2] & control.complete),
            fires.eq(self.layer.kind != Kind.READOUT),
            self.finished.eq(valid[STAGES - 1] & last.job_end),
        ]
        m.d.comb += [
            placer.leaves.eq(leaves),
            placer.column_end.eq(last.column_end),
            placer.job_end.eq(last.job_end),
            queue.write.eq(leaves & fires),
            queue.entry.spikes.eq(found),
            queue.entry.to.eq(placer.to),
            self.spikes.valid.eq(queue.valid),
            self.spikes.payload.eq(queue.head),
            queue.take.eq(~queue.valid | self.spikes.ready),
        ]
