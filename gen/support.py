"""What the core can compute at all, whatever its size."""

from __future__ import annotations

from spikeloom.gen.errors import CompileError
from spikeloom.golden.network import Layer, Network


def check_supported(network: Network, lanes: int) -> None:
    """CompileError where the core has no way to compute a layer at all."""
    if network.coding != "planes":
        raise CompileError(f"unary spikes come later: for now the core reads bit-planes, not coding={network.coding!r}")
    for layer in network.layers:
        where = f"layer {layer.name!r}"
        _check_neurons(layer, where)
        if layer.kind == "attention":
            _check_attention(layer, where, lanes)
        if layer.kind == "readout":
            _check_readout(layer, where, network)
        if layer.direct and layer.residual is not None:
            raise CompileError(f"{where}: the layer that reads the image cannot add a residual")


def _check_neurons(layer: Layer, where: str) -> None:
    """Which neurons there are, and what stands before them."""
    if layer.depthwise:
        raise CompileError(f"{where}: depthwise convolutions come later; golden and `spikeloom energy` have them")
    if layer.pool_first:
        raise CompileError(
            f"{where}: max-pooling before the neurons comes later: for now the core pools spikes; golden and "
            "`spikeloom energy` have it"
        )
    if layer.spiking and layer.neuron.levels > 1:
        raise CompileError(
            f"{where}: integer spikes come later: for now a neuron of the core fires 0 or 1, not "
            f"0..{layer.neuron.levels}; train a Spikformer"
        )
    if not layer.fires:
        raise CompileError(
            f"{where}: membrane shortcuts come later: for now the core adds spikes to spikes; "
            'a Spikformer trained with residual="sew" can be compiled'
        )


def _check_readout(layer: Layer, where: str, network: Network) -> None:
    """Golden sums all steps of the input, whatever the readout's are; the core runs the readout's."""
    steps = network.shapes.layers[layer.name].producer_steps
    if layer.steps != steps:
        raise CompileError(f"{where}: a readout must run the {steps} steps of its input, not {layer.steps}")


def _check_attention(layer: Layer, where: str, lanes: int) -> None:
    """How channels, heads and lanes must divide each other."""
    per_head = layer.channels_in // layer.heads
    if layer.channels_out != layer.channels_in:
        raise CompileError(
            f"{where}: v must have as many channels as q and k ({layer.channels_in}), not {layer.channels_out}"
        )
    if per_head & (per_head - 1):
        raise CompileError(f"{where}: channels of a head must be a power of two, not {per_head}")
    if layer.channels_in > lanes and layer.channels_in % lanes:
        raise CompileError(
            f"{where}: attention over {layer.channels_in} channels must fill whole tiles of {lanes} lanes"
        )
    if layer.channels_in > lanes and per_head % lanes and lanes % per_head:
        raise CompileError(
            f"{where}: heads of {per_head} channels must share tiles of {lanes} lanes evenly, or fill whole ones"
        )
