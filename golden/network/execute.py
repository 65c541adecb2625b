"""The golden executor: runs an integer `Network` bit for bit as the hardware does, on batches of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from spikeloom.golden.network import IMAGE, Layer, Network
from spikeloom.golden.network.neurons import fire_integers, lif
from spikeloom.golden.network.widths import accumulator_range, membrane_range
from spikeloom.golden.threads import torch_threads

BATCH = 90  # images at a time: the working set of the demo's network stays in the cache


@dataclass(frozen=True, kw_only=True, eq=False)
class Execution:
    """What a network did with B images. All but the first two are filled when `execute` records."""

    sums: np.ndarray
    """int64 (B, classes), the readout's potentials."""
    spike_counts: dict[str, np.ndarray]
    """By layer, int64 (B,): its spikes of each image, before they are pooled; an integer spike n counts n."""
    spikes: dict[str, np.ndarray] = field(default_factory=dict)
    """By layer, bool, integer ones uint8, (T_l, B, C, H, W): of all neurons, before they are pooled and summed."""
    potentials: dict[str, np.ndarray] = field(default_factory=dict)
    """By layer, int64 (T_l, B, C, H, W): ``H`` of all neurons."""
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    """By tensor, the image among them, uint8 (T, B, C, H, W), membrane streams int64: what the next layers read."""

    def __repr__(self) -> str:
        recorded = f", {len(self.spikes)} layers recorded" if self.spikes else ""
        return f"<Execution: {len(self.sums)} images, {self.sums.shape[1]} classes{recorded}>"

    @property
    def predictions(self) -> np.ndarray:
        """The class of each image, int64 (B,); the lowest of equals."""
        return self.sums.argmax(axis=1)

    def accuracy(self, labels: np.ndarray) -> float:
        """Share of the images whose class is the label."""
        return float((self.predictions == np.asarray(labels)).mean())


def check_images(network: Network, images: np.ndarray) -> np.ndarray:
    """The images, with the network's frame; ValueError or TypeError unless they are uint8 (B, C, H, W) of its size."""
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8, not {images.dtype}")
    framed = network.framed(images) if images.ndim == 4 else images
    if framed.ndim != 4 or framed.shape[1:] != (network.channels, network.height, network.width):
        shape = ", ".join(map(str, network.image_shape))
        raise ValueError(f"images must have shape (B, {shape}), not {images.shape}")
    return framed


