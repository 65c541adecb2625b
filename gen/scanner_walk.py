"""The scanner's walk over the inputs of a layer, for given activations: which slots find spikes, and how many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from spikeloom.gen.bank_stamps import Ends, Word
from spikeloom.gen.pipeline import Accesses, Item
from spikeloom.gen.plan import LayerPlan
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import sub_word_bits


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
        self.columns, self.word_bits, self.banks = config.columns, config.word, config.banks
        self.sub_word, self.weight_width = sub_word_bits(config), config.weight_width
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
        if self.layer.kind == "attention":
            self._spiked = self._planes[1][0].any(axis=(1, 2))  # (T, words, bits): channels that spike in K
        spikes = activity.spikes.get(plan.name)
        self._fired = None if spikes is None else self._bits(spikes, 1)[0].any(axis=-1)  # (T, H, W, words)
        self._fields: dict[tuple[int, int], list[Item]] = {}

    def _bits(self, tensor: np.ndarray, planes: int) -> np.ndarray:
        """Bits (planes, most significant first, T, H, W, words, channels of a word) of a tensor (T, C, H, W)."""
        words = -(-tensor.shape[1] // self.word_bits)
        padded = np.pad(tensor, ((0, 0), (0, words * self.word_bits - tensor.shape[1]), (0, 0), (0, 0)))
        moved = padded.transpose(0, 2, 3, 1).reshape(*tensor.shape[:1], *tensor.shape[2:], words, self.word_bits)
        return np.stack([moved >> b & 1 for b in reversed(range(planes))]).astype(bool)

    def _events(self, bits: np.ndarray, tap: int) -> np.ndarray:
        """Bits (..., of a word) to events (..., piece, bank)."""
        dealt = bits.reshape(*bits.shape[:-1], -1, self.sub_word, self.banks).sum(axis=-2, dtype=np.uint8)
        return np.roll(dealt, tap, axis=-1)

    def receptive_field(self, step: int, tile: int, index: int) -> Item:
        """The item of a group of positions; index: of `groups`."""
        words = self.plan.scanned(tile)
        key = (step, words.start)
        if key not in self._fields:
            self._fields[key] = self._image_items() if self.layer.direct else self._items(step, words)
        return self._fields[key][index]

    def _image_items(self) -> list[Item]:
        """For each plane, row of the kernel and channel a word; a slot has a tap of each bank."""
        layer, bits = self.layer, self._padded()
        found = []
        for y, x, positions in self.groups:
            left, top = x * layer.stride, y * layer.stride
            places = left + np.arange(positions)[:, None] * layer.stride + np.arange(layer.kernel)  # (positions, taps)
            # (planes, taps y, channels, taps x)
            seen = np.asarray(bits[:, top : top + layer.kernel][:, :, :, places].any(axis=3))
            found.append(self._image_item(seen.reshape(len(seen), -1, layer.kernel)))
        return found

    def _image_item(self, seen: np.ndarray) -> Item:
        """seen: whether any position sees a set bit, by plane, word and tap."""
        planes, words, kernel = seen.shape
        each = self.plan.scan_words  # slots of a word
        events = np.zeros((planes, words * each, self.banks), np.int64)
        for word in range(words):
            for tap in range(kernel):
                events[:, word * each + tap // self.banks, (word * kernel + tap) % self.banks] = seen[:, word, tap]
        kept: list[Word] = []
        for plane in range(planes):
            first = plane * (words * each + 1)
            if plane and kept:
                kept.append((first - 1, (0,) * self.banks, Ends.DOUBLE))
            slots = events[plane].any(axis=-1).nonzero()[0].tolist()
            kept += [(first + slot, tuple(events[plane, slot].tolist()), Ends.NOTHING) for slot in slots]
        last = planes * (words * each + 1) - 2
        end = kept.pop()[1] if kept and kept[-1][0] == last else (0,) * self.banks
        return Item((*kept, (last, end, Ends.LAST)), last + 1)

    def _padded(self) -> np.ndarray:
        """Bits of the image with its padding (planes, H, C, W)."""
        edge = [(self.layer.padding,) * 2]
        bits = self._planes[0][:, 0].reshape(*self._planes[0].shape[:1], *self._planes[0].shape[2:4], -1)
        moved = bits[..., : self.layer.channels_in].transpose(0, 1, 3, 2)
        return np.pad(moved, [(0, 0), *edge, (0, 0), *edge])

    def _items(self, step: int, words: range) -> list[Item]:
        """The items of all groups of positions at a step."""
        read = self._planes[0][:, step, :, :, words.start : words.stop]
        if self.layer.kind == "attention":
            read = (read & self._spiked[step, words.start : words.stop]).repeat(self.plan.digits, axis=0)
        taps = self.layer.kernel**2
        events = np.stack([self._seen(read, tap) for tap in range(taps)], axis=2)
        planes, groups, _, _, pieces, _ = events.shape  # (planes, groups, taps, words, pieces, banks)
        doubles = self.weight_width if self.layer.kind == "attention" else 1
        place = np.arange(1, taps * len(words) + 1) * self.columns - 1  # each word's slot in its plane
        each = taps * len(words) * self.columns
        flat = events.reshape(planes, groups, taps * len(words), pieces, -1)
        found = []
        for group in range(groups):
            kept: list[Word] = []
            for plane in range(planes):
                first = plane * (each + doubles)
                if plane and kept:
                    kept += [(first - doubles + i, (0,) * self.banks, Ends.DOUBLE) for i in range(doubles)]
                word, piece = flat[plane, group].any(axis=-1).nonzero()
                counts = flat[plane, group, word, piece].tolist()
                at = (first + place[word] + piece).tolist()
                kept += [(a, tuple(c), Ends.NOTHING) for a, c in zip(at, counts, strict=True)]
            last = planes * each + (planes - 1) * doubles
            silent = not kept or kept[-1][0] < last - 1
            if silent:
                kept.append((last - 1, (0,) * self.banks, Ends.LAST))
            else:
                kept[-1] = (*kept[-1][:2], Ends.LAST)
            found.append(Item(tuple(kept), last))
        return found

    def _seen(self, read: np.ndarray, tap: int) -> np.ndarray:
        """What a tap sees: (planes, H, W, words, bits) to events (planes, groups, words, pieces, banks)."""
        layer, plan = self.layer, self.plan
        y, x = divmod(tap, layer.kernel)
        edge, stride = layer.padding, layer.stride
        wide = np.pad(read, ((0, 0), (edge, edge), (edge, edge), (0, 0), (0, 0)))
        rows, columns = (plan.height - 1) * stride + 1, (plan.width - 1) * stride + 1
        seen = wide[:, y : y + rows : stride, x : x + columns : stride]
        missing = -plan.width % self.columns
        seen = np.pad(seen, ((0, 0), (0, 0), (0, missing), (0, 0), (0, 0)))
        union = seen.reshape(*seen.shape[:2], -1, self.columns, *seen.shape[3:]).any(axis=3)
        return self._events(union.reshape(union.shape[0], -1, *union.shape[3:]), tap)

    def keys(self, step: int, tile: int) -> list[Item]:
        """Items of K and V: one a token."""
        words, values = self.plan.scanned(tile), len(self.plan.tiles[tile].spike_words)
        read = self._planes[1][0, step, :, :, words.start : words.stop]
        tokens = self._events(read.reshape(-1, *read.shape[2:]), 0)  # (tokens, words, pieces, banks)
        silent = (0,) * self.banks
        items = []
        for number, events in enumerate(tokens):
            kept: list[Word] = [(0, silent, Ends.CLEAR)] if number == 0 else []
            word, piece = events.any(axis=-1).nonzero()
            counts, at = events[word, piece].tolist(), (values + word + piece).tolist()
            kept += [(a, tuple(c), Ends.KEY) for a, c in zip(at, counts, strict=True)]
            if counts:
                kept.append((values + len(words), silent, Ends.TOKEN))
            items.append(Item(tuple(kept), values + 1 + len(words)))
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
