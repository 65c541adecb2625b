"""Networks from NIR, the Neuromorphic Intermediate Representation; `nir_export` has its semantics.

From NIR come chains of Conv2d, Linear, Affine, Scale, Flatten, SumPool2d, AvgPool2d and IF or LIF neurons. What is
linear between two layers of neurons becomes one convolution: pooling repeats its weights, Flatten and Linear have a
kernel as large as the map. Weights are rounded as in `golden.quantization.scales`; a file that `export_nir` wrote
comes back with its own integers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

import nir
import numpy as np
from annotated_types import Interval, Len

from spikeloom.common.schema import Checked, checked
from spikeloom.golden.bounds import LARGEST_SIDE, LONGEST_NAME, MOST_STEPS
from spikeloom.golden.exchange.nir_layers import Chain, Part
from spikeloom.golden.exchange.nir_nodes import NEURONS, POOLS, TAKEN, pair, text, told
from spikeloom.golden.network import Network
from spikeloom.golden.quantization.scales import Scales


@dataclass(frozen=True, kw_only=True)
class _Known(Checked):
    """What NIR does not say of the whole network: a file that we wrote does, or the caller."""

    name: Annotated[str, Len(1, LONGEST_NAME)] = "nir"
    """As `Network.name`."""
    steps: Annotated[int, Interval(ge=1, le=MOST_STEPS)] = 4
    """``T``."""
    dt: Annotated[float, Interval(gt=0)] = 1.0
    """Time step, in the unit of tau."""
    pixel_scale: Annotated[float, Interval(gt=0)] = 1 / 256
    """As `Network.pixel_scale`."""
    padding_pixel: tuple[int, ...] = ()
    """As `Network.padding_pixel`."""
    frame: Annotated[int, Interval(ge=1, le=LARGEST_SIDE)] = 1
    """As `Network.frame`."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Layers that are not in the file, with the reason."""


def _known_of(graph: nir.NIRGraph) -> _Known:
    """ValueError where what we wrote was changed into what it cannot be; the defaults for files of other programs."""
    known = {x.name for x in fields(_Known)}
    return checked(_Known, {key: x for key, x in told(graph).items() if key in known}, "metadata")


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
    given: dict[str, Any] = {"steps": steps, "name": name, "dt": dt, "pixel_scale": pixel_scale}
    known = replace(_known_of(graph), **{key: x for key, x in given.items() if x is not None})
    if weight_bits not in (4, 8):
        raise ValueError(f"weight_bits must be 4 or 8, not {weight_bits!r}")
    first, *inner, _ = _chain(graph, known.dt)
    shape = tuple(int(n) for n in np.ravel(graph.nodes[first].output_type["output"]))
    if len(shape) not in (1, 3):
        raise ValueError(f"node {first!r}: the input must have shape (C,) or (C, H, W), not {shape}")
    channels, height, width = image = shape if len(shape) == 3 else (*shape, 1, 1)
    chain = Chain(
        steps=known.steps,
        dt=known.dt,
        pixel_scale=known.pixel_scale,
        weight_bits=weight_bits,
        scales=scales,
        part=Part.behind(image, flat=len(shape) == 1),
    )
    for node in inner:
        chain.take(node, graph.nodes[node])
    chain.finish()
    return Network(
        name=known.name,
        steps=known.steps,
        channels=channels,
        height=height,
        width=width,
        layers=tuple(chain.layers),
        pixel_scale=known.pixel_scale,
        padding_pixel=known.padding_pixel,
        frame=known.frame,
        provenance={"nir": {"nodes": len(graph.nodes), "left_out": known.left_out}},
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


def _chain(graph: nir.NIRGraph, dt: float) -> list[str]:
    """The nodes' names from input to output. ValueError with every node that cannot be taken."""
    complaints = [f"node {name!r} ({type(node).__name__}): {why}" for name, node in graph.nodes.items()
                  for why in _complaints(node, dt)]  # fmt: skip
    unknown = sorted({name for edge in graph.edges for name in edge if name not in graph.nodes})
    complaints += [f"node {name!r}: an edge leads to it, and there is none" for name in unknown]
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
    if not isinstance(node, TAKEN):
        return ["a network has no such node"]
    found = []
    if isinstance(node, POOLS):
        size, stride, padding = pair(node.kernel_size), pair(node.stride), pair(node.padding)
        if size != stride or padding != (0, 0):
            found.append(f"pooling must be without overlap and padding, not kernel {size}, {stride}, {padding}")
    if isinstance(node, nir.Conv2d):
        shape = node.weight.shape[2:]
        stride, dilation = pair(node.stride), pair(node.dilation)
        if shape[0] != shape[1] or stride[0] != stride[1] or dilation[0] != dilation[1]:
            found.append(f"kernel, stride and dilation must be square, not {shape}, {stride}, {dilation}")
        elif isinstance(text(node.padding), str):
            if text(node.padding) == "same" and (stride[0] != 1 or (shape[0] - 1) * dilation[0] % 2):
                found.append("padding 'same' needs stride 1 and an odd kernel")
        elif len(set(pair(node.padding))) > 1:
            found.append(f"padding must be square, not {pair(node.padding)}")
    if isinstance(node, NEURONS):
        if np.any(node.v_reset != 0):
            found.append("v_reset must be 0")
        if np.any(np.asarray(node.v_threshold) <= 0) or np.any(np.asarray(node.r) <= 0):
            found.append("r and v_threshold must be positive")
    if isinstance(node, nir.LIF) and not np.allclose(np.asarray(node.tau) / dt, 2, rtol=1e-6):
        low, high = float(np.min(node.tau)), float(np.max(node.tau))
        shown = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        found.append(f"tau must be 2 dt, a leak of one half, not {shown} with dt = {dt:g}")
    return found
