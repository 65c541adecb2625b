"""The accumulate array: additions of gated weight rows, no multiplier."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..primitives.carry_chain import GATED_ACCUMULATE, CarryChain
from .config import CoreConfig
from .layouts import row_event, sums


class AcArray(wiring.Component):
    """`lanes` x `columns` accumulators that share a weight row.

    Of a core of one column the gates are those of equal parts of the lanes, not of columns.

    For each event and gate: ``acc[lane] += gate ? element[lane] : 0``, or ``acc[lane] *= 2`` for a `double`,
    which multiplies the planes accumulated so far (Horner, most significant plane first). The AND gate is the
    multiplier, and lies in the carry chain's own look-up tables. `last` hands ``acc`` over after the event; then it
    starts at zero.

    One event a cycle; stalls only while `last` waits for the taker of the previous sums. The sums lag two cycles: a
    row is registered before it is added, since it comes from a block memory.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    rows : In(stream of `layouts.row_event`)
    sums : Out(stream of `layouts.sums`)
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "rows": In(stream.Signature(row_event(config))),
                "sums": Out(stream.Signature(sums(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        row, held, full = Signal(row_event(config)), Signal(), Signal()
        taken, hands_over = Signal(), Signal()
        m.d.comb += [
            self.sums.valid.eq(full),
            taken.eq(held & ~(row.marker.last & full)),
            hands_over.eq(taken & row.marker.last),
            self.rows.ready.eq(~held | taken),
        ]
        with m.If(self.rows.ready):
            m.d.sync += [held.eq(self.rows.valid), row.eq(self.rows.payload)]
        with m.If(hands_over):
            m.d.sync += full.eq(1)
        with m.Elif(self.sums.ready):
            m.d.sync += full.eq(0)

        for column in range(config.columns):
            for lane in range(config.lanes):
                acc = Signal(signed(config.accumulator_width), name=f"acc_{column}_{lane}")
                part = column if config.columns > 1 else lane * config.gates // config.lanes
                adder = CarryChain(addition=GATED_ACCUMULATE, width=config.accumulator_width)
                m.submodules[f"adder_{column}_{lane}"] = adder
                m.d.comb += [
                    adder.a.eq(acc),
                    adder.b.eq(row.elements[lane]),
                    adder.c.eq(row.gates[part].replicate(config.accumulator_width)),
                    adder.d.eq(row.marker.double.replicate(config.accumulator_width)),
                ]
                # reset and enable as the flip-flop has them: no multiplexer in front of it
                with m.If(hands_over):
                    m.d.sync += acc.eq(0)
                with m.Elif(taken):
                    m.d.sync += acc.eq(adder.total)
                with m.If(hands_over):
                    m.d.sync += self.sums.payload[column][lane].eq(adder.total)
        return m
