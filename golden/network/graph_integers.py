"""The integers of a random network: weights, biases and thresholds at which its neurons fire, within proven widths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from spikeloom.golden.network import IMAGE, MOST_SHIFT, Layer, LayerShape, Network, Neuron, TensorInfo
from spikeloom.golden.network.dice import Dice
from spikeloom.golden.network.execute import LayerRunner
from spikeloom.golden.network.graph_limits import GraphLimits
from spikeloom.golden.network.random_network import random_images, stand_in
from spikeloom.golden.network.widths import accumulator_range, membrane_range, signed_bits

CALIBRATION_IMAGES = 3


class Integers:
    """Gives layers their integers, one after the other, and runs them on a few images.

    header: fields of the `Network`. ``layers`` are those so far.
    """

    def __init__(self, dice: Dice, limits: GraphLimits, header: dict[str, Any]) -> None:
        self.dice, self.limits, self.header = dice, limits, header
        self.layers: list[Layer] = []
        self.shapes: dict[str, LayerShape] = {}
        self.tensors: dict[str, torch.Tensor] = {}

    def add(self, fields: dict[str, Any]) -> tuple[Layer, TensorInfo]:
        """The layer of these fields, with weights, biases and thresholds, and its tensor."""
        if not self.layers:
            images = self._images(fields)
            self.tensors[IMAGE] = torch.from_numpy(images).to(torch.float32)[None]
        layer = self._drawn(fields)
        for _ in range(self.limits.potential_bits):
            if self._fits(layer):
                break
            layer = _halved(layer)
        if layer.fires:
            layer = self._calibrated(layer)
        runner = self._runner(layer)
        currents = runner.currents(self.tensors)
        if layer.fires:
            self.tensors[layer.name] = runner.finish(runner.fire(currents.to(runner.integer))[0], self.tensors)
        else:
            self.tensors[layer.name] = runner.stream(currents, self.tensors)
        made = self._shape(layer).output
        self.layers.append(layer)
        return layer, made

    def readout(self, fields: dict[str, Any]) -> Layer:
        """The last layer, which does not fire."""
        classes = fields["channels_out"]
        bits = self.limits.weight_bits
        bias = self.dice.rng.integers(-500, 501, classes)
        layer = Layer(
            **fields,
            name="head",
            group="head",
            weight=self._weights(fields, bits),
            weight_bits=bits,
            bias=bias,
            threshold=np.zeros(classes, np.int64),
            scale=np.ones(classes),
        )
        while not self._fits(layer):
            layer = _halved(layer)
        return layer

    def _images(self, fields: dict[str, Any]) -> np.ndarray:
        probe = self._probe(self._drawn(fields))
        return probe.framed(random_images(probe, CALIBRATION_IMAGES))

    def _drawn(self, fields: dict[str, Any]) -> Layer:
        """Random weights, biases, shifts; thresholds still zero."""
        kind = fields.get("kind", "accumulate")
        out = fields["channels_out"]
        bits = 4 if self.limits.weight_bits == 4 or self.dice.chance(1 / 3) else 8
        neuron = fields.get("neuron", Neuron())
        name = f"{dict(accumulate='conv', attention='attn').get(kind, kind)}{len(self.layers)}"
        levels = (neuron.levels,) if neuron.levels > 1 and fields.get("fires", True) else ()
        made: dict[str, Any] = dict(fields, name=name, weight_bits=bits)
        made |= dict(threshold=np.zeros((*levels, out), np.int64), scale=np.ones(out))
        made["group"] = {"attention": "attn", "neurons": "mlp"}.get(kind, "sps")
        spread = 3
        if kind == "accumulate":
            made["weight"] = self._weights(fields, bits)
            spread = (2 << bits) * (40 if fields["inputs"][0] == IMAGE else 1)
        if not fields.get("fires", True):
            made["shift"] = self.dice.rng.integers(0, MOST_SHIFT + 1, out)
        return Layer(**made, bias=self.dice.rng.integers(-spread, spread + 1, out) * self.dice.chance(0.8))

    def _weights(self, fields: dict[str, Any], bits: int) -> np.ndarray:
        size = fields.get("kernel", 1)
        shape = (fields["channels_out"], 1 if fields.get("depthwise") else fields["channels_in"], size, size)
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
        rng, style = self.dice.rng, self.dice.rng.random()
        weight = (rng.integers(low, high + 1, shape) + rng.integers(low, high + 1, shape)) // 2 + high // 6
        if style < 0.1:
            weight = np.where(rng.random(shape) < 0.5, low, high)
        elif style < 0.2:
            weight = weight * (rng.random(shape) < 0.2)
        elif style < 0.25:
            weight = np.full(shape, self.dice.choice([low, high]))
        return np.clip(weight, low, high).astype(np.int8)

    def _calibrated(self, layer: Layer) -> Layer:
        """The layer with thresholds at a random share of its currents, and some at the edges, as far as they fit."""
        rng, out = self.dice.rng, layer.channels_out
        currents = self._runner(layer).currents(self.tensors).to(torch.int64)  # (T, B, C, H, W)
        by_channel = np.sort(currents.transpose(0, 2).reshape(out, -1).numpy(), axis=1)
        count = by_channel.shape[1]
        drawn = by_channel[np.arange(out), rng.integers(count // 3, max(count, 1), out)] if count else np.zeros(out)
        base = np.maximum(drawn.astype(np.int64) + layer.bias // 2, 1)
        if layer.neuron.levels > 1:
            return self._fitting(replace(layer, threshold=base + rng.integers(0, 40, layer.threshold.shape).cumsum(0)))
        threshold = base * rng.integers(2, 9, out) // 4
        if self.dice.chance(0.15):  # of any sign, and none at all
            threshold = np.where(rng.random(out) < 0.5, threshold, rng.integers(-20, 2, out))
        layer = self._fitting(replace(layer, threshold=threshold))
        return self._at_the_edge(layer) if self.dice.chance(0.06) else layer

    def _at_the_edge(self, layer: Layer) -> Layer:
        """One channel with the largest bias or threshold of either sign that fits."""
        field, sign = self.dice.choice(["bias", "threshold"]), self.dice.choice([-1, 1])
        channel = self.dice.number(0, layer.channels_out - 1)
        low, high = 0, 1 << self.limits.potential_bits
        best = layer
        while high - low > 1:
            middle = (low + high) // 2
            values = getattr(layer, field).copy()
            values[channel] = sign * middle
            tried = replace(layer, **{field: values})
            fits = self._fits(tried)
            low, high = (middle, high) if fits else (low, middle)
            best = tried if fits else best
        return best

    def _fitting(self, layer: Layer) -> Layer:
        """Bias and thresholds halved until the potentials fit."""
        while not self._fits(layer) and (layer.bias.any() or layer.threshold.any()):
            layer = replace(layer, bias=_half(layer.bias), threshold=_half(layer.threshold))
        return layer

    def _fits(self, layer: Layer) -> bool:
        """Whether accumulators and potentials have the widths of the limits."""
        shape = self._shape(layer)
        return (
            signed_bits(*accumulator_range(layer, shape)) <= self.limits.accumulator_bits
            and signed_bits(*membrane_range(layer, shape)) <= self.limits.potential_bits
        )

    def _shape(self, layer: Layer) -> LayerShape:
        """What follows for the layer; its integers have no influence but where it makes a membrane stream."""
        if layer.name not in self.shapes or not layer.fires:
            probe = Network(layers=(*self.layers, layer), **self.header) if layer.kind == "readout" else None
            self.shapes[layer.name] = (probe or self._probe(layer)).shapes.layers[layer.name]
        return self.shapes[layer.name]

    def _probe(self, layer: Layer) -> Network:
        """The network so far, with the layer and a stand-in readout."""
        spiking = next((x for x in (layer, *self.layers) if x.spiking), None)
        if spiking is None:  # only branches so far: neurons that the readout can see
            spiking = _neurons_of(layer)
            return Network(
                layers=(*self.layers, layer, spiking, stand_in(spiking, 1, self.header["steps"])), **self.header
            )
        return Network(layers=(*self.layers, layer, stand_in(spiking, 1, self.header["steps"])), **self.header)

    def _runner(self, layer: Layer) -> LayerRunner:
        return LayerRunner(self._probe(layer), layer)


def _neurons_of(branch: Layer) -> Layer:
    """Neurons that read a branch's stream."""
    out = branch.channels_out
    return Layer(
        name="neurons",
        kind="neurons",
        inputs=(branch.name,),
        steps=1,
        channels_in=out,
        channels_out=out,
        height_in=branch.height_out,
        width_in=branch.width_out,
        bias=np.zeros(out, np.int64),
        threshold=np.ones(out, np.int64),
        scale=np.ones(out),
    )


def _half(values: np.ndarray) -> np.ndarray:
    """Halves, rounded to zero."""
    return np.sign(values) * (abs(values.astype(np.int64)) // 2)


def _halved(layer: Layer) -> Layer:
    """The layer with half the weights, bias and shifts."""
    weight = None if layer.weight is None else _half(layer.weight).astype(np.int8)
    shift = None if layer.shift is None else layer.shift // 2
    return replace(layer, weight=weight, bias=_half(layer.bias), shift=shift)
