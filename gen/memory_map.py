"""Where each tensor lies in the activation memory, and when."""

from __future__ import annotations

from dataclasses import dataclass

from spikeloom.golden.network import IMAGE, Layer, Network, TensorInfo


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A tensor in the activation memory: spike words as ``[step][plane][row][column][channel word]``.

    base: address of its first word. steps, planes: of which there is room (sums that grow in place share it).
    words: spike words a position. All in words of `lanes` bits.
    """

    base: int
    steps: int
    planes: int
    height: int
    width: int
    words: int

    @property
    def row(self) -> int:
        return self.width * self.words

    @property
    def plane(self) -> int:
        return self.height * self.row

    @property
    def step(self) -> int:
        return self.planes * self.plane

    @property
    def size(self) -> int:
        return self.steps * self.step

    def fields(self) -> dict[str, int]:
        """Fields of `layouts.TENSOR`."""
        return {"base": self.base, "step": self.step, "plane": self.plane, "row": self.row}


@dataclass(frozen=True, kw_only=True)
class MemoryMap:
    """Placements by tensor name, and the words that they need together at most."""

    placements: dict[str, Placement]
    in_place: frozenset[str]
    words: int


def grows_in_place(network: Network, layer: Layer) -> bool:
    """Whether the layer's sum may overwrite its residual: the layer does not read it, nobody reads it later."""
    if layer.residual is None or layer.residual in layer.inputs:
        return False
    after = network.layers[network.layers.index(layer) + 1 :]
    return all(layer.residual not in (*x.inputs, x.residual) for x in after)


def map_memory(network: Network, *, lanes: int) -> MemoryMap:
    """First fit by lifetime, the largest tensors first; a tensor lives from its layer to the last that reads it."""
    tensors = network.tensors()
    storage, in_place = {}, set()
    for layer in network.layers[:-1]:
        storage[layer.name] = layer.name
        if grows_in_place(network, layer):
            assert layer.residual is not None
            storage[layer.name] = storage[layer.residual]
            in_place.add(layer.name)
    storage[IMAGE] = IMAGE
    sharing = {name: [k for k, v in storage.items() if v == name] for name in set(storage.values())}
    lifetimes = {name: _lifetime(network, set(names)) for name, names in sharing.items()}
    shapes = {name: _room([tensors[k] for k in names], lanes) for name, names in sharing.items()}
    bases: dict[str, int] = {}
    for name in sorted(lifetimes, key=lambda n: (-shapes[n].size, n)):
        bases[name] = _first_fit(name, bases, shapes, lifetimes)
    placements = {tensor: Placement(**{**vars(shapes[name]), "base": bases[name]}) for tensor, name in storage.items()}
    return MemoryMap(
        placements=placements,
        in_place=frozenset(in_place),
        words=max(p.base + p.size for p in placements.values()),
    )


def _lifetime(network: Network, names: set[str]) -> tuple[int, int]:
    """First layer that writes one of the tensors, last that reads one; the image is written before layer 0."""
    writers = [-1 if IMAGE in names else min(i for i, x in enumerate(network.layers) if x.name in names)]
    readers = [i for i, x in enumerate(network.layers) if names & {*x.inputs, x.residual}]
    return min(writers), max(readers + writers)


def _room(infos: list[TensorInfo], lanes: int) -> Placement:
    info = infos[0]
    return Placement(
        base=0,
        steps=max(i.steps for i in infos),
        planes=max(i.planes for i in infos),
        height=info.height,
        width=info.width,
        words=-(-info.channels // lanes),
    )


def _first_fit(
    name: str,
    bases: dict[str, int],
    shapes: dict[str, Placement],
    lifetimes: dict[str, tuple[int, int]],
) -> int:
    """The lowest address at which the tensor meets no other that lives at the same time."""
    start, end = lifetimes[name]
    taken = sorted(
        (base, base + shapes[other].size)
        for other, base in bases.items()
        if start <= lifetimes[other][1] and lifetimes[other][0] <= end
    )
    base = 0
    for low, high in taken:
        if base + shapes[name].size <= low:
            break
        base = max(base, high)
    return base