class LayerRunner:
    """One layer, ready to run: its integer tensors in the number types that are proven wide enough.

    The products run in float32 where the proven bound of every partial sum is below 2^24, in float64 above:
    both are exact, and much faster than integer convolutions.

    unrolled: take integers apart into passes of 1-bit planes as the hardware does, each pass a product of its own.
    """

    def __init__(self, network: Network, layer: Layer, *, unrolled: bool = False) -> None:
        self.layer = layer
        self.coding = network.coding if unrolled else None
        self.shape = network.shapes.layers[layer.name]
        low, high = accumulator_range(layer, self.shape)
        self.real = torch.float32 if max(-low, high) < 1 << 24 else torch.float64
        low, high = membrane_range(layer, self.shape)
        self.integer = torch.int32 if max(-low, high) < 1 << 31 else torch.int64
        self.bias = torch.from_numpy(layer.bias).to(self.integer)
        self.threshold = torch.from_numpy(layer.threshold).to(self.integer)
        if layer.weight is not None:
            self.weight = torch.from_numpy(layer.weight).to(self.real)
        if layer.shift is not None:
            self.shift = torch.from_numpy(layer.shift).to(self.integer)

    def currents(self, tensors: dict[str, Tensor]) -> Tensor:
        """``acc`` of the neurons: integers (T, B, C, H, W) of the steps where the inputs are there, at most ``T_l``."""
        layer = self.layer
        sources = [tensors[name] for name in layer.inputs]
        if layer.direct:
            once = self._convolve(sources[0])
            return once.expand(layer.steps, *once.shape[1:])
        sources = [x[: self.shape.active_steps] for x in sources]
        if layer.kind == "neurons":
            stream = sources[0].to(self.integer)
            return stream.sum((-2, -1), keepdim=True, dtype=self.integer) if layer.whole_map else stream
        return self._attend(*sources) if layer.kind == "attention" else self._convolve(sources[0])

    def _convolve(self, x: Tensor) -> Tensor:
        steps, batch = x.shape[:2]
        layer = self.layer
        if not steps:
            return x.new_zeros(
                (0, batch, layer.channels_out, layer.height_neurons, layer.width_neurons), dtype=self.integer
            )
        x = x.flatten(0, 1).to(self.real)  # (T B, C, H, W)
        groups = layer.channels_in if layer.depthwise else 1
        y = _sum_of(
            F.conv2d(part, self.weight, stride=layer.stride, padding=layer.padding, groups=groups) * factor
            for part, factor in self._passes(x, self.shape.inputs[0].maximum)
        )
        if layer.pool_first:
            y = F.max_pool2d(y, 3, 2, 1)
        return y.to(self.integer).unflatten(0, (steps, batch))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        shape = v.shape
        q_info, k_info, v_info = self.shape.inputs
        q, k, v = (x.to(self.real).flatten(3).unflatten(2, (self.layer.heads, -1)) for x in (q, k, v))
        # (T, B, heads, d, N)
        kv = _sum_of(  # (T, B, heads, d of k, d of v)
            a @ b.transpose(-1, -2) * (factor * other)
            for a, factor in self._passes(k, k_info.maximum)
            for b, other in self._passes(v, v_info.maximum)
        )
        mixed = _sum_of(kv.transpose(-1, -2) @ part * factor for part, factor in self._passes(q, q_info.maximum))
        return mixed.to(self.integer).reshape(shape)

    def _passes(self, x: Tensor, maximum: int) -> Iterator[tuple[Tensor, int]]:
        """What the products see of a tensor of 0..maximum, with the factor of each pass."""
        if self.coding == "planes":
            whole = x.to(torch.int32)
            for plane in range(maximum.bit_length()):
                yield (whole >> plane & 1).to(x.dtype), 1 << plane
        elif self.coding == "unary":
            for level in range(1, maximum + 1):
                yield (x >= level).to(x.dtype), 1
        else:
            yield x, 1

    def fire(self, currents: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes (bool, integer ones uint8) and potentials ``H``, (T_l, B, C, H, W)."""
        if self.layer.neuron.levels > 1:
            return fire_integers(currents, bias=self.bias, threshold=self.threshold, steps=self.layer.steps)
        return lif(
            currents,
            bias=self.bias,
            threshold=self.threshold,
            neuron=self.layer.neuron,
            steps=self.layer.steps,
        )

    def stream(self, currents: Tensor, tensors: dict[str, Tensor]) -> Tensor:
        """A branch's membrane stream, integers (T, B, C, H, W)."""
        shape = (self.layer.steps, *currents.shape[1:])
        total = self.bias.view(-1, 1, 1).expand(shape).clone()
        total[: len(currents)] += currents << self.shift.view(-1, 1, 1)
        if self.layer.residual is not None:
            total += tensors[self.layer.residual].to(self.integer)
        return total

    def finish(self, spikes: Tensor, tensors: dict[str, Tensor]) -> Tensor:
        """The layer's tensor: the spikes pooled, or added to the residual; missing steps are zeros."""
        y = spikes.to(torch.float32)
        pools = self.layer.pool and not self.layer.pool_first
        if pools and len(y):
            y = F.max_pool2d(y.flatten(0, 1), 3, 2, 1).unflatten(0, spikes.shape[:2])
        elif pools:
            y = y.new_zeros((*y.shape[:3], self.layer.height_out, self.layer.width_out))
        if self.layer.residual is None:
            return y
        other = tensors[self.layer.residual]
        total = y.new_zeros((max(len(y), len(other)), *y.shape[1:]))
        total[: len(y)] += y
        total[: len(other)] += other
        return total

    def read_out(self, tensors: dict[str, Tensor]) -> Tensor:
        """Class sums, int64 (B, classes): over the input's steps and positions, plus the bias once."""
        x = tensors[self.layer.inputs[0]].sum(dim=(0, 3, 4), dtype=torch.float64).to(torch.int64)  # (B, C)
        return x @ torch.from_numpy(self.layer.weight)[:, :, 0, 0].to(torch.int64).T + self.bias.to(torch.int64)


def _sum_of(parts: Iterator[Tensor]) -> Tensor:
    """The sum, at least one part."""
    total = next(parts)
    for part in parts:
        total = total + part
    return total


@torch.inference_mode()
def execute(
    network: Network,
    images: np.ndarray,
    *,
    record: bool = False,
    unrolled: bool = False,
    batch: int = BATCH,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Execution:
    """Run the network on images, uint8 (B, C, H, W).

    record: keep every layer's spikes, potentials and tensors. unrolled: take integers above 1 apart into the
    1-bit passes of `Network.coding`, as the hardware does: slower, no influence on the result. batch: images at
    a time, no influence on the result. threads: of PyTorch; one is the fastest for small networks, and on a
    machine that is busy by far. progress: called with the number of images done after each batch.
    Raises TypeError or ValueError where the images are not the network's.
    """
    images = check_images(network, images)
    runners = [LayerRunner(network, layer, unrolled=unrolled) for layer in network.layers]
    parts = []
    with torch_threads(threads):
        for start in range(0, max(len(images), 1), batch):
            parts.append(_execute_batch(runners, images[start : start + batch], record))
            if progress is not None:
                progress(min(start + batch, len(images)))
    return Execution(
        sums=np.concatenate([part.sums for part in parts]),
        spike_counts=_join([part.spike_counts for part in parts], 0),
        spikes=_join([part.spikes for part in parts], 1),
        potentials=_join([part.potentials for part in parts], 1),
        tensors=_join([part.tensors for part in parts], 1),
    )


def _join(parts: list[dict[str, np.ndarray]], axis: int) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts], axis) for name in parts[0]}


