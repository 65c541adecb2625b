"""The accumulate array: additions of gated weight rows, no multiplier."""

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..primitives.carry_chain import GATED_ACCUMULATE, GATED_PAIR, SUM, CarryChain
from .config import CoreConfig
from .layouts import COMMAND, bank_rows, sums

HELD_SUMS = 2  # of the items that are through
LATENCY = 3  # from the heads of the banks to the rows


def stages(config: CoreConfig) -> int:
    """Registers between the rows and the accumulators: of the adders that join the banks, at least one."""
    return max(1, ceil_log2(config.banks))


class AcArray(wiring.Component):
    """`lanes` x `columns` accumulators that share the weight rows of a cycle.

    In each cycle, for each column: ``acc[lane] += sum over banks of gate ? element[lane] : 0``, or ``acc[lane] *= 2``
    for `double`, which multiplies the planes accumulated so far (Horner, most significant plane first). The AND gate
    is the multiplier. A core of one column has a gate for each eighth of the lanes. `over` hands ``acc`` over after
    that; then it starts at zero.

    `kv` adds bits to a row instead: ``element[lane] + values[lane]`` leaves by `products`, of as many bits as a
    weight. With `carry` the bits are those that the row of the `kv` just before has carried: where the sum wrapped
    from the largest weight to the least.

    A request a cycle, nothing stalls: two items' sums are kept, and whoever asks sees to it that there are no more.
    Sums lag `stages` + 2 cycles behind the rows, products `stages` + 1. What drives all lanes comes from registers,
    so commands come a cycle before their rows.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    rows : In(layouts.bank_rows), the command that of the next cycle's rows
    values : In, a bit a lane, `stages` - 1 cycles after the `kv` that wants them
    products : Out(array of weights)
    sums : Out(stream of `layouts.sums`); takes : In(1), they are taken in the next cycle
    follows : Out(1), there are sums in the next cycle, those of the next item where these are taken
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "rows": In(bank_rows(config)),
                "values": In(config.lanes),
                "products": Out(data.ArrayLayout(signed(config.weight_width), config.lanes)),
                "sums": Out(stream.Signature(sums(config))),
                "takes": In(1),
                "follows": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        earlier, before, now = self._commands(m)
        clears, keeps = Signal(init=1), Signal()
        m.d.sync += [clears.eq(before.over | before.kv | earlier.kv), keeps.eq(before.over | before.kv)]
        moves = self._hand_over(m, now.over)
        handed = Signal(sums(self.config), reset_less=True)
        m.d.comb += self.sums.payload.eq(handed)
        for column in range(self.config.columns):
            for lane in range(self.config.lanes):
                kept = self._lane(m, before, now.double, clears, keeps, column, lane)
                with m.If(moves):
                    m.d.sync += handed[column][lane].eq(kept)
        return m

    def _commands(self, m):
        """The command that reaches the accumulators in two cycles, in the next, and in this one."""
        commands = [self.rows.command]
        for stage in range(stages(self.config) + 1):
            commands.append(Signal(COMMAND, name=f"command_{stage}"))
            m.d.sync += commands[-1].eq(commands[-2])
        return commands[-3:]

    def _hand_over(self, m, over):
        """Sums that are kept move on as soon as there is room. True when they do, from a register."""
        moves, follows, valid = Signal(), Signal(), Signal()
        m.d.comb += [
            follows.eq(over | (self.follows & ~moves)),
            valid.eq(moves | (self.sums.valid & ~self.sums.ready)),
        ]
        m.d.sync += [
            self.follows.eq(follows),
            self.sums.valid.eq(valid),
            moves.eq(follows & (~valid | self.takes)),
        ]
        return moves

    def _lane(self, m, before, double, clears, keeps, column, lane):
        """One accumulator; what it keeps of an item or of K^T V."""
        config = self.config
        name = f"{column}_{lane}"
        addend, gate = self._join(m, column, lane, name)
        acc = Signal(signed(config.accumulator_width), name=f"acc_{name}", reset_less=True)  # `clears` is its reset
        kept = Signal.like(acc, name=f"kept_{name}")
        adder = CarryChain(addition=GATED_ACCUMULATE, width=config.accumulator_width)
        m.submodules[f"adder_{name}"] = adder
        m.d.comb += [
            adder.a.eq(acc),
            adder.b.eq(addend),
            adder.c.eq(gate.replicate(config.accumulator_width)),
            adder.d.eq(double.replicate(config.accumulator_width)),
        ]
        # reset as the flip-flop has it: no multiplexer in front of it
        with m.If(clears):
            m.d.sync += acc.eq(0)
        with m.Else():
            m.d.sync += acc.eq(adder.total)
        with m.If(keeps):
            m.d.sync += kept.eq(adder.total)
        if column == 0:
            sign = config.weight_width - 1
            carries = adder.total[sign] & ~addend[sign]
            with m.If(before.kv):
                m.d.sync += acc[0].eq(Mux(before.carry, carries, self.values[lane]))
            m.d.comb += self.products[lane].eq(kept)
        return kept

    def _join(self, m, column, lane, name):
        """The sum of the banks' gated elements, `stages` registers later, and its gate.

        The gates lie in the chains' own look-up tables: of pairs, or of a single bank in the accumulator.
        """
        config, banks = self.config, self.rows.banks
        part = column if config.columns > 1 else lane * config.gates // config.lanes
        if config.banks == 1:
            element, gate = Signal(signed(config.weight_width), name=f"element_{name}"), Signal(name=f"gate_{name}")
            m.d.sync += [element.eq(banks[0].elements[lane]), gate.eq(banks[0].gates[part])]
            return element, gate
        totals = [self._pair(m, banks[i], banks[i + 1], lane, part, f"{name}_{i}") for i in range(0, len(banks), 2)]
        while len(totals) > 1:
            totals = [self._sum(m, *totals[i : i + 2], f"{name}_{len(totals)}_{i}") for i in range(0, len(totals), 2)]
        return totals[0], Const(1, 1)

    def _pair(self, m, one, other, lane, part, name):
        """``(one & gate) + (other & gate)``, registered."""
        width = self.config.weight_width + 1
        adder, total = CarryChain(addition=GATED_PAIR, width=width), Signal(signed(width), name=f"pair_{name}")
        m.submodules[f"pair_{name}"] = adder
        m.d.comb += [
            adder.a.eq(one.elements[lane]),
            adder.b.eq(one.gates[part].replicate(width)),
            adder.c.eq(other.elements[lane]),
            adder.d.eq(other.gates[part].replicate(width)),
        ]
        m.d.sync += total.eq(adder.total)
        return total

    def _sum(self, m, one, other, name):
        """Of two pairs, registered."""
        width = len(one) + 1
        adder, total = CarryChain(addition=SUM, width=width), Signal(signed(width), name=f"sum_{name}")
        m.submodules[f"sum_{name}"] = adder
        m.d.comb += [adder.a.eq(one), adder.c.eq(other)]
        m.d.sync += total.eq(adder.total)
        return total
