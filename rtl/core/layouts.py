"""Bit layouts shared by the components, the Program's packer and the test benches. Nobody packs bits by hand."""

from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import data, enum
from amaranth.utils import ceil_log2

from .config import CoreConfig

WORD_BITS = 32


class Kind(enum.Enum, shape=unsigned(3)):  # type: ignore[call-arg]
    """What a descriptor asks for."""

    END = 0  # of the program
    IMAGE = 1  # take pixels from the host, store them as bit-planes
    ACCUMULATE = 2  # convolution or linear layer, then neurons
    ATTENTION = 3  # Q (K^T V), then neurons
    READOUT = 4  # accumulate everything into one potential a class


class Write(enum.Enum, shape=unsigned(2)):  # type: ignore[call-arg]
    """What happens to a spike word."""

    STORE = 0  # written
    POOL = 1  # ORed into up to four words: 3x3 max-pooling, stride 2, padding 1
    ADD = 2  # added to the planes of a residual


class Scan(enum.Enum, shape=unsigned(2)):  # type: ignore[call-arg]
    """What the scanner does for one work item."""

    NONE = 0  # no events: bias and leak alone
    FIELD = 1  # the receptive field of a group of output positions
    KV = 2  # one token of K and V


SUB_WORD = 16
"""Most bits of a word that a bank takes at once."""
HEAD_WORDS = 16
"""Most spike words of a head of attention."""

_ADDRESS = 18  # of a spike word or weight row: all block memory of the largest ECP5 in words of 16 bits
_SIZE = 10
_SPIKE_WORD = 12  # number of a spike word in its position


def tensor(*strides: str) -> data.StructLayout:
    """A tensor in the activation memory: the address of its first word and the strides that its reader needs.

    ``step``, ``plane``, ``row``: words from one time step, plane or row of positions to the next.
    """
    return data.StructLayout({name: _ADDRESS for name in ("base", *strides)})


TENSOR = tensor("step", "plane", "row")

FIELD = data.StructLayout(
    {
        "position": _SIZE,  # words from one position to the next
        "row_stride": _ADDRESS,  # stride * rows of the input
        "position_stride": _SIZE,  # stride * position
        "words": 8,  # spike words a tap; attention: of a head; image: slots of a row of the kernel, a tap of each bank
        "planes": 4,  # of the input; attention: digits of K^T V
        "tail": 8,  # channels in the last word of a tap; image: of the image
        "width": _SIZE,  # of the input
        "height": _SIZE,
        "kernel": 4,
        "stride": 3,
        "padding": 3,
        "edge": 3,  # image: zeros before the first pixel of a row that are none of the padding
    }
)
"""A receptive field: what the scanner reads for one output position."""

NEURON = data.StructLayout({"hard": 1, "strict": 1, "leak": 1})
"""As `golden.network.Neuron`."""

DESCRIPTOR_VERSION = 6
"""Of `DESCRIPTOR`: raised whenever a field moves or changes its meaning; the core says it, a Program is made for one.
2: nested, 17 words, strides of their own for K and V. 3: parameters are negated thresholds and biases, of strict
neurons less one. 4: the image in words of adjacent pixels, groups of positions. 5: spike words
apart from lanes. 6: weight rows by banks, K^T V among them."""

DESCRIPTOR_WORDS = 18

DESCRIPTOR = data.StructLayout(
    {
        "kind": Kind,
        "index": 8,  # of the layer, for the trace
        "direct": 1,  # the input is the image: accumulate once, run the neurons for every step
        "group": 2,  # log2 of the positions of an item and its jobs, in a core of one column
        # time
        "steps": 5,  # T_l
        "steps_in": 5,  # of the producer; attention: the least of q, k, v
        "steps_run": 5,  # stored steps: T_l, or more where a residual is copied
        # what is read: attention has Q for its input
        "input": TENSOR,  # base: first tap of output position 0 (padding may make it negative), top plane
        "key": tensor("step"),
        "value": tensor("step"),
        "head_shift": 4,  # log2 of the channels of a head, or where the lanes are fewer of these, rounded up
        "field": FIELD,
        # neurons
        "width": _SIZE,
        "height": _SIZE,
        "positions": 16,  # width * height
        "tiles": 10,
        "tile_tail": 9,  # valid lanes of the last tile
        "weight_base": _ADDRESS,  # rows of a bank, as all that follows; attention: the top digit's
        "tile_rows": _ADDRESS,  # attention: of a digit of K^T V
        "parameter_base": 16,
        "neuron": NEURON,
        # what is written
        "write": Write,
        "output": TENSOR,  # base: of the least significant plane
        "output_position": _SIZE,  # words from one position to the next
        "output_width": _SIZE,
        "output_height": _SIZE,
        "output_planes": 4,
        "residual": tensor("step", "plane"),  # base: of the least significant plane
        "residual_steps": 5,
        "residual_planes": 4,
    }
)
assert DESCRIPTOR.size <= DESCRIPTOR_WORDS * WORD_BITS, DESCRIPTOR.size

