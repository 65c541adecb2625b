"""Runs the Program: one layer descriptor after another, tiles by steps by positions."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..primitives.ports import MemoryReadPort
from .config import CoreConfig
from .layer_loops import LayerLoops
from .layouts import DESCRIPTOR, DESCRIPTOR_WORDS, WORD_BITS, Kind, job, significant, work_item


class Sequencer(wiring.Component):
    """Turns descriptors into work items for the scanner and jobs for the neurons.

    The loops are those of `LayerLoops`: an item and a job every two cycles at most. `DESCRIPTOR_WORDS` + 3 cycles to
    fetch a layer, which starts when the last word of the layer before is written, and two more to its first item.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    start : In(1), run the Program once
    program : Out(MemoryReadPort), 32-bit words of descriptors
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
        super().__init__(
            {
                "start": In(1),
                "program": Out(MemoryReadPort(ceil_log2(config.program_layers * DESCRIPTOR_WORDS), WORD_BITS)),
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
        m.submodules.loops = loops = LayerLoops(config=self.config)
        wiring.connect(m, loops.items, wiring.flipped(self.items))
        wiring.connect(m, loops.jobs, wiring.flipped(self.jobs))
        words = Signal(DESCRIPTOR_WORDS * WORD_BITS)
        m.d.comb += [self.layer.eq(words[: DESCRIPTOR.size] & significant(self.config)), loops.layer.eq(self.layer)]
        image_taken = Signal()  # the host gives one image a run
        outstanding = Signal(8)
        m.d.sync += outstanding.eq(outstanding + (self.jobs.valid & self.jobs.ready) - self.job_finished)
        m.d.comb += self.busy.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(0)
                m.d.sync += [self.program.address.eq(0), image_taken.eq(0)]
                with m.If(self.start):
                    m.next = "FETCH"
            with m.State("FETCH"):
                with m.If(self._fetch(m, words)):
                    m.next = "DISPATCH"
            with m.State("DISPATCH"):
                m.d.comb += loops.start.eq(1)
                with m.Switch(self.layer.kind):
                    with m.Case(Kind.END):
                        m.d.comb += self.done.eq(1)
                        m.next = "IDLE"
                    with m.Case(Kind.IMAGE):
                        m.d.sync += image_taken.eq(1)
                        m.d.comb += self.fault.eq(image_taken)
                        m.next = "IMAGE"
                    with m.Case(Kind.ACCUMULATE, Kind.ATTENTION, Kind.READOUT):
                        with m.If(loops.skip):
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
                m.d.comb += loops.run.eq(1)
                with m.If(loops.ended):
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                with m.If((outstanding == 0) & self.quiet):
                    m.d.comb += self.layer_end.eq(1)
                    m.next = "FETCH"
        return m

    def _fetch(self, m, words):
        """Shift the descriptor in, word by word; the address is already that of the first. True when it is there."""
        count = Signal(range(DESCRIPTOR_WORDS + 1))
        m.d.comb += self.program.enable.eq(count != DESCRIPTOR_WORDS)
        m.d.sync += count.eq(count + 1)
        with m.If(self.program.enable):
            m.d.sync += self.program.address.eq(self.program.address + 1)
        with m.If(count != 0):
            m.d.sync += words.eq(Cat(words[WORD_BITS:], self.program.data))
        with m.If(~self.program.enable):
            m.d.sync += count.eq(0)
        return ~self.program.enable
