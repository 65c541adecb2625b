"""Block memories that a core needs, before synthesis."""

from __future__ import annotations

import math
from collections.abc import Sequence

from amaranth.utils import ceil_log2

from spikeloom.gen.errors import CompileError
from spikeloom.gen.targets import Target
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.image_loader import PIXEL_BITS
from spikeloom.rtl.core.layouts import DESCRIPTOR_WORDS, WORD_BITS, parameters, potentials
from spikeloom.rtl.primitives.block_grid import SHAPES, grid_blocks, grid_shape

SHARED_SHAPES = SHAPES[1:]
"""Where both ports read or write: not the widest."""

REMEDIES = {
    "weights": "4-bit weights, fewer channels or a larger device",
    "parameters": "fewer neuron_lanes",
    "activations": "earlier pooling or fewer time steps",
    "membranes": "earlier pooling or fewer neuron_lanes",
    "program": "fewer layers",
    "image rows": "smaller images",
}


def block_rams(config: CoreConfig) -> dict[str, int]:
    """DP16KD by memory, as Yosys maps them; the small memories of queues and class sums need none.

    Memories that a host loads are written in words of 32 bits, so each such column is mapped by itself.
    """
    loaded = {
        "parameters": (config.parameter_words, parameters(config).size),
        "program": (config.program_layers * DESCRIPTOR_WORDS, WORD_BITS),
    }
    found = {name: -(-width // WORD_BITS) * _blocks(depth, WORD_BITS) for name, (depth, width) in loaded.items()}
    row_words = config.lanes * config.weight_width // WORD_BITS
    found["weights"] = config.banks * row_words * _blocks(config.bank_rows, WORD_BITS)
    found["activations"] = _blocks(config.activation_words, config.word, SHARED_SHAPES)
    found["membranes"] = _blocks(config.membrane_words, potentials(config).size)
    rows = _image_rows(config)
    found["image rows"] = 0 if _distributed(*rows) else _blocks(*rows)
    return found


def _image_rows(config: CoreConfig) -> tuple[int, int]:
    """Depth and width of the image loader's memory: two rows of pixels."""
    return 2 << ceil_log2(config.row_pixels), PIXEL_BITS


def memory_bits(config: CoreConfig) -> dict[str, int]:
    """Bits of each memory of a core, block or distributed."""
    return {
        "weights": config.weight_rows * config.lanes * config.weight_width,
        "activations": config.activation_words * config.word,
        "membranes": config.membrane_words * potentials(config).size,
        "parameters": config.parameter_words * parameters(config).size,
        "program": config.program_layers * DESCRIPTOR_WORDS * WORD_BITS,
        "image rows": math.prod(_image_rows(config)),
    }


def check_device(config: CoreConfig, target: Target) -> None:
    """CompileError, with the largest memory and a remedy, where the core needs more block memory than there is."""
    needed = block_rams(config)
    total = sum(needed.values())
    if total > target.block_rams:
        largest = max(needed, key=lambda name: needed[name])
        raise CompileError(
            f"the core needs {total} block RAMs, {target.name} has {target.block_rams}; "
            f"{needed[largest]} of them hold the {largest}: what would help is {REMEDIES[largest]}"
        )


def _distributed(depth: int, width: int) -> bool:
    """Whether Yosys takes look-up tables for a memory that is read and written.

    Its costs (lattice/brams_16kd.txt, lutrams_trellis.txt): 128 per block, 4 per 16 words of 4 bits, and half of one
    per bit for each further 16 words, to choose among them: the last as measured, memories of 16 to 256 rows.
    """
    sixteens = -(-depth // 16)
    return 4 * sixteens * -(-width // 4) + (sixteens - 1) * width / 2 < 128 * _blocks(depth, width)


def _blocks(depth: int, width: int, shapes: Sequence[tuple[int, int]] = SHAPES) -> int:
    return grid_blocks(depth, width, grid_shape(depth, width, shapes))
