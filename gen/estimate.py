"""Cycles of an image before any simulation: a model of the core's pipeline, fed with what spikes.

The model follows each slot of the scanner, each event, each job of the neurons and each word of the writer
through the queues between them, as time stamps instead of clock cycles. With the golden activations of an image
it gives that image's cycles; with densities it gives those of random spikes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from spikeloom.gen.compiler import Compiled
from spikeloom.gen.program import producer_steps, stored_steps
from spikeloom.golden.network import IMAGE, Layer, Network
from spikeloom.rtl.core.core import JOB_FIFO_DEPTH, WORD_FIFO_DEPTH
from spikeloom.rtl.core.event_scanner import FIFO_DEPTH, IN_FLIGHT
from spikeloom.rtl.core.layouts import DESCRIPTOR_WORDS

FETCH_CYCLES = DESCRIPTOR_WORDS + 2  # a descriptor, and its dispatch
SCAN_LATENCY = 3  # from a slot to the emitter
ARRAY_LATENCY = 4  # from the emitter to the adders, a register a cycle
NEURON_LATENCY = 5  # from the issue of a word to its spikes


@dataclass(frozen=True, kw_only=True)
class LayerEstimate:
    """Cycles of one layer, and what it does in them."""

    name: str
    cycles: int
    slots: int  # of the scanner
    events: int  # of the array, markers included
    neuron_words: int
    written_words: int  # memory writes and reads of the writer

    @property
    def bound(self) -> str:
        """The unit that needs most of the cycles."""
        busy = {"scanner": self.slots, "array": self.events, "neurons": self.neuron_words, "writer": self.written_words}
        return max(busy, key=lambda unit: busy[unit])


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Estimated cycles of one image, from the last pixel to the class sums."""

    layers: tuple[LayerEstimate, ...]
    cycles: int


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What one image makes spike.

    tensors: uint8 (T, C, H, W) by tensor name, as in `golden.execute`. spikes: bool (T, C, H, W) by layer name,
    before pooling; where a pooling layer is missing, each of its spike words is taken to hold a spike.
    """

    tensors: Mapping[str, np.ndarray]
    spikes: Mapping[str, np.ndarray] = field(default_factory=dict)


def random_activity(network: Network, density: float | Mapping[str, float], *, seed: int = 0) -> Activity:
    """Random spikes at `density` (one, or by tensor name) and random pixels.

    A sum of n spike tensors is drawn as n independent ones. ValueError for a density outside 0..1.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}
    for name, info in network.tensors().items():
        shape = (info.steps, info.channels, info.height, info.width)
        if name == IMAGE:
            found[name] = rng.integers(0, 256, shape).astype(np.uint8)
            continue
        share = density if isinstance(density, int | float) else density.get(name, 0.15)
        if not 0 <= share <= 1:
            raise ValueError(f"density of {name!r} must be in 0..1, not {share!r}")
        found[name] = rng.binomial(info.maximum, share, shape).astype(np.uint8)
    return Activity(tensors=found)


def estimate(compiled: Compiled, activity: Activity) -> Estimate:
    """Estimated cycles for one image."""
    layers = tuple(_estimate_layer(compiled, layer, activity) for layer in compiled.network.layers)
    # the first descriptor is fetched before the image comes, the end marker after the last layer
    return Estimate(layers=layers, cycles=sum(x.cycles for x in layers) + FETCH_CYCLES + 1)


