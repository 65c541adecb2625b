"""How a Spikformer comes apart.

Its neurons compare a potential with ``V_th``: the input of SpikingJelly's LIF decays, ``2 H = V + X``, which integers
hold as H with twice the threshold.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from spikeloom.golden.models.branch import Branch
from spikeloom.golden.models.pixels import PIXEL_SCALE, PIXEL_TOP
from spikeloom.golden.models.spikformer import ATTENTION_SCALE, Spikformer, Stage
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.models.spikformer_layers import NEURONS, Site, SpikformerShape, sites
from spikeloom.golden.network import IMAGE
from spikeloom.golden.quantization.firing import Threshold
from spikeloom.golden.quantization.folding import fold, head_of
from spikeloom.golden.quantization.parts import Blueprint, Part

FRAME = 1  # the padding of its first convolution


def spikformer_parts(model: Spikformer) -> Blueprint:
    """ValueError with the layer's name where a time mask is no prefix."""
    config = model.config
    steps = model.time_steps()
    *inner, last = sites_of(config)
    layers = {layer.name: layer for layer in model.layers()}
    parts = [_part(site, layers[site.name], config, steps.get(site.name, config.steps)) for site in inner]
    return Blueprint(
        architecture="spikformer",
        config=config,
        steps=config.steps,
        padding=() if config.mean is None else tuple(PIXEL_TOP * x for x in config.mean),
        frame=FRAME,
        parts=(*parts, _readout(model, last)),
    )


def sites_of(config: SpikformerConfig) -> list[Site]:
    """The layers of its integer network, without weights."""
    shape = SpikformerShape(
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
    return sites(shape)


def _part(site: Site, layer: Branch, config: SpikformerConfig, steps: int) -> Part:
    """steps: ``T_l``, of a branch ``T_max``."""
    threshold = layer.neurons.threshold if isinstance(layer, Stage) else config.threshold
    more: dict[str, Any] = {}
    if layer.projection is not None:
        more["weight"], more["bias"] = fold(layer)
    if site.fields["inputs"][0] == IMAGE:
        more["input_one"] = round(1 / PIXEL_SCALE)
    if site.fields.get("kind") == "attention":
        more["factor"] = ATTENTION_SCALE
    fields = {**site.fields, "steps": steps, "neuron": replace(NEURONS[config.neuron], leak=config.leak < 1)}
    return Part(fields=fields, firing=Threshold(potential=threshold, gain=1 / config.input_gain), **more)


def _readout(model: Spikformer, site: Site) -> Part:
    weight, bias = head_of(model.head)
    steps = model.config.steps
    count = site.fields["height_in"] * site.fields["width_in"] * steps
    return Part(fields={**site.fields, "steps": steps}, weight=weight, bias=bias, divisor=count)
