"""Models of floating point whose batch norms are folded: with the trained weights, or with those of a network."""

from __future__ import annotations

import torch
from torch import nn

from spikeloom.golden.models.architectures import Model, config_from, make_model
from spikeloom.golden.models.branch import Branch
from spikeloom.golden.models.pixels import FramedPixels, Pixels
from spikeloom.golden.network import IMAGE, Layer, Network
from spikeloom.golden.quantization.blueprints import blueprint
from spikeloom.golden.quantization.folding import ChannelBias
from spikeloom.golden.quantization.parts import Part


def folded(
    model: Model,
    network: Network | None = None,
    *,
    only: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Model:
    """A model in evaluation that computes what the given one does, with its batch norms folded.

    network: where given, its quantised weights, biases, thresholds and time steps take the place of the model's, in
    the layer called ``only`` or in all.
    """
    plan = blueprint(model)
    found = make_model(model.config)
    found.load_state_dict(model.state_dict())
    found.to(torch.float64)
    pixel = plan.padding
    layers: list[Branch] = list(found.layers())
    for part, branch in zip(plan.parts[:-1], layers, strict=True):
        quantised = _chosen(part, network, only)
        if quantised is not None and branch.neurons is not None and part.firing is not None:
            part.firing.hold(branch.neurons, quantised)
        if branch.projection is not None:
            _put(part, branch, quantised)
        if pixel and part.fields["inputs"][0] == IMAGE:
            assert isinstance(branch.projection, nn.Conv2d)
            branch.projection.padding = (0, 0)
            if network is not None and quantised is not None:
                pixel = network.padding_pixel
    _put_head(plan.parts[-1], found.head, _chosen(plan.parts[-1], network, only))
    found.pixels = FramedPixels(pixel, plan.frame) if pixel else Pixels(None, None)
    return found.to(dtype).eval()


def quantized(network: Network, *, dtype: torch.dtype = torch.float32) -> Model:
    """The floating-point model that holds a network's quantised weights, biases, thresholds and time steps.

    With power-of-two scales (and, of integer spikes, a D that is a power of two) the integer executor equals it spike
    by spike. In float64 always; in float32 (the default) while the potentials and the fraction bits of their halvings
    fit its 24 bits. ValueError for a network that was not made from a model.
    """
    if "config" not in network.provenance:
        raise ValueError(f"network {network.name!r} was not made from a model: its provenance has no configuration")
    return folded(make_model(config_from(network.provenance)), network, dtype=dtype)


def _chosen(part: Part, network: Network | None, only: str | None) -> Layer | None:
    """The layer whose numbers take the place of the part's, if any."""
    return None if network is None or only not in (None, part.name) else network.layer(part.name)


def _numbers(part: Part, layer: Layer | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and bias, float64: the part's own, or what those of the layer mean."""
    assert part.weight is not None and part.bias is not None
    if layer is None:
        return torch.from_numpy(part.weight), torch.from_numpy(part.bias)
    return torch.from_numpy(part.weights_of(layer)), torch.from_numpy(part.bias_of(layer))


def _put(part: Part, branch: Branch, layer: Layer | None) -> None:
    """Folded numbers into the modules of a layer."""
    weight, bias = _numbers(part, layer)
    assert branch.projection is not None and branch.norm_name is not None
    branch.projection.weight.data = weight.reshape(branch.projection.weight.shape)
    branch.projection.bias = None
    setattr(branch.owner, branch.norm_name, ChannelBias(bias))


def _put_head(part: Part, head: nn.Linear, layer: Layer | None) -> None:
    weight, bias = _numbers(part, layer)
    head.weight.data, head.bias.data = weight.reshape(head.weight.shape), bias