MARKER = data.StructLayout(
    {
        "tail": 1,  # the last tile: `tile_tail` valid lanes
        "double": 1,  # the sums so far, between two planes
        "last": 1,  # hand the sums over
        "clear": 1,  # the rows of K^T V
        "token": 1,  # the spikes of a token of K are through
    }
)
"""What comes after the spikes of a word, when all banks are through with them."""


BEYOND = 23
"""Of a layer's input: rows or columns that padding, a kernel and a stride can reach beyond its last."""


def coordinate(config: CoreConfig) -> Shape:
    """Shape of an input coordinate, which padding makes negative; of an image it may be two words beyond the row."""
    return signed(1 + ceil_log2(config.side + BEYOND + 2 * config.word))


def significant(config: CoreConfig) -> int:
    """Mask of the bits of a `DESCRIPTOR` that a core of this size looks at.

    The others are 0 in every Program that fits, and need no comparators: those of rows, columns, positions, channels.
    """
    sizes = dict.fromkeys(("width", "height", "output_width", "output_height"), config.side_width)
    sizes |= {"positions": config.position_width, "tiles": ceil_log2(config.parameter_words + 1)}
    sizes |= dict.fromkeys(("tile_tail", "tail"), config.channel_width)
    mask = (1 << DESCRIPTOR.size) - 1
    for layout, start in ((DESCRIPTOR, 0), (FIELD, DESCRIPTOR["field"].offset)):
        for name, bits in sizes.items():
            if name in layout.members and (spare := layout[name].width - bits) > 0:
                mask &= ~((1 << spare) - 1 << start + layout[name].offset + bits)
    return mask


def image_hop(word: int) -> int:
    """Pixels of a row from one word of a plane to the next: every window of up to this and one lies in one word."""
    return word // 2


def position_count(config: CoreConfig) -> int:
    """Bits of the number of positions of an item."""
    return ceil_log2(config.gates + 1)


def work_item(config: CoreConfig) -> data.StructLayout:
    """Sequencer to scanner: what to scan for one group of output positions at one step."""
    return data.StructLayout(
        {
            "scan": Scan,
            "pointer": config.address_width,  # FIELD: first tap of column 0, top plane; KV: first word of K
            "value_pointer": config.address_width,  # KV: the tile's first word of V
            "x": coordinate(config),  # of the first tap of column 0; image: in the word at `pointer`
            "y": coordinate(config),
            "columns": position_count(config),  # valid columns; image: valid positions
            "row": config.row_width,  # first weight row of the tile
            "tail": 1,  # the last tile: `tile_tail` valid lanes
            "clear": 1,  # KV: clear the rows of K^T V first
        }
    )


def slot(config: CoreConfig) -> data.StructLayout:
    """Cursor to gatherer: one word to read, or a marker."""
    return data.StructLayout(
        {
            "reads": 1,  # the word at `address`; else it is zero
            "again": 1,  # the word of the slot before instead
            "address": config.address_width,
            "pixel": range(config.word),  # image: of the word, that the tap sees from the first position
            "positions": position_count(config),  # image: valid ones
            "column": range(config.columns + 1),
            "complete": 1,  # the last column of a group, or a marker
            "channels": 8,  # of the word; image: taps, from `pixel` on
            "row": config.row_width,  # that the word's first bits select
            "turn": range(config.banks),  # the bank of the word's first bit
            "image": 1,  # the word is of a plane of the image
            "kv": 1,  # the word is of K
            "value": 1,  # the word is of V
            "value_word": range(config.tile_words),  # which of the tile
            "first": 1,  # kv: of the first token
            "masked": 1,  # the word is of Q
            "place": range(HEAD_WORDS),  # kv, masked: of the word in its head
            "marker": MARKER,
        }
    )


def spike_group(config: CoreConfig) -> data.StructLayout:
    """Gatherer to banks: one word of channels of every column. Bit i is of bank ``(i + turn) mod banks``.

    Of an image it is the gates of one row after the other instead, that of the first in bank `turn`.
    """
    return data.StructLayout(
        {
            "spikes": data.ArrayLayout(config.word, config.columns),
            "row": config.row_width,  # of the first bits: bit i selects ``row + i // banks``
            "turn": range(config.banks),
            "image": 1,
            "taps": data.ArrayLayout(config.gates, config.banks),  # image: the rows' gates
            "kv": 1,  # the word is of K
            "marker": MARKER,
        }
    )


def sub_word(config: CoreConfig) -> data.StructLayout:
    """What a bank has of a word: bits whose rows follow one another."""
    return data.StructLayout(
        {
            "spikes": data.ArrayLayout(sub_word_bits(config), config.columns),
            "row": config.row_width,  # that the first bit selects
            "gates": config.gates,  # image: of the first bit, the only one
            "image": 1,
            "any": 1,  # a bit is set
            "kv": 1,
            "end": 1,  # with the last event: the marker is for all banks
            "marker": MARKER,
        }
    )


