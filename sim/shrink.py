"""Networks that are smaller than a given one in one respect: the steps by which a failing network is shrunken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from spikeloom.golden.network import IMAGE, Layer, Network, Neuron

SIMPLEST = Neuron(hard=True, strict=False, leak=False)


def smaller_networks(network: Network) -> Iterator[Network]:
    """Legal networks, each smaller in one respect, the boldest first; none when nothing can be left out."""
    for layers, header in _steps(network):
        made = rebuilt(network, layers, **header)
        if made is not None:
            yield made


def rebuilt(network: Network, layers: Iterable[Layer], **header: Any) -> Network | None:
    """The network with other layers and header: shapes follow from the image, integers are cut to them.

    None where the layers do not fit together.
    """
    fields: dict[str, Any] = dict(name=network.name, steps=network.steps, channels=network.channels)
    fields |= dict(height=network.height, width=network.width, coding=network.coding)
    fields |= dict(padding_pixel=network.padding_pixel, frame=network.frame) | header
    fields["padding_pixel"] = fields["padding_pixel"][: fields["channels"]]
    shapes = {IMAGE: (fields["channels"], fields["height"], fields["width"])}
    stored = {IMAGE: 1}
    made: list[Layer] = []
    try:
        for layer in layers:
            layer = _fitted(layer, shapes, most=fields["steps"])
            residual = layer.residual if layer.residual in shapes else None
            steps = stored[layer.inputs[0]] if layer.kind == "readout" else layer.steps
            layer = replace(layer, residual=residual, steps=steps)
            made.append(layer)
            shapes[layer.name] = (layer.channels_out, layer.height_out, layer.width_out)
            stored[layer.name] = max(steps, stored[residual] if residual else 0)
        return Network(layers=tuple(made), **fields)
    except (ValueError, KeyError):
        return None


def _fitted(layer: Layer, shapes: dict[str, tuple[int, int, int]], *, most: int) -> Layer:
    """The layer for inputs of these shapes; KeyError for an input that is not there, ValueError for no output."""
    channels, height, width = shapes[layer.inputs[0]]
    out = layer.channels_out
    if layer.kind == "attention":
        out = shapes[layer.inputs[2]][0]
    elif layer.depthwise or layer.kind == "neurons":
        out = channels
    chosen = np.arange(out) % layer.channels_out
    fields: dict[str, Any] = dict(channels_in=channels, height_in=height, width_in=width, channels_out=out)
    fields |= {name: getattr(layer, name)[chosen] for name in ("bias", "scale")}
    fields["threshold"] = layer.threshold[..., chosen]
    if layer.shift is not None:
        fields["shift"] = layer.shift[chosen]
    if layer.weight is not None:
        weight = layer.weight[chosen][:, :, : layer.kernel, : layer.kernel]
        fields["weight"] = weight if layer.depthwise else weight[:, np.arange(channels) % layer.channels_in]
    made = replace(layer, steps=min(layer.steps, most), **fields)
    if min(made.height_out, made.width_out) < 1:
        raise ValueError(f"layer {layer.name!r} has no output")
    return made


Step = tuple[list[Layer], dict[str, Any]]


def _steps(network: Network) -> Iterator[Step]:
    yield from _fewer_layers(network)
    yield from _fewer_steps(network)
    yield from _smaller_images(network)
    yield from _fewer_channels(network)
    yield from _simpler_layers(network)


def _fewer_layers(network: Network) -> Iterator[Step]:
    """The readout earlier, a layer less, a residual less."""
    *hidden, head = network.layers
    for i, layer in enumerate(hidden):
        if head.inputs != (layer.name,) or i < len(hidden) - 1:
            yield [*hidden[: i + 1], replace(head, inputs=(layer.name,))], {}
    for layer in hidden:
        for instead in dict.fromkeys((*layer.inputs, layer.residual)):
            if instead is not None:
                rest = [_reading(x, layer.name, instead) for x in network.layers if x is not layer]
                yield rest, {}
    for i, layer in enumerate(hidden):
        if layer.residual is not None:
            yield _with(network, i, residual=None), {}
        if len(set(layer.inputs)) > 1:
            for name in layer.inputs:
                yield _with(network, i, inputs=(name,) * len(layer.inputs)), {}


def _reading(layer: Layer, old: str, new: str) -> Layer:
    """The layer with another tensor in place of one."""
    inputs = tuple(new if name == old else name for name in layer.inputs)
    residual = new if layer.residual == old else layer.residual
    return replace(layer, inputs=inputs, residual=None if residual == IMAGE else residual)


def _fewer_steps(network: Network) -> Iterator[Step]:
    for steps in _less(network.steps, 1):
        yield list(network.layers), dict(steps=steps)
    for i, layer in enumerate(network.layers[:-1]):
        if layer.fires:
            for steps in _less(layer.steps, 0):
                yield _with(network, i, steps=steps), {}


def _smaller_images(network: Network) -> Iterator[Step]:
    layers = list(network.layers)
    for name in ("height", "width", "channels"):
        least = 1 + 2 * network.frame if network.padding_pixel and name != "channels" else 1
        for size in _less(getattr(network, name), least):
            yield layers, {name: size}
    if network.padding_pixel:
        yield layers, dict(padding_pixel=())


def _fewer_channels(network: Network) -> Iterator[Step]:
    """Of all tensors together that must have equally many."""
    for names in _tied(network):
        count = next(layer.channels_out for layer in network.layers if layer.name in names)
        for fewer in _less(count, 1):
            for heads in (None, 1):
                changed = [
                    _of_channels(layer, fewer, heads) if layer.name in names else layer for layer in network.layers
                ]
                yield changed, {}


def _of_channels(layer: Layer, count: int, heads: int | None) -> Layer:
    if layer.kind == "attention":
        return replace(layer, heads=heads or layer.heads)
    fields: dict[str, Any] = {name: getattr(layer, name)[:count] for name in ("bias", "scale")}
    fields |= dict(threshold=layer.threshold[..., :count], channels_out=count)
    if layer.weight is not None:
        fields["weight"] = layer.weight[:count]
    if layer.shift is not None:
        fields["shift"] = layer.shift[:count]
    return replace(layer, **fields)


def _tied(network: Network) -> list[set[str]]:
    """Layers by what ties their channels: residuals, the tensors of attention, layers that keep them."""
    groups = {layer.name: {layer.name} for layer in network.layers}
    for layer in network.layers:
        others = [layer.residual]
        others += layer.inputs if layer.depthwise or layer.kind in ("attention", "neurons") else ()
        for other in others:
            if other in groups:
                groups[layer.name] |= groups[other]
                for name in groups[layer.name]:
                    groups[name] = groups[layer.name]
    return list({id(group): group for group in groups.values()}.values())


def _simpler_layers(network: Network) -> Iterator[Step]:
    """Geometry, neurons and integers, one layer at a time."""
    for i, layer in enumerate(network.layers):
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0), ("heads", 1)):
            for value in _less(getattr(layer, name), least):
                yield _with(network, i, **{name: value}), {}
        if layer.pool:
            yield _with(network, i, pool=False, pool_first=False), {}
        if layer.spiking and layer.neuron != SIMPLEST:
            yield _with(network, i, neuron=replace(SIMPLEST, levels=layer.neuron.levels)), {}
        for name in ("bias", "threshold", "weight", "shift"):
            value = getattr(layer, name)
            if value is not None and value.any():
                yield _with(network, i, **{name: np.zeros_like(value)}), {}
            if value is not None and abs(value.astype(np.int64)).max(initial=0) > 1:
                yield _with(network, i, **{name: np.clip(value, -1, 1)}), {}


def _with(network: Network, index: int, **fields: Any) -> list[Layer]:
    return [replace(x, **fields) if i == index else x for i, x in enumerate(network.layers)]


def _less(value: int, least: int) -> list[int]:
    """Smaller values, the least first."""
    return sorted({least, value // 2, value - 1} & set(range(least, value)))