class _Pipeline:
    """Time stamps of the units, in cycles since the layer started to run."""

    def __init__(self) -> None:
        self.slots = self.events = self.neuron_words = self.written_words = 0
        self._fetched = 0  # the scanner's last slot
        self._emitted = -1  # the emitter's last event
        self._added = deque([-1] * ARRAY_LATENCY, maxlen=ARRAY_LATENCY)  # the array's last events
        self._queue: deque[int] = deque(maxlen=FIFO_DEPTH)  # when the scanner's last groups left it
        self._jobs: deque[int] = deque([0] * JOB_FIFO_DEPTH, maxlen=JOB_FIFO_DEPTH)  # likewise
        self._sums_taken = -1  # the neurons have taken the last sums
        self._neuron = -NEURON_LATENCY  # the neurons' last word
        self._frozen: deque[tuple[int, int]] = deque()  # of the neurons, by the writer: from, cycles
        self._written = deque([-1] * WORD_FIFO_DEPTH, maxlen=WORD_FIFO_DEPTH)  # the writer's last words
        self._reads = 0  # of the writer: each takes a slot from the scanner

    def item(self, groups: list[tuple[int, int]], slots: int) -> None:
        """Scan one item: `groups` are (slot, events) of the words that are kept, in order; slots count from 0."""
        start = max(self._fetched, self._jobs[0]) + 2 + self._reads  # one cycle to take the item
        self._reads = 0
        for slot, events in groups:
            start = max(start, self._room() - slot + 1)
            self._emit(start + slot + SCAN_LATENCY, events)
        self._fetched = start + slots - 1
        self.slots += slots

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
        self, ready: int, *, columns: int, words: int, fence: bool, each: bool, costs: list[tuple[int, int]]
    ) -> None:
        """Neurons: `words` a column; `each` column waits for the pipeline to empty. costs: writer's (cycles, reads)."""
        at = ready
        for column in range(columns):
            if (fence and column == 0) or each:
                at = max(at, self._neuron + NEURON_LATENCY)
            for _ in range(words):
                at = self._neuron = self._unfrozen(max(at, self._neuron + 1))
            if costs:
                self._write(*costs[column])
        self.neuron_words += columns * words
        self._sums_taken = self._neuron
        self._jobs.append(self._neuron)

    def _unfrozen(self, at: int) -> int:
        """The first cycle from `at` on in which the neurons' pipeline moves."""
        while self._frozen and self._frozen[0][0] <= at:
            begin, length = self._frozen.popleft()
            at = max(at, begin + length)
            self._frozen = deque((b + length, n) for b, n in self._frozen)
        return at

    def _write(self, cycles: int, reads: int) -> None:
        """The neurons' last word goes through the queue to the writer; where that is full, the neurons freeze."""
        leaves = self._neuron + NEURON_LATENCY + sum(length for _, length in self._frozen)
        enters = max(leaves, self._written[0] + 1)
        if enters > leaves:
            self._frozen.append((self._neuron + NEURON_LATENCY, enters - leaves))
        self._written.append(max(enters, self._written[-1]) + cycles)
        self._reads += reads
        self.written_words += cycles

    def end(self) -> int:
        """When the layer's last word is written."""
        return max(self._neuron + NEURON_LATENCY, self._written[-1] + 1)


