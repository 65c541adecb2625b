"""Networks and checkpoints to and from foreign files, with records of what happened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeloom.common.files import file_hash
from spikeloom.common.folders import file_in, folder_of
from spikeloom.flow.description import shapes_of

if TYPE_CHECKING:
    from spikeloom.golden.network import Layer, Network


def import_checkpoint(file: Path, output: Path | None, *, command: str, **known: int | None) -> dict[str, Any]:
    """Write a foreign checkpoint as one of ours; the record of `spikeloom import --json`.

    output: our file, or its folder; in the build folder when None. command: for its header. known: what the user
    says of the model, see `golden.exchange.import_checkpoint`.
    """
    from spikeloom.golden.exchange import import_checkpoint as golden
    from spikeloom.golden.models import checkpoints
    from spikeloom.golden.models.architectures import architecture_of

    found = golden.import_checkpoint(file, **known)
    config = found.model.config
    path = file_in(output, folder_of(file.name.split(".")[0]), "checkpoint.safetensors")
    origin = {"file": file.name, "sha256": file_hash(file), "sources": found.sources}
    checkpoints.save(path, found.model, command=command, imported=origin)
    return {
        "checkpoint": path,
        "name": found.name,
        "architecture": architecture_of(config),
        **_own(config),
        "heads": config.heads,
        "mlp_ratio": config.mlp_ratio,
        "classes": config.classes,
        "t_max": config.steps,
        "image_shape": (config.channels, config.height, config.width),
        "mean": config.mean,
        "std": config.std,
        "parameters": sum(x.numel() for x in found.model.parameters()),
        "dead_parameters": found.dead_parameters,
        "dead_keys": found.dead,
        "prefix": found.prefix,
        "sources": found.sources,
        "sha256": origin["sha256"],
    }


def _own(config: Any) -> dict[str, Any]:
    """What only the models of this architecture have."""
    from spikeloom.golden.models.e_spikeformer_config import ESpikeformerConfig

    if isinstance(config, ESpikeformerConfig):
        return {key: getattr(config, key) for key in ("dims", "depths", "strides", "levels")}
    own = {"dialect": config.dialect, "depth": config.depth, "dim": config.dim, "linear_biases": config.bias}
    return own | {"pool_first": config.pool_first}


def export_nir(network: Network, output: Path | None, *, partial: bool, dt: float) -> dict[str, Any]:
    """Write a network as a NIR graph; the record of `spikeloom nir export --json`.

    output: the file; in the build folder when None. partial, dt: see `golden.exchange.nir_export`.
    """
    from spikeloom.golden.exchange import nir_export as golden

    made = golden.export_nir(network, partial=partial, dt=dt)
    path = file_in(output, folder_of(network.name), "network.nir")
    made.save(path)
    return {
        "file": path,
        "network": network.name,
        "layers": [layer.name for layer in network.layers if layer.name not in made.left_out],
        "left_out": made.left_out,
        "nodes": {key: type(node).__name__ for key, node in made.graph.nodes.items()},
        "dt": dt,
    }


def import_nir(file: Path, output: Path | None, *, name: str | None, **options: Any) -> tuple[Network, dict[str, Any]]:
    """Write a NIR graph as a network; the network, and the record of `spikeloom nir import --json`.

    output: the network's file, or its folder; in the build folder when None. name: the file's when None. options:
    see `golden.exchange.nir_import`.
    """
    from spikeloom.golden.exchange import nir_import as golden

    network = golden.import_nir(file, name=name or file.stem, **options)
    path = file_in(output, folder_of(network.name), "network.safetensors")
    network.save(path)
    layers = [_nir_layer(layer) for layer in network.layers]
    return network, {"network": path, "name": network.name, "t_max": network.steps, "layers": layers}


def _nir_layer(layer: Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "neuron": "" if layer.kind == "readout" else "LIF" if layer.neuron.leak else "IF",
        **shapes_of(layer),
        "kernel": layer.kernel,
        "stride": layer.stride,
        "weight_bits": layer.weight_bits,
    }