def sub_word_bits(config: CoreConfig) -> int:
    """Bits of a word that a bank takes at once."""
    return min(SUB_WORD, config.word // config.banks)


def bank_event(config: CoreConfig) -> data.StructLayout:
    """What waits for its row in the queue of a bank."""
    return data.StructLayout(
        {
            "row": config.row_width,
            "gates": config.gates,  # the columns that spike, or the parts of the lanes that the row is added to
            "applies": 1,  # a gate is set
            "kv": 1,
            "end": 1,
            "marker": MARKER,  # means nothing without `end`, but for `tail`
        }
    )


COMMAND = data.StructLayout(
    {
        "double": 1,  # the sums so far
        "over": 1,  # hand the sums over
        "kv": 1,  # add the word of V to the row instead, and write that
        "carry": 1,  # kv: add what the digit below carries instead
    }
)
"""What the array does besides adding rows."""


def row_request(config: CoreConfig) -> data.StructLayout:
    """Banks to weight memories: what the events of a cycle ask for."""
    one = data.StructLayout(
        {
            "applies": 1,  # the row is wanted
            "row": config.row_width,
            "gates": config.gates,  # of the row; without it they mean nothing
        }
    )
    return data.StructLayout(
        {
            "banks": data.ArrayLayout(one, config.banks),
            "command": COMMAND,
            "tail": 1,  # the last tile: `tile_tail` valid lanes
        }
    )


def product_write(config: CoreConfig) -> data.StructLayout:
    """A row of K^T V that is written, in all banks that are named."""
    return data.StructLayout({"banks": config.banks, "row": config.row_width})


def bank_rows(config: CoreConfig) -> data.StructLayout:
    """Weight memories to the array: the rows of a cycle's events, and a cycle before them the command."""
    row = data.ArrayLayout(signed(config.weight_width), config.lanes)
    one = data.StructLayout({"elements": row, "gates": config.gates})
    return data.StructLayout({"banks": data.ArrayLayout(one, config.banks), "command": COMMAND})


def sums(config: CoreConfig) -> data.ArrayLayout:
    """Array to neurons: ``[column][lane]``."""
    return data.ArrayLayout(data.ArrayLayout(signed(config.accumulator_width), config.lanes), config.columns)


def destination(config: CoreConfig) -> data.StructLayout:
    """Where one spike word goes."""
    return data.StructLayout(
        {
            "step": 5,
            "word": _SPIKE_WORD,
            "position": config.position_width,
            "x": config.side_width,
            "y": config.side_width,
            "offset": config.address_width,  # of the word in a plane; pooling: that of (y // 2, x // 2)
            "out": config.address_width,  # the step's first word in the output
            "residual": config.address_width,  # the step's first word in the residual
            "has_residual": 1,  # the residual has this step
        }
    )


def job(config: CoreConfig) -> data.StructLayout:
    """Sequencer to neuron unit: one group of output positions of one tile at one step.

    `to` is where the tile's first spike word goes.
    """
    return data.StructLayout(
        {
            "active": 1,  # else the step is masked: zero spikes, no membrane access
            "first": 1,  # potentials are zero
            "last": 1,  # potentials are not needed again
            "final": 1,  # readout: these potentials are the class sums
            "fence": 1,  # jobs since the last fence may have the same potentials, in the same order
            "keep": 1,  # the next job has the same sums
            "parameter": config.parameter_width,
            "words": ceil_log2(config.neuron_words + 1) or 1,  # words of the tile with valid lanes
            "columns": position_count(config),
            "to": destination(config),
        }
    )


def neuron_job(config: CoreConfig) -> data.StructLayout:
    """What the neurons need of a job; where its spikes go matters when they leave."""
    fields = {name: field.shape for name, field in job(config) if name != "to"}
    return data.StructLayout(fields | {"position": range(config.membrane_positions)})


def parameters(config: CoreConfig) -> data.ArrayLayout:
    """One word of the parameter memory: as `NeuronLane` takes them, of strict neurons the bias less one."""
    number = signed(config.potential_width)
    return data.ArrayLayout(
        data.StructLayout({"bias": number, "negated_threshold": number}),
        config.neuron_lanes,
    )


def potentials(config: CoreConfig) -> data.ArrayLayout:
    """One word of the membrane memory: potentials after the reset, of strict neurons less one."""
    return data.ArrayLayout(signed(config.potential_width), config.neuron_lanes)


def spike_word(config: CoreConfig) -> data.StructLayout:
    """Neuron unit to activation writer."""
    return data.StructLayout({"spikes": config.word, "to": destination(config)})


def trace(config: CoreConfig) -> data.StructLayout:
    """What a neuron layer fired, before pooling and residual."""
    return data.StructLayout({"layer": 8, "step": 5, "word": _SPIKE_WORD, "position": 16, "spikes": config.word})
