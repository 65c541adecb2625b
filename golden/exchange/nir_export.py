"""Networks to NIR, the Neuromorphic Intermediate Representation (Pedersen et al., Nature Communications 2024).

NIR describes neurons by differential equations. With Euler steps of ``dt`` and potentials that start at zero, of its
neurons

    IF    dv/dt = r I                          v = v + dt r I                  fires at v > v_threshold, then v = 0
    LIF   tau dv/dt = v_leak - v + r I         v = v + dt/tau (v_leak - v + r I)

those of `spikeloom.golden.network` are IF with dt r = 1, and LIF with tau = 2 dt:

    H = U + acc                                r = 1/dt, v_threshold = threshold * scale
    H = U / 2 + acc                            r = 1, v = H / 2, so v_threshold = threshold * scale / 2

The second, with v_threshold 1, is SpikingJelly's LIFNode(tau=2, decay_input=True, v_reset=0), Spikformer's neuron.
A network that fires at ``>=`` gets the float32 next below its threshold: no potential lies between. Batch norm, which
NIR does not have, is already in weights and bias. What cannot be written is never left out in silence: see
`inexpressible`.

The image is NIR's Input at every time step, as real pixels: integer pixel times `Network.pixel_scale`. The readout
becomes a sum over the map and an Affine, whose outputs, added over the steps, are the class sums in real units.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import nir
import numpy as np

from spikeloom.common.files import written_aside
from spikeloom.golden.exchange.nir_nodes import metadata, ungrouped
from spikeloom.golden.network import IMAGE, Layer, Network


def inexpressible(network: Network) -> dict[str, list[str]]:
    """What NIR has no node for, by layer name: every such layer, with all its reasons."""
    found = {}
    before = IMAGE
    for layer in network.layers:
        reasons = []
        if layer.kind == "attention":
            reasons.append("attention multiplies spikes by spikes, and NIR has no product of two tensors")
        elif layer.kind == "neurons" or not layer.fires:
            reasons.append("a membrane shortcut adds two tensors, and NIR has no sum of them")
        elif layer.inputs[0] != before:
            reasons.append("it does not read the layer before, and only chains are written")
        if layer.residual is not None and layer.fires:
            reasons.append("a residual adds two tensors, and NIR has no sum of them")
        if layer.pool:
            reasons.append("NIR has no max-pooling")
        if layer.spiking and layer.neuron.levels > 1:
            reasons.append("NIR's spikes are binary, not integers")
        elif layer.spiking:
            if not layer.neuron.hard:
                reasons.append("NIR's neurons have no soft reset")
            if layer.steps < network.steps:
                reasons.append(f"T_l = {layer.steps} of {network.steps}: NIR has no time masks")
            if layer.threshold.min() < 1:
                reasons.append("thresholds that are not positive")
        if reasons:
            found[layer.name] = reasons
        before = layer.name
    return found


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A NIR graph of a network."""

    graph: nir.NIRGraph
    """From the image to the last layer that NIR can express."""
    left_out: dict[str, str]
    """Layers that are not in it, with the reason; empty unless partial."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .nir file (HDF5), whole or not at all."""
        with written_aside(path) as aside:
            nir.write(str(aside), self.graph)


def export_nir(network: Network, *, partial: bool = False, dt: float = 1.0) -> Exported:
    """The network as a NIR graph.

    partial: where NIR cannot express all of it, only the layers before the first that it cannot; what is left out is
    in the result and in the graph's metadata. dt: time step, s or any other unit.
    Raises ValueError, with all the layers and reasons, for a network that NIR cannot express, or no layer of it.
    """
    if not dt > 0:
        raise ValueError(f"dt must be positive, not {dt!r}")
    reasons = inexpressible(network)
    names = [layer.name for layer in network.layers]
    kept = next((i for i, name in enumerate(names) if name in reasons), len(names))
    if kept < len(names) and (not partial or not kept):
        said = f"NIR cannot express network {network.name!r}"
        if partial:
            said += f", not even a part of it: that would end before the first layer, {names[0]!r}"
        hint = "" if partial or not kept else f"; --partial writes the {kept} layers before {names[kept]!r}"
        raise ValueError(f"{said}: {_listed(reasons)}{hint}")
    behind = [f"behind {names[kept]!r}, which is left out"] if kept < len(names) else []
    left_out = {name: "; ".join(reasons.get(name, behind)) for name in names[kept:]}
    nodes: dict[str, nir.NIRNode] = {
        "input": nir.Input(input_type=np.array([network.channels, network.height, network.width]))
    }
    for layer in network.layers[:kept]:
        nodes |= _readout_nodes(network, layer) if layer.kind == "readout" else _layer_nodes(network, layer, dt)
    last = nodes[list(nodes)[-1]]
    nodes["output"] = nir.Output(output_type=last.output_type)
    order = list(nodes)
    about = {
        "name": network.name,
        "steps": network.steps,
        "dt": dt,
        "pixel_scale": network.pixel_scale,
        "padding_pixel": network.padding_pixel,
        "frame": network.frame,
        "input": "the image at every time step: integer pixel times pixel_scale",
        "left_out": left_out,
    }
    edges = list(zip(order, order[1:], strict=False))
    graph = nir.NIRGraph(nodes=nodes, edges=edges, metadata=metadata(**about), type_check=False)
    return Exported(graph=graph, left_out=left_out)


