"""A word of sums out of those that the array hands over."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .config import CoreConfig
from .layouts import sums


class SumSelector(wiring.Component):
    """Chooses the `neuron_lanes` sums of a word of a column, a word a cycle: the sums come a cycle after the choice,
    what is chosen two cycles after the sums.

    Every word goes into a register of its own, which its reset clears unless it is the chosen one; what is left is an
    OR, a table of four inputs for three words a bit. The registers cost nothing: those behind tables are free. The
    last two inputs of the OR are joined by who adds them.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    column, word : In, of the chosen sums
    sums : In(layouts.sums), a cycle later
    chosen : Out, ``[neuron lane]``: two numbers, of which one is zero
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        pair = data.ArrayLayout(signed(config.accumulator_width), 2)
        super().__init__(
            {
                "sums": In(sums(config)),
                "column": In(range(config.columns + 1)),
                "word": In(range(config.neuron_words + 1)),
                "chosen": Out(data.ArrayLayout(pair, config.neuron_lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, size = self.config, self.config.neuron_lanes
        gated = []
        for column in range(config.columns):
            lanes = self.sums[column]
            for word in range(config.neuron_words):
                register = Signal(
                    data.ArrayLayout(lanes[0].shape(), size), name=f"gated_{column}_{word}", reset_less=True
                )
                # what clears a word is in a register too, the right way round: no table in front of so many inputs
                absent = Signal(name=f"absent_{column}_{word}")
                m.d.sync += absent.eq(~((self.word == word) & (self.column == column)))
                given = [lanes[word * size + i] for i in range(size)]
                m.d.sync += [into.eq(Mux(absent, 0, value)) for into, value in zip(register, given, strict=True)]
                gated.append(register)
        first = _first_part(len(gated))
        for i in range(size):
            for part, words in enumerate((gated[:first], gated[first:])):
                joined = 0
                for word in words:
                    joined |= word[i].as_unsigned()
                m.d.sync += self.chosen[i][part].eq(joined)
        return m


def _first_part(count: int) -> int:
    """Inputs of the first of two ORs of `count` inputs in all, such that tables of four inputs have none to spare."""
    return max(1, count // 2 - (count // 2 - 1) % 3)
