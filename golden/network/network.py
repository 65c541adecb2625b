"""The integer `Network`: the contract between training, the golden executor and the hardware compiler.

A `Network` is a list of layers in execution order. A layer makes one tensor, known by the layer's name.
Tensors hold small unsigned integers ``(T, B, C, H, W)``: spikes (0 or 1), sums of spikes after residuals,
or the 8-bit pixels of the image, whose tensor is called `IMAGE` and is the same at every step.

Semantics of a layer with ``T_l = steps`` (bit for bit what the hardware computes)::

    acc[t]  = W (*) x[t]                        0 where t >= steps of the producer
    H[t]    = U[t-1] + acc[t] + bias            U[-1] = 0
    S[t]    = H[t] >= threshold  (or >, `Neuron.strict`)
    R[t]    = 0 where S else H  (hard reset)    H - threshold * S  (soft reset)
    U[t]    = R[t]  without leak;  R[t] >> 1  with leak and `>=`;  (R[t] + 1) >> 1  with leak and `>`
    S[t]    = 0 and nothing is computed for t >= steps
    y[t]    = pool(S[t])                        spike max-pooling: 3x3, stride 2, padding 1
            = S[t] + residual[t]                residual: another tensor of the same shape

A layer that pools its currents (`Layer.pool_first`) has its neurons behind the pooling, a quarter as many, and its
tensor is what they fire. A window is 3x3 outputs of the convolution, those that are in the map: outside it is nothing,
not zero. The bias is the window's, since ``max(acc) + bias = max(acc + bias)``; of steps without input acc is 0::

    acc[t]  = max over the window of W (*) x[t]     stride 2, padding 1
    y[t]    = S[t]

Outside a tensor a convolution reads zeros. Where zero is not what the image is padded with (its pixels are
normalised in training, and the padding is the mean), the image comes with a frame of `Network.padding_pixel`,
`Network.frame` pixels wide, and the layers that read it have no padding.

**Membrane shortcuts.** A layer that does not fire (`Layer.fires`) is a branch: its tensor is not spikes but a
membrane stream, signed integers with one scale a channel, at all ``T`` steps of the network::

    y[t]    = (acc[t] << shift) + bias + residual[t]    residual: another stream, or nothing where it begins

``acc`` has the unit of the branch's weights, bias and stream the finest unit of the stream's branches;
``shift`` is the exponent of two between them, so that nothing is rounded. A stream is read by layers of kind
"neurons" alone, without weights: ``acc[t] = x[t]``, threshold in units of the stream. So the residual is added
before the neurons, and every dot product sees spikes. Where such neurons have `Layer.whole_map`, ``acc[t]`` is the
sum of the stream over all positions, of which there is one left: the mean over the tokens, whose divisor is in the
thresholds.

**Integer spikes.** Neurons with D = `Neuron.levels` above 1 fire an integer, at the one step of their network, and
keep no potential::

    H = acc + bias
    S = number of thresholds that H reaches (>=), of D ascending ones a channel: 0..D

It is the sum of D binary spikes: of an IF neuron that is charged once and then fires and subtracts its threshold D
times (Spike Firing Approximation, Proposition 1). `Network.coding` says how a dot product takes an integer n apart
into passes of 1-bit planes, "planes" (its bits, each pass shifted) or "unary" (n spikes); the result is the same.

Membrane shortcuts, integer spikes, depthwise convolutions, pooled currents and wide values of the attention are
computed by golden alone for now: the compiler refuses them by name.

Attention layers have ``acc[t] = Q[t] (K[t]^T V[t])`` per head, no weights. The readout has one real-valued
potential a class: ``sum over t, p, c of W[o, c] x[t, p, c] + bias[o]``, and no spikes.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from spikeloom.common.files import written_aside

FORMAT = "spikeloom.network"
VERSION = 1
IMAGE = "image"
PIXEL_BITS = 8
GROUPS = ("sps", "qkv", "attn", "mlp", "head")
TENSORS = ("weight", "bias", "threshold", "scale", "shift")  # of a layer

MOST_SHIFT = 7  # of a branch

Kind = Literal["accumulate", "attention", "neurons", "readout"]
Coding = Literal["planes", "unary"]


@dataclass(frozen=True, kw_only=True)
class Neuron:
    """What a layer's neurons do with a potential; see the module's formulas.

    hard: reset to zero (SpikingJelly's LIF) instead of subtracting the threshold (the DTS paper's).
    strict: fire at ``H > threshold`` instead of ``>=``; decides the rounding of the leak.
    leak: halve the potential after each step (tau = 2) instead of keeping it (IF).
    levels: D, the largest integer that a spike can be; above 1 the other fields have no meaning.
    """

    hard: bool = True
    strict: bool = False
    leak: bool = True
    levels: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One layer: geometry, neuron, time steps and integer tensors.

    name: unique; also the name of the tensor that the layer makes.
    kind: "accumulate" (convolution; linear layers are 1x1), "attention", "neurons" or "readout".
    group: of the mask loss: "sps", "qkv", "attn", "mlp" or "head".
    inputs: tensor names; one, or (q, k, v) for attention.
    steps: ``T_l``, 0 to ``Network.steps``; the readout runs the steps of its input.
    channels_in, channels_out, height_in, width_in: counts; tokens keep their two-dimensional map.
    kernel, stride, padding: of the square convolution. depthwise: each channel sees itself alone.
    heads: of attention, else 1; its channels_in are those of q and k, its channels_out those of v.
    whole_map: of kind "neurons": one position, the sum over all of them.
    pool: 3x3 max-pooling of stride 2 and padding 1 of the spikes; with pool_first of the currents, before the neurons.
    residual: name of the tensor added to the spikes, or to the membrane stream, or None.
    fires: makes spikes; a branch of a membrane shortcut does not. shift: of a branch, int64 (O,), 0..7; else None.
    weight: int8 (O, I, kernel, kernel), depthwise (O, 1, kernel, kernel); None for attention and neurons.
    bias: int64 (O,). threshold: int64 (O,), of integer spikes (D, O); of readouts and branches zeros and unused.
    weight_bits: 4 or 8. scale: float64 (O,): real value of one integer unit of ``acc``.
    """

    name: str
    kind: Kind = "accumulate"
    group: str = "sps"
    inputs: tuple[str, ...]
    steps: int
    channels_in: int
    channels_out: int
    height_in: int
    width_in: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    depthwise: bool = False
    heads: int = 1
    whole_map: bool = False
    pool: bool = False
    pool_first: bool = False
    residual: str | None = None
    fires: bool = True
    neuron: Neuron = Neuron()
    weight_bits: int = 8
    weight: np.ndarray | None = None
    bias: np.ndarray
    threshold: np.ndarray
    scale: np.ndarray
    shift: np.ndarray | None = None

    @property
    def direct(self) -> bool:
        """Whether the input is the image: the same at every step, so accumulated once."""
        return self.inputs[0] == IMAGE

    @property
    def spiking(self) -> bool:
        """Whether the layer fires: all but the readout and branches."""
        return self.kind != "readout" and self.fires

    @property
    def height_conv(self) -> int:
        """Rows of ``W (*) x``, before any pooling."""
        return 1 if self.whole_map else (self.height_in + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def width_conv(self) -> int:
        """Columns of ``W (*) x``, before any pooling."""
        return 1 if self.whole_map else (self.width_in + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def height_neurons(self) -> int:
        """Rows of neurons: those of ``W (*) x``, or where currents are pooled those behind the pooling."""
        return self.height_out if self.pool_first else self.height_conv

    @property
    def width_neurons(self) -> int:
        """Columns of neurons, as `height_neurons`."""
        return self.width_out if self.pool_first else self.width_conv

    @property
    def height_out(self) -> int:
        return (self.height_conv + 1) // 2 if self.pool else self.height_conv

    @property
    def width_out(self) -> int:
        return (self.width_conv + 1) // 2 if self.pool else self.width_conv

    @property
    def positions(self) -> int:
        """Positions at which neurons are computed."""
        return self.height_neurons * self.width_neurons

    def check(self) -> None:
        """Raise ValueError with the layer's name at the first rule that does not hold."""
        where = f"layer {self.name!r}"
        if self.kind not in ("accumulate", "attention", "neurons", "readout"):
            raise ValueError(f"{where}: kind must be accumulate, attention, neurons or readout, not {self.kind!r}")
        if self.group not in GROUPS:
            raise ValueError(f"{where}: group must be one of {', '.join(GROUPS)}, not {self.group!r}")
        sources = 3 if self.kind == "attention" else 1
        if len(self.inputs) != sources:
            raise ValueError(f"{where}: {self.kind} takes {sources} input(s), not {len(self.inputs)}")
        if self.weight_bits not in (4, 8):
            raise ValueError(f"{where}: weight_bits must be 4 or 8, not {self.weight_bits!r}")
        if self.kind in ("attention", "neurons"):
            if self.weight is not None:
                raise ValueError(f"{where}: {self.kind} {'has' if self.kind == 'attention' else 'have'} no weights")
            for channels in (self.channels_in, self.channels_out):
                if channels % self.heads:
                    raise ValueError(f"{where}: {channels} channels cannot be split over {self.heads} heads")
        else:
            shape = (self.channels_out, 1 if self.depthwise else self.channels_in, self.kernel, self.kernel)
            if self.weight is None or self.weight.shape != shape:
                got = None if self.weight is None else self.weight.shape
                raise ValueError(f"{where}: weight must have shape {shape}, not {got}")
            low, high = -(1 << self.weight_bits - 1), (1 << self.weight_bits - 1) - 1
            if self.weight.size and (self.weight.min() < low or self.weight.max() > high):
                raise ValueError(
                    f"{where}: weights must be in {low}..{high}, not {self.weight.min()}..{self.weight.max()}"
                )
        self._check_branch(where)
        self._check_channels(where)
        wanted: dict[str, tuple[int, ...]] = dict.fromkeys(("bias", "scale", "threshold"), (self.channels_out,))
        if self.neuron.levels > 1 and self.spiking:
            wanted["threshold"] = (self.neuron.levels, self.channels_out)
        for key, expected in wanted.items():
            if getattr(self, key).shape != expected:
                raise ValueError(f"{where}: {key} must have shape {expected}, not {getattr(self, key).shape}")
        for key in ("weight", "bias", "threshold"):
            value = getattr(self, key)
            if value is not None and not np.issubdtype(value.dtype, np.integer):
                raise ValueError(f"{where}: {key} must hold integers, not {value.dtype}")
        if self.kind == "readout" and (self.kernel != 1 or self.pool or self.residual):
            raise ValueError(f"{where}: a readout has kernel 1, no pooling and no residual")

    def _check_channels(self, where: str) -> None:
        """The rules of depthwise convolutions, of sums over the whole map, and of integer spikes."""
        if (self.depthwise or self.kind == "neurons") and self.channels_in != self.channels_out:
            what = "a depthwise convolution has" if self.depthwise else "neurons have"
            raise ValueError(
                f"{where}: {what} as many channels out as in, not {self.channels_out} of {self.channels_in}"
            )
        if self.depthwise and self.kind != "accumulate":
            raise ValueError(f"{where}: only an accumulate layer can be depthwise")
        if self.pool_first and (self.kind != "accumulate" or not self.pool):
            raise ValueError(f"{where}: only an accumulate layer that pools can pool its currents before the neurons")
        if self.whole_map and self.kind != "neurons":
            raise ValueError(f"{where}: only neurons of a membrane stream can have the whole map for their input")
        if self.neuron.levels < 1:
            raise ValueError(f"{where}: levels must be positive, not {self.neuron.levels!r}")
        if self.neuron.levels > 1 and self.spiking and (np.diff(self.threshold, axis=0) < 0).any():
            raise ValueError(f"{where}: the thresholds of integer spikes must ascend")

    def _check_branch(self, where: str) -> None:
        """The rules of membrane shortcuts."""
        if self.kind == "neurons" and (self.kernel != 1 or self.stride != 1 or self.padding or self.residual):
            raise ValueError(f"{where}: neurons have kernel 1, stride 1, no padding and no residual")
        if self.fires:
            if self.shift is not None:
                raise ValueError(f"{where}: only a branch that does not fire has shifts")
            return
        if self.kind != "accumulate" or self.pool:
            raise ValueError(f"{where}: only an accumulate layer without pooling can be a branch")
        if self.shift is None or self.shift.shape != (self.channels_out,):
            got = None if self.shift is None else self.shift.shape
            raise ValueError(f"{where}: shift must have shape ({self.channels_out},), not {got}")
        if not np.issubdtype(self.shift.dtype, np.integer):
            raise ValueError(f"{where}: shift must hold integers, not {self.shift.dtype}")
        if self.shift.min() < 0 or self.shift.max() > MOST_SHIFT:
            low, high = self.shift.min(), self.shift.max()
            raise ValueError(f"{where}: shifts must be in 0..{MOST_SHIFT}, not {low}..{high}")

    def branch_bounds(self, maximum: int) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest ``(acc << shift) + bias`` of each channel of a branch, for inputs of 0..maximum."""
        assert self.weight is not None and self.shift is not None
        rows = self.weight.reshape(self.channels_out, -1).astype(np.int64) * maximum
        low, high = np.minimum(rows, 0).sum(1), np.maximum(rows, 0).sum(1)
        return (low << self.shift) + self.bias, (high << self.shift) + self.bias


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """Shape of a tensor: ``steps`` stored steps of (channels, height, width), values minimum..maximum.

    membrane: a stream of signed integers; otherwise small unsigned ones, whose minimum is 0. summed: a residual
    was added to the spikes.
    """

    steps: int
    channels: int
    height: int
    width: int
    maximum: int
    minimum: int = 0
    membrane: bool = False
    summed: bool = False

    @property
    def planes(self) -> int:
        """Bit-planes that hold 0..maximum of a tensor that is no stream."""
        return self.maximum.bit_length()


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """An integer spiking network: image in, one sum a class out.

    steps: ``T_max``. channels, height, width: of the 8-bit image. layers: in execution order, the readout
    last. pixel_scale: real value of one pixel unit (provenance; it is folded into the first layer).
    padding_pixel: of each channel, 0..255, of the frame that is part of the image's height and width
    (`framed` adds it); empty where there is no frame. frame: its width in pixels.
    coding: of values above 1 in dot products, see the module.
    provenance: free JSON: checkpoint hash, data set, accuracy, command.
    """

    name: str
    steps: int
    channels: int
    height: int
    width: int
    layers: tuple[Layer, ...]
    pixel_scale: float = 1 / 256
    padding_pixel: tuple[int, ...] = ()
    frame: int = 1
    coding: Coding = "planes"
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.check()

    def layer(self, name: str) -> Layer:
        """The layer called `name`; KeyError with the known names."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(f"unknown layer {name!r}; the layers are {', '.join(x.name for x in self.layers)}")

    @property
    def spiking(self) -> tuple[Layer, ...]:
        """The layers that fire: all but the readout and branches. L of the paper's equation 3."""
        return tuple(layer for layer in self.layers if layer.spiking)

    @property
    def t_avg(self) -> float:
        """Equation 3 of the DTS paper: the mean of ``T_l`` over the spiking layers."""
        return sum(layer.steps for layer in self.spiking) / len(self.spiking)

    @property
    def classes(self) -> int:
        return self.layers[-1].channels_out

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image without its frame."""
        frame = 2 * self.frame if self.padding_pixel else 0
        return self.channels, self.height - frame, self.width - frame

    def framed(self, images: np.ndarray) -> np.ndarray:
        """Images (B, C, H, W) with their frame, where the network wants one and they have the size to get it."""
        if not self.padding_pixel or images.shape[1:] != self.image_shape:
            return images
        pixel = np.array(self.padding_pixel, images.dtype)[:, None, None]
        found = np.tile(pixel, (len(images), 1, self.height, self.width))
        found[:, :, self.frame : -self.frame, self.frame : -self.frame] = images
        return found

    def tensors(self) -> dict[str, TensorInfo]:
        """Shape, steps and maximum of each tensor, by name. ValueError where layers do not fit together."""
        known = {
            IMAGE: TensorInfo(
                steps=1,
                channels=self.channels,
                height=self.height,
                width=self.width,
                maximum=(1 << PIXEL_BITS) - 1,
            )
        }
        for layer in self.layers:
            where = f"layer {layer.name!r}"
            if layer.name in known:
                raise ValueError(f"{where}: the name is taken")
            for i, source in enumerate(layer.inputs):
                if source not in known:
                    raise ValueError(f"{where}: unknown input {source!r}")
                info = known[source]
                channels = layer.channels_out if layer.kind == "attention" and i == 2 else layer.channels_in
                shape = (channels, layer.height_in, layer.width_in)
                if (info.channels, info.height, info.width) != shape:
                    raise ValueError(
                        f"{where}: input {source!r} has shape {(info.channels, info.height, info.width)}, not {shape}"
                    )
                if layer.kind == "attention" and info.summed:
                    raise ValueError(f"{where}: input {source!r} must be spikes, not sums up to {info.maximum}")
                if source == IMAGE and layer.kind != "accumulate":
                    raise ValueError(f"{where}: only a convolution can read the image")
                if info.membrane and layer.kind != "neurons":
                    raise ValueError(f"{where}: input {source!r} is a membrane stream, which neurons alone can read")
                if layer.kind == "neurons" and not info.membrane:
                    raise ValueError(f"{where}: neurons read a membrane stream, and {source!r} is none")
            if not layer.fires:
                known[layer.name] = self._stream(layer, known)
                continue
            steps, maximum = layer.steps, layer.neuron.levels
            if maximum > 1 and self.steps != 1:
                raise ValueError(f"{where}: integer spikes need a network of one step, not {self.steps}")
            if layer.residual is not None:
                if layer.residual not in known or layer.residual == IMAGE:
                    raise ValueError(f"{where}: unknown residual {layer.residual!r}")
                other = known[layer.residual]
                if other.membrane:
                    raise ValueError(f"{where}: residual {layer.residual!r} is a membrane stream, not spikes")
                shape = (layer.channels_out, layer.height_out, layer.width_out)
                if layer.pool or (other.channels, other.height, other.width) != shape:
                    raise ValueError(
                        f"{where}: residual {layer.residual!r} has shape "
                        f"{(other.channels, other.height, other.width)}, not {shape}, or the layer pools"
                    )
                steps, maximum = max(steps, other.steps), maximum + other.maximum
            known[layer.name] = TensorInfo(
                steps=steps,
                channels=layer.channels_out,
                height=layer.height_out,
                width=layer.width_out,
                maximum=maximum,
                summed=layer.residual is not None,
            )
        return known

    def _stream(self, layer: Layer, known: dict[str, TensorInfo]) -> TensorInfo:
        """The membrane stream that a branch makes."""
        where = f"layer {layer.name!r}"
        if layer.steps != self.steps:
            raise ValueError(f"{where}: a membrane stream has all {self.steps} steps, not {layer.steps}")
        lows, highs = layer.branch_bounds(known[layer.inputs[0]].maximum)
        low, high = int(lows.min()), int(highs.max())
        shape = (layer.channels_out, layer.height_out, layer.width_out)
        if layer.residual is not None:
            other = known.get(layer.residual)
            if other is None or not other.membrane or (other.channels, other.height, other.width) != shape:
                raise ValueError(f"{where}: residual {layer.residual!r} is no membrane stream of shape {shape}")
            low, high = low + other.minimum, high + other.maximum
        return TensorInfo(
            steps=self.steps,
            channels=shape[0],
            height=shape[1],
            width=shape[2],
            maximum=high,
            minimum=low,
            membrane=True,
        )

    def check(self) -> None:
        """Raise ValueError at the first rule that does not hold."""
        if not self.layers or self.layers[-1].kind != "readout":
            raise ValueError("the last layer must be a readout")
        if any(layer.kind == "readout" for layer in self.layers[:-1]):
            raise ValueError("only the last layer can be a readout")
        self._check_image()
        for layer in self.layers:
            layer.check()
            if not 0 <= layer.steps <= self.steps:
                raise ValueError(f"layer {layer.name!r}: T_l must be in 0..{self.steps}, not {layer.steps!r}")
        self.tensors()

    def _check_image(self) -> None:
        if self.coding not in ("planes", "unary"):
            raise ValueError(f"coding must be planes or unary, not {self.coding!r}")
        if not self.padding_pixel:
            return
        if self.frame < 1:
            raise ValueError(f"frame must be positive, not {self.frame!r}")
        if len(self.padding_pixel) != self.channels:
            raise ValueError(
                f"padding_pixel must have {self.channels} numbers, one a channel, not {len(self.padding_pixel)}"
            )
        for pixel in self.padding_pixel:
            if pixel not in range(1 << PIXEL_BITS):
                raise ValueError(f"padding_pixel must be in 0..{(1 << PIXEL_BITS) - 1}, not {pixel!r}")
        for layer in self.layers:
            if layer.direct and layer.padding:
                raise ValueError(f"layer {layer.name!r}: padding must be 0, since the image has a frame")

    def with_steps(self, steps: dict[str, int]) -> Network:
        """The same network with other ``T_l`` for the named layers; the readout follows its input."""
        for name in steps:
            self.layer(name)
        layers = tuple(replace(x, steps=steps.get(x.name, x.steps)) for x in self.layers)
        network = replace(self, layers=layers)
        read = network.tensors()[layers[-1].inputs[0]].steps
        return replace(network, layers=(*layers[:-1], replace(layers[-1], steps=read)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file: tensors, and the graph as JSON in the header; whole or not at all."""
        tensors, graph = {}, []
        for layer in self.layers:
            entry = {k: v for k, v in asdict(layer).items() if not isinstance(v, np.ndarray) and v is not None}
            graph.append(entry)
            for key in TENSORS:
                value = getattr(layer, key)
                if value is not None:
                    tensors[f"{layer.name}.{key}"] = np.ascontiguousarray(value)
        header = {k: getattr(self, k) for k in ("name", "steps", "channels", "height", "width", "pixel_scale")}
        if self.padding_pixel:
            header |= {"padding_pixel": self.padding_pixel, "frame": self.frame}
        header["coding"] = self.coding
        header |= {"layers": graph, "provenance": self.provenance}
        metadata = {"format": FORMAT, "version": str(VERSION), "network": json.dumps(header)}
        with written_aside(path) as aside:
            save_file(tensors, aside, metadata=metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Network:
        """Read what `save` wrote. FileNotFoundError; ValueError for another format, version or bad data."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no such network file: {path}")
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise ValueError(f"{path} is not a SpikeLoom network; make one with `spikeloom quantize`")
                if metadata.get("version") != str(VERSION):
                    raise ValueError(
                        f"{path} has format version {metadata.get('version')}, this program reads {VERSION}"
                    )
                header = json.loads(metadata["network"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}
        except (SafetensorError, json.JSONDecodeError, KeyError) as error:
            raise ValueError(f"{path} is corrupt or not a safetensors file: {error}") from error
        try:
            header["padding_pixel"] = tuple(header.get("padding_pixel", ()))
            layers: list[Layer] = []
            for entry in header.pop("layers"):
                entry["inputs"] = tuple(entry["inputs"])
                entry["neuron"] = Neuron(**entry["neuron"])
                arrays: dict[str, Any] = {k: tensors.get(f"{entry['name']}.{k}") for k in TENSORS}
                missing = [k for k in ("bias", "threshold", "scale") if arrays[k] is None]
                if missing:
                    raise ValueError(f"layer {entry['name']!r}: tensor {missing[0]!r} is missing")
                layers.append(Layer(**entry, **arrays))
            return cls(layers=tuple(layers), **header)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} does not describe a network: {error}") from error
