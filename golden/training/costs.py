"""What spikes and time steps cost those that read them: the weights of the mask loss, and the penalty on spikes.

Both are counted in the spikes of the batch that is learned from, as `golden.analysis.operations` counts them in the
integer network: a spike of a layer costs each layer that reads it, directly or within a residual sum, one event for
every output position whose receptive field it lies in.

accumulates  an event costs one addition for every output channel; of attention, one for every channel of its head.
             Spikes of V cause none by themselves, but are counted like those of K, as without a step of V the core
             does not compute ``K^T V`` of that step either.
cycles       an event costs a cycle for every `LANES` output channels, and a step of a layer one for every
             `NEURON_LANES` of its neurons: what bounds a layer of the core, without what waits for what.

Spikes are counted behind their max-pool, and whether those that read them run as many steps is not looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeloom.golden.models.architectures import Model
from spikeloom.golden.models.spikformer import Spikformer, pooled
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.models.spikformer_layers import Site
from spikeloom.golden.models.time_mask import TimeMask, mask_loss
from spikeloom.golden.quantization.spikformer_parts import sites_of
from spikeloom.golden.training.run_config import RunConfig

Unit = Literal["accumulates", "cycles"]
LANES, NEURON_LANES = 32, 8  # of the core that cycles are counted for


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """What the spikes of one layer cost."""

    spike: Tensor
    """Of a spike at each position of the layer's tensor, float (H, W)."""
    step: float
    """Of a time step, whatever spikes in it."""
    dense: float
    """Of a time step in which every neuron spikes."""


