"""Networks to and from NIR, the Neuromorphic Intermediate Representation (Pedersen et al., Nature Communications 2024).

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

From NIR come chains of Conv2d, Linear, Affine, Scale, Flatten, SumPool2d, AvgPool2d and IF or LIF neurons. What is
linear between two layers of neurons becomes one convolution: pooling repeats its weights, Flatten and Linear have a
kernel as large as the map. Weights are rounded as in `golden.quantization.scales`; a file that `export_nir` wrote
comes back with its own integers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nir
import numpy as np

from spikeloom.common.files import written_aside
from spikeloom.golden.network import IMAGE, Layer, Network, Neuron
from spikeloom.golden.quantization.scales import Scales, best_scale, round_weights

RESOLUTION = 2.0**-16  # of a threshold: the least scale, for weights that are next to nothing
_POOLS = (nir.SumPool2d, nir.AvgPool2d)
_PRODUCTS = (nir.Conv2d, nir.Affine, nir.Linear)
_NEURONS = (nir.IF, nir.LIF)
_TAKEN = (nir.Input, nir.Output, nir.Flatten, nir.Scale, *_POOLS, *_PRODUCTS, *_NEURONS)


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
    """A NIR graph of a network. left_out: layers that are not in it, with the reason; empty unless partial."""

    graph: nir.NIRGraph
    left_out: dict[str, str]

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
    graph = nir.NIRGraph(nodes=nodes, edges=edges, metadata=_metadata(**about), type_check=False)
    return Exported(graph=graph, left_out=left_out)


def _listed(reasons: Mapping[str, list[str]]) -> str:
    """Each reason once, with the names of its layers."""
    layers: dict[str, list[str]] = {}
    for name, found in reasons.items():
        for reason in found:
            layers.setdefault(reason, []).append(name)
    return "; ".join(f"{reason} ({', '.join(names)})" for reason, names in layers.items())


def _metadata(**about: Any) -> dict[str, str]:
    """What NIR has no field for, as readers of other programs will ignore it."""
    return {"spikeloom": json.dumps(about)}


def _about(node: nir.NIRNode) -> dict[str, Any]:
    """What `_metadata` wrote; empty for nodes of other programs."""
    try:
        found = json.loads(_text((node.metadata or {}).get("spikeloom", "{}")))
    except (json.JSONDecodeError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


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
        real = _ungrouped(real, layer.channels_in)
    weights = nir.Conv2d(
        input_shape=(layer.height_in, layer.width_in),
        weight=real.astype(np.float32),
        stride=layer.stride,
        padding=layer.padding,
        dilation=1,
        groups=1,
        bias=(layer.bias * layer.scale).astype(np.float32),
    )
    weights.metadata = _metadata(
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
    neurons.metadata = _metadata(compare=">" if layer.neuron.strict else ">=")
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
    weights.metadata = _metadata(layer=layer.name, scale=layer.scale.tolist(), weight_bits=layer.weight_bits)
    return {f"{name}_sum": pool, f"{name}_flat": flat, name: weights}


def import_nir(
    source: nir.NIRGraph | str | os.PathLike[str],
    *,
    steps: int | None = None,
    name: str | None = None,
    dt: float | None = None,
    pixel_scale: float | None = None,
    weight_bits: int = 8,
    scales: Scales = "power-of-two",
) -> Network:
    """A network of integers from a NIR graph or file, see the module.

    steps: ``T``, which NIR does not have: the file's, if we wrote it, or 4. dt: time step of the neurons, in the unit
    of their tau and r: the file's, or 1. pixel_scale: real value of one unit of an integer pixel: the file's, or 1/256.
    weight_bits, scales: as in `quantize`; scales of a file that we wrote stay.
    A graph that ends with neurons is read out by their numbers of spikes.

    Raises
    ------
    FileNotFoundError
    ValueError
        for a file that is no NIR, for nodes that a network cannot have (all of them, by name), and for a graph that is
        no chain of layers.
    """
    graph = source if isinstance(source, nir.NIRGraph) else _read(Path(source))
    about = _about(graph)
    steps = int(about.get("steps", 4)) if steps is None else steps
    dt = float(about.get("dt", 1.0)) if dt is None else dt
    pixel_scale = float(about.get("pixel_scale", 1 / 256)) if pixel_scale is None else pixel_scale
    for what, value in (("steps", steps), ("dt", dt), ("pixel_scale", pixel_scale)):
        if not value > 0:
            raise ValueError(f"{what} must be positive, not {value!r}")
    if weight_bits not in (4, 8):
        raise ValueError(f"weight_bits must be 4 or 8, not {weight_bits!r}")
    order = _chain(graph, dt)
    shape = tuple(int(n) for n in np.ravel(graph.nodes[order[0]].output_type["output"]))
    if len(shape) not in (1, 3):
        raise ValueError(f"node {order[0]!r}: the input must have shape (C,) or (C, H, W), not {shape}")
    chain = _Chain(
        steps=steps,
        dt=dt,
        pixel_scale=pixel_scale,
        weight_bits=weight_bits,
        scales=scales,
        part=_Part.behind(shape if len(shape) == 3 else (*shape, 1, 1), flat=len(shape) == 1),
    )
    for node in order[1:-1]:
        chain.take(node, graph.nodes[node])
    chain.finish()
    image = shape if len(shape) == 3 else (*shape, 1, 1)
    origin = {"nir": {"nodes": len(graph.nodes), "left_out": about.get("left_out", {})}}
    return Network(
        name=name or str(about.get("name", "nir")),
        steps=steps,
        channels=image[0],
        height=image[1],
        width=image[2],
        layers=tuple(chain.layers),
        pixel_scale=pixel_scale,
        padding_pixel=tuple(about.get("padding_pixel", ())),
        frame=int(about.get("frame", 1)),
        provenance=origin,
    )


def _read(path: Path) -> nir.NIRGraph:
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        graph = nir.read(str(path), type_check=False)
    except Exception as error:  # whatever HDF5, or a node's constructor, makes of it
        why = str(error) or type(error).__name__
        raise ValueError(f"{path} is no NIR file, or of another version: {why}") from None
    if not isinstance(graph, nir.NIRGraph):
        raise ValueError(f"{path} holds a {type(graph).__name__}, not a graph")
    return graph


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _pair(value: Any) -> tuple[int, int]:
    both = np.broadcast_to(np.asarray(value), 2)
    return int(both[0]), int(both[1])


def _chain(graph: nir.NIRGraph, dt: float) -> list[str]:
    """The nodes' names from input to output. ValueError with every node that cannot be taken."""
    complaints = [f"node {name!r} ({type(node).__name__}): {why}" for name, node in graph.nodes.items()
                  for why in _complaints(node, dt)]  # fmt: skip
    edges = [(a, b) for a, b in graph.edges if a != b]
    for name, node in graph.nodes.items():
        before, behind = (sum(edge[end] == name for edge in graph.edges) for end in (1, 0))
        if any(a == b == name for a, b in graph.edges):
            complaints.append(f"node {name!r}: it feeds itself, and recurrence is not taken")
        elif before != (not isinstance(node, nir.Input)) or behind != (not isinstance(node, nir.Output)):
            complaints.append(f"node {name!r}: {before} edges in and {behind} out; only chains are taken")
    ends = [[name for name, node in graph.nodes.items() if isinstance(node, kind)] for kind in (nir.Input, nir.Output)]
    if [len(found) for found in ends] != [1, 1]:
        complaints.append(f"the graph must have one Input and one Output, not {len(ends[0])} and {len(ends[1])}")
    if complaints:
        raise ValueError("this NIR graph is no network of ours: " + ". ".join(complaints))
    following = dict(edges)
    order = [ends[0][0]]
    while order[-1] in following and len(order) <= len(following):
        order.append(following[order[-1]])
    if len(order) != len(graph.nodes):
        lost = sorted(set(graph.nodes) - set(order))
        raise ValueError(f"node {lost[0]!r}: it is not between the Input and the Output")
    return order


