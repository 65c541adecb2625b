"""The arithmetic of a neuron."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..primitives.carry_chain import CHOSEN_SUM, SUM, Addition, CarryChain
from .layouts import NEURON

_TERMS = Addition(x=lambda a, b: a & b, y=lambda a, b, c, d: c | d)
"""(a & b) + (c | d): a bias with its gate and a sum of which one half is zero"""


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
        neuron = self.neuron
        m.submodules.terms = terms = CarryChain(addition=_TERMS, width=self.width, with_carry=True)
        m.submodules.potential = potential = CarryChain(addition=CHOSEN_SUM, width=self.width)
        m.submodules.excess = excess = CarryChain(addition=SUM, width=self.width + 1)

        def register(value, name):
            after = Signal.like(value, name=name, reset_less=True)
            m.d.sync += after.eq(value)
            return after

        m.d.comb += [
            terms.a.eq(self.bias),
            terms.b.eq(self.biased.replicate(self.width)),
            terms.c.eq(self.sum[0]),
            terms.d.eq(self.sum[1]),
            terms.carry.eq(neuron.strict & ~self.first),
        ]
        added = register(terms.total, "added")
        kept = Signal.like(self.kept, reset_less=True)
        m.d.sync += kept.eq(Mux(self.first, 0, self.kept))  # a register's reset, no gate
        threshold = register(self.negated_threshold, "negated_threshold_1")
        fires = register(self.fires, "fires_1")

        m.d.comb += [
            potential.a.eq(added),
            potential.b.eq(neuron.leak.replicate(self.width)),
            potential.c.eq(kept),
            potential.d.eq(kept >> 1),
        ]
        integrated = register(potential.total, "integrated")
        threshold = register(threshold, "negated_threshold_2")
        fires = register(fires, "fires_2")

        m.d.comb += [excess.a.eq(integrated.as_signed()), excess.c.eq(threshold)]
        spike = fires & ~excess.total[-1]
        quiet, above = register(integrated, "quiet"), register(excess.total[:-1], "above")
        # two bits choose what is left of H, E, 0 and -1: from registers, so that each bit is one table
        resets = register(spike & neuron.hard, "resets")
        chosen = register(spike & (~neuron.hard | neuron.strict), "chosen")
        m.d.sync += self.spike.eq(spike)
        for bit in range(self.width):
            m.d.comb += self.left[bit].eq(Mux(resets, chosen, Mux(chosen, above[bit], quiet[bit])))
        return m
