"""Random decisions that are the same on every machine: only integers and exact fractions are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class Dice:
    """numpy's generator of a seed, ``rng``, and the questions that are asked of it most."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def chance(self, share: float) -> bool:
        """Yes, in so many of all cases."""
        return bool(self.rng.random() < share)

    def number(self, low: int, high: int) -> int:
        """An integer of low..high."""
        return int(self.rng.integers(low, max(low, high) + 1))

    def choice(self, options: Sequence[Any]) -> Any:
        """One of the options."""
        return options[int(self.rng.integers(len(options)))]
