"""The scanner's walk over the inputs of a layer, for given activations: which slots find spikes, and how many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

import numpy as np

from spikeloom.gen.pipeline import Accesses, Item
from spikeloom.gen.plan import LayerPlan
from spikeloom.rtl.core.config import CoreConfig


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What one image makes spike."""

    tensors: Mapping[str, np.ndarray]
    """uint8 (T, C, H, W) by tensor name, as in `golden.execute`."""
    spikes: Mapping[str, np.ndarray] = field(default_factory=dict)
    """bool (T, C, H, W) by layer name, before pooling; where a pooling layer is missing, each of its spike words is
    taken to hold a spike."""


class ScannerWalk:
    """Items of the scanner and accesses of the writer for one layer and one image.

    Parameters
    ----------
    plan : LayerPlan
    config : CoreConfig
    activity : Activity
    """

    def __init__(self, plan: LayerPlan, config: CoreConfig, activity: Activity):
        self.plan, self.layer = plan, plan.layer
        self.columns, self.word_bits = config.columns, config.word
        self.groups = tuple(
            (y, x, min(plan.group, plan.width - x))
            for y in range(plan.height)
            for x in range(0, plan.width, plan.group)
        )
        """(y, x, columns) of the output positions that share a weight row, in the core's order."""
        self._planes = [
            self._bits(activity.tensors[name], info.planes)
            for name, info in zip(self.layer.inputs, plan.shape.inputs, strict=True)
        ]
        spikes = activity.spikes.get(plan.name)
        self._fired = None if spikes is None else self._bits(spikes, 1)[0].any(axis=-1)  # (T, H, W, words)
        self._fields: dict[tuple[int, int, int], Item] = {}

    def _bits(self, tensor: np.ndarray, planes: int) -> np.ndarray:
        """Bits (planes, most significant first, T, H, W, words, channels of a word) of a tensor (T, C, H, W)."""
        words = -(-tensor.shape[1] // self.word_bits)
        padded = np.pad(tensor, ((0, 0), (0, words * self.word_bits - tensor.shape[1]), (0, 0), (0, 0)))
        moved = padded.transpose(0, 2, 3, 1).reshape(*tensor.shape[:1], *tensor.shape[2:], words, self.word_bits)
        return np.stack([moved >> b & 1 for b in reversed(range(planes))]).astype(bool)

    def receptive_field(self, step: int, tile: int, index: int) -> Item:
        """The item of a group of positions; index: of `groups`."""
        words = self.plan.scanned(tile)
        key = (step, words.start, index)
        if key not in self._fields:
            of = self._image_field if self.layer.direct else self._field
            self._fields[key] = of(step, words, *self.groups[index])
        return self._fields[key]

    def _image_field(self, step: int, words: range, y: int, x: int, positions: int) -> Item:
        """For each plane, row of the kernel and channel a word, of which each tap is a slot and at most an event."""
        layer, bits = self.layer, self._padded
        left, top = x * layer.stride, y * layer.stride
        places = left + np.arange(positions)[:, None] * layer.stride + np.arange(layer.kernel)  # (positions, taps)
        # (planes, taps y, channels, taps x)
        seen = np.asarray(bits[:, top : top + layer.kernel][:, :, :, places].any(axis=3))
        fired = np.zeros((len(seen), 1 + seen[0].size), np.bool_)  # each plane with the doubling after it
        fired[:, :-1] = seen.reshape(len(seen), -1)
        fired[:, -1] = np.logical_or.accumulate(fired.any(axis=1))
        fired.flat[-2] = True  # the end
        return Item(tuple((int(slot), 1) for slot in np.flatnonzero(fired.flat[:-1])), fired.size - 1)

    @cached_property
    def _padded(self) -> np.ndarray:
        """Bits of the image with its padding (planes, H, C, W)."""
        edge = [(self.layer.padding,) * 2]
        bits = self._planes[0][:, 0].reshape(*self._planes[0].shape[:1], *self._planes[0].shape[2:4], -1)
        moved = bits[..., : self.layer.channels_in].transpose(0, 1, 3, 2)
        return np.pad(moved, [(0, 0), *edge, (0, 0), *edge])

    def _field(self, step: int, words: range, y: int, x: int, columns: int) -> Item:
        layer, bits = self.layer, self._planes[0]
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
                    inside = [i for i in in_x if 0 <= i < layer.width_in and 0 <= in_y < layer.height_in]
                    for word in words:
                        slot += self.columns
                        spikes = bits[plane, step, in_y, inside, word].any(axis=0).sum() if inside else 0
                        if spikes:
                            kept.append((slot - 1, int(spikes)))
        if not kept or kept[-1][0] != slot - 1:
            kept.append((slot - 1, 1))  # the marker of the end
        return Item(tuple(kept), slot)

    def keys(self, step: int, tile: int) -> list[Item]:
        """Items of K and V: one a token."""
        bits = self._planes[1][0, step]
        tokens = bits.reshape(-1, *bits.shape[2:])  # (N, words, channels of a word)
        words, values = self.plan.scanned(tile), len(self.plan.tiles[tile].spike_words)
        items = []
        before = (-1, -1)  # word and bit of the row of the event before: the same row again waits a cycle
        for token, spikes in enumerate(tokens):
            kept = [(0, 1)] if token == 0 else []
            for slot, word in enumerate(words, start=values):
                rows = np.flatnonzero(spikes[word])
                if len(rows):
                    kept.append((slot, len(rows) + int((word, rows[0]) == before)))
                    before = (word, int(rows[-1]))
            items.append(Item(tuple(kept), values + len(words)))
        return items

    def written(self, step: int, word: int, y: int, x: int) -> Accesses:
        """What the writer does with one spike word of a position."""
        residual, output = self.plan.shape.residual, self.plan.shape.output
        if self.layer.pool:
            silent = self._fired is not None and not self._fired[step, y, x, word]
            places = product(_windows(y, self.layer.height_out), _windows(x, self.layer.width_out))
            begun = [not (begins_y and begins_x) for begins_y, begins_x in places]
            return tuple(reads for reads in begun if not (silent and reads))
        if residual is not None:
            planes = residual.planes if step < residual.steps else 0
            return tuple(plane < planes for plane in range(output.planes))
        return (False,)


def _windows(at: int, size: int) -> list[bool]:
    """Of the pooled rows (or columns) that a row is in: whether it is their first."""
    return [at == 0] + [True] * (at % 2 == 1 and at // 2 + 1 < size)
