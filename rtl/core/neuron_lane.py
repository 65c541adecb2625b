"""The arithmetic of a neuron."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .layouts import NEURON


class NeuronLane(wiring.Component):
    """One step of a neuron a cycle, in three additions and a table of four inputs a bit.

    ::

        A = bias + sum + carry
        H = A + (leak ? K >> 1 : K)         K: what the step before left, 0 at the first
        E = H + negated_threshold
        S = fires & (E >= 0)
        K = S ? (hard ? 0 : E) : H          left for the next step

    A strict neuron, which fires at ``H > threshold`` and rounds up, is one that fires at ``H - 1 >= threshold`` and
    rounds down: its H, E and K are all kept one lower, so that the same hardware does both. What a hard reset leaves
    is then -1, and its bias is given one lower; `carry` takes that back but at the first step, whose K is 0 and would
    have to be -1.

    A may wrap; H and the negated threshold must fit in `width` bits, E has one more. Latency 3: the inputs of a step
    come together, all outputs three cycles later.

    Parameters
    ----------
    sum_width : int, bits of a sum
    width : int, bits of a potential, at least `sum_width`

    Members
    -------
    neuron : In(layouts.NEURON), constant
    sum : In(two signed numbers of `sum_width` bits), one of them is zero
    bias : In(signed(width)), of strict neurons less one
    negated_threshold : In(signed(width))
    biased : In(1), the bias is added
    kept : In(signed(width)), K of the step before
    first : In(1), `kept` means nothing: the first step
    fires : In(1), else there is no spike and no reset
    spike : Out(1)
    left : Out(signed(width)), K
    """

    def __init__(self, *, sum_width, width):
        self.sum_width, self.width = sum_width, width
        super().__init__(
            {
                "neuron": In(NEURON),
                "sum": In(data.ArrayLayout(signed(sum_width), 2)),
                "bias": In(signed(width)),
                "negated_threshold": In(signed(width)),
                "biased": In(1),
                "kept": In(signed(width)),
                "first": In(1),
                "fires": In(1),
                "spike": Out(1),
                "left": Out(signed(width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        number = signed(self.width)

        def register(value, name, shape=number):
            after = Signal(shape, name=name, reset_less=True)
            m.d.sync += after.eq(value)
            return after

        terms, kept = Signal(number), Signal(number)
        m.d.comb += terms.eq(self._terms())
        terms = register(terms, "terms")
        kept = register(Mux(self.first, 0, self.kept), "kept_or_zero")  # the register's reset: no gate
        thresholds = register(self.negated_threshold, "negated_threshold_1")
        fires = register(self.fires, "fires_1", 1)

        potential = register(terms + Mux(self.neuron.leak, kept >> 1, kept), "potential")
        threshold = register(thresholds, "negated_threshold_2")
        fires = register(fires, "fires_2", 1)

        excess = Signal(signed(self.width + 1))
        m.d.comb += excess.eq(potential + threshold)
        spike = fires & ~excess[-1]
        # two bits choose what is left of H, E, 0 and -1: from registers, so that each bit is one table
        hard, strict = self.neuron.hard, self.neuron.strict
        resets = register(spike & hard, "resets", 1)
        odd = register(spike & Mux(hard, strict, 1), "odd", 1)
        unfired, excess = register(potential, "unfired"), register(excess[: self.width].as_signed(), "excess_1")
        m.d.sync += self.spike.eq(spike)
        for bit in range(self.width):
            m.d.comb += self.left[bit].eq(Mux(resets, odd, Mux(odd, excess[bit], unfired[bit])))
        return m

    def _terms(self):
        """A, with a bit below that makes the carry."""
        carry = self.neuron.strict & ~self.first
        bias = self.bias & self.biased.replicate(self.width).as_signed()
        total = (self.sum[0] | self.sum[1]).as_signed() if self.sum_width else 0
        return (Cat(carry, bias).as_signed() + Cat(carry, total).as_signed()) >> 1
