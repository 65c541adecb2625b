"""What a network is, layer by layer, and what boards there are: records for people and tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikeloom.flow.models import time_steps

if TYPE_CHECKING:
    from spikeloom.golden.network import Layer, Network
    from spikeloom.golden.network.widths import Widths


def description(network: Network) -> dict[str, Any]:
    """As `spikeloom info --json` has it; "collapse" is a warning or None."""
    from spikeloom.golden.models.spikformer_layers import collapse
    from spikeloom.golden.network.widths import widths

    proven = widths(network)
    layers = [_layer(layer, proven[layer.name]) for layer in network.layers]
    return {
        "name": network.name,
        "image_shape": [network.channels, network.height, network.width],
        "classes": network.classes,
        **time_steps(network),
        "collapse": collapse({layer.name: layer.steps for layer in network.spiking}),
        "weights": sum(layer["weights"] for layer in layers),
        "layers": layers,
        "provenance": network.provenance,
    }


def shapes_of(layer: Layer) -> dict[str, list[int]]:
    """(C, H, W) of what a layer reads and makes, as all records have it."""
    return {
        "shape_in": [layer.channels_in, layer.height_in, layer.width_in],
        "shape_out": [layer.channels_out, layer.height_out, layer.width_out],
    }


def boards() -> list[dict[str, Any]]:
    """The boards that `spikeloom build` knows."""
    from spikeloom.gen.targets import target, target_names

    return [
        {
            "name": board.name,
            "device": board.device,
            "luts": board.luts,
            "block_rams": board.block_rams,
            "core": board.core,
        }
        for board in map(target, target_names())
    ]


def support(network: Network) -> dict[str, Any]:
    """What each stage of the flow supports, and by stage what the network needs and the stage lacks."""
    from spikeloom.flow.support import FEATURES, STAGES, features_of, stages_for

    has = {x.name for x in features_of(network)}
    return {
        "support": [{"feature": x.name, **{stage: getattr(x, stage) for stage in STAGES}} for x in FEATURES],
        "network": network.name,
        "features": [x.name for x in FEATURES if x.name in has],
        "missing": stages_for(network),
    }


def _layer(layer: Layer, proven: Widths) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "group": layer.group,
        "steps": layer.steps,
        **shapes_of(layer),
        "kernel": layer.kernel,
        "pool": layer.pool,
        "pool_first": layer.pool_first,
        "residual": layer.residual,
        "weights": 0 if layer.weight is None else layer.weight.size,
        "weight_bits": layer.weight_bits,
        "accumulator_bits": proven.accumulator,
        "membrane_bits": proven.membrane,
    }
