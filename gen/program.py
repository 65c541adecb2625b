"""The Program: descriptors, parameters and weight rows, packed for the core's memories."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from amaranth.lib import data, enum

from spikeloom.gen.errors import CompileError
from spikeloom.gen.host.pixels import ImageFormat
from spikeloom.gen.memory_map import MemoryMap, Placement
from spikeloom.golden.network import IMAGE, PIXEL_BITS, Layer, Network
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import DESCRIPTOR, DESCRIPTOR_WORDS, WORD_BITS, Kind, Write, parameters
from spikeloom.rtl.core.registers import ProgramInfo, Region, Register, region_words, row_stride

KINDS = {"accumulate": Kind.ACCUMULATE, "attention": Kind.ATTENTION, "readout": Kind.READOUT}


@dataclass(frozen=True, kw_only=True)
class Program:
    """Contents of the core's three Program memories, as unsigned integers.

    descriptors: fields of `layouts.DESCRIPTOR`, one dict a layer, with the image's and the end's.
    program_words: 32-bit words of the packed descriptors. parameter_words: one a word of `neuron_lanes` neurons.
    weight_rows: one a row of `lanes` weights. config: of the core that it was made for; larger ones run it too.
    image: what the host gives and gets.
    """

    descriptors: tuple[dict[str, Any], ...]
    program_words: tuple[int, ...]
    parameter_words: tuple[int, ...]
    weight_rows: tuple[int, ...]
    config: CoreConfig
    image: ImageFormat

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


def make_program(network: Network, config: CoreConfig, memory: MemoryMap) -> Program:
    """Descriptors in execution order, with the addresses of their weights and parameters."""
    descriptors = [_image(network, memory)]
    parameter_words: list[int] = []
    weight_rows: list[int] = []
    for index, layer in enumerate(network.layers):
        rows = _weight_rows(layer, config)
        descriptors.append(
            _descriptor(
                network,
                config,
                memory,
                index=index,
                weight_base=len(weight_rows) if rows else 0,
                parameter_base=len(parameter_words),
            )
        )
        weight_rows += rows
        parameter_words += _parameter_words(layer, config)
    descriptors.append({"kind": Kind.END})
    return Program(
        descriptors=tuple(descriptors),
        program_words=tuple(word for d in descriptors for word in pack_descriptor(d)),
        parameter_words=tuple(parameter_words),
        weight_rows=tuple(weight_rows),
        config=config,
        image=ImageFormat(
            channels=network.channels,
            height=network.height,
            width=network.width,
            frame=network.frame if network.padding_pixel else 0,
            padding_pixel=network.padding_pixel,
            classes=network.classes,
        ),
    )


def pack_descriptor(fields: dict[str, Any]) -> list[int]:
    """A descriptor's 32-bit words, the low one first. CompileError for a value that its field cannot hold."""
    _check_ranges(DESCRIPTOR, fields, "")
    bits = DESCRIPTOR.const(fields).as_bits()
    return [bits >> WORD_BITS * i & (1 << WORD_BITS) - 1 for i in range(DESCRIPTOR_WORDS)]


def _check_ranges(layout: data.Layout, fields: dict[str, Any], prefix: str) -> None:
    for name, value in fields.items():
        shape, width = layout[name].shape, layout[name].width
        if isinstance(value, dict):
            _check_ranges(shape, value, f"{prefix}{name}.")
            continue
        number = value.value if isinstance(value, enum.Enum) else int(value)
        if not 0 <= number < 1 << width:
            raise CompileError(f"descriptor field {prefix}{name} holds 0..{(1 << width) - 1}, not {number}")


def _tensor(name: str, place: Placement, **changed: int) -> dict[str, int]:
    """The fields that the descriptor has of its tensor `name`; `changed` ones instead of the placement's."""
    fields = place.fields() | changed
    return {key: fields[key] for key, _ in DESCRIPTOR[name].shape}


def _image(network: Network, memory: MemoryMap) -> dict[str, Any]:
    place = memory.placements[IMAGE]
    return {
        "kind": Kind.IMAGE,
        "positions": network.height * network.width,
        "tile_tail": network.channels,
        "output": _tensor("output", place),
    }


