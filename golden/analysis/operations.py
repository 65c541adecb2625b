"""The work that a network does for an image: operations and memory accesses, counted in what its layers really did.

They depend on the network and the images alone; what a core of given lanes and columns does about them is in
`spikeloom.sim.expected_counters`, and what they cost in `spikeloom.golden.analysis.energy`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from spikeloom.golden.network import Layer, LayerShape, Network
from spikeloom.golden.network.execute import BATCH, Execution, check_images, execute
from spikeloom.golden.network.shapes import coverage

TOTAL = "total"
RECORDED_BYTES = 16  # of a neuron and step while an execution is recorded: spikes, potentials, tensors
MEMORY = 1 << 28  # bytes of a batch's recording


@dataclass(frozen=True, kw_only=True)
class Operations:
    """Work of one layer, or of all, for one image: the mean over the images.

    A synaptic operation is one addition to the accumulator of one output channel, for an input that is not zero. A
    value n is n of them where it is done as n spikes ("unary"), and one for each set bit where it is done as
    bit-planes ("planes"); the two are equal for spikes.
    """

    steps: float
    """``T_l``; of all layers their mean over those that fire."""
    dense: float
    """Synaptic operations of one time step if every input were 1; taps in the padding are none. Attention: of both
    products, ``K^T V`` first."""
    macs: float
    """Multiplications of a network of the same shape that does not spike, once per image; its attention is softmax's,
    ``(Q K^T) V``."""
    image_macs: float
    """Of them those of a layer that reads the image, which is no spikes."""
    unary: float
    """Synaptic operations done, of values as spikes. Attention: those of ``Q (K^T V)``, by the rows of ``K^T V`` that
    any token has added to."""
    planes: float
    """The same of values as bit-planes."""
    product_unary: float
    """Those of ``K^T V``: each spike of K adds its token's row of V, whatever it holds."""
    product_planes: float
    """The same of values as bit-planes."""
    checks: float
    """Bits of the input looked at for the set ones: each bit of a receptive field, once for all output channels.
    Attention: of Q and K."""
    neurons: float
    """Neurons."""
    neuron_updates: float
    """``T_l`` for each neuron."""
    spikes: float
    """What the neurons fire, before it is pooled; an integer spike n counts n."""
    activity: float
    """Spikes per neuron and time step of all ``T_max``, an integer spike as its share of the largest."""
    additions: float
    """Of residuals and of membrane streams to what they are added to; and the comparisons of currents that are pooled
    before the neurons, each a subtraction, once per image where its layer reads the image."""
    membrane_reads: float
    """Words of potentials read from memory between steps: none at the first step. The readout's potentials are those
    of its classes, from position to position."""
    membrane_writes: float
    """The same written: none after the last step."""
    stream_reads: float
    """Words of membrane streams (membrane shortcuts)."""
    stream_writes: float
    """Words of membrane streams."""
    weights: float
    """Words of weights."""
    activation_reads: float
    """Bits of tensors, each read once at each step for all that the layer does with it."""
    activation_writes: float
    """Bits of tensors, each written once, after pooling and with the residual added."""


def operations(
    network: Network,
    images: np.ndarray,
    *,
    batch: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Operations]:
    """Operations of each layer by name, and of the whole network under `TOTAL`.

    images: uint8 (B, C, H, W), at least one. batch: images at a time, no influence on the result; as many as
    `MEMORY` holds when None. progress: called with the number of images done.
    Raises TypeError or ValueError where the images are not the network's.
    """
    images = check_images(network, images)
    if not len(images):
        raise ValueError("images must be at least one, not 0")
    batch = batch_size(network) if batch is None else batch
    if batch < 1:
        raise ValueError(f"batch must be positive, not {batch!r}")
    done: dict[str, dict[str, int]] = {layer.name: {} for layer in network.layers}
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        execution = execute(network, part, record=True, batch=len(part))
        for layer in network.layers:
            for key, value in _counted(layer, network.shapes.layers[layer.name], execution).items():
                done[layer.name][key] = done[layer.name].get(key, 0) + value
        if progress is not None:
            progress(start + len(part))
    found = {}
    for layer in network.layers:
        counted = {key: value / len(images) for key, value in done[layer.name].items()}
        fixed = _fixed(network, layer, network.shapes.layers[layer.name])
        possible = fixed["neurons"] * network.steps * layer.neuron.levels
        activity = counted["spikes"] / possible if possible else 0.0
        found[layer.name] = Operations(activity=activity, **counted, **{k: float(v) for k, v in fixed.items()})
    found[TOTAL] = _total(network, found)
    return found


