"""Cells of the ECP5 that a core takes, before synthesis.

Carry chains, block memories and distributed memories are counted: they are what the core is made of. Look-up tables and
flip-flops are counts of what they are spent on, each at a cost that `bench/core_cells.py` measures by synthesis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from amaranth.utils import ceil_log2

from spikeloom.gen.resources import block_rams
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import (
    MARKER,
    bank_event,
    job,
    potentials,
    spike_group,
    spike_word,
    sub_word,
    sub_word_bits,
)

SITES_OF_A_DISTRIBUTED_RAM = 6
"""Look-up tables that a DPR16X4 occupies: the four of its contents, and the two of the slice that writes them."""
SITES_OF_A_CARRY = 2.85
"""Likewise a CCU2C: its own two, and where chains begin and end. Placed designs: 2.79 with 2,666 of them in 64 lanes of
four banks, 2.88 with 1,268 in 32 lanes of one."""


@dataclass(frozen=True, kw_only=True)
class CoreCells:
    """A core's cells by kind."""

    luts: int
    """LUT4."""
    carries: int
    """CCU2C, of two look-up tables each."""
    flip_flops: int
    """TRELLIS_FF."""
    distributed_rams: int
    """TRELLIS_DPR16X4."""
    block_rams: int
    """DP16KD."""

    @property
    def cells(self) -> int:
        """Look-up tables, those of carry chains among them."""
        return self.luts + 2 * self.carries

    @property
    def sites(self) -> int:
        """Look-up tables of the device that are taken once it is placed."""
        carries = SITES_OF_A_CARRY * self.carries
        return round(self.luts + carries + SITES_OF_A_DISTRIBUTED_RAM * self.distributed_rams)


@dataclass(frozen=True, kw_only=True)
class Term:
    """What cells are spent on."""

    reason: str
    """Why they grow with the count."""
    count: Callable[[CoreConfig], float]
    """How many of them a core has."""
    luts: float = 0
    """LUT4 of one."""
    carries: float = 0
    """CCU2C of one, beside `counted_carries`."""
    flip_flops: float = 0
    """Of one."""


TERMS = {
    "core": Term(
        reason="loops, cursor, host port, loader and writer are there once",
        count=lambda c: 1,
        luts=1392,
        carries=377,
        flip_flops=2493,
    ),
    "counters": Term(
        reason="what events cost is added up in each cycle",
        count=lambda c: c.counters,
        luts=531,
        carries=241,
        flip_flops=633,
    ),
    "address bits": Term(
        reason="loops, cursor and writer add strides to the addresses of activations, weights and potentials",
        count=lambda c: c.address_width + c.row_width + c.membrane_width,
        luts=12.8,
    ),
    "bits of a side": Term(
        reason="rows, columns and positions are counted in the loops, the cursor, the loader and the neurons",
        count=lambda c: c.side_width,
        luts=14.8,
        carries=10.1,
        flip_flops=35.3,
    ),
    "word bits": Term(
        reason="words are gathered, masked by K, cut for the image's taps, joined with what lies in memory",
        count=lambda c: c.word,
        luts=26.1,
        flip_flops=17.2,
    ),
    "bits of further columns": Term(
        reason="the words of a group are held until the last column's is there",
        count=lambda c: c.word * (c.columns - 1),
        luts=4.52,
        flip_flops=1.6,
    ),
    "banks": Term(
        reason="two queues, an emitter and a head each; the barrier of all",
        count=lambda c: c.banks,
        luts=81.8,
        carries=29.5,
        flip_flops=326,
    ),
    "gates": Term(
        reason="each bank has a tap of the image, for each position or part of the lanes",
        count=lambda c: c.banks * c.gates,
        luts=28.4,
        flip_flops=3.02,
    ),
    "lanes": Term(
        reason="which lanes a row of K^T V adds to, the word of V, the carries between digits",
        count=lambda c: c.lanes,
        luts=3.06,
        flip_flops=3.43,
    ),
    "weight bits": Term(
        reason="what is written is the host's, a row of K^T V or zero",
        count=lambda c: c.lanes * c.weight_width,
        luts=1.36,
        flip_flops=0.608,
    ),
    "addend bits": Term(
        reason="what the banks' rows come to is registered after each addition",
        count=lambda c: c.lanes * c.columns * sum(_addends(c)),
        flip_flops=0.986,
    ),
    "sum bits": Term(
        reason="accumulated, kept, handed over, chosen for the neurons by an OR",
        count=lambda c: c.lanes * c.columns * c.accumulator_width,
        luts=0.335,
        flip_flops=3.83,
    ),
    "neuron bits": Term(
        reason="what is left of a potential is a table a bit; the stages' registers, and the class sums' multiplexer",
        count=lambda c: c.neuron_lanes * c.potential_width,
        luts=1.5,
        flip_flops=11,
    ),
}


def core_cells(config: CoreConfig) -> CoreCells:
    """What synthesis makes of the core alone, predicted: within 10 % of each of the measured ones."""
    counts = {name: term.count(config) for name, term in TERMS.items()}

    def total(kind: str) -> float:
        return sum(counts[name] * getattr(term, kind) for name, term in TERMS.items())

    return CoreCells(
        luts=round(total("luts")),
        carries=counted_carries(config) + round(total("carries")),
        flip_flops=round(total("flip_flops")),
        distributed_rams=distributed_rams(config),
        block_rams=sum(block_rams(config).values()),
    )


def counted_carries(config: CoreConfig) -> int:
    """Of the array and the neurons, whose chains are explicit: half a CCU2C a bit."""
    array = ceil(config.accumulator_width / 2) + sum(ceil(bits / 2) for bits in _joins(config))
    width = config.potential_width
    neuron = ceil((width + 1) / 2) + ceil(width / 2) + ceil((width + 1) / 2)
    return config.lanes * config.columns * array + config.neuron_lanes * neuron


def _joins(config: CoreConfig) -> list[int]:
    """Bits of the additions that join the banks' elements in a lane: of pairs, of pairs of these, and so on."""
    levels = ceil_log2(config.banks)
    return [config.weight_width + 1 + level for level in range(levels) for _ in range(config.banks >> level + 1)]


def _addends(config: CoreConfig) -> list[int]:
    """Bits of a lane that are registered before the accumulator; of a single bank the element and its gate."""
    return _joins(config) or [config.weight_width + 1]


def distributed_rams(config: CoreConfig) -> int:
    """Of the queues and the small memories: 16 words of four bits each."""
    queued = [spike_word(config).size, job(config).size, config.lanes]
    for bank in range(config.banks):
        marker = MARKER.size - 1 if bank else 0  # the first bank's is looked at, of the others `tail` alone
        queued += [sub_word(config).size - marker, bank_event(config).size - marker]
    if config.word // config.banks > sub_word_bits(config):  # words are sent in pieces
        queued.append(spike_group(config).size)
    memories = [config.word, 32]  # channels of K, what the Program says of itself
    if config.result_words > 1:
        memories += -(-config.result_words // 16) * [potentials(config).size]
    rows = 2 << ceil_log2(config.row_pixels)
    if not block_rams(config)["image rows"]:
        memories += -(-rows // 16) * [8]
    return sum(ceil(bits / 4) for bits in queued + memories)
