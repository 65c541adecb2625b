"""What follows from the layers of a network alone, whatever core runs it: inferred once, read everywhere.

`infer` walks the layers in execution order and raises where they do not fit together. Its result is
`Network.shapes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spikeloom.golden.network.layer import IMAGE, PIXEL_BITS, Layer


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """Shape of a tensor, and the numbers that it can hold."""

    steps: int
    """Steps that are stored; the image, the same at every step, has one."""
    channels: int
    """Channels."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    maximum: int
    """The largest number."""
    minimum: int = 0
    """The least number: 0 but for membrane streams."""
    membrane: bool = False
    """A stream of signed integers; otherwise small unsigned ones."""
    summed: bool = False
    """A residual was added to the spikes."""

    @property
    def values(self) -> int:
        """Numbers of one step."""
        return self.channels * self.height * self.width

    @property
    def planes(self) -> int:
        """Bit-planes that hold 0..maximum of a tensor that is no stream."""
        return self.maximum.bit_length()


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """What follows for one layer from the network."""

    inputs: tuple[TensorInfo, ...]
    """Of the tensors that it reads, in the order of `Layer.inputs`."""
    residual: TensorInfo | None
    """Of the tensor that it adds."""
    output: TensorInfo
    """Of the tensor that it makes."""
    producer_steps: int
    """Steps at which all inputs can hold something; the image is there at every step."""
    active_steps: int
    """Steps at which the layer accumulates: at most ``T_l``, at most `producer_steps`."""
    computed_steps: int
    """Of `active_steps` those whose products are computed: of the image one, since the others are the same."""
    taps: int
    """Pairs of an output position and a tap of its kernel that lies in the map, not in the padding."""
    products: int
    """Products of the convolution in one time step, those with the padding left out; 0 without weights."""


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """All that `infer` finds."""

    tensors: Mapping[str, TensorInfo]
    """Each tensor by name, the image first, then in execution order."""
    layers: Mapping[str, LayerShape]
    """Each layer by name, in execution order."""
    readers: Mapping[str, tuple[int, ...]]
    """Of each tensor the layers that read or add it, by their place in `Network.layers`, ascending."""


def infer(layers: Sequence[Layer], *, steps: int, channels: int, height: int, width: int) -> Shapes:
    """Shapes of a network of ``T_max`` = steps for images of that size, with their frame.

    The layers keep the rules of `rules.check_layer`. ValueError where they do not fit together.
    """
    image = TensorInfo(steps=1, channels=channels, height=height, width=width, maximum=(1 << PIXEL_BITS) - 1)
    known = {IMAGE: image}
    for layer in layers:
        if layer.name in known:
            raise ValueError(f"layer {layer.name!r}: the name is taken")
        for i in range(len(layer.inputs)):
            _check_input(layer, i, known)
        known[layer.name] = _spikes(layer, known, steps) if layer.fires else _stream(layer, known, steps)
    readers = {name: tuple(i for i, layer in enumerate(layers) if name in layer.reads) for name in known}
    return Shapes(tensors=known, layers={x.name: _layer_shape(x, known, steps) for x in layers}, readers=readers)


def coverage(layer: Layer) -> np.ndarray:
    """How many taps of all output positions see each input position, int64 (H, W)."""
    return np.outer(*_coverage(layer))


