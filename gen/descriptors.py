"""The descriptors of a Program: what each layer's plan is in the fields of `layouts.DESCRIPTOR`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.lib import data, enum
from amaranth.utils import ceil_log2

from spikeloom.gen.errors import CompileError
from spikeloom.gen.image_words import ImageWords
from spikeloom.gen.memory_map import Placement
from spikeloom.gen.plan import LayerPlan, Plan
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.layouts import DESCRIPTOR, DESCRIPTOR_WORDS, WORD_BITS, Kind, Write

KINDS = {"accumulate": Kind.ACCUMULATE, "attention": Kind.ATTENTION, "readout": Kind.READOUT}
REMEDIES = {
    "index": "fewer blocks",
    "steps": "fewer time steps",
    "steps_in": "fewer time steps",
    "steps_run": "fewer time steps",
    "residual_steps": "fewer time steps",
    "tiles": "more lanes or fewer channels",
    "tile_rows": "a smaller kernel or fewer channels",
    "weight_base": "more lanes or fewer channels",
    "parameter_base": "more neuron_lanes or fewer channels",
    "words": "wider spike words or fewer channels",
    "position": "wider spike words or fewer channels",
    "position_stride": "wider spike words or fewer channels",
    "output_position": "wider spike words or fewer channels",
    "base": "earlier pooling, fewer time steps or more lanes, so that the activations need fewer words",
    "step": "earlier pooling or more lanes, so that a time step needs fewer words",
    "plane": "earlier pooling or more lanes, so that a plane needs fewer words",
    "planes": "fewer residuals in a row",
    "output_planes": "fewer residuals in a row",
    "residual_planes": "fewer residuals in a row",
    "kernel": "a smaller kernel",
    "stride": "a smaller stride",
    "padding": "less padding",
}
"""What would help where a field of a descriptor is too narrow, by the last part of its name."""
SMALLER = "smaller images or earlier pooling"
"""What would help with all other fields: they count rows, columns and positions."""

Fields = Mapping[str, Any]
"""Values of the fields of a layout: integers, members of enumerations, and such mappings."""


def descriptors(plan: Plan) -> dict[str, Fields]:
    """Fields of each descriptor in the order of the Program, by what it is for in a message."""
    layers = {f"layer {layer.name!r}": _descriptor(layer, plan) for layer in plan.layers}
    return {"the image": _image(plan), **layers, "the end": {"kind": Kind.END}}


def pack_descriptor(fields: Fields, where: str = "a descriptor") -> list[int]:
    """A descriptor's 32-bit words, the low one first.

    Raises
    ------
    CompileError
        for a value that its field cannot hold; `where` begins the message.
    """
    _check_ranges(DESCRIPTOR, fields, where, "")
    bits = DESCRIPTOR.const(dict(fields)).as_bits()
    return [bits >> WORD_BITS * i & (1 << WORD_BITS) - 1 for i in range(DESCRIPTOR_WORDS)]


def _check_ranges(layout: data.StructLayout, fields: Fields, where: str, prefix: str) -> None:
    for name, value in fields.items():
        field = layout[name]
        if isinstance(value, Mapping):
            _check_ranges(field.shape, value, where, f"{prefix}{name}.")
            continue
        number, limit = value.value if isinstance(value, enum.Enum) else int(value), (1 << field.width) - 1
        if not 0 <= number <= limit:
            raise CompileError(
                f"{where}: descriptor field {prefix}{name} holds 0..{limit}, not {number}; "
                f"what would help: {REMEDIES.get(name, SMALLER)}"
            )


def _tensor(field: str, place: Placement) -> dict[str, int]:
    """What the descriptor's tensor of that name has of a placement."""
    return {name: getattr(place, name) for name, _ in DESCRIPTOR[field].shape}


def _image(plan: Plan) -> Fields:
    return {
        "kind": Kind.IMAGE,
        "width": plan.network.width,
        "height": plan.network.height,
        "tile_tail": plan.network.channels,
        "field": {"words": plan.image_words.words, "padding": plan.image_words.edge},
        "output": _tensor("output", plan.image) | {"step": 0},  # it has one step, however many words that has
    }