def _descriptor(
    network: Network,
    config: CoreConfig,
    memory: MemoryMap,
    *,
    index: int,
    weight_base: int,
    parameter_base: int,
) -> dict[str, Any]:
    layer = network.layers[index]
    tiles = -(-layer.channels_out // config.lanes)
    readout = layer.kind == "readout"
    return {
        "kind": KINDS[layer.kind],
        "index": index,
        "direct": layer.direct,
        "steps": layer.steps,
        "steps_in": producer_steps(network, layer),
        "steps_run": stored_steps(network, layer, memory),
        "width": layer.width_conv,
        "height": layer.height_conv,
        "positions": layer.positions,
        "tiles": tiles,
        "tile_tail": layer.channels_out - (tiles - 1) * config.lanes,
        "weight_base": weight_base,
        "tile_rows": 0 if layer.weight is None else layer.kernel**2 * layer.channels_in,
        "parameter_base": parameter_base,
        "neuron": {
            "hard": readout or layer.neuron.hard,
            "strict": not readout and layer.neuron.strict,
            "leak": not readout and layer.neuron.leak,
        },
        **_input_fields(network, layer, config, memory),
        **({} if readout else _output_fields(network, layer, memory)),
        **(_BIAS_ALONE if readout and not layer.steps else {}),
    }


# A readout whose input has no step at all still has its bias: one position, one step, nothing to scan.
_BIAS_ALONE = {"steps": 1, "steps_in": 0, "steps_run": 1, "width": 1, "height": 1, "positions": 1}


def producer_steps(network: Network, layer: Layer) -> int:
    """Steps in which the inputs can hold spikes; the image is there at every step."""
    if layer.direct:
        return network.steps
    tensors = network.tensors()
    return min(tensors[name].steps for name in layer.inputs)


def stored_steps(network: Network, layer: Layer, memory: MemoryMap) -> int:
    """Steps that run: ``T_l``, and more where the residual's later steps must be copied to a new place or gain a
    plane."""
    tensors = network.tensors()
    if layer.residual is None:
        return layer.steps
    other, own = tensors[layer.residual], tensors[layer.name]
    if layer.name in memory.in_place and other.planes == own.planes:
        return layer.steps
    return max(layer.steps, other.steps)


def _input_fields(network: Network, layer: Layer, config: CoreConfig, memory: MemoryMap) -> dict[str, Any]:
    place = memory.placements[layer.inputs[0]]
    info = network.tensors()[layer.inputs[0]]
    words, tail = place.words, info.channels - (place.words - 1) * config.lanes
    fields: dict[str, Any] = {}
    if layer.kind == "attention":
        per_head = layer.channels_in // layer.heads
        words = max(1, per_head // config.lanes)
        tail = min(config.lanes, layer.channels_in)
        fields = {
            "key": _tensor("key", memory.placements[layer.inputs[1]]),
            "value": _tensor("value", memory.placements[layer.inputs[2]]),
            "head_shift": (min(per_head, config.lanes) - 1).bit_length(),
        }
    corner = layer.padding * (place.row + place.words)
    base = place.base + (info.planes - 1) * place.plane - corner
    base %= 1 << DESCRIPTOR["input"].shape["base"].width
    return fields | {
        "input": _tensor("input", place, base=base, step=0 if layer.direct else place.step),
        "field": {
            "position": place.words,
            "row_stride": layer.stride * place.row,
            "position_stride": layer.stride * place.words,
            "words": words,
            "planes": info.planes,
            "tail": tail,
            "width": layer.width_in,
            "height": layer.height_in,
            "kernel": layer.kernel,
            "stride": layer.stride,
            "padding": layer.padding,
        },
    }


def _output_fields(network: Network, layer: Layer, memory: MemoryMap) -> dict[str, Any]:
    place: Placement = memory.placements[layer.name]
    tensors = network.tensors()
    fields: dict[str, Any] = {
        "write": Write.POOL if layer.pool else Write.STORE,
        "output": _tensor("output", place),
        "output_width": layer.width_out,
        "output_height": layer.height_out,
        "output_planes": tensors[layer.name].planes,
    }
    if layer.residual is not None:
        other, info = memory.placements[layer.residual], tensors[layer.residual]
        fields |= {
            "write": Write.ADD,
            "residual": _tensor("residual", other),
            "residual_steps": info.steps,
            "residual_planes": info.planes,
        }
    return fields


def _weight_rows(layer: Layer, config: CoreConfig) -> list[int]:
    """Rows ``[tile][tap y][tap x][input channel]`` of `lanes` output channels, lane 0 in the low bits."""
    if layer.weight is None:
        return []
    tiles = -(-layer.channels_out // config.lanes)
    rows = layer.weight.astype(np.int64).transpose(2, 3, 1, 0).reshape(-1, layer.channels_out)
    padded = np.zeros((len(rows), tiles * config.lanes), np.int64)
    padded[:, : layer.channels_out] = rows
    tiled = padded.reshape(len(rows), tiles, config.lanes).swapaxes(0, 1).reshape(-1, config.lanes)
    if config.weight_width == PIXEL_BITS:
        packed = (tiled & 0xFF).astype(np.uint8)
    else:
        packed = ((tiled[:, ::2] & 0xF) | (tiled[:, 1::2] & 0xF) << 4).astype(np.uint8)
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def _parameter_words(layer: Layer, config: CoreConfig) -> list[int]:
    """Bias and threshold of `neuron_lanes` channels a word; channels that do not exist never fire."""
    tiles = -(-layer.channels_out // config.lanes)
    never = (1 << config.potential_width - 1) - 1
    layout, words = parameters(config), []
    for first in range(0, tiles * config.lanes, config.neuron_lanes):
        pairs = []
        for channel in range(first, first + config.neuron_lanes):
            exists = channel < layer.channels_out
            pairs.append(
                {
                    "bias": int(layer.bias[channel]) if exists else 0,
                    "threshold": int(layer.threshold[channel]) if exists else never,
                }
            )
        words.append(layout.const(pairs).as_bits())
    return words
