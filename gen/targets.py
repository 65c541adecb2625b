"""Boards, the devices on them, and the core of a demo on each."""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
import re
from dataclasses import dataclass, field
from typing import Any

import amaranth_boards
from amaranth.build import ResourceError
from amaranth.vendor import LatticePlatform

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.primitives.family import ECP5, CellFamily


@dataclass(frozen=True, kw_only=True)
class Device:
    """What an ECP5 offers.

    luts: four-input look-up tables (as many flip-flops).
    block_rams: DP16KD, of 18 kbit each.
    """

    luts: int
    block_rams: int


# Lattice FPGA-DS-02012, table 1.1; the tools use a 12F as the 25F that its die is.
_DEVICES = {
    "12F": Device(luts=24288, block_rams=56),
    "25F": Device(luts=24288, block_rams=56),
    "45F": Device(luts=43848, block_rams=108),
    "85F": Device(luts=83640, block_rams=208),
}
_SMALL = {"lanes": 16, "neuron_lanes": 4}
_LARGE = {"lanes": 32, "banks": 4}
_CLOCK_HZ = 50_000_000
_CLOCKS_HZ = {  # boards whose timing was measured with several seeds, see docs/decisions.md
    "ulx3s-85f": 100_000_000,
}


@dataclass(frozen=True, kw_only=True)
class Target:
    """One board.

    name: as `target` takes it.
    board: import path of the class in amaranth-boards, ``module:Class``.
    device, package, speed: as Lattice names them, e.g. LFE5U-85F, BG381, 6.
    luts: look-up tables of four inputs.
    block_rams: DP16KD, of 18 kbit each.
    clock_hz: wanted clock of the core, in hertz.
    core: keyword arguments of the `CoreConfig` of a demo, which is placed in minutes; for what a user leaves out who
        gives some of a core's sizes, too. What is left out here depends on the model.
    """

    name: str
    board: str
    device: str
    package: str
    speed: str
    luts: int
    block_rams: int
    clock_hz: int = _CLOCK_HZ
    core: dict[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not isinstance(self.clock_hz, int) or self.clock_hz < 1:
            raise ValueError(f"clock_hz must be a positive integer, not {self.clock_hz!r}")
        CoreConfig(**self.core)

    @property
    def cells(self) -> CellFamily:
        """The family of its device."""
        return ECP5

    def platform(self) -> LatticePlatform:
        """A fresh platform of the board, with the open tools."""
        module, _, name = self.board.partition(":")
        return getattr(importlib.import_module(module), name)(toolchain="Trellis")


def _key(name: str) -> str:
    """What is left of a name without case, punctuation, and the word platform."""
    return re.sub("platform$", "", re.sub("[^a-z0-9]", "", name.lower()))


@functools.cache
def _boards() -> dict[str, type[LatticePlatform]]:
    """Canonical name to class, of all boards with an ECP5.

    A board has the name of its module, with the size of its device where a module has several.
    """
    boards: dict[str, type[LatticePlatform]] = {}
    for info in pkgutil.iter_modules(amaranth_boards.__path__):
        if info.ispkg or info.name == "test":
            continue
        module = importlib.import_module(f"amaranth_boards.{info.name}")
        members: list[tuple[str, Any]] = list(vars(module).items())
        found = [
            board
            for name, board in members
            if isinstance(board, type)
            and issubclass(board, LatticePlatform)
            and board.__module__ == module.__name__
            and not name.startswith("_")
            and str(getattr(board, "device", None)).startswith("LFE5")
        ]
        for board in found:
            name = info.name.replace("_", "-")
            if len(found) > 1 and _key(board.__name__) != _key(info.name):
                name += "-" + _size(board).lower()
            boards[name] = board
    return boards


def _size(board: type[LatticePlatform]) -> str:
    return board.device.rpartition("-")[2]


@functools.cache
def _aliases() -> dict[str, str]:
    """Every accepted key to a canonical name: the board's own, and its class's."""
    aliases = {_key(name): name for name in _boards()}
    for name, board in _boards().items():
        aliases.setdefault(_key(board.__name__), name)
    return aliases


def _has_uart(board: type[LatticePlatform]) -> bool:
    try:
        board(toolchain="Trellis").lookup("uart", 0)
    except ResourceError:
        return False
    return True


def target_names(*, usable: bool = True) -> list[str]:
    """Names of all boards with an ECP5; usable are those with a serial line, which the host needs."""
    return sorted(name for name, board in _boards().items() if not usable or _has_uart(board))


def target(name: str) -> Target:
    """The board of that name: its own, or that of its class or module in amaranth-boards, however spelt.

    Raises
    ------
    ValueError
        For an unknown board (with the nearest names), one without a serial line, one without a clock input.
    """
    canonical = _aliases().get(_key(name))
    if canonical is None:
        near = difflib.get_close_matches(_key(name), _aliases(), n=6, cutoff=0.5)
        near += [key for key in _aliases() if _key(name) and _key(name) in key]
        names = list(dict.fromkeys(_aliases()[key] for key in near)) or target_names()
        raise ValueError(f"unknown board {name!r}: did you mean {', '.join(names)}?")
    board = _boards()[canonical]
    if not _has_uart(board):
        raise ValueError(
            f"board {canonical!r} has no uart resource in amaranth-boards, which the link to the host needs; "
            f"boards that have one: {', '.join(target_names())}"
        )
    device = _DEVICES[_size(board)]
    return Target(
        name=canonical,
        board=f"{board.__module__}:{board.__name__}",
        device=board.device,
        package=board.package,
        speed=board.speed,
        luts=device.luts,
        block_rams=device.block_rams,
        clock_hz=_CLOCKS_HZ.get(canonical, _CLOCK_HZ),
        core=dict(_LARGE if device.block_rams >= _DEVICES["45F"].block_rams else _SMALL),
    )