def _execute_batch(runners: list[LayerRunner], images: np.ndarray, record: bool) -> Execution:
    tensors = {IMAGE: torch.from_numpy(images).to(torch.float32)[None]}  # (1, B, C, H, W)
    last_use = {name: i for i, runner in enumerate(runners) for name in runner.layer.reads}
    counts, all_spikes, all_potentials = {}, {}, {}
    for i, runner in enumerate(runners[:-1]):
        layer = runner.layer
        currents = runner.currents(tensors)
        if layer.fires:
            spikes, potentials = runner.fire(currents)
            tensors[layer.name] = runner.finish(spikes, tensors)
            counts[layer.name] = spikes.sum(dim=(0, 2, 3, 4)).numpy()
        else:
            tensors[layer.name] = runner.stream(currents, tensors)
        if record and layer.fires:
            all_spikes[layer.name] = spikes.numpy()
            all_potentials[layer.name] = potentials.to(torch.int64).numpy()
        if not record:
            tensors = {name: x for name, x in tensors.items() if last_use.get(name, -1) > i}
    return Execution(
        sums=runners[-1].read_out(tensors).numpy(),
        spike_counts=counts,
        spikes=all_spikes,
        potentials=all_potentials,
        tensors={name: _recorded(x) for name, x in tensors.items()} if record else {},
    )


def _recorded(x: Tensor) -> np.ndarray:
    """Spikes, sums and pixels are reals while the network runs, membrane streams integers."""
    return x.to(torch.uint8 if x.is_floating_point() else torch.int64).numpy()
