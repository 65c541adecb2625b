"""Bit layouts shared by the components, the Program's packer and the test benches. Nobody packs bits by hand."""

from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import data, enum
from amaranth.utils import ceil_log2

from .config import CoreConfig

WORD_BITS = 32
DESCRIPTOR_WORDS = 16


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

    NONE = 0  # no events: bias and leak alone, or the sums of the last item again
    FIELD = 1  # the receptive field of a group of output positions
    KV = 2  # one token of K and V


_ADDRESS = 18
_SIZE = 10

DESCRIPTOR = data.StructLayout(
    {
        "kind": Kind,
        "index": 8,  # of the layer, for the trace
        "direct": 1,  # the input is the image: accumulate once, run the neurons for every step
        # time
        "steps": 5,  # T_l
        "steps_in": 5,  # of the producer; attention: the least of q, k, v
        "steps_run": 5,  # stored steps: T_l, or more where a residual is copied
        # input tensor
        "in_base": _ADDRESS,  # of the first tap of output position 0 (padding may make it negative), top plane
        "in_step": _ADDRESS,
        "in_plane": _ADDRESS,
        "in_row": _ADDRESS,
        "in_position": _SIZE,
        "in_row_stride": _ADDRESS,  # stride * in_row
        "in_position_stride": _SIZE,  # stride * in_position
        "in_words": 8,  # spike words a tap; attention: of a head
        "in_planes": 4,
        "in_tail": 8,  # channels in the last word of a tap
        "in_width": _SIZE,
        "in_height": _SIZE,
        "kernel": 4,
        "stride": 3,
        "padding": 3,
        # neurons
        "width": _SIZE,
        "height": _SIZE,
        "positions": 16,  # width * height
        "tiles": 10,
        "tile_tail": 8,  # valid lanes of the last tile
        "weight_base": _ADDRESS,
        "tile_rows": _ADDRESS,
        "parameter_base": 16,
        "hard": 1,
        "strict": 1,
        "leak": 1,
        # output tensor
        "write": Write,
        "out_base": _ADDRESS,  # of its least significant plane
        "out_step": _ADDRESS,
        "out_plane": _ADDRESS,
        "out_row": _ADDRESS,
        "out_width": _SIZE,
        "out_height": _SIZE,
        "out_planes": 4,
        "residual_base": _ADDRESS,  # of its least significant plane
        "residual_step": _ADDRESS,
        "residual_plane": _ADDRESS,
        "residual_steps": 5,
        "residual_planes": 4,
        # attention: K and V have the strides of Q
        "k_base": _ADDRESS,
        "v_base": _ADDRESS,
        "head_shift": 4,  # log2 of the channels of a head, at most log2 of the lanes
    }
)
assert DESCRIPTOR.size <= DESCRIPTOR_WORDS * WORD_BITS, DESCRIPTOR.size


def coordinate() -> Shape:
    """Shape of an input coordinate, which padding makes negative."""
    return signed(_SIZE + 2)


def work_item(config: CoreConfig) -> data.StructLayout:
    """Sequencer to scanner: what to scan for one group of output positions at one step."""
    return data.StructLayout(
        {
            "scan": Scan,
            "pointer": config.address_width,  # FIELD: first tap of column 0, top plane; KV: first word of K
            "value_pointer": config.address_width,  # KV: the tile's word of V
            "x": coordinate(),  # of the first tap of column 0
            "y": coordinate(),
            "columns": ceil_log2(config.columns + 1) or 1,  # valid columns
            "row": config.row_width,  # first weight row of the tile
            "tail": 1,  # the last tile: `tile_tail` valid lanes
            "clear": 1,  # KV: forget the rows of K^T V first
            "keep": 1,  # keep the sums for the next item
        }
    )


def event(config: CoreConfig) -> data.StructLayout:
    """Scanner to the row memories and on to the array.

    Of `add`, `double`, `kv` at most one is set; `last` hands the sums over after the event.
    """
    return data.StructLayout(
        {
            "row": config.row_width,
            "tail": 1,
            "gates": config.columns,  # the columns that spike
            "values": config.lanes,  # kv: the word of V
            "add": 1,
            "double": 1,
            "kv": 1,
            "clear": 1,
            "last": 1,
            "keep": 1,
        }
    )


def row_event(config: CoreConfig) -> data.StructLayout:
    """Row memories to the array: an event with its row."""
    return data.StructLayout(
        {
            "elements": data.ArrayLayout(signed(config.element_width), config.lanes),
            "gates": config.columns,
            "tail": 1,
            "double": 1,
            "last": 1,
            "keep": 1,
        }
    )


def sums(config: CoreConfig) -> data.ArrayLayout:
    """Array to neurons: ``[column][lane]``."""
    return data.ArrayLayout(data.ArrayLayout(signed(config.accumulator_width), config.lanes), config.columns)


def destination(config: CoreConfig) -> data.StructLayout:
    """Where one spike word goes."""
    return data.StructLayout(
        {
            "step": 5,
            "tile": 10,
            "position": 16,
            "x": _SIZE,
            "y": _SIZE,
            "offset": config.address_width,  # of the word in a plane; pooling: of (y // 2, x // 2)
            "out": config.address_width,  # the step's first word in the output
            "residual": config.address_width,  # the step's first word in the residual
            "has_residual": 1,  # the residual has this step
        }
    )


def job(config: CoreConfig) -> data.StructLayout:
    """Sequencer to neuron unit: one group of output positions of one tile at one step."""
    return data.StructLayout(
        {
            "active": 1,  # else the step is masked: zero spikes, no membrane access
            "first": 1,  # potentials are zero
            "last": 1,  # potentials are not needed again
            "final": 1,  # readout: these potentials are the class sums
            "fence": 1,  # an earlier job may have the same potentials
            "parameter": config.parameter_width,
            "words": ceil_log2(config.neuron_words + 1) or 1,  # words of the tile with valid lanes
            "columns": ceil_log2(config.columns + 1) or 1,
            "to": destination(config),
        }
    )


def parameters(config: CoreConfig) -> data.ArrayLayout:
    """One word of the parameter memory."""
    return data.ArrayLayout(
        data.StructLayout({"bias": signed(config.potential_width), "threshold": signed(config.potential_width)}),
        config.neuron_lanes,
    )


def potentials(config: CoreConfig) -> data.ArrayLayout:
    """One word of the membrane memory."""
    return data.ArrayLayout(signed(config.potential_width), config.neuron_lanes)


def spike_word(config: CoreConfig) -> data.StructLayout:
    """Neuron unit to activation writer."""
    return data.StructLayout({"spikes": config.lanes, "to": destination(config)})


def trace(config: CoreConfig) -> data.StructLayout:
    """What a neuron layer fired, before pooling and residual."""
    return data.StructLayout({"layer": 8, "step": 5, "tile": 10, "position": 16, "spikes": config.lanes})
