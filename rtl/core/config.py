"""The size of a core: everything that needs a new synthesis when it changes."""

import math
from dataclasses import asdict, dataclass

from amaranth.utils import ceil_log2

USUAL_WORD = 32
"""Bits of a spike word where nobody says otherwise."""
MOST_WORD = 64
MOST_LANES = 256
LONGEST_SIDE = 1023
LANE_GROUPS = 8
"""Parts of the lanes that an event can be added to by themselves, in a core of one column."""


@dataclass(frozen=True, kw_only=True)
class CoreConfig:
    """Size of one generated core; models that fit are Programs in memory.

    lanes: output channels accumulated at once; a multiple of 16, at most 256, or a power of two below 16.
    columns: output positions that share a weight row; a power of two.
    banks: events a cycle: memories to which the weight rows are dealt by input channel; 1, 2, 4 or 8.
    neuron_lanes: neurons updated a cycle; a power of two, at most `word`.
    weight_width: bits of a signed weight, 4 or 8.
    accumulator_width: bits of a signed accumulator of the array.
    potential_width: bits of membrane potentials, biases, thresholds and class sums (signed), at most 32.
    activation_words: spike words of the activation memory.
    weight_rows: rows of `lanes` weights, K^T V among them, in all banks together.
    membrane_positions: positions whose potentials the membrane memory holds.
    parameter_words: words of `neuron_lanes` pairs of bias and negated threshold.
    program_layers: descriptors, the end marker included.
    row_pixels: pixels of an image row, times channels.
    classes: largest number of class sums.
    word: bits of a spike word, channels of a tensor or pixels of an image row; a power of two that divides `lanes`, at
        most 64. Default: 32, or the most that divides `lanes`.
    side: rows or columns of the largest image or layer, at most 1023; counters of positions are as wide as that needs.
    counters: whether it counts what it does (`counters.COUNTERS`); else cycles alone.
    """

    lanes: int = 32
    columns: int = 1
    banks: int = 1
    neuron_lanes: int = 8
    weight_width: int = 8
    accumulator_width: int = 20
    potential_width: int = 24
    activation_words: int = 2048
    weight_rows: int = 4096
    membrane_positions: int = 64
    parameter_words: int = 128
    program_layers: int = 32
    row_pixels: int = 64
    classes: int = 16
    word: int = 0
    side: int = LONGEST_SIDE
    counters: bool = True

    def __post_init__(self) -> None:
        if self.word == 0 and isinstance(self.lanes, int):
            object.__setattr__(self, "word", math.gcd(self.lanes, USUAL_WORD))
        if not isinstance(self.counters, bool):
            raise ValueError(f"counters must be True or False, not {self.counters!r}")
        for name, value in asdict(self).items():
            if name != "counters" and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        for name in ("word", "columns", "neuron_lanes"):
            value = getattr(self, name)
            if value & (value - 1):
                raise ValueError(f"{name} must be a power of two, not {value!r}")
        if self.lanes % 16 and self.lanes not in (1, 2, 4, 8) or self.lanes > MOST_LANES:
            raise ValueError(
                f"lanes must be a multiple of 16 up to {MOST_LANES}, or a power of two below 16, not {self.lanes!r}"
            )
        if self.word > MOST_WORD or self.lanes % self.word:
            raise ValueError(f"word must be at most {MOST_WORD} and divide lanes ({self.lanes}), not {self.word!r}")
        for name in ("columns", "neuron_lanes"):
            if getattr(self, name) > self.word:
                raise ValueError(f"{name} must be at most word ({self.word}), not {getattr(self, name)!r}")
        if self.weight_width not in (4, 8):
            raise ValueError(f"weight_width must be 4 or 8, not {self.weight_width!r}")
        if self.lanes * self.weight_width % 32:
            raise ValueError(f"lanes * weight_width must be a multiple of 32, not {self.lanes} * {self.weight_width}")
        if not self.accumulator_width <= self.potential_width <= 32:
            raise ValueError(
                f"potential_width must be in accumulator_width..32, not {self.potential_width!r} "
                f"(accumulator_width is {self.accumulator_width!r})"
            )
        if self.side > LONGEST_SIDE:
            raise ValueError(f"side must be at most {LONGEST_SIDE}, not {self.side!r}")
        if self.banks not in (1, 2, 4, 8):
            raise ValueError(f"banks must be 1, 2, 4 or 8, not {self.banks!r}")
        if self.banks > self.word:
            raise ValueError(f"banks must be at most word ({self.word}), not {self.banks!r}")
        if self.weight_rows % self.banks:
            raise ValueError(f"weight_rows must be a multiple of banks ({self.banks}), not {self.weight_rows!r}")

    @property
    def summary(self) -> str:
        """The sizes that decide how fast it is, for people."""
        banks = f"{self.banks} banks, " if self.banks > 1 else ""
        return f"{self.lanes} lanes, {self.columns} columns, {banks}{self.neuron_lanes} neuron lanes"

    @property
    def address_width(self) -> int:
        """Bits of an activation address."""
        return max(1, ceil_log2(self.activation_words))

    @property
    def side_width(self) -> int:
        """Bits of a number of rows or columns."""
        return ceil_log2(self.side + 1)

    @property
    def position_width(self) -> int:
        """Bits of a number of positions of a layer."""
        return min(16, ceil_log2(self.side**2 + 1))

    @property
    def channel_width(self) -> int:
        """Bits of a number of channels: of a tile or of an image."""
        return ceil_log2(max(self.lanes, self.row_pixels) + 1)

    @property
    def gates(self) -> int:
        """Bits by which an event says what it is added to: a column each, or an eighth of a single column's lanes."""
        return self.columns if self.columns > 1 else min(LANE_GROUPS, self.word)

    @property
    def bank_rows(self) -> int:
        """Weight rows of a bank."""
        return self.weight_rows // self.banks

    @property
    def row_width(self) -> int:
        """Bits of the address of a row in its bank."""
        return max(1, ceil_log2(self.bank_rows))

    @property
    def parameter_width(self) -> int:
        """Bits of a parameter word's address."""
        return max(1, ceil_log2(self.parameter_words))

    @property
    def tile_words(self) -> int:
        """Spike words of `word` channels that make a tile of `lanes`."""
        return self.lanes // self.word

    @property
    def neuron_words(self) -> int:
        """Words of `neuron_lanes` that make a tile of `lanes`."""
        return self.lanes // self.neuron_lanes

    @property
    def neuron_words_per_spike_word(self) -> int:
        """Words of `neuron_lanes` that make a spike word."""
        return self.word // self.neuron_lanes

    @property
    def membrane_words(self) -> int:
        """Words of the membrane memory: `neuron_lanes` potentials each."""
        return self.membrane_positions * self.neuron_words

    @property
    def membrane_width(self) -> int:
        """Bits of a membrane address."""
        return max(1, ceil_log2(self.membrane_words))

    @property
    def result_words(self) -> int:
        """Words of `neuron_lanes` class sums."""
        return -(-self.classes // self.neuron_lanes)

    @property
    def result_width(self) -> int:
        """Bits of the address of a word of class sums."""
        return max(1, ceil_log2(self.result_words))
