"""Where each tensor lies in the activation memory, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from spikeloom.golden.network import IMAGE, Layer, Network, TensorInfo


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A tensor in the activation memory: spike words as ``[step][plane][row][column][channel word]``.

    The image is ``[plane][row][channel][word of the row]`` (`image_words`): its columns are channels.
    """

    base: int
    """Address of its first word."""
    steps: int
    """Time steps of which there is room; a sum that grows in place shares it with its residual."""
    planes: int
    """Bit-planes of which there is room, likewise."""
    height: int
    """Rows of positions."""
    width: int
    """Columns of positions."""
    words: int
    """Spike words of a position."""

    @property
    def row(self) -> int:
        """Words from one row to the next."""
        return self.width * self.words

    @property
    def plane(self) -> int:
        """Words from one plane to the next."""
        return self.height * self.row

    @property
    def step(self) -> int:
        """Words from one time step to the next."""
        return self.planes * self.plane

    @property
    def size(self) -> int:
        """Words in all."""
        return self.steps * self.step

    @property
    def end(self) -> int:
        """Address after its last word."""
        return self.base + self.size


@dataclass(frozen=True, kw_only=True)
class MemoryMap:
    """All tensors of a network in the activation memory."""

    placements: Mapping[str, Placement]
    """By tensor name, the image's too; the readout makes no tensor."""
    in_place: frozenset[str]
    """Layers whose sum overwrites their residual."""

    @property
    def words(self) -> int:
        """Spike words that the memory must have."""
        return max(place.end for place in self.placements.values())


@dataclass(frozen=True, kw_only=True)
class _Room:
    """Memory that a tensor has for itself, or shares with the sums that grow out of it."""

    tensors: tuple[str, ...]
    """The tensor that gave the room its name first."""
    first: int
    """The layer that writes it first, by its place in `Network.layers`; the image is written before all, at -1."""
    last: int
    """The last layer that reads it."""
    place: Placement
    """Its size, and its base once it is placed."""

    def lives_with(self, other: _Room) -> bool:
        """Whether both are needed at one time."""
        return self.first <= other.last and other.first <= self.last


def grows_in_place(network: Network, layer: Layer) -> bool:
    """Whether the layer's sum may overwrite its residual: the layer does not read it, nobody reads it later."""
    if layer.residual is None or layer.residual in layer.inputs:
        return False
    return network.shapes.readers[layer.residual][-1] == network.layers.index(layer)


def map_memory(network: Network, *, word_bits: int, image_words: int) -> MemoryMap:
    """First fit by lifetime, the largest tensors first; a tensor lives from its layer to the last that reads it.

    word_bits: channels of a spike word. image_words: of a row of one channel of the image.
    """
    in_place = frozenset(layer.name for layer in network.layers[:-1] if grows_in_place(network, layer))
    placed: list[_Room] = []
    rooms = _rooms(network, in_place, word_bits, image_words)
    for room in sorted(rooms, key=lambda room: (-room.place.size, room.tensors[0])):
        placed.append(replace(room, place=replace(room.place, base=_first_fit(room, placed))))
    by_name = {name: room.place for room in placed for name in room.tensors}
    names = (IMAGE, *(layer.name for layer in network.layers[:-1]))
    return MemoryMap(placements={name: by_name[name] for name in names}, in_place=in_place)


def _rooms(network: Network, in_place: frozenset[str], word_bits: int, image_words: int) -> list[_Room]:
    """What has to be placed: one room for each tensor that does not grow out of another."""
    owners = {IMAGE: IMAGE}
    for layer in network.layers[:-1]:
        grows_from = layer.residual if layer.name in in_place else None
        owners[layer.name] = layer.name if grows_from is None else owners[grows_from]
    written = {layer.name: index for index, layer in enumerate(network.layers)} | {IMAGE: -1}
    rooms = []
    for owner in dict.fromkeys(owners.values()):
        tensors = tuple(name for name in owners if owners[name] == owner)
        readers = [index for name in tensors for index in network.shapes.readers[name]]
        place = _size([network.shapes.tensors[name] for name in tensors], word_bits)
        if owner == IMAGE:
            place = replace(place, width=network.channels, words=image_words)
        rooms.append(
            _Room(
                tensors=tensors,
                first=written[owner],
                last=max(readers + [written[name] for name in tensors]),
                place=place,
            )
        )
    return rooms


def _size(infos: Sequence[TensorInfo], word_bits: int) -> Placement:
    """Room for whichever of the tensors needs most steps and planes; they agree in all else."""
    return Placement(
        base=0,
        steps=max(info.steps for info in infos),
        planes=max(info.planes for info in infos),
        height=infos[0].height,
        width=infos[0].width,
        words=-(-infos[0].channels // word_bits),
    )


def _first_fit(room: _Room, placed: Sequence[_Room]) -> int:
    """The lowest address at which the room meets no other that is needed at the same time."""
    base = 0
    for other in sorted((x.place for x in placed if room.lives_with(x)), key=lambda place: (place.base, place.end)):
        if base + room.place.size <= other.base:
            break
        base = max(base, other.end)
    return base
