"""Random Spikformers for tests: any size, mask and neuron, with thresholds at which many neurons fire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch

from spikeloom.golden.models.spikformer_layers import NEURONS, Site, SpikformerShape, sites
from spikeloom.golden.network import IMAGE, Layer, Network, Neuron
from spikeloom.golden.network.execute import LayerRunner
from spikeloom.golden.network.neurons import lif


def random_images(network: Network, count: int, *, seed: int = 0) -> np.ndarray:
    """Images with dark and bright pixels, uint8 (count, C, H, W): a third black, the rest of any value."""
    rng = np.random.default_rng(seed)
    shape = (count, *network.image_shape)
    return (rng.integers(0, 256, shape) * (rng.random(shape) < 2 / 3)).astype(np.uint8)


def random_network(
    seed: int,
    *,
    steps: int = 4,
    channels: int = 1,
    height: int = 8,
    width: int = 8,
    stem: Sequence[int] = (4, 8),
    pools: Sequence[bool] | None = None,
    depth: int = 1,
    heads: int = 2,
    hidden: int | None = None,
    neuron: Neuron | Literal["spikingjelly", "dts"] = "spikingjelly",
    weight_bits: int = 8,
    time_steps: Literal["random", "full"] | Mapping[str, int] = "random",
    classes: int = 10,
    rate: float = 0.25,
    residual: Literal["sew", "ms"] = "sew",
    pool_first: bool = False,
) -> Network:
    """A Spikformer with random integer weights; equal arguments give equal networks.

    stem: channels of the embedding's convolutions, the last is the width of the blocks. pools: which of
    them pool, only the last when None. hidden: channels of the MLP, twice the width when None. time_steps:
    "random" draws each ``T_l`` from 0..steps (0 once in eight), "full" gives all of them, a mapping sets
    the named ones. rate: share of neurons that the thresholds are chosen for to fire on `random_images`.
    residual: of spikes, or membrane shortcuts. pool_first: currents are pooled, not spikes.
    """
    rng = np.random.default_rng(seed)
    kind = NEURONS[neuron] if isinstance(neuron, str) else neuron
    pools = (False,) * (len(stem) - 1) + (True,) if pools is None else pools
    shape = SpikformerShape(
        channels=channels,
        height=height,
        width=width,
        stem=stem,
        pools=pools,
        depth=depth,
        heads=heads,
        hidden=2 * stem[-1] if hidden is None else hidden,
        classes=classes,
        residual=residual,
        pool_first=pool_first,
    )
    found = sites(shape)
    if time_steps == "random":
        drawn = {site.name: int(rng.integers(1, steps + 1)) * int(rng.random() > 1 / 8) for site in found}
    else:
        drawn = {} if time_steps == "full" else dict(time_steps)
    header: dict[str, Any] = dict(name=f"random-{seed}", steps=steps)
    header |= dict(channels=channels, height=height, width=width)
    growing = _Growing(rng, header, classes=classes, rate=rate, images_seed=seed)
    for site in found[:-1]:
        fires = site.fields.get("fires", True)
        own = drawn.get(site.name, steps) if fires else steps
        growing.add(_random_layer(site, rng, steps=own, neuron=kind, weight_bits=weight_bits))
    return growing.finish(weight_bits)


class _Growing:
    """A network layer by layer, with what the layers so far make of some images.

    Behind the layers stands a readout without weights, so that the executor's own code can calibrate the next one.
    """

    def __init__(
        self, rng: np.random.Generator, header: dict[str, Any], *, classes: int, rate: float, images_seed: int
    ) -> None:
        self._rng, self._header, self._classes, self._rate = rng, header, classes, rate
        self._images_seed = images_seed
        self._layers: list[Layer] = []
        self._tensors: dict[str, torch.Tensor] = {}

    def add(self, layer: Layer) -> None:
        """A layer whose thresholds are still to be chosen, or a branch."""
        runner = self._runner(layer)
        currents = runner.currents(self._tensors)
        if not layer.fires:
            self._layers.append(layer)
            self._tensors[layer.name] = runner.stream(currents, self._tensors)
            return
        currents = currents.to(torch.int64)
        layer = _calibrated(layer, currents, self._rate, self._rng)
        runner = self._runner(layer)
        self._layers.append(layer)
        spikes, _ = runner.fire(currents.to(runner.integer))
        self._tensors[layer.name] = runner.finish(spikes, self._tensors)

    def finish(self, weight_bits: int) -> Network:
        """The network with a random readout of the last layer."""
        last = self._layers[-1]
        top = (1 << weight_bits - 1) - 1
        shape = (self._classes, last.channels_out, 1, 1)
        weight = np.clip(np.rint(self._rng.normal(0, 0.4 * top, shape)), -top - 1, top).astype(np.int8)
        bias = self._rng.integers(-10 * top, 10 * top + 1, self._classes)
        head = stand_in(last, self._classes, len(self._tensors[last.name]))
        head = replace(head, name="head", weight=weight, bias=bias, weight_bits=weight_bits)
        return Network(layers=(*self._layers, head), **self._header)

    def _runner(self, layer: Layer) -> LayerRunner:
        """Of the layer behind those so far; the images are there from the first one on."""
        last = stand_in(layer if layer.fires else self._layers[0], self._classes, self._header["steps"])
        network = Network(layers=(*self._layers, layer, last), **self._header)
        if not self._tensors:
            images = random_images(network, 32, seed=self._images_seed)
            self._tensors[IMAGE] = torch.from_numpy(images).to(torch.float32)[None]
        return LayerRunner(network, layer)


def _random_layer(site: Site, rng: np.random.Generator, *, steps: int, neuron: Neuron, weight_bits: int) -> Layer:
    """The layer of a site with random weights and biases, and thresholds still zero."""
    top = (1 << weight_bits - 1) - 1
    out = site.fields["channels_out"]
    fields = dict(site.fields, steps=steps, neuron=neuron, weight_bits=weight_bits)
    spread = 1
    if fields.get("kind") not in ("attention", "neurons"):
        size = fields.get("kernel", 1)
        shape = (out, fields["channels_in"], size, size)
        weight = np.clip(np.rint(rng.normal(0.1 * top, 0.4 * top, shape)), -top - 1, top)
        fields["weight"] = weight.astype(np.int8)
        spread = top * (80 if fields["inputs"][0] == IMAGE else 1)
    bias = rng.integers(-spread // 2, spread // 2 + 1, out)
    if not fields.get("fires", True):
        fields["shift"] = rng.integers(0, 4, out)
    return Layer(**fields, bias=bias, threshold=np.zeros(out, np.int64), scale=np.ones(out))


def stand_in(layer: Layer, classes: int, steps: int) -> Layer:
    """A readout of the layer with zeros for weights. steps: at least as many as the layer's tensor has."""
    return Layer(
        name="stand-in",
        kind="readout",
        group="head",
        inputs=(layer.name,),
        steps=steps,
        channels_in=layer.channels_out,
        channels_out=classes,
        height_in=layer.height_out,
        width_in=layer.width_out,
        weight=np.zeros((classes, layer.channels_out, 1, 1), np.int8),
        bias=np.zeros(classes, np.int64),
        threshold=np.zeros(classes, np.int64),
        scale=np.ones(classes),
    )


def _calibrated(layer: Layer, currents: torch.Tensor, rate: float, rng: np.random.Generator) -> Layer:
    """The layer with positive thresholds, one a channel, at which about ``rate`` of its neurons fire."""
    bias = torch.from_numpy(layer.bias)

    def excess(threshold: np.ndarray) -> np.ndarray:
        spikes, _ = lif(
            currents,
            bias=bias,
            threshold=torch.from_numpy(threshold),
            neuron=layer.neuron,
            steps=max(layer.steps, 1),
        )
        return spikes.double().mean(dim=(0, 1, 3, 4)).numpy() - rate

    low = np.ones(layer.channels_out, np.int64)
    largest = int(abs(currents).max()) if currents.numel() else 0
    high = low + largest * max(layer.steps, 1) + int(abs(layer.bias).max()) * 2
    while (high - low).max() > 1:
        middle = (low + high) // 2
        above = excess(middle) > 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    threshold = np.where(abs(excess(low)) < abs(excess(high)), low, high)
    return replace(
        layer,
        threshold=np.maximum(np.rint(threshold * rng.uniform(0.95, 1.05, len(low))), 1).astype(np.int64),
    )