def _descriptor(plan: LayerPlan, whole: Plan) -> Fields:
    neuron, config = plan.neuron, whole.config
    fields: dict[str, Any] = {
        "kind": KINDS[plan.layer.kind],
        "index": plan.index,
        "direct": plan.layer.direct,
        "group": plan.group.bit_length() - 1,
        "steps": plan.steps,
        "steps_in": plan.shape.producer_steps,
        "steps_run": plan.stored_steps,
        "input": _input(plan, config),
        "field": _image_field(plan, whole.image_words) if plan.layer.direct else _field(plan),
        "width": plan.width,
        "height": plan.height,
        "positions": plan.positions,
        "tiles": len(plan.tiles),
        "tile_tail": plan.tiles[-1].valid,
        "weight_base": plan.weight_base,
        "tile_rows": plan.digit_rows or plan.tile_rows,
        "parameter_base": plan.parameter_base,
        "neuron": {"hard": neuron.hard, "strict": neuron.strict, "leak": neuron.leak},
    }
    if plan.layer.kind == "attention":
        _, key, value = plan.inputs
        per_head = plan.layer.channels_in // plan.layer.heads
        fields["key"], fields["value"] = _tensor("key", key), _tensor("value", value)
        fields["head_shift"] = ceil_log2(min(per_head, config.lanes))
    if plan.output is not None:
        fields["write"] = Write.POOL if plan.layer.pool else Write.STORE
        fields["output"] = _tensor("output", plan.output)
        fields["output_position"] = plan.output.words
        fields["output_width"], fields["output_height"] = plan.layer.width_out, plan.layer.height_out
        fields["output_planes"] = plan.shape.output.planes
    if plan.residual is not None and plan.shape.residual is not None:
        fields["write"] = Write.ADD
        fields["residual"] = _tensor("residual", plan.residual)
        fields["residual_steps"], fields["residual_planes"] = plan.shape.residual.steps, plan.shape.residual.planes
    return fields


def _input(plan: LayerPlan, config: CoreConfig) -> Fields:
    """The input's most significant plane, from the first tap of output position 0 on.

    Padding may put that tap before the memory: such an address is its two's complement, which is right as long as the
    core's addresses have no more bits than the field.
    """
    place, layer = plan.inputs[0], plan.layer
    before = place.row if layer.direct else place.row + place.words  # an image's words have what is left of a row
    base = place.base + (plan.shape.inputs[0].planes - 1) * place.plane - layer.padding * before
    width = DESCRIPTOR["input"].shape["base"].width
    if base < 0 and config.address_width > width:
        raise CompileError(
            f"layer {layer.name!r}: padding at address {place.base} needs an activation memory of at most {1 << width} "
            f"words, not {config.activation_words}; what would help: {REMEDIES['base']}"
        )
    steps_apart = 0 if layer.direct else place.step  # the image is the same at every step
    fields = {"base": base + (1 << width) if base < 0 else base, "step": steps_apart}
    if layer.kind == "attention":
        fields["plane"] = 0  # the planes of the scan are the digits of K^T V: Q is read again
    return _tensor("input", place) | fields


def _field(plan: LayerPlan) -> Fields:
    """The receptive field of an output position."""
    place, layer = plan.inputs[0], plan.layer
    return {
        "position": place.words,
        "row_stride": layer.stride * place.row,
        "position_stride": layer.stride * place.words,
        "words": plan.scan_words,
        "planes": plan.digits or plan.shape.inputs[0].planes,
        "tail": plan.scan_tail,
        "width": layer.width_in,
        "height": layer.height_in,
        "kernel": layer.kernel,
        "stride": layer.stride,
        "padding": layer.padding,
    }


def _image_field(plan: LayerPlan, image: ImageWords) -> Fields:
    """Likewise in the words of the image, each of which has all that the positions of an item see of a row."""
    return {**_field(plan), "position_stride": 0, "edge": image.edge - plan.layer.padding}
