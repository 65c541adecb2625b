"""The core's pipeline as time stamps: a layer's cycles from what each unit is given, without a simulation.

Each word of the scanner, each job of the neurons and each word of the writer goes through the queues between them.
Stamps instead of clock cycles: the cost is that of the words, not of the cycles.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from spikeloom.gen.bank_stamps import BankStamps, Ends, Word
from spikeloom.rtl.core.ac_array import HELD_SUMS, stages
from spikeloom.rtl.core.ac_array import LATENCY as ROW_LATENCY
from spikeloom.rtl.core.activation_writer import WRITE_LATENCY
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.neuron_unit import FENCE, JOBS_AHEAD, QUEUE_DEPTH, STAGES

QUEUE_TO_WRITER = 2
"""Cycles in which a spike word becomes the head of its queue and is made ready."""


@dataclass(frozen=True)
class Item:
    """What the scanner does for one group of output positions at one step, or for one token of K and V."""

    words: tuple[Word, ...]
    """Those that are kept, in order."""
    slots: int
    """Cycles that the scanner needs for it."""


Accesses = tuple[bool, ...]
"""Of the writer to memory for one spike word, in order: a write each, and before it a read where it is true."""


def marker(banks: int) -> Item:
    """An item without a spike: the end of its sums."""
    return Item(((0, (0,) * banks, Ends.LAST),), 1)


class Pipeline:
    """Time stamps of the units, in cycles since the layer started to run.

    For each item in the core's order: `item`; and where it ends a group of positions, `job` with what `hand_over` said.

    config: of the core. digits, digit_rows: of K^T V, as in `LayerPlan`.
    """

    def __init__(self, config: CoreConfig, *, digits: int = 0, digit_rows: int = 0) -> None:
        self.slots = self.neuron_words = self.written_words = 0
        self._banks = BankStamps(config, digits=digits, digit_rows=digit_rows)
        self._latency = 1 + ROW_LATENCY + stages(config)  # from an item's last event to its sums
        self._fetched = 1  # the scanner's last slot; the loops look at the first item's place for a cycle
        self._jobs: deque[int] = deque([0] * JOBS_AHEAD, maxlen=JOBS_AHEAD)  # when the last jobs left the queue
        self._sums_taken: deque[int] = deque([-9] * HELD_SUMS, maxlen=HELD_SUMS)  # by the neurons, the last
        self._neuron = -STAGES  # the neurons' last word
        self._since = self._free = 0  # words since their last fence; when the potentials of these come back
        self._words: deque[tuple[int, int]] = deque()  # in the queue to the writer: from, to
        self._held = 0  # the writer can take a word from then on
        self._accesses = deque([-WRITE_LATENCY - 1] * WRITE_LATENCY, maxlen=WRITE_LATENCY)  # the begins of its last

    @property
    def events(self) -> int:
        """Cycles in which a bank takes an event, of the bank that has most."""
        return self._banks.events

    def item(self, item: Item) -> None:
        """Scan one item."""
        start = max(self._fetched, self._jobs[0]) + 2  # one cycle to take the item
        start = self._banks.scan(start, item.words, self._sums_taken[0] + 1)
        self._fetched = start + item.slots - 1
        self.slots += item.slots

    def hand_over(self) -> int:
        """When the neurons can begin with the sums of the last item: a cycle before these come."""
        return max(self._banks.barrier + self._latency, self._sums_taken[-1])

    def job(
        self,
        ready: int,
        *,
        columns: int,
        words: Sequence[int],
        fence: bool,
        each: bool,
        reads: bool,
        written: Sequence[Sequence[Accesses]],
        keep: bool = False,
    ) -> None:
        """Neurons: fenced before the first column or `each`, which matters where potentials are read.

        words: cycles of the neurons for each spike word of a column. written: by column and spike word, if any is.
        keep: the next job has the same sums.
        """
        at = ready
        for column in range(columns):
            if (fence and column == 0) or each:
                at = max(at, self._free if reads else 0)
                self._since = 0
            for number, cycles in enumerate(words):
                for _ in range(cycles):
                    at = self._neuron = self._with_room(max(at, self._neuron + 1))
                    self._free = at - self._since + FENCE
                    self._since += 1
                if written:
                    self._write(written[column][number])
        self.neuron_words += columns * sum(words)
        if not keep:
            self._sums_taken.append(self._neuron + 1)
        self._jobs.append(self._neuron)

    def _with_room(self, at: int) -> int:
        """The first cycle from `at` on in which the queue to the writer has room for a word and those on their way."""
        while self._words and self._words[0][1] <= at:
            self._words.popleft()
        while sum(enters <= at for enters, _ in self._words) >= QUEUE_DEPTH - STAGES:
            at = self._words.popleft()[1]
        return at

    def _write(self, accesses: Accesses) -> None:
        """The neurons' last word goes through the queue to the writer."""
        enters = self._neuron + STAGES + 1
        taken = max(enters + QUEUE_TO_WRITER, self._held)
        self._words.append((enters, taken + 1))
        self._held = taken + 1
        for reads in accesses:
            self._held = max(self._held, self._accesses[-1])  # the access before makes room
            begins = self._held + 1
            while reads and begins - WRITE_LATENCY in self._accesses:
                begins += 1
            self._accesses.append(begins)
        self.written_words += sum(1 + reads for reads in accesses)

    def end(self) -> int:
        """When the layer's last word is written."""
        return max(self._neuron + STAGES, self._accesses[-1] + WRITE_LATENCY + 1)