def layer_costs(config: SpikformerConfig, unit: Unit) -> dict[str, LayerCost]:
    """Of each layer that fires, by its name."""
    sites = sites_of(config)
    readers: dict[str, list[Site]] = {}
    for site in reversed(sites):
        readers[site.name] = [x for x in sites if site.name in x.fields["inputs"]]
        for other in sites:
            if other.fields.get("residual") == site.name:
                readers[site.name] += readers[other.name]
    found = {}
    for site in sites:
        if not site.fields.get("fires", True) or site.fields.get("kind") == "readout":
            continue
        fields = site.fields
        around = 2 * fields.get("padding", 0) - fields.get("kernel", 1) + 1
        made = [fields["height_in"] + around, fields["width_in"] + around]
        size = [(n + 1) // 2 for n in made] if fields.get("pool") else made
        neurons = fields["channels_out"] * math.prod(size if fields.get("pool_first") else made)
        spike = torch.stack([torch.zeros(size), *(_events(x, size) * _of_event(x, unit) for x in readers[site.name])])
        step = math.ceil(neurons / NEURON_LANES) if unit == "cycles" else 0
        every = float(spike.sum()) * fields["channels_out"]
        found[site.name] = LayerCost(spike=spike.sum(0), step=step, dense=every + step)
    return found


def _events(reader: Site, size: list[int]) -> Tensor:
    """How many output positions of a layer see each position of a tensor: float (H, W)."""
    kernel, padding = reader.fields.get("kernel", 1), reader.fields.get("padding", 0)
    return F.conv2d(torch.ones(1, 1, *size), torch.ones(1, 1, kernel, kernel), padding=padding)[0, 0]


def _of_event(reader: Site, unit: Unit) -> int:
    """What one costs."""
    width = reader.fields["channels_out"]
    if reader.fields.get("kind") == "attention":
        width //= reader.fields["heads"]
    return width if unit == "accumulates" else math.ceil(width / LANES)


class CostMeter:
    """The costs of the spikes of a model's last forward pass, which it looks at from now on."""

    def __init__(self, model: Spikformer, unit: Unit) -> None:
        self._costs = layer_costs(model.config, unit)
        self._pooled = {x.name for x in sites_of(model.config) if x.fields.get("pool") and not x.fields["pool_first"]}
        self._masks = {stage.name: stage.neurons.time_mask for stage in model.stages()}
        self._spikes: dict[str, Tensor] = {}  # of every step, also of those that are masked
        self._steps: dict[str, Tensor] = {}  # what they cost, once somebody has asked
        for stage in model.stages():
            mask = stage.neurons.time_mask
            (stage.neurons if mask is None else mask).register_forward_hook(partial(self._keep, stage.name))

    def _keep(self, name: str, module: nn.Module, inputs: tuple[Tensor, ...], spikes: Tensor) -> None:
        self._spikes[name] = inputs[0] if isinstance(module, TimeMask) else spikes
        self._steps.pop(name, None)

    def steps(self, name: str) -> Tensor:
        """Of each step of a layer, masked or not, for an image: float (T,), with the gradient of its spikes."""
        if name not in self._steps:
            self._steps[name] = self._cost_of(name, self._spikes[name])
        return self._steps[name]

    def _cost_of(self, name: str, spikes: Tensor) -> Tensor:
        cost = self._costs[name]
        images = spikes.shape[1]
        if name in self._pooled:
            spikes = pooled(spikes)
        counts = spikes.flatten(3).sum((1, 2), dtype=torch.float32)  # (T, positions)
        return counts @ cost.spike.flatten().to(counts.device) / images + cost.step

    def weights(self) -> dict[str, Tensor]:
        """What a step of each layer with a mask costs, over the mean of these layers: of its active steps, of all
        where none is.
        """
        found = {}
        for name, mask in self._masks.items():
            if mask is not None:
                found[name] = self.steps(name).detach()[: mask.steps or None].mean()
        mean = torch.stack(list(found.values())).mean().clamp(min=1e-9)  # nothing spikes: no step costs anything
        return {name: x / mean for name, x in found.items()}

    def penalty(self) -> Tensor:
        """What the spikes of all active steps cost, over the cost of a step in which every neuron spikes. Its gradient
        reaches the neurons, but not the masks behind them.
        """
        total = torch.zeros(())
        for name, mask in self._masks.items():
            steps = self.steps(name)
            total = total + (steps if mask is None else steps * mask.mask().detach()[: len(steps)]).sum()
        return total / sum(x.dense for x in self._costs.values())


class CostLoss:
    """What a run adds to the loss of its images: the mask loss and the penalty on spikes.

    model: looked at from now on.
    """

    def __init__(self, model: Model, run: RunConfig) -> None:
        self._config, self._spikes = run.masks, run.spikes
        self._masks: dict[str, TimeMask] = {}  # under the mask loss
        self._meters: dict[Unit, CostMeter] = {}
        if not isinstance(model, Spikformer):
            return
        if run.masks.weight and model.masks(run.masks.groups):  # none where a model is tuned as integers
            stages = [x for x in model.stages() if x.group in run.masks.groups]
            self._masks = {x.name: x.neurons.time_mask for x in stages if x.neurons.time_mask is not None}
        if self._masks and run.masks.cost != "steps":
            self._meters[run.masks.cost] = CostMeter(model, run.masks.cost)
        if run.spikes.weight and run.spikes.cost not in self._meters:
            self._meters[run.spikes.cost] = CostMeter(model, run.spikes.cost)

    def loss(self, share: float) -> Tensor:
        """Behind a forward pass. share: of the training of the masks that is done, 0..1."""
        total = torch.zeros(())
        if self._spikes.weight:
            total = total + self._spikes.weight * self._meters[self._spikes.cost].penalty()
        if self._masks and share < 1:
            config, weights = self._config, dict[str, Tensor | float]()
            if config.cost != "steps":
                weights |= self._meters[config.cost].weights()
            factor = config.weight * {"constant": 1.0, "rise": share, "fall": 1 - share}[config.schedule]
            total = total + factor * mask_loss(self._masks.values(), [weights.get(x, 1.0) for x in self._masks])
        return total
