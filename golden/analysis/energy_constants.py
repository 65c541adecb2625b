"""What an operation and a bit of memory cost, of published technologies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Constants:
    """Energies of one technology and number type, in pJ."""

    name: str
    """As in `CONSTANTS`."""
    accumulate: float
    """Of an addition to an accumulator."""
    multiply_accumulate: float
    """Of a multiplication with its addition."""
    zero_check: float
    """Of a look whether an input is zero."""
    sram_bit: float
    """Of a bit read or written in a memory on the chip."""
    dram_bit: float
    """Of a bit read outside the chip."""
    word_bits: int | None
    """Of weights, potentials, partial sums and activations that are no spikes; None: weights and potentials as wide as
    the network's, activations of 8 bits."""


# Horowitz, Computing's energy problem (ISSCC 2014), 45 nm, 0.9 V: an 8 kB SRAM takes 10 pJ for 64 bits.
_SRAM_BIT = 10 / 64
# DRAM as in Prosperity (HPCA 2025), 12.45 pJ a bit.
_DRAM_BIT = 12.45

CONSTANTS = {
    constants.name: constants
    for constants in (
        # Datta et al., arXiv 2311.16456, Table V: FP32 on a 28 nm Kintex-7; a MAC is 7.4 accumulates. Its constants of
        # memories are not known to us: those of Horowitz and Prosperity take their place.
        Constants(
            name="paper",
            accumulate=1.8,
            multiply_accumulate=13.32,
            zero_check=0.05,
            sram_bit=_SRAM_BIT,
            dram_bit=_DRAM_BIT,
            word_bits=32,
        ),
        # Horowitz, FP32: addition 0.9, multiplication 3.7: what the Spikformer papers take. A check is not in them.
        Constants(
            name="fp32",
            accumulate=0.9,
            multiply_accumulate=4.6,
            zero_check=0.0,
            sram_bit=_SRAM_BIT,
            dram_bit=_DRAM_BIT,
            word_bits=32,
        ),
        # Horowitz, integers: 32-bit addition 0.1, 8-bit multiplication 0.2: what both networks cost once quantised.
        Constants(
            name="int8",
            accumulate=0.1,
            multiply_accumulate=0.3,
            zero_check=0.0,
            sram_bit=_SRAM_BIT,
            dram_bit=_DRAM_BIT,
            word_bits=None,
        ),
    )
}
