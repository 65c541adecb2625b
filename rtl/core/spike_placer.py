"""Where the spike words of the neurons' jobs go."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .bank_queue import BankQueue
from .config import CoreConfig
from .layouts import DESCRIPTOR, Write, destination


class SpikePlacer(wiring.Component):
    """The places of jobs go in, those of their spike words come out, column by column, when the words do.

    Spike words leave long after their job has begun: their places need not come along with them.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    layer : In(layouts.DESCRIPTOR), constant while jobs come
    write : In(1), first : In(layouts.destination), of a job's first spike word; at most `bank_queue.DEPTH` + 2 jobs
        are written and not ended
    leaves : In(1), a spike word does; column_end, job_end : In(1), it is the last
    to : Out(layouts.destination), of the spike word that leaves, three cycles or more after the job was written
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "layer": In(DESCRIPTOR),
                "write": In(1),
                "first": In(destination(config)),
                "leaves": In(1),
                "column_end": In(1),
                "job_end": In(1),
                "to": Out(destination(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = BankQueue(layout=destination(self.config))
        valid, to, next_job = Signal(), Signal(destination(self.config)), Signal()
        word, column = Signal.like(to.word), Signal.like(to.offset)  # of the first word of the column
        m.d.comb += [
            queue.write.eq(self.write),
            queue.entry.eq(self.first),
            self.to.eq(to),
            next_job.eq(~valid | (self.leaves & self.job_end)),
            queue.take.eq(~queue.valid | next_job),
        ]
        following, shared = Signal.like(column), Signal()
        m.d.sync += shared.eq(self.layer.write == Write.POOL)  # two positions share a pooled word
        m.d.comb += following.eq(column + Mux(shared & ~to.x[0], 0, self.layer.output_position))
        with m.If(next_job):
            m.d.sync += [
                valid.eq(queue.valid),
                to.eq(queue.head),
                word.eq(queue.head.word),
                column.eq(queue.head.offset),
            ]
        with m.Elif(self.leaves & self.column_end):
            m.d.sync += [
                to.word.eq(word),
                to.position.eq(to.position + 1),
                to.x.eq(to.x + 1),
                to.offset.eq(following),
                column.eq(following),
            ]
        with m.Elif(self.leaves):
            m.d.sync += [to.word.eq(to.word + 1), to.offset.eq(to.offset + 1)]
        return m
