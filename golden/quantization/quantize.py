"""From a trained model to the integer `Network`; what follows is of Spikformers (else `quantize_e_spikeformer`).

Batch norm folds into weights and bias. The scale of a channel, the real value of one integer unit of its
accumulator, folds into its threshold, so nothing is ever rescaled:

    threshold = gain * V_th / scale        gain 2 for SpikingJelly's LIF, whose input decays: 2 H = V + X
    bias      = round(folded bias / scale)
    attention: scale 0.125, hence 8 = 2 * 0.5 / 0.125 for SpikingJelly's LIF

"power-of-two" scales are 2^-k: all numbers of the network are dyadic, and the integer network equals the
floating-point model with the quantised weights spike by spike. "free" scales are ``gain * V_th / n`` with
an integer threshold n: closer to the trained weights at 4 bits, and still without a rounded threshold, but
floating point cannot hold them exactly, so the integer network is the reference.

Membrane shortcuts: a branch's weights have power-of-two scales, the stream the finest of each channel's
branches. A branch whose scale would need a larger shift than the network has takes a coarser one.

The pixel scale 1/256 belongs to the first layer's scale. All classes of the readout share one. Where the
model normalises its pixels, ``(p / 255 - mean) / std``, the first layer's weights take ``256 / (255 std)`` of
their channel and its bias the rest; zero padding is then the pixel ``255 mean``, of which the network holds
the rounded one (`Network.padding_pixel`; docs/decisions.md has what the rounding costs).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spikeloom.golden.models.architectures import Model
from spikeloom.golden.models.e_spikeformer import ESpikeformer
from spikeloom.golden.models.spikformer import (
    ATTENTION_SCALE,
    PIXEL_SCALE,
    PIXEL_TOP,
    Branch,
    Spikformer,
    SpikformerConfig,
    Stage,
)
from spikeloom.golden.models.spikformer_layers import NEURONS, Site, sites
from spikeloom.golden.network import IMAGE, MOST_SHIFT, Coding, Layer, Network
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.widths import widths
from spikeloom.golden.quantization.quantize_e_spikeformer import FoldedESpikeformer, norm_of, quantize_e_spikeformer
from spikeloom.golden.quantization.scales import ChannelBias, bits_of, framed, head_of, readout_tensors
from spikeloom.golden.quantization.scales import Scales as Scales
from spikeloom.golden.quantization.scales import best_scale as best_scale
from spikeloom.golden.quantization.scales import fold as fold
from spikeloom.golden.quantization.scales import folded_tensors as folded_tensors
from spikeloom.golden.quantization.scales import round_weights as round_weights
from spikeloom.golden.quantization.scales import weight_scale as weight_scale
from spikeloom.golden.threads import torch_threads

GAIN = {"spikingjelly": 2, "dts": 1}


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """What quantisation did to a layer.

    weight_bits, steps: of the layer. weight_low, weight_high: real range of the folded weights. clipped:
    share of the weights outside the integer range, 0..1. error: root mean square of the rounding relative
    to that of the weights. accumulator_bits, membrane_bits: proven worst-case widths. accuracy_lost:
    accuracy of the model in floating point minus the one with this layer alone quantised, None where it was
    not measured or the layer has no weights.
    """

    name: str
    weight_bits: int
    steps: int
    weight_low: float | None
    weight_high: float | None
    clipped: float
    error: float
    accumulator_bits: int
    membrane_bits: int
    accuracy_lost: float | None


def padding_pixel(config: SpikformerConfig) -> tuple[float, ...]:
    """The pixel of each channel that the model sees as zero, its padding; empty where that is the pixel 0."""
    return () if config.mean is None else tuple(PIXEL_TOP * x for x in config.mean)


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
    given: dict[str, Any] = dict(weight_bits=weight_bits, scales=scales, coding=coding, provenance=provenance)
    if isinstance(model, ESpikeformer):
        network = quantize_e_spikeformer(model, name=name or "e_spikeformer", **given)
    else:
        network = _quantize_spikformer(model, name=name or "spikformer", **given)
    if images is not None and labels is not None:
        measured = {"accuracy_integer": execute(network, images).accuracy(labels), "images": len(images)}
        network = replace(network, provenance={**network.provenance, **measured})
    return network


def _quantize_spikformer(
    model: Spikformer,
    *,
    weight_bits: int | Mapping[str, int],
    scales: Scales,
    name: str,
    coding: Coding,
    provenance: Mapping[str, Any] | None,
) -> Network:
    config = model.config
    stages = {stage.name: stage for stage in model.layers()}
    steps = model.time_steps()
    bits = bits_of(weight_bits, [*stages, "head"])
    units = _branch_units(model, bits)
    layers = []
    for site in _sites(config):
        stage = stages.get(site.name)
        if stage is None:
            layers.append(_readout(model, site, bits["head"]))
        elif isinstance(stage, Stage):
            fields = {"steps": steps[site.name], "weight_bits": bits[site.name]}
            layers.append(_layer(stage, site, config, scales, stream=units.get("stream"), **fields))
        else:
            layers.append(_branch(stage, site, config, bits[site.name], units[site.name], units["stream"]))
    options = {"weight_bits": bits, "scales": scales}
    frame = 2 if config.mean is not None else 0
    return Network(
        name=name,
        steps=config.steps,
        channels=config.channels,
        height=config.height + frame,
        width=config.width + frame,
        padding_pixel=tuple(round(x) for x in padding_pixel(config)),
        layers=tuple(layers),
        pixel_scale=PIXEL_SCALE,
        coding=coding,
        provenance={**(provenance or {}), "config": asdict(config), "quantization": options},
    ).with_steps({})


def report(
    model: Model,
    network: Network,
    *,
    images: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[LayerReport]:
    """What quantisation did, layer by layer.

    images, labels: where given, the accuracy lost when only that layer is quantised is measured on them.
    progress: called with the layers done and their number.
    """
    proven = widths(network)
    whole = _accuracy(_folded(model), images, labels)
    stages: dict[str, Branch] = {stage.name: stage for stage in model.layers()}
    rows = []
    for layer in network.layers:
        row = LayerReport(
            name=layer.name,
            weight_bits=layer.weight_bits,
            steps=layer.steps,
            weight_low=None,
            weight_high=None,
            clipped=0.0,
            error=0.0,
            accumulator_bits=proven[layer.name].accumulator,
            membrane_bits=proven[layer.name].membrane,
            accuracy_lost=None,
        )
        if layer.weight is not None:
            real = head_of(model.head)[0] if layer.kind == "readout" else fold(stages[layer.name])[0]
            norm = norm_of(layer, model.config) if isinstance(model, ESpikeformer) else 1
            unit = weight_scale(layer, norm)[:, None, None, None]
            top = (1 << layer.weight_bits - 1) - 1
            wanted = np.rint(real / unit)
            lost = None
            if whole is not None:
                alone = _folded(model, network, only=layer.name)
                part = _accuracy(alone, images, labels)
                lost = None if part is None else whole - part
            row = replace(
                row,
                weight_low=float(real.min()),
                weight_high=float(real.max()),
                clipped=float(((wanted > top) | (wanted < -top - 1)).mean()),
                error=float(np.sqrt(((layer.weight * unit - real) ** 2).sum() / (real**2).sum())),
                accuracy_lost=lost,
            )
        rows.append(row)
        if progress is not None:
            progress(len(rows), len(network.layers))
    return rows


class FoldedSpikformer(Spikformer):
    """A Spikformer in evaluation whose batch norms are folded, in floating point.

    network: where given, its quantised weights, biases and thresholds take the place of the model's, in the
    layer called ``only`` or in all.
    """

    def __init__(
        self,
        model: Spikformer,
        network: Network | None = None,
        *,
        only: str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(replace(model.config, bias=False))
        self.load_state_dict(model.state_dict(), strict=False)
        self.to(torch.float64)
        self.padding_pixel = padding_pixel(model.config)
        if self.padding_pixel:
            first = self.patch_embed.proj_conv
            assert isinstance(first, nn.Conv2d)
            first.padding = (0, 0)
            if network is not None and only in (None, "sps.0"):
                self.padding_pixel = network.padding_pixel
        gain = GAIN[model.config.neuron]
        originals = {stage.name: stage for stage in model.layers()}
        for stage in self.layers():
            layer = None if network is None or only not in (None, stage.name) else network.layer(stage.name)
            if layer is not None and isinstance(stage, Stage):
                self._set_threshold(stage, layer, gain)
            if stage.projection is None:
                continue
            weight, bias = fold(originals[stage.name])
            if layer is not None and layer.weight is not None:
                weight = layer.weight * weight_scale(layer)[:, None, None, None]
                bias = layer.bias * layer.scale / (1 if layer.shift is None else 2.0**layer.shift)
            stage.projection.weight.data = torch.from_numpy(weight).reshape(stage.projection.weight.shape)
            assert stage.norm_name is not None
            setattr(stage.owner, stage.norm_name, ChannelBias(torch.from_numpy(bias)))
        if network is not None and only in (None, "head"):
            layer = network.layers[-1]
            assert layer.weight is not None
            self.head.weight.data = torch.from_numpy(layer.weight[:, :, 0, 0] * layer.scale[:, None])
            count = layer.positions * network.steps
            self.head.bias.data = torch.from_numpy(layer.bias * layer.scale / count)
        self.to(dtype).eval()

    def scaled(self, images: Tensor) -> Tensor:
        """The images on the pixels' scale, with a frame of the padding pixel where the model normalises."""
        x = images.to(self.head.weight.dtype)
        if self.padding_pixel:
            x = framed(x, self.padding_pixel, 1)
        return x * PIXEL_SCALE

    @staticmethod
    def _set_threshold(stage: Stage, layer: Layer, gain: int) -> None:
        """All channels have one real threshold; the integer ones differ by the scale alone."""
        real = layer.threshold * layer.scale / gain
        if not np.allclose(real, real[0], rtol=1e-12):
            raise ValueError(f"layer {layer.name!r}: its channels have different real thresholds")
        stage.neurons.threshold = float(real[0])


