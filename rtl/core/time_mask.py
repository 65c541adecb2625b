"""Which steps of a layer run: the trained prefix mask `T_l`, and how many steps its producer has."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .layouts import DESCRIPTOR, Kind


class TimeMaskController(wiring.Component):
    """Decides for a step of a layer what is done, from `T_l` (`steps`), `steps_in` and `steps_run`.

    A masked step (``step >= T_l``) has no scan, no neuron and no membrane access; it does not run at all unless
    a residual must be copied (``step < steps_run``). Beyond the producer's steps there is no scan: bias and leak
    go on. A direct layer scans at its first step only, whose sums serve all others. Combinational.

    Members
    -------
    layer : In(layouts.DESCRIPTOR)
    step : In(5)
    skip : Out(1), the layer runs no step at all
    active : Out(1), neurons run
    scan : Out(1), there are events to scan
    keep : Out(1), the sums serve the next step too
    again : Out(1), the sums are those of the step before: no item is needed
    first, last : Out(1), first and last active step: no potential is read, none is written
    end : Out(1), last step that runs
    """

    layer: In(DESCRIPTOR)
    step: In(5)
    skip: Out(1)
    active: Out(1)
    scan: Out(1)
    keep: Out(1)
    again: Out(1)
    first: Out(1)
    last: Out(1)
    end: Out(1)

    def elaborate(self, platform):
        m = Module()
        layer, step = self.layer, self.step
        following = Signal(6)
        m.d.comb += [
            following.eq(step + 1),
            self.skip.eq((layer.steps_run == 0) & (layer.kind != Kind.READOUT)),
            self.active.eq(step < layer.steps),
            self.first.eq(step == 0),
            self.last.eq(following == layer.steps),
            self.end.eq(following >= layer.steps_run),
            self.scan.eq(self.active & (step < layer.steps_in) & ~(layer.direct & ~self.first)),
            self.keep.eq(layer.direct & self.active & ~self.last),
            self.again.eq(layer.direct & ~self.first),
        ]
        return m
