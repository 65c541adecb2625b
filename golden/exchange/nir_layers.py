"""A chain of NIR nodes becomes layers: what is linear between two layers of neurons becomes one convolution.

Pooling repeats the weights, Flatten and Linear have a kernel as large as the map. Weights are rounded as in
`golden.quantization.scales`; scales that a file of ours names stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import nir
import numpy as np

from spikeloom.golden.exchange.nir_nodes import NEURONS, POOLS, pair, text, told, ungrouped
from spikeloom.golden.network import IMAGE, Layer, Neuron
from spikeloom.golden.quantization.scales import Scales, best_scale, round_weights

RESOLUTION = 2.0**-16  # of a threshold: the least scale, for weights that are next to nothing


@dataclass
class Part:
    """The linear map since the last neurons: pooling, then at most one convolution, then factors of its channels."""

    shape: tuple[int, ...]
    """Of the last neurons' spikes."""
    size: tuple[int, ...]
    """(C, H, W) that the next node sees."""
    flat: bool
    """A vector, in the order of (C, H, W)."""
    before: np.ndarray
    """Factors of the channels in."""
    pool: tuple[int, int] = (1, 1)
    """Factor of the pooling so far."""
    weight: np.ndarray | None = None
    """Of the convolution, factors of its channels out included; None where there is none yet."""
    bias: np.ndarray | None = None
    """Of the channels out."""
    stride: int = 1
    """Of the convolution."""
    padding: int = 0
    """Of the convolution."""
    depthwise: bool = False
    """Each channel sees itself alone."""
    names: list[str] = field(default_factory=list)
    """Of the nodes."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What a file of ours says of the convolution."""

    @classmethod
    def behind(cls, shape: tuple[int, ...], *, flat: bool) -> Part:
        return cls(shape=shape, size=shape, flat=flat, before=np.ones(shape[0]))


@dataclass
class Chain:
    """Layers made so far, and the linear map behind them."""

    steps: int
    """``T``."""
    dt: float
    """Time step, in the unit of tau."""
    pixel_scale: float
    """Real value of one unit of a pixel."""
    weight_bits: int
    """4 or 8, where the file does not say."""
    scales: Scales
    """Of the channels."""
    part: Part
    """The linear map behind the layers."""
    layers: list[Layer] = field(default_factory=list)
    """Made so far."""

    def take(self, name: str, node: nir.NIRNode) -> None:
        """The next node of the chain."""
        part, where = self.part, f"node {name!r}"
        if isinstance(node, NEURONS):
            self._neurons(name, node)
            return
        part.names.append(name)
        if isinstance(node, POOLS):
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
        part, (height, width) = self.part, pair(node.kernel_size)
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
            if groups == 1 and told(node).get("depthwise") is True and len(weight) == weight.shape[1]:
                thin = weight[range(len(weight)), range(len(weight))][:, None]
                part.depthwise = bool((ungrouped(thin, len(thin)) == weight).all())
                weight = thin if part.depthwise else weight
            if groups > 1 and not part.depthwise:
                weight = ungrouped(weight, groups)
            weight = _dilated(weight, pair(node.dilation)[0])
            part.stride = pair(node.stride)[0]
            padding = text(node.padding)
            part.padding = (
                {"same": len(weight[0, 0]) // 2, "valid": 0}[padding] if isinstance(padding, str) else pair(padding)[0]
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
        part.metadata = told(node)

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
        strict = told(node).get("compare", ">") == ">"
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
        self.part = Part.behind(part.size, flat=part.flat)


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


def _dilated(weight: np.ndarray, dilation: int) -> np.ndarray:
    """The kernel with zeros between its taps."""
    size = (weight.shape[2] - 1) * dilation + 1
    found = np.zeros((*weight.shape[:2], size, size))
    found[:, :, ::dilation, ::dilation] = weight
    return found
