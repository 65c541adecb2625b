"""What a layer, and a network apart from how its layers fit together, may be: each rule with its message.

How layers fit together is checked where it is inferred, in `shapes`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spikeloom.golden.network.layer import GROUPS, MOST_SHIFT, PIXEL_BITS, Layer


def check_layers(layers: Sequence[Layer], steps: int) -> None:
    """Raise ValueError at the first rule that a layer breaks. steps: ``T_max``."""
    if not layers or layers[-1].kind != "readout":
        raise ValueError("the last layer must be a readout")
    if any(layer.kind == "readout" for layer in layers[:-1]):
        raise ValueError("only the last layer can be a readout")
    for layer in layers:
        check_layer(layer)
        if not 0 <= layer.steps <= steps:
            raise ValueError(f"layer {layer.name!r}: T_l must be in 0..{steps}, not {layer.steps!r}")


def check_image(
    layers: Sequence[Layer], *, channels: int, padding_pixel: tuple[int, ...], frame: int, coding: str
) -> None:
    """Raise ValueError where the frame of the image, or the coding, breaks a rule."""
    if coding not in ("planes", "unary"):
        raise ValueError(f"coding must be planes or unary, not {coding!r}")
    if not padding_pixel:
        return
    if frame < 1:
        raise ValueError(f"frame must be positive, not {frame!r}")
    if len(padding_pixel) != channels:
        raise ValueError(f"padding_pixel must have {channels} numbers, one a channel, not {len(padding_pixel)}")
    for pixel in padding_pixel:
        if pixel not in range(1 << PIXEL_BITS):
            raise ValueError(f"padding_pixel must be in 0..{(1 << PIXEL_BITS) - 1}, not {pixel!r}")
    for layer in layers:
        if layer.direct and layer.padding:
            raise ValueError(f"layer {layer.name!r}: padding must be 0, since the image has a frame")


def check_layer(layer: Layer) -> None:
    """Raise ValueError with the layer's name at the first rule that does not hold."""
    where = f"layer {layer.name!r}"
    if layer.kind not in ("accumulate", "attention", "neurons", "readout"):
        raise ValueError(f"{where}: kind must be accumulate, attention, neurons or readout, not {layer.kind!r}")
    if layer.group not in GROUPS:
        raise ValueError(f"{where}: group must be one of {', '.join(GROUPS)}, not {layer.group!r}")
    sources = 3 if layer.kind == "attention" else 1
    if len(layer.inputs) != sources:
        raise ValueError(f"{where}: {layer.kind} takes {sources} input(s), not {len(layer.inputs)}")
    _check_geometry(layer, where)
    _check_weight(layer, where)
    _check_branch(layer, where)
    _check_channels(layer, where)
    _check_tensors(layer, where)
    if layer.kind == "readout" and (layer.pool or layer.residual):
        raise ValueError(f"{where}: a readout has no pooling and no residual")


def _check_geometry(layer: Layer, where: str) -> None:
    """Sizes are positive, the kernel fits its input, and what is no convolution looks at each position alone."""
    for key in ("channels_in", "channels_out", "height_in", "width_in", "kernel", "stride", "heads"):
        if getattr(layer, key) < 1:
            raise ValueError(f"{where}: {key} must be at least 1, not {getattr(layer, key)!r}")
    if layer.padding < 0:
        raise ValueError(f"{where}: padding must be at least 0, not {layer.padding!r}")
    if layer.kind != "accumulate" and (layer.kernel, layer.stride, layer.padding) != (1, 1, 0):
        found = f"{layer.kernel}, {layer.stride} and {layer.padding}"
        raise ValueError(f"{where}: {layer.kind} has kernel 1, stride 1 and padding 0, not {found}")
    if layer.height_conv < 1 or layer.width_conv < 1:
        found = f"{layer.height_in}x{layer.width_in} with padding {layer.padding}"
        raise ValueError(f"{where}: a kernel of {layer.kernel} does not fit a map of {found}")