def batch_size(network: Network) -> int:
    """Images whose recorded execution takes about `MEMORY`: at least 1, at most what `execute` likes best."""
    values = sum(x.values * max(x.steps, 1) for x in network.tensors().values())
    values += sum(x.positions * x.channels_out * x.steps for x in network.layers)
    return max(1, min(BATCH, MEMORY // (RECORDED_BYTES * values)))


def dense_sops(network: Network, layer: Layer) -> int:
    """Accumulates an image of an array that skips neither zeros nor steps: ``T_max`` steps, the image once.

    Every tap inside the map, channel and bit-plane counts, for each output channel. Attention: of ``Q (K^T V)``.
    """
    if layer.kind == "attention":
        return network.steps * layer.positions * layer.channels_in * (layer.channels_out // layer.heads)
    if layer.kind == "neurons":
        return 0
    shape = network.shapes.layers[layer.name]
    return (1 if layer.direct else network.steps) * shape.inputs[0].planes * shape.products


def _comparisons(layer: Layer) -> int:
    """Comparisons of one time step that pool currents: of a window all but one of the outputs that are in the map."""
    if not layer.pool_first:
        return 0
    inside = 1
    for before, after in ((layer.height_conv, layer.height_out), (layer.width_conv, layer.width_out)):
        inside *= sum(min(2 * place + 2, before) - max(2 * place - 1, 0) for place in range(after))
    return layer.channels_out * (inside - layer.positions)


def _counted(layer: Layer, shape: LayerShape, execution: Execution) -> dict[str, int]:
    """What depends on the images, summed over them."""
    found = dict.fromkeys(("unary", "planes", "product_unary", "product_planes"), 0)
    found["spikes"] = int(execution.spike_counts[layer.name].sum()) if layer.spiking else 0
    if layer.kind == "neurons":
        return found
    sources = [execution.tensors[name][: shape.computed_steps] for name in layer.inputs]  # (T, B, C, H, W)
    if layer.kind == "attention":
        q, k, _ = sources
        row = layer.channels_out // layer.heads
        kept = q * k.any(axis=(3, 4), keepdims=True)
        found["unary"], found["planes"] = row * _values(kept), row * _bits(kept)
        found["product_unary"], found["product_planes"] = row * _values(k), row * _bits(k)
        return found
    x, seen, out = sources[0], coverage(layer), layer.fan_out
    found["unary"] = out * int((x.sum(axis=(0, 1, 2), dtype=np.int64) * seen).sum())
    found["planes"] = out * int((np.bitwise_count(x).sum(axis=(0, 1, 2), dtype=np.int64) * seen).sum())
    return found


def _values(x: np.ndarray) -> int:
    return int(x.sum(dtype=np.int64))


def _bits(x: np.ndarray) -> int:
    return int(np.bitwise_count(x).sum(dtype=np.int64))


def _fixed(network: Network, layer: Layer, shape: LayerShape) -> dict[str, int]:
    """What the network alone decides."""
    sources, made, active = shape.inputs, shape.output, shape.computed_steps
    inputs = sum(x.values * x.planes for x in sources if not x.membrane)
    streamed = sum(x.values for x in sources if x.membrane)
    neurons = layer.positions * layer.channels_out if layer.spiking else 0
    found = {
        "steps": layer.steps,
        "dense": 0,
        "macs": 0,
        "image_macs": 0,
        "checks": active * inputs,
        "neurons": neurons,
        "neuron_updates": neurons * layer.steps,
        "additions": active * (streamed + _comparisons(layer)),
        "membrane_reads": neurons * max(layer.steps - 1, 0),
        "stream_reads": active * streamed,
        "stream_writes": 0,
        "weights": 0 if layer.weight is None else layer.weight.size,
        "activation_reads": active * inputs,
        "activation_writes": 0 if made.membrane else made.steps * made.values * made.planes,
    }
    if layer.kind == "attention":
        found["checks"] = active * sum(x.values * x.planes for x in sources[:2])
        found["dense"] = 2 * layer.positions * layer.channels_in * (layer.channels_out // layer.heads)
        found["macs"] = layer.positions**2 * (layer.channels_in + layer.channels_out)
    elif layer.weight is not None:
        found["dense"] = found["macs"] = shape.products
        found["image_macs"] = found["macs"] if layer.direct and active else 0
        found["checks"] = active * sources[0].planes * layer.channels_in * shape.taps
    if layer.kind == "readout":
        found["membrane_reads"] = layer.channels_out * max(layer.steps * layer.positions - 1, 0)
        found["activation_writes"] = 0
    if not layer.fires:
        found["stream_writes"] = network.steps * made.values
    if (other := shape.residual) is not None:
        found["additions"] += other.steps * other.values
        if other.membrane:
            found["stream_reads"] += other.steps * other.values
        else:
            found["activation_reads"] += other.steps * other.values * other.planes
    found["membrane_writes"] = found["membrane_reads"]
    return found


def _total(network: Network, found: dict[str, Operations]) -> Operations:
    sums = {x.name: sum(getattr(row, x.name) for row in found.values()) for x in fields(Operations)}
    possible = sum(found[x.name].neurons * network.steps * x.neuron.levels for x in network.spiking)
    sums["steps"] = network.t_avg
    sums["activity"] = sums["spikes"] / possible if possible else 0.0
    return Operations(**sums)
