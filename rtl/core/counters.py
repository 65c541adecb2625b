"""Counts of what the core did: the source of the energy report."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .config import CoreConfig

COUNTER_BITS = 32

# name: largest increment a cycle needs this many bits
COUNTERS = {
    "cycles": 1,  # from the last pixel to the class sums
    "array_cycles": 1,  # an event or a marker leaves its queue, of any bank
    "scan_wait_cycles": 1,  # none is there
    "neuron_wait_cycles": 1,  # the array waits for the neurons to take its sums
    "events": 4,  # rows applied: weights or K^T V
    "sops_done": 16,  # accumulates: valid lanes of the columns that spike
    "sops_gated": 16,  # accumulates gated off: valid lanes of the columns that do not spike beside one that does
    "rows_offered": 8,  # rows of the words read from receptive fields
    "kv_updates": 1,  # spikes of K, each adds to a row of K^T V
    "words_read": 1,  # spike words read by the scanner
    "weight_rows_read": 4,
    "membrane_reads": 1,  # words of `neuron_lanes` potentials
    "membrane_writes": 1,
    "spike_words": 1,  # written by neurons
}


def counted(config: CoreConfig) -> tuple[str, ...]:
    """Names of what a core counts; without counters its cycles alone, which the watchdog needs. All else reads 0."""
    return tuple(COUNTERS) if config.counters else ("cycles",)


class Counters(wiring.Component):
    """One 32-bit counter for each of `COUNTERS`: ``count += increment`` in each cycle.

    Those that are not `counted` stay 0, and what feeds them is gone after synthesis.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    clear : In(1), counts 0, the increments of this cycle dropped
    increments : In, a field a counter
    counts : Out, a field a counter; lags two cycles, so that no increment is on a long path, and those of events
        `EventCounts.LATENCY` more: at a layer's end all is counted, since its neurons took longer
    """

    def __init__(self, *, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "clear": In(1),
                "increments": In(data.StructLayout(COUNTERS)),
                "counts": Out(data.StructLayout({name: COUNTER_BITS for name in COUNTERS})),
            }
        )

    def elaborate(self, platform):
        m = Module()
        increments, clear = Signal.like(self.increments), Signal()
        m.d.sync += [increments.eq(self.increments), clear.eq(self.clear)]
        for name in counted(self.config):
            count = Signal(COUNTER_BITS, name=name)
            m.d.comb += self.counts[name].eq(count)
            with m.If(clear):
                m.d.sync += count.eq(0)
            with m.Else():
                m.d.sync += count.eq(count + increments[name])
        return m