def _check_weight(layer: Layer, where: str) -> None:
    if layer.weight_bits not in (4, 8):
        raise ValueError(f"{where}: weight_bits must be 4 or 8, not {layer.weight_bits!r}")
    if layer.kind in ("attention", "neurons"):
        if layer.weight is not None:
            raise ValueError(f"{where}: {layer.kind} {'has' if layer.kind == 'attention' else 'have'} no weights")
        for channels in (layer.channels_in, layer.channels_out):
            if channels % layer.heads:
                raise ValueError(f"{where}: {channels} channels cannot be split over {layer.heads} heads")
        return
    shape = (layer.channels_out, 1 if layer.depthwise else layer.channels_in, layer.kernel, layer.kernel)
    if layer.weight is None or layer.weight.shape != shape:
        got = None if layer.weight is None else layer.weight.shape
        raise ValueError(f"{where}: weight must have shape {shape}, not {got}")
    low, high = -(1 << layer.weight_bits - 1), (1 << layer.weight_bits - 1) - 1
    if layer.weight.size and (layer.weight.min() < low or layer.weight.max() > high):
        found = f"{layer.weight.min()}..{layer.weight.max()}"
        raise ValueError(f"{where}: weights must be in {low}..{high}, not {found}")


def _check_branch(layer: Layer, where: str) -> None:
    """The rules of membrane shortcuts."""
    if layer.kind == "neurons" and layer.residual:
        raise ValueError(f"{where}: neurons have no residual")
    if layer.fires:
        if layer.shift is not None:
            raise ValueError(f"{where}: only a branch that does not fire has shifts")
        return
    if layer.kind != "accumulate" or layer.pool:
        raise ValueError(f"{where}: only an accumulate layer without pooling can be a branch")
    if layer.shift is None or layer.shift.shape != (layer.channels_out,):
        got = None if layer.shift is None else layer.shift.shape
        raise ValueError(f"{where}: shift must have shape ({layer.channels_out},), not {got}")
    if not np.issubdtype(layer.shift.dtype, np.integer):
        raise ValueError(f"{where}: shift must hold integers, not {layer.shift.dtype}")
    if layer.shift.min() < 0 or layer.shift.max() > MOST_SHIFT:
        low, high = layer.shift.min(), layer.shift.max()
        raise ValueError(f"{where}: shifts must be in 0..{MOST_SHIFT}, not {low}..{high}")


def _check_channels(layer: Layer, where: str) -> None:
    """The rules of depthwise convolutions, of pooled currents and of sums over the whole map."""
    if (layer.depthwise or layer.kind == "neurons") and layer.channels_in != layer.channels_out:
        what = "a depthwise convolution has" if layer.depthwise else "neurons have"
        found = f"{layer.channels_out} of {layer.channels_in}"
        raise ValueError(f"{where}: {what} as many channels out as in, not {found}")
    if layer.depthwise and layer.kind != "accumulate":
        raise ValueError(f"{where}: only an accumulate layer can be depthwise")
    if layer.pool_first and (layer.kind != "accumulate" or not layer.pool):
        raise ValueError(f"{where}: only an accumulate layer that pools can pool its currents before the neurons")
    if layer.whole_map and layer.kind != "neurons":
        raise ValueError(f"{where}: only neurons of a membrane stream can have the whole map for their input")


def _check_tensors(layer: Layer, where: str) -> None:
    """Shapes of the numbers of each channel, integers where they must be, thresholds of integer spikes in order."""
    if layer.neuron.levels < 1:
        raise ValueError(f"{where}: levels must be positive, not {layer.neuron.levels!r}")
    wanted: dict[str, tuple[int, ...]] = dict.fromkeys(("bias", "scale", "threshold"), (layer.channels_out,))
    if layer.neuron.levels > 1 and layer.spiking:
        wanted["threshold"] = (layer.neuron.levels, layer.channels_out)
    for key, expected in wanted.items():
        if getattr(layer, key).shape != expected:
            raise ValueError(f"{where}: {key} must have shape {expected}, not {getattr(layer, key).shape}")
    for key in ("weight", "bias", "threshold"):
        value = getattr(layer, key)
        if value is not None and not np.issubdtype(value.dtype, np.integer):
            raise ValueError(f"{where}: {key} must hold integers, not {value.dtype}")
    if not np.isfinite(layer.scale).all() or (layer.scale <= 0).any():
        raise ValueError(f"{where}: scale must be finite and above 0")
    if layer.neuron.levels > 1 and layer.spiking and (np.diff(layer.threshold, axis=0) < 0).any():
        raise ValueError(f"{where}: the thresholds of integer spikes must ascend")
