"""The Program: descriptors, parameters and weight rows, packed for the core's memories."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from spikeloom.gen.descriptors import Fields, descriptors, pack_descriptor
from spikeloom.gen.host.pixels import ImageFormat
from spikeloom.gen.plan import LayerPlan, Plan
from spikeloom.golden.network import Network
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import WORD_BITS, parameters
from spikeloom.rtl.core.registers import ProgramInfo, Region, Register, region_words, row_stride


@dataclass(frozen=True, kw_only=True)
class Program:
    """Contents of the core's three Program memories, as unsigned integers, and how a host uses them."""

    descriptors: tuple[Fields, ...]
    """Fields of `layouts.DESCRIPTOR`: the image's, one a layer, the end's."""
    program_words: tuple[int, ...]
    """32-bit words of the packed descriptors."""
    parameter_words: tuple[int, ...]
    """Words of `neuron_lanes` pairs of bias and threshold."""
    weight_rows: tuple[int, ...]
    """Rows of `lanes` weights, a row of each bank in turn; those of K^T V, at the beginning, are zero."""
    config: CoreConfig
    """Of the core that it was made for; larger ones run it too."""
    image: ImageFormat
    """What the host gives and gets."""

    def __repr__(self) -> str:
        return (
            f"<Program {self.hash:08x}: {len(self.descriptors)} descriptors, {len(self.parameter_words):,} parameter "
            f"words, {len(self.weight_rows):,} weight rows, for {self.config.summary}>"
        )

    @cached_property
    def hash(self) -> int:
        """32 bits that tell this Program from others, never 0."""
        digest = hashlib.sha256(
            repr((self.program_words, self.parameter_words, self.weight_rows, self.image)).encode()
        ).digest()
        return int.from_bytes(digest[:4], "little") or 1

    @property
    def info(self) -> list[int]:
        """The core's `registers.ProgramInfo`."""
        return self.image.words(program_hash=self.hash)

    def host_writes(self) -> list[tuple[int, int]]:
        """(word address, word) of every write that loads this Program into an idle core, in order.

        The core holds no Program, by its hash of 0, from the first write to the last.

        Raises
        ------
        ValueError
            where a memory is larger than its region of the host bus.
        """
        region_words(self.config)
        info = Region.REGISTERS.address(Register.PROGRAM_INFO)
        writes = [(info + ProgramInfo.HASH, 0)]
        writes += [(Region.PROGRAM.address(i), word) for i, word in enumerate(self.program_words)]
        writes += _row_writes(Region.PARAMETERS, self.parameter_words, parameters(self.config).size)
        writes += _row_writes(Region.WEIGHTS, self.weight_rows, self.config.lanes * self.config.weight_width)
        return writes + [(info + i, word) for i, word in enumerate(self.info)][::-1]


def _row_writes(region: Region, rows: Sequence[int], width: int) -> list[tuple[int, int]]:
    stride, mask = row_stride(width), (1 << WORD_BITS) - 1
    return [
        (region.address(index * stride + i), row >> WORD_BITS * i & mask)
        for index, row in enumerate(rows)
        for i in range(-(-width // WORD_BITS))
    ]


def make_program(plan: Plan) -> Program:
    """The Program of a planned network.

    Raises
    ------
    CompileError
        where a field of a descriptor cannot hold what a layer needs: the layer, the field, the limit, a remedy.
    """
    made = descriptors(plan)
    return Program(
        descriptors=tuple(made.values()),
        program_words=tuple(word for where, fields in made.items() for word in pack_descriptor(fields, where)),
        parameter_words=tuple(word for layer in plan.layers for word in _parameter_words(layer, plan.config)),
        weight_rows=(0,) * (plan.product_rows * plan.config.banks)
        + tuple(row for layer in plan.layers for row in _weight_rows(layer, plan.config)),
        config=plan.config,
        image=_image_format(plan.network),
    )


def _image_format(network: Network) -> ImageFormat:
    return ImageFormat(
        channels=network.channels,
        height=network.height,
        width=network.width,
        frame=network.frame if network.padding_pixel else 0,
        padding_pixel=network.padding_pixel,
        classes=network.classes,
    )


def _weight_rows(plan: LayerPlan, config: CoreConfig) -> list[int]:
    """Rows of `lanes` output channels, lane 0 in the low bits: ``[tile][row of a bank][bank]``.

    Where the image is read by a core of one column, each of the group's parts of the lanes has all output channels.
    """
    if plan.layer.weight is None:
        return []
    rows = _dealt(plan, config.banks)[:, None]
    parts = plan.group if config.columns == 1 else 1
    padded = np.zeros((len(rows), parts, len(plan.tiles) * config.lanes // parts), np.uint8)
    padded[:, :, : rows.shape[2]] = rows
    tiled = padded.reshape(len(rows), len(plan.tiles), config.lanes).swapaxes(0, 1).reshape(-1, config.lanes)
    bits = tiled[:, :, None] >> np.arange(config.weight_width, dtype=np.uint8) & 1  # two's complement, low bit first
    packed = np.packbits(bits.reshape(len(bits), -1), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def _dealt(plan: LayerPlan, banks: int) -> np.ndarray:
    """Rows of all output channels, a row of each bank in turn, in the order of `LayerPlan.tile_rows`.

    Input channel c at tap k is in bank ``(c + k) % banks``, in that tap's row ``c // banks``; where a tap has no
    channel for a bank the row is zero. Rows of the image are in the banks one after the other.
    """
    weight, channels = plan.layer.weight, plan.layer.channels_in
    assert weight is not None
    dealt = np.zeros((plan.tile_rows * banks, len(weight)), np.uint8)
    if plan.layer.direct:
        rows = weight.view(np.uint8).transpose(2, 1, 3, 0).reshape(-1, len(weight))
        dealt[: len(rows)] = rows
        return dealt
    taps = plan.layer.kernel**2
    tap, channel = np.ogrid[:taps, :channels]
    place = (tap * (plan.tile_rows // taps) + channel // banks) * banks + (channel + tap) % banks
    dealt[place] = weight.view(np.uint8).transpose(2, 3, 1, 0).reshape(taps, channels, -1)
    return dealt


def _parameter_words(plan: LayerPlan, config: CoreConfig) -> list[int]:
    """Numbers of `neuron_lanes` channels a word, as `rtl.core.neuron_lane` takes them."""
    layout, size = parameters(config), config.neuron_lanes
    channels = range(len(plan.tiles) * config.lanes)
    numbers = [_numbers(plan, channel, config.potential_width) for channel in channels]
    return [layout.const(numbers[first : first + size]).as_bits() for first in range(0, len(numbers), size)]


def _numbers(plan: LayerPlan, channel: int, width: int) -> dict[str, int]:
    """Bias, of strict neurons less one, and negated threshold.

    Channels that do not exist, or have no step, have a threshold above every potential.
    """
    exists = channel < plan.layer.channels_out and plan.steps > 0
    bias = int(plan.layer.bias[channel]) if exists else 0
    threshold = int(plan.layer.threshold[channel]) if exists else 1 << width - 1
    return {"bias": bias - plan.neuron.strict, "negated_threshold": 0 if plan.readout else -threshold}