def _estimate_layer(compiled: Compiled, layer: Layer, activity: Activity) -> LayerEstimate:
    network, config = compiled.network, compiled.config
    runs = layer.steps if layer.kind == "readout" else stored_steps(network, layer, compiled.memory)
    pipe = _Pipeline()
    if layer.kind == "readout" and not runs:  # the bias alone
        pipe.item(*_MARKER)
        words = -(-layer.channels_out // config.neuron_lanes)
        pipe.job(pipe.hand_over(), columns=1, words=words, fence=True, each=False, costs=[])
        cycles = pipe.end() + FETCH_CYCLES + 1
        return LayerEstimate(name=layer.name, cycles=cycles, slots=1, events=1, neuron_words=words, written_words=0)
    if not runs:
        return LayerEstimate(
            name=layer.name, cycles=FETCH_CYCLES + 1, slots=0, events=0, neuron_words=0, written_words=0
        )
    scans = min(layer.steps, producer_steps(network, layer))
    walk = _Walk(compiled, layer, activity)
    tiles = -(-layer.channels_out // config.lanes)
    groups = walk.groups_of_positions
    readout = layer.kind == "readout"
    for tile in range(tiles):
        valid = min(config.lanes, layer.channels_out - tile * config.lanes)
        words = -(-valid // config.neuron_lanes)

        def job(step: int, index: int, group: tuple[int, int, int], words: int = words, tile: int = tile) -> None:
            y, x, columns = group
            pipe.job(
                pipe.hand_over(),
                columns=columns,
                words=words if step < layer.steps else 1,
                fence=index == 0 or layer.direct or readout,
                each=readout,
                costs=[] if readout else [walk.write_cost(step, tile, y, x + c) for c in range(columns)],
            )

        if layer.direct:
            for index, group in enumerate(groups):
                for step in range(runs):
                    pipe.item(*(walk.receptive_field(0, tile, index) if step == 0 else _MARKER))
                    job(step, index, group)
            continue
        for step in range(runs):
            if layer.kind == "attention" and step < scans:
                for item in walk.keys(step, tile):
                    pipe.item(*item)
            for index, group in enumerate(groups):
                pipe.item(*(walk.receptive_field(step, tile, index) if step < scans else _MARKER))
                job(step, index, group)
    return LayerEstimate(
        name=layer.name,
        cycles=pipe.end() + FETCH_CYCLES + 1,
        slots=pipe.slots,
        events=pipe.events,
        neuron_words=pipe.neuron_words,
        written_words=pipe.written_words,
    )


_MARKER: tuple[list[tuple[int, int]], int] = ([(0, 1)], 1)


class _Walk:
    """The scanner's walk over a layer's inputs: which slots find spikes, and how many."""

    def __init__(self, compiled: Compiled, layer: Layer, activity: Activity):
        self.compiled, self.layer = compiled, layer
        self.columns, self.lanes = compiled.config.columns, compiled.config.lanes
        self.info = compiled.network.tensors()
        self.planes = [self._planes(activity.tensors[name], self.info[name].planes) for name in layer.inputs]
        self.groups_of_positions = [
            (y, x, min(self.columns, layer.width_conv - x))
            for y in range(layer.height_conv)
            for x in range(0, layer.width_conv, self.columns)
        ]
        spikes = activity.spikes.get(layer.name)
        self.fired = None if spikes is None else self._planes(spikes, 1)[0].any(axis=-1)  # (T, H, W, words)
        self._fields: dict[tuple[int, int, int], tuple[list[tuple[int, int]], int]] = {}

    def _planes(self, tensor: np.ndarray, planes: int) -> np.ndarray:
        """Bits (planes, most significant first, T, H, W, words, lanes) of a tensor (T, C, H, W)."""
        words = -(-tensor.shape[1] // self.lanes)
        padded = np.pad(tensor, ((0, 0), (0, words * self.lanes - tensor.shape[1]), (0, 0), (0, 0)))
        moved = padded.transpose(0, 2, 3, 1).reshape(*tensor.shape[:1], *tensor.shape[2:], words, self.lanes)
        return np.stack([moved >> b & 1 for b in reversed(range(planes))]).astype(bool)

    def receptive_field(self, step: int, tile: int, index: int) -> tuple[list[tuple[int, int]], int]:
        """Kept groups and slots of one receptive field."""
        words = self._words(tile)
        key = (step, words.start, index)
        if key not in self._fields:
            self._fields[key] = self._field(step, words, *self.groups_of_positions[index])
        return self._fields[key]

    def _words(self, tile: int) -> range:
        """Spike words that the scanner reads a tap."""
        if self.layer.kind != "attention":
            return range(self.planes[0].shape[-2])
        of_head = max(1, self.layer.channels_in // self.layer.heads // self.lanes)
        first = tile // of_head * of_head
        return range(first, first + of_head)

    def _field(self, step: int, words: range, y: int, x: int, columns: int) -> tuple[list[tuple[int, int]], int]:
        layer, bits = self.layer, self.planes[0]
        kept: list[tuple[int, int]] = []
        slot = 0
        for plane in range(len(bits)):
            if plane:
                if kept:
                    kept.append((slot, 1))
                slot += 1
            for tap_y in range(layer.kernel):
                for tap_x in range(layer.kernel):
                    in_y = y * layer.stride + tap_y - layer.padding
                    in_x = [(x + c) * layer.stride + tap_x - layer.padding for c in range(columns)]
                    inside = [i for i in in_x if 0 <= i < layer.width_in]
                    if not 0 <= in_y < layer.height_in or (self.columns == 1 and not inside):
                        slot += 1
                        continue
                    for word in words:
                        slot += self.columns
                        spikes = bits[plane, step, in_y, inside, word].any(axis=0).sum() if inside else 0
                        if spikes:
                            kept.append((slot - 1, int(spikes)))
        if not kept or kept[-1][0] != slot - 1:
            kept.append((slot - 1, 1))  # the marker of the end
        return kept, slot

    def keys(self, step: int, tile: int) -> list[tuple[list[tuple[int, int]], int]]:
        """Items of K and V: one a token."""
        bits = self.planes[1][0, step]
        tokens = bits.reshape(-1, *bits.shape[2:])  # (N, words, lanes)
        words = self._words(tile)
        items = []
        before = -1  # row of the event before: the same row again waits a cycle
        for token, spikes in enumerate(tokens):
            kept = [(0, 1)] if token == 0 else []
            for slot, word in enumerate(words, start=1):
                rows = np.flatnonzero(spikes[word])
                if len(rows):
                    kept.append((slot, len(rows) + int(rows[0] == before)))
                    before = int(rows[-1])
            items.append((kept, 1 + len(words)))
        return items

    def write_cost(self, step: int, tile: int, y: int, x: int) -> tuple[int, int]:
        """Cycles and reads of the writer for one spike word."""
        layer = self.layer
        if layer.pool:
            windows = (1 + (y % 2 and y // 2 + 1 < layer.height_out)) * (1 + (x % 2 and x // 2 + 1 < layer.width_out))
            silent = self.fired is not None and not self.fired[step, y, x, tile]
            reads = 0 if silent else windows - self._first_windows(y, x)
            return 1 + windows + reads, reads
        if layer.residual is not None:
            other = self.info[layer.residual]
            reads = other.planes if step < other.steps else 0
            return 1 + self.info[layer.name].planes + reads, reads
        return 1, 0

    def _first_windows(self, y: int, x: int) -> int:
        """Windows of which this is the first word: written without a read."""

        def firsts(at: int, size: int) -> int:
            return int(at == 0) + int(at % 2 == 1 and at // 2 + 1 < size)

        return firsts(y, self.layer.height_out) * firsts(x, self.layer.width_out)
