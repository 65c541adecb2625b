"""How the image lies in spike words, and how many output positions a layer that reads it computes at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spikeloom.gen.errors import CompileError
from spikeloom.golden.network import Layer, Network
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import image_hop

STRIDES = (1, 2, 4)
"""Of which a word gives the pixels of several positions; of others it gives one at a time."""


@dataclass(frozen=True, kw_only=True)
class ImageWords:
    """Words of adjacent pixels, one bit of each: for each plane, row and channel the same number of words.

    Word j has the pixels from ``j * hop - edge`` on, zeros outside the row. The hop is half a word, so that all that a
    group of positions sees of a row lies in one word.
    """

    edge: int
    """Zeros before the first pixel of a row: the largest padding of the layers that read the image."""
    words: int
    """Spike words of a row of one channel."""
    groups: Mapping[str, int]
    """Output positions of an item, by layer."""


def image_words(network: Network, config: CoreConfig) -> ImageWords:
    """CompileError for a kernel that no word holds at every position."""
    readers = [layer for layer in network.layers if layer.direct]
    edge, hop = max((layer.padding for layer in readers), default=0), image_hop(config.word)
    groups = {layer.name: _group(layer, config, hop) for layer in readers}
    last = [_last_pixel(layer, groups[layer.name], edge) for layer in readers]
    return ImageWords(edge=edge, words=max((x // hop for x in last), default=0) + 1, groups=groups)


def _group(layer: Layer, config: CoreConfig, hop: int) -> int:
    """The most positions that the columns, or the lanes, and a word have room for."""
    if layer.kernel > hop + 1:
        raise CompileError(
            f"layer {layer.name!r}: a kernel over the image must be at most {hop + 1}, half a spike word and one, not "
            f"{layer.kernel}; what would help: wider spike words or a smaller kernel"
        )
    group = 1
    while _fits(layer, config, 2 * group, hop):
        group *= 2
    return group


def _fits(layer: Layer, config: CoreConfig, group: int, hop: int) -> bool:
    window = (group - 1) * layer.stride + layer.kernel
    if layer.stride not in STRIDES or window > hop + 1 or group > config.gates:
        return False
    return config.columns > 1 or (layer.channels_out * group <= config.lanes and config.neuron_words % group == 0)


def _last_pixel(layer: Layer, group: int, edge: int) -> int:
    """Of the last group in a row: its first pixel, counted from the first word's."""
    return (layer.width_conv - 1) // group * group * layer.stride + edge - layer.padding
