"""What the hardware's counters must show for an image, computed from the recorded activations.

Tiles of a layer are computed one after the other; ``columns`` horizontally adjacent output positions share a weight
row; potentials are read and written in words of ``neuron_lanes``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from spikeloom.gen.plan import LayerPlan, Plan
from spikeloom.golden.network import Layer
from spikeloom.golden.network.execute import Execution
from spikeloom.rtl.core.config import CoreConfig


@dataclass(frozen=True, kw_only=True, eq=False)
class ExpectedCounters:
    """Counters of one layer, or of all; each an int64 array (B,), one number per image."""

    sops_done: np.ndarray
    """Synaptic operations: one for each output channel that a set input bit adds to. Bits are those of every plane, at
    each step that the layer and its input both have (once for the image), in the receptive field of each output
    position. Attention: the set bits of Q whose row of K^T V is not empty, times the lanes, times the digits."""
    kv_updates: np.ndarray
    """Rows of V added to K^T V, whatever its digits, the other half of the attention; 0 elsewhere."""
    events: np.ndarray
    """Weight rows applied to the array: once per tile for a group of positions of which any has the bit."""
    rows_skipped: np.ndarray
    """Rows offered and not applied. Offered is every channel and plane of the words of the receptive field that lie in
    the image for any column; where the image is read, every tap of the rows that lie in it. Attention: of Q alone."""
    membrane_reads: np.ndarray
    """Words of potentials read: none at the first step."""
    membrane_writes: np.ndarray
    """Words of potentials written: none after the last step."""
    membrane_reads_saved: np.ndarray
    """What all ``T_max`` steps would read, less what is read."""
    membrane_writes_saved: np.ndarray
    """Likewise written."""
    spikes: np.ndarray
    """Fired, before pooling."""


TOTAL = "total"


def expected_counters(plan: Plan, execution: Execution) -> dict[str, ExpectedCounters]:
    """The counters of each layer by name, and of the whole network under `TOTAL`.

    execution: of the plan's network, recorded; ValueError for one that is not.
    """
    if len(execution.tensors) <= len(plan.network.spiking):
        raise ValueError("the execution was not recorded; call execute(..., record=True)")
    found = {}
    for layer in plan.layers:
        attention = layer.layer.kind == "attention"
        work = _attention(layer, execution, plan.config) if attention else _accumulate(layer, execution)
        found[layer.name] = _complete(layer, execution, work, plan.network.steps)
    found[TOTAL] = ExpectedCounters(
        **{x.name: sum(getattr(row, x.name) for row in found.values()) for x in fields(ExpectedCounters)}
    )
    return found


def _complete(plan: LayerPlan, execution: Execution, work: dict[str, np.ndarray], most_steps: int) -> ExpectedCounters:
    """Add the membrane accesses and the spikes. most_steps: ``T_max``."""
    nothing = np.zeros(len(execution.sums), np.int64)
    words = sum(tile.neuron_words for tile in plan.tiles)  # of potentials per position
    if plan.readout:
        accesses = words * (plan.steps * plan.positions - 1)
        saved = 0
        spikes = nothing
    else:
        once = words * plan.positions
        accesses = once * max(plan.steps - 1, 0)
        saved = once * max(most_steps - 1, 0) - accesses
        spikes = execution.spike_counts[plan.name].astype(np.int64)
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


def _accumulate(plan: LayerPlan, execution: Execution) -> dict[str, np.ndarray]:
    layer, shape = plan.layer, plan.shape
    x = execution.tensors[layer.inputs[0]][: shape.computed_steps]  # (T, B, C, H, W)
    bits, applied = (np.zeros(x.shape[1], np.int64) for _ in range(2))
    for plane in range(shape.inputs[0].planes):
        for seen in _taps(layer, (x >> plane & 1).astype(bool)):
            bits += _sum(seen)
            applied += _sum(_any_of_columns(seen, plan.group))
    inside = np.ones((1, layer.height_in, layer.width_in), bool)
    groups = sum(int(_any_of_columns(seen, plan.group).sum()) for seen in _taps(layer, inside))
    if layer.direct:  # a word has all taps of a row
        rows = [y * layer.stride + tap - layer.padding for y in range(layer.height_conv) for tap in range(layer.kernel)]
        groups = sum(0 <= row < layer.height_in for row in rows) * layer.kernel * -(-layer.width_conv // plan.group)
    tiles = len(plan.tiles)
    offered = tiles * groups * layer.channels_in * shape.inputs[0].planes * len(x)
    return {
        "sops_done": bits * layer.channels_out,
        "kv_updates": np.zeros_like(bits),
        "events": applied * tiles,
        "rows_skipped": offered - applied * tiles,
    }


def _attention(plan: LayerPlan, execution: Execution, config: CoreConfig) -> dict[str, np.ndarray]:
    layer, steps = plan.layer, plan.shape.active_steps
    q, k, _ = (execution.tensors[name][:steps].astype(bool) for name in layer.inputs)  # (T, B, C, H, W)
    useful = q & k.any(axis=(3, 4), keepdims=True)
    groups = layer.height_in * -(-layer.width_in // config.columns)
    sops, updates, events, skipped = (np.zeros(q.shape[1], np.int64) for _ in range(4))
    for number, tile in enumerate(plan.tiles):
        part = _channels(plan, number, config.word)
        updates += _sum(k[:, :, part])
        sops += _sum(useful[:, :, part]) * tile.valid * plan.digits
        applied = _sum(_any_of_columns(useful[:, :, part], config.columns)) * plan.digits
        events += applied
        skipped += steps * groups * (part.stop - part.start) * plan.digits - applied
    return {"sops_done": sops, "kv_updates": updates, "events": events, "rows_skipped": skipped}


def _channels(plan: LayerPlan, number: int, word_bits: int) -> slice:
    """Channels of Q and K that a tile's sums are made of: of all heads that it has a part of."""
    words = plan.scanned(number)
    return slice(words.start * word_bits, min(words.stop * word_bits, plan.layer.channels_in))
