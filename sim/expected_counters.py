"""What the hardware's counters must show for an image, computed from the recorded activations.

A core of ``lanes`` L computes ``ceil(C_out / L)`` tiles of a layer one after the other; ``columns`` P are
horizontally adjacent output positions that share a weight row; potentials are read and written in words of
``neuron_lanes``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from spikeloom.golden.network import Layer, Network, TensorInfo
from spikeloom.golden.network.execute import Execution


@dataclass(frozen=True, kw_only=True, eq=False)
class ExpectedCounters:
    """Counts of one layer, or of all; each an int64 array (B,), one number an image.

    sops_done: synaptic operations: one for each output channel that a set input bit adds to. Bits are those
    of every plane, at each step that the layer and its input both have (once for the image), in the
    receptive field of each output position. Attention: the set bits of Q whose row of K^T V is not empty,
    times the lanes.
    kv_updates: rows of V added to K^T V, the other half of the attention; 0 elsewhere.
    events: weight rows applied to the array: once a tile for a group of columns of which any has the bit.
    rows_skipped: rows offered and not applied. Offered is every channel and plane of the words of the
    receptive field that lie in the image for any column. Attention: of Q alone.
    membrane_reads, membrane_writes: words of potentials: no read at the first step, no write after the last.
    membrane_reads_saved, membrane_writes_saved: what all ``T_max`` steps would cost, less that.
    spikes: fired, before pooling.
    """

    sops_done: np.ndarray
    kv_updates: np.ndarray
    events: np.ndarray
    rows_skipped: np.ndarray
    membrane_reads: np.ndarray
    membrane_writes: np.ndarray
    membrane_reads_saved: np.ndarray
    membrane_writes_saved: np.ndarray
    spikes: np.ndarray


TOTAL = "total"


def expected_counters(
    network: Network, execution: Execution, *, lanes: int, columns: int, neuron_lanes: int
) -> dict[str, ExpectedCounters]:
    """Counts of each layer by name, and of the whole network under `TOTAL`.

    execution: recorded. Raises ValueError for one that is not, for numbers below 1, and where the lanes
    neither divide nor are a multiple of the channels of a head, and for layers that the core does not have.
    """
    for layer in network.layers:
        if not layer.fires:
            raise ValueError(f"layer {layer.name!r}: the core has no membrane shortcuts yet, so nothing to count")
        if layer.pool_first:
            raise ValueError(f"layer {layer.name!r}: the core pools no currents yet, only spikes: nothing to count")
        if layer.depthwise or (layer.spiking and layer.neuron.levels > 1):
            raise ValueError(f"layer {layer.name!r}: the core has no such layers yet, so nothing to count")
    for name, value in (("lanes", lanes), ("columns", columns), ("neuron_lanes", neuron_lanes)):
        if value < 1:
            raise ValueError(f"{name} must be positive, not {value!r}")
    if len(execution.tensors) <= len(network.spiking):
        raise ValueError("the execution was not recorded; call execute(..., record=True)")
    info = network.tensors()
    found = {}
    for layer in network.layers:
        tiles = _tiles(layer.channels_out, lanes)
        if layer.kind == "attention":
            work = _attention(layer, execution, tiles, lanes, columns)
        else:
            work = _accumulate(layer, info[layer.inputs[0]], execution, len(tiles), columns)
        words = sum(-(-valid // neuron_lanes) for valid in tiles)
        found[layer.name] = _complete(network, layer, execution, work, words)
    found[TOTAL] = ExpectedCounters(
        **{x.name: sum(getattr(row, x.name) for row in found.values()) for x in fields(ExpectedCounters)}
    )
    return found


def _tiles(channels: int, lanes: int) -> list[int]:
    """Valid lanes of each tile."""
    return [min(lanes, channels - start) for start in range(0, channels, lanes)]


def _complete(
    network: Network, layer: Layer, execution: Execution, work: dict[str, np.ndarray], words: int
) -> ExpectedCounters:
    """Add the membrane accesses and the spikes. words: of potentials a position."""
    nothing = np.zeros(len(execution.sums), np.int64)
    if layer.kind == "readout":
        accesses = words * max(layer.steps * layer.positions - 1, 0)
        saved = 0
        spikes = nothing
    else:
        once = words * layer.positions
        accesses = once * max(layer.steps - 1, 0)
        saved = once * max(network.steps - 1, 0) - accesses
        spikes = execution.spike_counts[layer.name].astype(np.int64)
    return ExpectedCounters(
        **work,
        membrane_reads=nothing + accesses,
        membrane_writes=nothing + accesses,
        membrane_reads_saved=nothing + saved,
        membrane_writes_saved=nothing + saved,
        spikes=spikes,
    )


def _any_of_columns(x: np.ndarray, columns: int) -> np.ndarray:
    """Whether any of each group of adjacent columns is set: (..., W) to (..., groups)."""
    missing = -x.shape[-1] % columns
    x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
    return np.asarray(x.reshape(*x.shape[:-1], x.shape[-1] // columns, columns).any(axis=-1))


def _sum(x: np.ndarray) -> np.ndarray:
    """Sum of (T, B, ...) over all but the images, int64 (B,)."""
    return x.sum(axis=(0, *range(2, x.ndim)), dtype=np.int64)


def _taps(layer: Layer, x: np.ndarray) -> list[np.ndarray]:
    """For each tap of the kernel, the input that each output position sees, (..., H, W); zeros outside."""
    edge = layer.padding
    padded = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(edge, edge)] * 2)
    stride = layer.stride
    rows, columns = (layer.height_conv - 1) * stride + 1, (layer.width_conv - 1) * stride + 1
    return [
        padded[..., r : r + rows : stride, c : c + columns : stride]
        for r in range(layer.kernel)
        for c in range(layer.kernel)
    ]


def _accumulate(
    layer: Layer, info: TensorInfo, execution: Execution, tiles: int, columns: int
) -> dict[str, np.ndarray]:
    x = execution.tensors[layer.inputs[0]]  # (T, B, C, H, W)
    x = x[: min(layer.steps, len(x))]
    bits, applied = (np.zeros(x.shape[1], np.int64) for _ in range(2))
    for plane in range(info.planes):
        for seen in _taps(layer, (x >> plane & 1).astype(bool)):
            bits += _sum(seen)
            applied += _sum(_any_of_columns(seen, columns))
    inside = np.ones((1, layer.height_in, layer.width_in), bool)
    groups = sum(int(_any_of_columns(seen, columns).sum()) for seen in _taps(layer, inside))
    offered = tiles * groups * layer.channels_in * info.planes * len(x)
    return {
        "sops_done": bits * layer.channels_out,
        "kv_updates": np.zeros_like(bits),
        "events": applied * tiles,
        "rows_skipped": offered - applied * tiles,
    }


def _attention(layer: Layer, execution: Execution, tiles: list[int], lanes: int, columns: int) -> dict[str, np.ndarray]:
    sources = [execution.tensors[name] for name in layer.inputs]
    steps = min(layer.steps, *(len(x) for x in sources))
    q, k, _ = (x[:steps].astype(bool) for x in sources)  # (T, B, C, H, W)
    width = layer.channels_in // layer.heads
    if lanes % width and width % lanes:
        raise ValueError(
            f"layer {layer.name!r}: {lanes} lanes neither divide nor are a multiple of a head's {width} channels"
        )
    touched = k.any(axis=(3, 4), keepdims=True)
    useful = q & touched
    sops, updates, events, skipped = (np.zeros(q.shape[1], np.int64) for _ in range(4))
    for tile, valid in enumerate(tiles):
        start = tile * lanes
        if width > lanes:  # the whole head that the tile is a part of
            start, count = start - start % width, width
        else:
            count = valid
        part = slice(start, start + count)
        updates += _sum(k[:, :, part])
        sops += _sum(useful[:, :, part]) * valid
        applied = _sum(_any_of_columns(useful[:, :, part], columns))
        events += applied
        groups = layer.height_in * -(-layer.width_in // columns)
        skipped += steps * groups * count - applied
    return {"sops_done": sops, "kv_updates": updates, "events": events, "rows_skipped": skipped}
