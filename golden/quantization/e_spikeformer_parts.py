"""How an E-SpikeFormer comes apart.

Its neurons round a current to 0..D, and its dot products read the integers over D.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from spikeloom.golden.models import e_spikeformer_blocks as blocks
from spikeloom.golden.models.branch import Projection
from spikeloom.golden.models.e_spikeformer import ESpikeformer
from spikeloom.golden.models.e_spikeformer_config import ESpikeformerConfig
from spikeloom.golden.models.pixels import PIXEL_SCALE, PIXEL_TOP
from spikeloom.golden.network import IMAGE, Neuron
from spikeloom.golden.quantization.firing import Levels
from spikeloom.golden.quantization.folding import fold, head_of
from spikeloom.golden.quantization.parts import Blueprint, Part

HEAD = "head"

Size = tuple[int, int, int]  # channels, rows, columns


def e_spikeformer_parts(model: ESpikeformer) -> Blueprint:
    """Its parts, with the geometry that follows from its modules."""
    config = model.config
    frame = config.stem_kernel // 2
    padded = config.mean is not None and frame > 0
    around = 2 * frame if padded else 0
    sizes = {IMAGE: (config.channels, config.height + around, config.width + around)}
    parts = []
    for layer in model.layers():
        part = _part(layer, sizes, config, framed=padded)
        sizes[part.name] = _made(part)
        parts.append(part)
    weight, bias = head_of(model.head)
    last = parts[-1]
    fields = _fields(HEAD, "readout", "head", (last.name,), _made(last), channels_out=config.classes)
    return Blueprint(
        architecture="e_spikeformer",
        config=config,
        steps=1,
        padding=tuple(PIXEL_TOP * x for x in config.mean or ()) if padded else (),
        frame=frame if padded else 1,
        parts=(*parts, Part(fields=fields, weight=weight, bias=bias)),
    )


def _part(layer: blocks.Part, sizes: dict[str, Size], config: ESpikeformerConfig, *, framed: bool) -> Part:
    """sizes: of the tensors so far. framed: the image has a frame."""
    fields = _fields(layer.name, layer.kind, layer.group, layer.inputs, sizes[layer.inputs[0]])
    fields |= dict(residual=layer.residual, fires=layer.neurons is not None, whole_map=layer.whole_map)
    if layer.neurons is not None:
        fields["neuron"] = Neuron(levels=config.levels)
    more: dict[str, Any] = {}
    if layer.projection is not None:
        more["weight"], more["bias"] = fold(layer)
        more["input_one"] = round(1 / PIXEL_SCALE) if layer.inputs[0] == IMAGE else config.levels
        fields |= _convolution(layer.projection)
        if framed and layer.inputs[0] == IMAGE:
            fields["padding"] = 0
    elif isinstance(layer.owner, blocks.Attention) and layer.kind == "attention":
        fields |= dict(channels_out=sizes[layer.inputs[2]][0], heads=layer.owner.heads)
        more |= dict(divisor=config.levels**3, factor=layer.owner.scale)
    elif layer.whole_map:
        more["divisor"] = fields["height_in"] * fields["width_in"]
    return Part(fields=fields, firing=Levels(count=config.levels), **more)


def _fields(name: str, kind: str, group: str, inputs: tuple[str, ...], size: Size, **more: Any) -> dict[str, Any]:
    """Fields of the `Layer` that reads a tensor of that size, and makes as many channels unless told otherwise."""
    found: dict[str, Any] = dict(name=name, kind=kind, group=group, inputs=inputs, steps=1)
    return found | dict(channels_in=size[0], channels_out=size[0], height_in=size[1], width_in=size[2]) | more


def _convolution(projection: nn.Module) -> dict[str, Any]:
    """Fields of the `Layer` that the projection decides."""
    assert isinstance(projection, Projection)
    found: dict[str, Any] = dict(channels_out=projection.weight.shape[0])
    if isinstance(projection, nn.Conv2d):
        found |= dict(kernel=projection.kernel_size[0], stride=projection.stride[0])
        found |= dict(padding=int(projection.padding[0]), depthwise=projection.groups > 1)
    return found


def _made(part: Part) -> Size:
    """Size of the tensor that a part makes."""
    fields = part.fields
    if fields.get("whole_map"):
        return part.channels, 1, 1
    kernel, stride, padding = (fields.get(x, default) for x, default in (("kernel", 1), ("stride", 1), ("padding", 0)))
    rows, columns = ((fields[x] + 2 * padding - kernel) // stride + 1 for x in ("height_in", "width_in"))
    return part.channels, rows, columns
