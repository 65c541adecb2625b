"""Time stamps of the banks: when the words that the scanner keeps have become events, and these have gone."""

from __future__ import annotations

import enum
from collections import deque

from spikeloom.rtl.core.ac_array import LATENCY, stages
from spikeloom.rtl.core.bank_queue import DEPTH
from spikeloom.rtl.core.bit_emitter import EVENTS_IN_FLIGHT, SUB_WORDS_IN_FLIGHT
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.event_scanner import FIFO_DEPTH, IN_FLIGHT
from spikeloom.rtl.core.layouts import sub_word_bits

SLOT_TO_QUEUE = 7  # of the sub-words
QUEUE_TO_STEP = 4  # of the emitter
STEP_TO_HEAD = 4
WORDS_AHEAD = DEPTH - SUB_WORDS_IN_FLIGHT // 2  # sub-words that wait when the scanner does
PIECES_AHEAD = DEPTH - SUB_WORDS_IN_FLIGHT + FIFO_DEPTH - IN_FLIGHT // 2  # likewise, where words are sent in pieces
EVENTS_AHEAD = DEPTH - EVENTS_IN_FLIGHT - 1


class Ends(enum.Enum):
    """What a word ends for all banks."""

    NOTHING = 0
    LAST = 1
    """The sums of an item."""
    DOUBLE = 2
    """A plane."""
    CLEAR = 3
    """What K^T V was before."""
    TOKEN = 4
    """A token of K."""
    KEY = 5
    """Nothing either, but it is of K."""


Word = tuple[int, tuple[int, ...], Ends]
"""Slot, counted from 0; events of each bank; what it ends."""


class BankStamps:
    """Time stamps of the banks' queues and of their heads.

    config: of the core. digits, digit_rows: of K^T V, as in `LayerPlan`.
    """

    def __init__(self, config: CoreConfig, *, digits: int, digit_rows: int) -> None:
        banks = config.banks
        self.events = 0
        """Cycles in which a bank takes an event, of the bank that has most between two barriers."""
        self.barrier = -1
        """When all banks were through with the last word that ends something."""
        self._digits, self._clears = digits, digits * digit_rows
        self._drain = LATENCY + stages(config)  # from an event of K to the next token
        self._since = [0] * banks  # events since the barrier
        self._emitted = [0] * banks  # when the emitter has sent all bits so far
        self._gone = [0] * banks  # when the heads have taken all events so far
        self._key_free = 0  # when the word of V is that of the token at hand
        self._key_gone = -self._drain  # when the last event of K has gone
        ahead = PIECES_AHEAD if config.word // banks > sub_word_bits(config) else WORDS_AHEAD
        self._left = [deque([-ahead] * ahead, maxlen=ahead) for _ in range(banks)]  # the queue
        self._before = [0] * banks  # when the emitter began with the sub-word before

    def scan(self, start: int, words: tuple[Word, ...], room: int) -> int:
        """The words of an item, whose scan can begin at `start`; when it does. room: for its sums, from then on."""
        for slot, events, ends in words:
            marked = ends is not Ends.NOTHING and ends is not Ends.KEY
            for bank, count in enumerate(events):
                if count or marked:
                    start = max(start, self._left[bank][0] + 2 - slot)
            for bank, count in enumerate(events):
                if count or marked:
                    self._take(bank, start + slot + SLOT_TO_QUEUE, max(count, 1), key=ends is Ends.KEY)
            if marked:
                self._end(ends, room)
        return start

    def _take(self, bank: int, comes: int, count: int, *, key: bool) -> None:
        """A sub-word comes to the bank's queue."""
        begins = max(comes + QUEUE_TO_STEP, self._emitted[bank])
        self._left[bank].append(max(comes + 1, self._before[bank]))
        self._before[bank] = begins
        goes = max(begins + STEP_TO_HEAD, max(*self._gone, self._key_free) if key else self._gone[bank])
        self._gone[bank] = goes + (count * self._digits if key else count)
        if key:
            self._key_gone = self._gone[bank] - 1
        self._emitted[bank] = max(begins + count, self._gone[bank] - EVENTS_AHEAD)
        self._since[bank] += count

    def _end(self, ends: Ends, room: int) -> None:
        """All banks come to their end."""
        at = max(self._gone) - 1
        if ends is Ends.LAST:
            at = max(at, room)
        elif ends is Ends.TOKEN:
            at = max(at, self._key_gone + self._drain)
            self._key_free = at + 2
        elif ends is Ends.CLEAR:
            at += self._clears
        self.barrier = at
        self.events += max(self._since)
        for bank in range(len(self._gone)):
            self._gone[bank] = at + 1
            self._since[bank] = 0