def _complaints(node: nir.NIRNode, dt: float) -> list[str]:
    """What a node alone has that a network cannot have."""
    if not isinstance(node, _TAKEN):
        return ["a network has no such node"]
    found = []
    if isinstance(node, _POOLS):
        size, stride, padding = _pair(node.kernel_size), _pair(node.stride), _pair(node.padding)
        if size != stride or padding != (0, 0):
            found.append(f"pooling must be without overlap and padding, not kernel {size}, {stride}, {padding}")
    if isinstance(node, nir.Conv2d):
        shape = node.weight.shape[2:]
        stride, dilation = _pair(node.stride), _pair(node.dilation)
        if shape[0] != shape[1] or stride[0] != stride[1] or dilation[0] != dilation[1]:
            found.append(f"kernel, stride and dilation must be square, not {shape}, {stride}, {dilation}")
        elif isinstance(_text(node.padding), str):
            if _text(node.padding) == "same" and (stride[0] != 1 or (shape[0] - 1) * dilation[0] % 2):
                found.append("padding 'same' needs stride 1 and an odd kernel")
        elif len(set(_pair(node.padding))) > 1:
            found.append(f"padding must be square, not {_pair(node.padding)}")
    if isinstance(node, _NEURONS):
        if np.any(node.v_reset != 0):
            found.append("v_reset must be 0")
        if np.any(np.asarray(node.v_threshold) <= 0) or np.any(np.asarray(node.r) <= 0):
            found.append("r and v_threshold must be positive")
    if isinstance(node, nir.LIF) and not np.allclose(np.asarray(node.tau) / dt, 2, rtol=1e-6):
        low, high = float(np.min(node.tau)), float(np.max(node.tau))
        shown = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        found.append(f"tau must be 2 dt, a leak of one half, not {shown} with dt = {dt:g}")
    return found


