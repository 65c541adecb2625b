"""The core's pipeline as time stamps: a layer's cycles from what each unit is given, without a simulation.

Each slot of the scanner, each event, each job of the neurons and each word of the writer goes through the queues
between them. Stamps instead of clock cycles: the cost is that of the events, not of the cycles.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from spikeloom.rtl.core.activation_writer import WRITE_LATENCY
from spikeloom.rtl.core.core import JOB_FIFO_DEPTH
from spikeloom.rtl.core.event_scanner import FIFO_DEPTH, IN_FLIGHT
from spikeloom.rtl.core.neuron_unit import FENCE, QUEUE_DEPTH, STAGES

SCAN_LATENCY = 6  # from a slot to the emitter
ARRAY_LATENCY = 4  # from the emitter to the adders, a register a cycle


@dataclass(frozen=True)
class Item:
    """What the scanner does for one group of output positions at one step, or for one token of K and V."""

    groups: tuple[tuple[int, int], ...]
    """(slot, events) of the words that are kept, in order; slots count from 0."""
    slots: int
    """Cycles that the scanner needs for it."""


Accesses = tuple[bool, ...]
"""Of the writer to memory for one spike word, in order: a write each, and before it a read where it is true."""

MARKER = Item(((0, 1),), 1)
"""An item without a spike: the end of its sums."""


class Pipeline:
    """Time stamps of the units, in cycles since the layer started to run.

    For each item in the core's order: `item`; and where it ends a group of positions, `job` with what `hand_over` said.
    """

    def __init__(self) -> None:
        self.slots = self.events = self.neuron_words = self.written_words = 0
        self._fetched = 0  # the scanner's last slot
        self._emitted = -1  # the emitter's last event
        self._added = deque([-1] * ARRAY_LATENCY, maxlen=ARRAY_LATENCY)  # the array's last events
        self._queue: deque[int] = deque(maxlen=FIFO_DEPTH)  # when the scanner's last groups left it
        self._jobs: deque[int] = deque([0] * JOB_FIFO_DEPTH, maxlen=JOB_FIFO_DEPTH)  # likewise
        self._sums_taken = -1  # the neurons have taken the last sums
        self._neuron = -STAGES  # the neurons' last word
        self._since = self._free = 0  # words since their last fence; when the potentials of these come back
        self._words: deque[tuple[int, int]] = deque()  # in the queue to the writer: from, to
        self._held = 0  # the writer can take a word from then on
        self._accesses = deque([-WRITE_LATENCY - 1] * WRITE_LATENCY, maxlen=WRITE_LATENCY)  # the begins of its last

    def item(self, item: Item) -> None:
        """Scan one item."""
        start = max(self._fetched, self._jobs[0]) + 2  # one cycle to take the item
        for slot, events in item.groups:
            start = max(start, self._room() - slot + 1)
            self._emit(start + slot + SCAN_LATENCY, events)
        self._fetched = start + item.slots - 1
        self.slots += item.slots

    def _room(self) -> int:
        """When the queue has room for a group and those on their way."""
        depth = FIFO_DEPTH - IN_FLIGHT
        return self._queue[-depth] if len(self._queue) >= depth else -1

    def _emit(self, comes: int, events: int) -> None:
        """A group leaves the queue when it has come and the emitter is free, and becomes events."""
        leaves = max(comes, self._emitted)
        self._queue.append(leaves)
        for _ in range(events):
            self._emitted = max(self._emitted, leaves, self._added[0] - 1) + 1
            self._added.append(max(self._added[-1] + 1, self._emitted + ARRAY_LATENCY))
        self.events += events

    def hand_over(self) -> int:
        """The last event of an item waits until the neurons have taken the sums before; when they see these."""
        self._added[-1] = max(self._added[-1], self._sums_taken + 1)
        return self._added[-1] + 1

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
            self._sums_taken = self._neuron
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
        taken = max(enters, self._held)
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