class QuantizedSpikformer(FoldedSpikformer):
    """The floating-point model that holds a network's quantised weights, biases, thresholds and time steps.

    With power-of-two scales the integer executor equals it spike by spike. In float64 always; in float32 (the
    default) while the potentials and the fraction bits of their halvings fit its 24 bits.
    """

    def __init__(self, network: Network, *, dtype: torch.dtype = torch.float32) -> None:
        if "config" not in network.provenance:
            raise ValueError(f"network {network.name!r} was not made from a Spikformer")
        config = replace(SpikformerConfig(**network.provenance["config"]), dynamic=False, bias=False)
        super().__init__(Spikformer(config), network, dtype=dtype)
        for stage in self.stages():
            stage.neurons.time_steps = network.layer(stage.name).steps


def _sites(config: SpikformerConfig) -> list[Site]:
    return sites(
        channels=config.channels,
        height=config.height,
        width=config.width,
        framed=config.mean is not None,
        residual=config.residual,
        pool_first=config.pool_first,
        stem=config.stem,
        pools=config.pools,
        depth=config.depth,
        heads=config.heads,
        hidden=config.hidden,
        classes=config.classes,
    )


def _branch_units(model: Spikformer, bits: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The scale of each branch's channels by its name, and under "stream" theirs; empty without branches."""
    found = {}
    for branch in model.layers():
        if not isinstance(branch, Stage):
            weight, _ = fold(branch)
            limit = GAIN[model.config.neuron] * model.config.threshold
            found[branch.name] = best_scale(
                branch.name, weight, bits[branch.name], limit, limit * 2.0**-16, "power-of-two"
            )
    if not found:
        return {}
    finest, coarsest = (pick(list(found.values())) for pick in (np.minimum.reduce, np.maximum.reduce))
    stream = np.maximum(finest, coarsest / 2.0**MOST_SHIFT)
    return {name: np.maximum(unit, stream) for name, unit in found.items()} | {"stream": stream}


def _branch(
    branch: Branch, site: Site, config: SpikformerConfig, bits: int, unit: np.ndarray, stream: np.ndarray
) -> Layer:
    weight, bias = fold(branch)
    return Layer(
        **site.fields,
        steps=config.steps,
        neuron=NEURONS[config.neuron],
        weight_bits=bits,
        weight=round_weights(weight, unit, bits),
        bias=np.rint(bias / stream).astype(np.int64),
        threshold=np.zeros(len(bias), np.int64),
        scale=unit,
        shift=np.rint(np.log2(unit / stream)).astype(np.int64),
    )


def _layer(
    stage: Stage,
    site: Site,
    config: SpikformerConfig,
    scales: Scales,
    *,
    steps: int,
    weight_bits: int,
    stream: np.ndarray | None,
) -> Layer:
    """A layer that fires. stream: scale of the membrane stream, which layers of kind "neurons" read."""
    bits, gain, v_th = weight_bits, GAIN[config.neuron], stage.neurons.threshold
    fields = dict(site.fields, steps=steps, neuron=NEURONS[config.neuron], weight_bits=bits)
    channels = site.fields["channels_out"]
    if stage.projection is None:
        scale = np.full(channels, ATTENTION_SCALE)
        if stream is not None and site.fields["kind"] == "neurons":
            scale = stream
        return Layer(
            **fields,
            bias=np.zeros(channels, np.int64),
            threshold=_integer_threshold(site.name, gain * v_th / scale),
            scale=scale,
        )
    weight, bias = fold(stage)
    pixel = PIXEL_SCALE if site.fields["inputs"][0] == IMAGE else 1.0
    unit = best_scale(site.name, weight, bits, gain * v_th / pixel, gain * v_th * 2.0**-16, scales)
    scale = unit * pixel
    return Layer(
        **fields,
        weight=round_weights(weight, unit, bits),
        bias=np.rint(bias / scale).astype(np.int64),
        threshold=_integer_threshold(site.name, gain * v_th / scale),
        scale=scale,
    )


def _readout(model: Spikformer, site: Site, bits: int) -> Layer:
    count = site.fields["height_in"] * site.fields["width_in"] * model.config.steps
    fields = dict(site.fields, steps=model.config.steps, weight_bits=bits)
    return Layer(**fields, **readout_tensors(model.head, bits, count))


def _integer_threshold(name: str, real: np.ndarray) -> np.ndarray:
    threshold = np.rint(real)
    if not np.allclose(threshold, real, rtol=1e-9):
        raise ValueError(f"layer {name!r}: threshold {real.ravel()[0]} is no multiple of its scale")
    return threshold.astype(np.int64)


def _folded(model: Model, network: Network | None = None, *, only: str | None = None) -> Model:
    if isinstance(model, ESpikeformer):
        return FoldedESpikeformer(model, network, only=only)
    return FoldedSpikformer(model, network, only=only)


def _accuracy(model: Model, images: np.ndarray | None, labels: np.ndarray | None) -> float | None:
    if images is None or labels is None:
        return None
    with torch.no_grad(), torch_threads(1):
        parts = [model(part).argmax(1) for part in torch.from_numpy(images).split(180)]
    return float((torch.cat(parts).numpy() == labels).mean())