def _coverage(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """`coverage` of rows and of columns alone, whose product it is."""

    def seen(inside: int, outside: int) -> np.ndarray:
        places = np.arange(outside)[:, None] * layer.stride + np.arange(layer.kernel) - layer.padding
        return np.bincount(places[(places >= 0) & (places < inside)], minlength=inside)

    return seen(layer.height_in, layer.height_conv), seen(layer.width_in, layer.width_conv)


def _layer_shape(layer: Layer, known: Mapping[str, TensorInfo], steps: int) -> LayerShape:
    inputs = tuple(known[name] for name in layer.inputs)
    producer_steps = steps if layer.direct else min(x.steps for x in inputs)
    active = min(layer.steps, producer_steps)
    rows, columns = _coverage(layer)
    taps = int(rows.sum()) * int(columns.sum())
    return LayerShape(
        inputs=inputs,
        residual=None if layer.residual is None else known[layer.residual],
        output=known[layer.name],
        producer_steps=producer_steps,
        active_steps=active,
        computed_steps=min(active, 1) if layer.direct else active,
        taps=taps,
        products=0 if layer.weight is None else taps * layer.channels_in * layer.fan_out,
    )


def _shape(info: TensorInfo) -> tuple[int, int, int]:
    return info.channels, info.height, info.width


def _check_input(layer: Layer, index: int, known: Mapping[str, TensorInfo]) -> None:
    """ValueError where the layer cannot read its input of that index."""
    where, source = f"layer {layer.name!r}", layer.inputs[index]
    if source not in known:
        raise ValueError(f"{where}: unknown input {source!r}")
    info = known[source]
    channels = layer.channels_out if layer.kind == "attention" and index == 2 else layer.channels_in
    wanted = (channels, layer.height_in, layer.width_in)
    if _shape(info) != wanted:
        raise ValueError(f"{where}: input {source!r} has shape {_shape(info)}, not {wanted}")
    if layer.kind == "attention" and info.summed:
        raise ValueError(f"{where}: input {source!r} must be spikes, not sums up to {info.maximum}")
    if source == IMAGE and layer.kind != "accumulate":
        raise ValueError(f"{where}: only a convolution can read the image")
    if info.membrane and layer.kind != "neurons":
        raise ValueError(f"{where}: input {source!r} is a membrane stream, which neurons alone can read")
    if layer.kind == "neurons" and not info.membrane:
        raise ValueError(f"{where}: neurons read a membrane stream, and {source!r} is none")


def _spikes(layer: Layer, known: Mapping[str, TensorInfo], steps: int) -> TensorInfo:
    """What a layer that fires, or the readout, makes."""
    where = f"layer {layer.name!r}"
    maximum, stored = layer.neuron.levels, layer.steps
    if maximum > 1 and steps != 1:
        raise ValueError(f"{where}: integer spikes need a network of one step, not {steps}")
    read = min(known[name].steps for name in layer.inputs)
    if layer.kind == "readout" and stored < read:
        raise ValueError(f"{where}: a readout runs all {read} steps of its input, not {stored}")
    shape = (layer.channels_out, layer.height_out, layer.width_out)
    if layer.residual is not None:
        if layer.residual not in known or layer.residual == IMAGE:
            raise ValueError(f"{where}: unknown residual {layer.residual!r}")
        other = known[layer.residual]
        if other.membrane:
            raise ValueError(f"{where}: residual {layer.residual!r} is a membrane stream, not spikes")
        if layer.pool or _shape(other) != shape:
            raise ValueError(
                f"{where}: residual {layer.residual!r} has shape {_shape(other)}, not {shape}, or the layer pools"
            )
        stored, maximum = max(stored, other.steps), maximum + other.maximum
    return TensorInfo(
        steps=stored,
        channels=shape[0],
        height=shape[1],
        width=shape[2],
        maximum=maximum,
        summed=layer.residual is not None,
    )


def _stream(layer: Layer, known: Mapping[str, TensorInfo], steps: int) -> TensorInfo:
    """The membrane stream that a branch makes."""
    where = f"layer {layer.name!r}"
    if layer.steps != steps:
        raise ValueError(f"{where}: a membrane stream has all {steps} steps, not {layer.steps}")
    low, high = _branch_bounds(layer, known[layer.inputs[0]].maximum)
    shape = (layer.channels_out, layer.height_out, layer.width_out)
    if layer.residual is not None:
        other = known.get(layer.residual)
        if other is None or not other.membrane or _shape(other) != shape:
            raise ValueError(f"{where}: residual {layer.residual!r} is no membrane stream of shape {shape}")
        low, high = low + other.minimum, high + other.maximum
    return TensorInfo(
        steps=steps,
        channels=shape[0],
        height=shape[1],
        width=shape[2],
        maximum=high,
        minimum=low,
        membrane=True,
    )


def _branch_bounds(layer: Layer, maximum: int) -> tuple[int, int]:
    """Lowest and highest ``(acc << shift) + bias`` of a branch, for inputs of 0..maximum."""
    assert layer.weight is not None and layer.shift is not None
    rows = layer.weight.reshape(layer.channels_out, -1).astype(np.int64) * maximum
    low, high = np.minimum(rows, 0).sum(1), np.maximum(rows, 0).sum(1)
    return int(((low << layer.shift) + layer.bias).min()), int(((high << layer.shift) + layer.bias).max())