def _listed(reasons: Mapping[str, list[str]]) -> str:
    """Each reason once, with the names of its layers."""
    layers: dict[str, list[str]] = {}
    for name, found in reasons.items():
        for reason in found:
            layers.setdefault(reason, []).append(name)
    return "; ".join(f"{reason} ({', '.join(names)})" for reason, names in layers.items())


def _node_name(layer: Layer) -> str:
    """Dots separate subgraphs in some readers."""
    return layer.name.replace(".", "_")


def _per_neuron(values: np.ndarray, layer: Layer) -> np.ndarray:
    shape = (layer.channels_out, layer.height_conv, layer.width_conv)
    return np.broadcast_to(np.asarray(values, np.float32).reshape(-1, 1, 1), shape).copy()


def _layer_nodes(network: Network, layer: Layer, dt: float) -> dict[str, nir.NIRNode]:
    assert layer.weight is not None
    unit = layer.scale / (network.pixel_scale if layer.direct else 1.0)
    name = _node_name(layer)
    real = layer.weight * unit[:, None, None, None]
    if layer.depthwise:  # NIR 1.0.8 takes graphs with groups for wrong ones
        real = ungrouped(real, layer.channels_in)
    weights = nir.Conv2d(
        input_shape=(layer.height_in, layer.width_in),
        weight=real.astype(np.float32),
        stride=layer.stride,
        padding=layer.padding,
        dilation=1,
        groups=1,
        bias=(layer.bias * layer.scale).astype(np.float32),
    )
    weights.metadata = metadata(
        layer=layer.name, scale=layer.scale.tolist(), weight_bits=layer.weight_bits, depthwise=layer.depthwise
    )
    threshold = (layer.threshold * layer.scale).astype(np.float32)
    if layer.neuron.leak:
        threshold = threshold / 2
    if not layer.neuron.strict:
        threshold = np.nextafter(threshold, np.float32(0))
    zeros = np.zeros_like(layer.scale)
    common = {"v_threshold": _per_neuron(threshold, layer), "v_reset": _per_neuron(zeros, layer)}
    neurons = (
        nir.LIF(
            tau=_per_neuron(zeros + 2 * dt, layer),
            r=_per_neuron(zeros + 1, layer),
            v_leak=_per_neuron(zeros, layer),
            **common,
        )
        if layer.neuron.leak
        else nir.IF(r=_per_neuron(zeros + 1 / dt, layer), **common)
    )
    neurons.metadata = metadata(compare=">" if layer.neuron.strict else ">=")
    return {name: weights, f"{name}_neurons": neurons}


def _readout_nodes(network: Network, layer: Layer) -> dict[str, nir.NIRNode]:
    assert layer.weight is not None
    name = _node_name(layer)
    size = np.array([layer.height_in, layer.width_in])
    pool = nir.SumPool2d(kernel_size=size, stride=size, padding=np.zeros(2, int))
    pool.input_type = {"input": np.array([layer.channels_in, *size])}
    pool.output_type = {"output": np.array([layer.channels_in, 1, 1])}
    flat = nir.Flatten(input_type={"input": np.array([layer.channels_in, 1, 1])}, start_dim=0, end_dim=-1)
    weights = nir.Affine(
        weight=(layer.weight[:, :, 0, 0] * layer.scale[:, None]).astype(np.float32),
        bias=(layer.bias * layer.scale / network.steps).astype(np.float32),
    )
    weights.metadata = metadata(layer=layer.name, scale=layer.scale.tolist(), weight_bits=layer.weight_bits)
    return {f"{name}_sum": pool, f"{name}_flat": flat, name: weights}