@dataclass
class _Part:
    """The linear map since the last neurons: pooling, then at most one convolution, then factors of its channels.

    shape: of the last neurons' spikes. size: (C, H, W) that the next node sees. pool: factor of the pooling so far.
    before, behind: factors of the channels in and out. flat: a vector, in the order of (C, H, W).
    """

    shape: tuple[int, ...]
    size: tuple[int, ...]
    flat: bool
    before: np.ndarray
    pool: tuple[int, int] = (1, 1)
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    stride: int = 1
    padding: int = 0
    depthwise: bool = False
    names: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def behind(cls, shape: tuple[int, ...], *, flat: bool) -> _Part:
        return cls(shape=shape, size=shape, flat=flat, before=np.ones(shape[0]))


@dataclass
class _Chain:
    """Layers made so far, and the linear map behind them."""

    steps: int
    dt: float
    pixel_scale: float
    weight_bits: int
    scales: Scales
    part: _Part
    layers: list[Layer] = field(default_factory=list)

    def take(self, name: str, node: nir.NIRNode) -> None:
        """The next node of the chain."""
        part, where = self.part, f"node {name!r}"
        if isinstance(node, _NEURONS):
            self._neurons(name, node)
            return
        part.names.append(name)
        if isinstance(node, _POOLS):
            self._pool(where, node)
        elif isinstance(node, nir.Flatten):
            whole = int(node.start_dim) == 0 and int(node.end_dim) in (-1, len(part.size) - 1)
            if not whole and part.size[1:] != (1, 1):
                raise ValueError(f"{where}: Flatten must make one dimension of all, not from {node.start_dim}")
            part.flat = True
        elif isinstance(node, nir.Scale):
            self._scale(where, node)
        else:
            self._product(where, node)

    def finish(self) -> None:
        """The readout: what is linear at the end, or the number of spikes of the last neurons."""
        part = self.part
        if not self.layers:
            raise ValueError("the graph has no neurons: there is nothing that spikes")
        source = self.layers[-1].name
        scale = np.ones(part.shape[0])
        if part.weight is None and part.shape[1:] == (1, 1):
            weight, bias = np.eye(part.shape[0], dtype=np.int8), np.zeros(part.shape[0], np.int64)
            bits = 8
        elif not part.names:
            shape = "x".join(map(str, part.shape))
            raise ValueError(
                f"the graph ends with neurons of shape {shape}, and a network has one sum for each class: end it with "
                f"a SumPool2d over {part.shape[1]}x{part.shape[2]}, or with Flatten and Affine"
            )
        else:
            where = f"node {part.names[-1]!r}"
            real, real_bias, stride, padding = self._composed(where)
            inside = part.shape[1:] == real.shape[2:] and not padding
            if part.depthwise or not inside or np.ptp(real.reshape(*real.shape[:2], -1), axis=2).any():
                raise ValueError(f"{where}: no neurons follow, so the map of {source!r} must be pooled to 1x1 before")
            bits = int(part.metadata.get("weight_bits", self.weight_bits))
            real = real[:, :, :1, :1]
            top = (1 << bits - 1) - 1
            largest = max(float(abs(real).max()), 2.0**-100)
            scale = np.full(len(real), 2.0 ** np.ceil(np.log2(largest / top)))
            known = _known(part.metadata, real, real_bias * self.steps, bits)
            scale = scale if known is None else known
            weight = round_weights(real, scale, bits)[:, :, 0, 0]
            bias = np.rint(real_bias * self.steps / scale).astype(np.int64)
        self.layers.append(
            Layer(
                name=str(part.metadata.get("layer", "readout")),
                kind="readout",
                group="head",
                inputs=(source,),
                steps=self.steps,
                channels_in=part.shape[0],
                channels_out=len(weight),
                height_in=part.shape[1],
                width_in=part.shape[2],
                weight=weight[:, :, None, None],
                weight_bits=bits,
                bias=bias,
                threshold=np.zeros(len(weight), np.int64),
                scale=scale,
            )
        )

    def _pool(self, where: str, node: nir.NIRNode) -> None:
        part, (height, width) = self.part, _pair(node.kernel_size)
        if part.weight is not None or part.flat:
            raise ValueError(f"{where}: only spikes, or the input, can be pooled")
        channels, rows, columns = part.size
        if rows % height or columns % width:
            raise ValueError(f"{where}: a map of {rows}x{columns} is no multiple of its window of {height}x{width}")
        part.size = (channels, rows // height, columns // width)
        part.pool = (part.pool[0] * height, part.pool[1] * width)
        if isinstance(node, nir.AvgPool2d):
            part.before = part.before / (height * width)

    def _scale(self, where: str, node: nir.NIRNode) -> None:
        part = self.part
        factors = _per_channel(where, "scale", node.scale, part.size)
        if part.weight is None:
            part.before = part.before * factors
        else:
            assert part.bias is not None
            part.weight, part.bias = part.weight * factors[:, None, None, None], part.bias * factors

    def _product(self, where: str, node: nir.NIRNode) -> None:
        part = self.part
        if part.weight is not None:
            raise ValueError(f"{where}: there are no neurons between it and {part.names[-2]!r}")
        weight = np.asarray(node.weight, np.float64)
        if isinstance(node, nir.Conv2d):
            groups = int(node.groups)
            if part.flat and part.size[1:] != (1, 1) or weight.shape[1] * groups != part.size[0]:
                raise ValueError(f"{where}: it does not fit {part.size} before it")
            part.depthwise = groups == part.size[0] == len(weight) and groups > 1
            if groups == 1 and _about(node).get("depthwise") is True and len(weight) == weight.shape[1]:
                thin = weight[range(len(weight)), range(len(weight))][:, None]
                part.depthwise = bool((_ungrouped(thin, len(thin)) == weight).all())
                weight = thin if part.depthwise else weight
            if groups > 1 and not part.depthwise:
                weight = _ungrouped(weight, groups)
            weight = _dilated(weight, _pair(node.dilation)[0])
            part.stride = _pair(node.stride)[0]
            padding = _text(node.padding)
            part.padding = (
                {"same": len(weight[0, 0]) // 2, "valid": 0}[padding] if isinstance(padding, str) else _pair(padding)[0]
            )
            height, width = ((n + 2 * part.padding - len(weight[0, 0])) // part.stride + 1 for n in part.size[1:])
            part.size, part.flat = (len(weight), height, width), False
        else:
            if weight.ndim != 2 or weight.shape[1] != np.prod(part.size) or not (part.flat or part.size[1:] == (1, 1)):
                raise ValueError(f"{where}: weights of shape {weight.shape} do not fit {part.size} before it")
            if part.size[1] != part.size[2]:
                raise ValueError(f"{where}: it reads a map of {part.size[1]}x{part.size[2]}; a kernel must be square")
            weight = weight.reshape(len(weight), *part.size)
            part.size, part.flat = (len(weight), 1, 1), True
        part.weight = weight
        bias = np.asarray(getattr(node, "bias", 0.0), np.float64)
        part.bias = np.broadcast_to(bias, len(weight)).copy()
        part.metadata = _about(node)

    def _composed(self, where: str) -> tuple[np.ndarray, np.ndarray, int, int]:
        """Weights (O, I, k, k), bias (O,), stride and padding of the whole linear map."""
        part = self.part
        if part.weight is None:  # pooling or factors alone
            part.weight, part.bias = np.eye(part.shape[0])[:, :, None, None], np.zeros(part.shape[0])
        assert part.bias is not None
        factors = part.before[:, None, None, None] if part.depthwise else part.before[:, None, None]
        weight = (part.weight * factors).repeat(part.pool[0], 2).repeat(part.pool[1], 3)
        if not np.isfinite(weight).all() or not np.isfinite(part.bias).all():
            raise ValueError(f"{where}: weights must be finite")
        return weight, part.bias, part.stride * part.pool[0], part.padding * part.pool[0]

    def _neurons(self, name: str, node: nir.NIRNode) -> None:
        part, where = self.part, f"node {name!r}"
        real, bias, stride, padding = self._composed(where)
        if real.shape[2] != real.shape[3]:
            raise ValueError(f"{where}: the kernel before it is {real.shape[2]}x{real.shape[3]} and must be square")
        leak = isinstance(node, nir.LIF)
        resistance = _per_channel(where, "r", node.r, part.size)
        threshold = _per_channel(where, "v_threshold", node.v_threshold, part.size)
        strict = _about(node).get("compare", ">") == ">"
        if not strict:
            threshold = np.nextafter(threshold.astype(np.float32), np.float32(np.inf)).astype(np.float64)
        # H in units in which the current has the factor 1.
        threshold = threshold * 2 / resistance if leak else threshold / (resistance * self.dt)
        if leak:
            bias = bias + _per_channel(where, "v_leak", node.v_leak, part.size) / resistance
        first = not self.layers
        pixel = self.pixel_scale if first else 1.0
        bits = int(part.metadata.get("weight_bits", self.weight_bits))
        scale = _known(part.metadata, real * pixel, bias, bits, threshold)
        if scale is None:
            # Relative to the threshold all channels have the threshold 1.
            relative = real / threshold[:, None, None, None]
            unit = best_scale(name, relative, bits, 1 / pixel, RESOLUTION, self.scales)
            scale = unit * threshold * pixel
        self.layers.append(
            Layer(
                name=str(part.metadata.get("layer", part.names[-1] if part.names else name)),
                inputs=(self.layers[-1].name if self.layers else IMAGE,),
                steps=self.steps,
                channels_in=part.shape[0],
                channels_out=len(real),
                height_in=part.shape[1],
                width_in=part.shape[2],
                kernel=real.shape[2],
                stride=stride,
                padding=padding,
                depthwise=part.depthwise,
                neuron=Neuron(hard=True, strict=strict, leak=leak),
                weight_bits=bits,
                weight=round_weights(real, scale / pixel, bits),
                bias=np.rint(bias / scale).astype(np.int64),
                threshold=np.rint(threshold / scale).astype(np.int64),
                scale=scale,
            )
        )
        made = self.layers[-1]
        if (made.channels_out, made.height_out, made.width_out) != part.size:
            raise ValueError(f"{where}: the layer has shape {part.size}, which no single convolution gives")
        self.part = _Part.behind(part.size, flat=part.flat)


def _known(
    metadata: Mapping[str, Any], real: np.ndarray, bias: np.ndarray, bits: int, threshold: np.ndarray | None = None
) -> np.ndarray | None:
    """The scale of each channel that the file names, where weights, bias and threshold are integers in it."""
    scale = metadata.get("scale")
    if scale is None or np.shape(scale) != (len(real),):
        return None
    scale = np.asarray(scale, np.float64)
    weights = real / scale[:, None, None, None]
    top = (1 << bits - 1) - 1
    whole = [weights, bias / scale] + ([] if threshold is None else [threshold / scale])
    near = all(np.allclose(x, np.rint(x), rtol=1e-6, atol=1e-3) for x in whole)
    return scale if near and weights.min() > -top - 1.5 and weights.max() < top + 0.5 else None


def _per_channel(where: str, what: str, values: Any, size: tuple[int, ...]) -> np.ndarray:
    """One number a channel, float64 (C,); ValueError where the neurons of a channel differ."""
    array = np.asarray(values, np.float64)
    if array.size == 1:
        return np.full(size[0], float(array.ravel()[0]))
    if array.size == np.prod(size):
        rows = array.reshape(size[0], -1)
        if np.ptp(rows, axis=1).any():
            raise ValueError(f"{where}: {what} must be the same for all positions of a channel")
        return rows[:, 0].copy()
    if array.shape == (size[0],) or array.shape == (size[0], 1, 1):
        return array.ravel().copy()
    raise ValueError(f"{where}: {what} has shape {array.shape}, and {size} comes before it")


def _ungrouped(weight: np.ndarray, groups: int) -> np.ndarray:
    """A convolution in groups as a whole one, with zeros between the groups."""
    out, inside = len(weight) // groups, weight.shape[1]
    found = np.zeros((len(weight), inside * groups, *weight.shape[2:]))
    for g in range(groups):
        found[g * out : (g + 1) * out, g * inside : (g + 1) * inside] = weight[g * out : (g + 1) * out]
    return found


def _dilated(weight: np.ndarray, dilation: int) -> np.ndarray:
    """The kernel with zeros between its taps."""
    size = (weight.shape[2] - 1) * dilation + 1
    found = np.zeros((*weight.shape[:2], size, size))
    found[:, :, ::dilation, ::dilation] = weight
    return found
