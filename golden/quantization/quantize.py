"""From a trained model to the integer `Network`.

Batch norm folds into weights and bias. The scale of a channel, the real value of one integer unit of its
accumulator, folds into its threshold, so nothing is ever rescaled:

    bias        round(folded bias / scale)
    threshold   of neurons with one real threshold: that / scale, an integer by the choice of the scale
                of integer spikes: threshold[j] = least integer H with round(H * scale) >= j, half to even
    attention   scale 0.125 of a Spikformer, hence 8 = 2 * 0.5 / 0.125 for SpikingJelly's LIF (gain 2, V_th 0.5);
                2 / sqrt(d) / D^3 of an E-SpikeFormer
    a mean of N the stream's scale / N

"power-of-two" scales are 2^-k: all numbers of the network are dyadic, and the integer network equals the
floating-point model with the quantised weights spike by spike (of an E-SpikeFormer where its D is a power of two as
well). "free" scales are parts of the threshold, ``threshold / n`` for an integer n: closer to the trained weights at
4 bits, and still without a rounded threshold, but floating point cannot hold them exactly, so the integer network is
the reference.

Membrane shortcuts: a branch's weights have power-of-two scales, the stream the finest of each channel's
branches. A branch whose scale would need a larger shift than the network has takes a coarser one.

The pixel scale 1/256 belongs to the first layer's scale. All classes of the readout share one. Where the
model normalises its pixels, ``(p / 255 - mean) / std``, the first layer's weights take ``256 / (255 std)`` of
their channel and its bias the rest; zero padding is then the pixel ``255 mean``, of which the network holds
the rounded one (`Network.padding_pixel`; docs/decisions.md has what the rounding costs).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import reduce
from typing import Any

import numpy as np

from spikeloom.golden.models.architectures import Model
from spikeloom.golden.models.pixels import PIXEL_SCALE
from spikeloom.golden.network import MOST_SHIFT, Coding, Layer, Network
from spikeloom.golden.network.execute import execute
from spikeloom.golden.quantization.blueprints import blueprint
from spikeloom.golden.quantization.parts import Part
from spikeloom.golden.quantization.scales import Scales, best_scale, bits_of, round_weights, shared_scale


def quantize(
    model: Model,
    *,
    weight_bits: int | Mapping[str, int] = 8,
    scales: Scales = "power-of-two",
    name: str | None = None,
    coding: Coding = "planes",
    provenance: Mapping[str, Any] | None = None,
    images: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> Network:
    """The integer network of a trained model.

    weight_bits: 8 or 4, of all layers or by layer name (8 where a name is missing). scales: see the module.
    name: the architecture's when None. coding: of integers above 1 in dot products (`Network.coding`).
    provenance: goes into the network, next to the configuration and the options of the quantisation.
    images, labels: where given, the integer accuracy on them is measured and goes there too.
    Raises ValueError for other options, for a mask that is no prefix, and for weights that no scale can hold.
    """
    if scales not in ("power-of-two", "free"):
        raise ValueError(f"scales must be power-of-two or free, not {scales!r}")
    plan = blueprint(model)
    bits = bits_of(weight_bits, [part.name for part in plan.parts])
    streams = _Streams(plan.parts, bits)
    about = {"architecture": plan.architecture, "config": asdict(plan.config)}
    height, width = plan.size
    network = Network(
        name=name or plan.architecture,
        steps=plan.steps,
        channels=plan.config.channels,
        height=height,
        width=width,
        padding_pixel=tuple(round(x) for x in plan.padding),
        frame=plan.frame,
        layers=tuple(_layer(part, bits[part.name], scales, streams) for part in plan.parts),
        pixel_scale=PIXEL_SCALE,
        coding=coding,
        provenance={**(provenance or {}), **about, "quantization": {"weight_bits": bits, "scales": scales}},
    ).with_steps({})
    if images is not None and labels is not None:
        measured = {"accuracy_integer": execute(network, images).accuracy(labels), "images": len(images)}
        network = replace(network, provenance={**network.provenance, **measured})
    return network


class _Streams:
    """Scales of the branches' accumulators and of the streams that they add to, by the branches' names."""

    def __init__(self, parts: Sequence[Part], bits: Mapping[str, int]) -> None:
        self._first: dict[str, str] = {}  # the branch that begins the stream of each branch
        wanted = {}
        for part in parts:
            if not part.fires:
                residual = part.fields["residual"]
                self._first[part.name] = part.name if residual is None else self._first[residual]
                wanted[part.name] = _accumulator_scale(part, bits[part.name], "power-of-two")
        self._stream: dict[str, np.ndarray] = {}
        self._branch: dict[str, np.ndarray] = {}
        for first in dict.fromkeys(self._first.values()):
            branches = {name: unit for name, unit in wanted.items() if self._first[name] == first}
            finest, coarsest = (reduce(pick, branches.values()) for pick in (np.minimum, np.maximum))
            self._stream[first] = np.maximum(finest, coarsest / 2.0**MOST_SHIFT)
            self._branch |= {name: np.maximum(unit, self._stream[first]) for name, unit in branches.items()}

    def branch(self, name: str) -> np.ndarray:
        """Scale of the accumulators of a branch."""
        return self._branch[name]

    def stream(self, name: str) -> np.ndarray:
        """Scale of the stream that a branch makes."""
        return self._stream[self._first[name]]


def _accumulator_scale(part: Part, bits: int, scales: Scales) -> np.ndarray:
    """Real value of one integer of the accumulators of a part with weights, (O,)."""
    assert part.weight is not None and part.firing is not None
    limit = part.firing.limit(part.input_one, scales)
    return best_scale(part.name, part.weight, bits, limit, part.firing.resolution, scales) * (1 / part.input_one)


def _layer(part: Part, bits: int, scales: Scales, streams: _Streams) -> Layer:
    if part.weight is None:
        return _without_weights(part, bits, streams)
    if part.kind == "readout":
        return _weighted(part, bits, shared_scale(part.weight, bits))
    if part.fires:
        return _weighted(part, bits, _accumulator_scale(part, bits, scales))
    return _branch(part, bits, streams)


def _weighted(part: Part, bits: int, scale: np.ndarray) -> Layer:
    """A layer with neurons, or the readout, with that scale of its accumulators."""
    assert part.weight is not None and part.bias is not None
    threshold = np.zeros(part.channels, np.int64)
    if part.firing is not None:
        threshold = part.firing.thresholds(part.name, scale, lambda h: h * scale)
    return Layer(
        **part.fields,
        weight_bits=bits,
        weight=round_weights(part.weight, part.unit(scale), bits),
        bias=np.rint(part.bias * part.divisor / scale).astype(np.int64),
        threshold=threshold,
        scale=scale,
    )


def _branch(part: Part, bits: int, streams: _Streams) -> Layer:
    assert part.weight is not None and part.bias is not None
    scale, stream = streams.branch(part.name), streams.stream(part.name)
    return Layer(
        **part.fields,
        weight_bits=bits,
        weight=round_weights(part.weight, part.unit(scale), bits),
        bias=np.rint(part.bias / stream).astype(np.int64),
        threshold=np.zeros(part.channels, np.int64),
        scale=scale,
        shift=np.rint(np.log2(scale / stream)).astype(np.int64),
    )


def _without_weights(part: Part, bits: int, streams: _Streams) -> Layer:
    """Attention, and neurons of a stream."""
    assert part.firing is not None
    unit = streams.stream(part.fields["inputs"][0]) if part.kind == "neurons" else np.ones(part.channels)
    scale = part.factor * unit / part.divisor
    return Layer(
        **part.fields,
        weight_bits=bits,
        bias=np.zeros(part.channels, np.int64),
        threshold=part.firing.thresholds(part.name, scale, lambda h: h * unit / part.divisor * part.factor),
        scale=scale,
    )
