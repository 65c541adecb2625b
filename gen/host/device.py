"""The host's driver of a core behind the bridge."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeloom.gen.host.link import HostError, Link, Transport, runs
from spikeloom.gen.host.pixels import ImageFormat, pack_pixels
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.counters import COUNTERS, counted
from spikeloom.rtl.core.layouts import DESCRIPTOR_VERSION
from spikeloom.rtl.core.registers import (
    CAPABILITIES,
    IDENTITY,
    LONGEST_WATCHDOG,
    MAP_VERSION,
    MOST_REFUSED,
    PROGRAM_INFO_WORDS,
    REFUSED_SHIFT,
    Control,
    ProgramInfo,
    Region,
    Register,
    Status,
    checksum,
)

if TYPE_CHECKING:
    from spikeloom.gen.program import Program

_EQUAL = ("lanes", "word", "columns", "banks", "neuron_lanes", "weight_width", "potential_width")
"""Sizes that shape a Program; of the others a core may have more than a Program needs."""


class Counts(dict[str, int]):
    """Counters by name; HostError for one that the core does not have."""

    def __missing__(self, name: str) -> int:
        if name in COUNTERS:
            raise HostError(f"the core was built without counters: it does not count {name}, only {', '.join(self)}")
        raise KeyError(name)


@dataclass(frozen=True, kw_only=True)
class Inference:
    """What the board says about one image."""

    sums: list[int]
    """Class sums, signed."""
    counters: Counts
    """By name, of this image; of a core without counters the cycles alone."""

    @property
    def label(self) -> int:
        """Class with the largest sum; the first of equals."""
        return int(np.argmax(self.sums))


class Device(Link):
    """A core behind the bridge.

    Parameters
    ----------
    transport : Transport
    timeout_s : float
        Seconds until an image must be done.
    resynchronise_s : float
        Silence that makes the bridge forget half a frame; longer than its time-out.
    sleep, clock : functions
        To wait seconds, and to know how many have passed; simulations give their own.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        timeout_s: float = 5.0,
        resynchronise_s: float = 0.15,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(transport, resynchronise_s=resynchronise_s, sleep=sleep)
        self._timeout_s, self._clock = timeout_s, clock
        self._image: ImageFormat | None = None

    def identify(self) -> None:
        """Check that a core of ours answers; once more after silence, if not at first.

        Raises HostError.
        """
        identity = None
        for _ in range(2):
            try:
                (identity,) = self._registers(Register.IDENTITY)
            except HostError:
                identity = None
            if identity == IDENTITY:
                return
            self.resynchronise()
        if identity is None:
            raise HostError("the board does not answer: is it programmed, and are port and baud rate right?")
        raise HostError(f"the board says {identity:#010x}, not {IDENTITY:#010x}: it holds another design")

    @cached_property
    def core(self) -> CoreConfig:
        """The core's sizes, as it says.

        Raises HostError for a core with another register map or other descriptors than this driver's.
        """
        self.identify()
        words = self._registers(Register.CAPABILITIES, len(CAPABILITIES))
        values: dict[str, Any] = dict(zip(CAPABILITIES, words, strict=True))
        for name, wanted in (("map_version", MAP_VERSION), ("descriptor_version", DESCRIPTOR_VERSION)):
            if (found := values.pop(name)) != wanted:
                raise HostError(f"the core has {name} {found}, this driver {wanted}: build the bitstream again")
        return CoreConfig(**values | {"counters": bool(values["counters"])})

    @property
    def image(self) -> ImageFormat:
        """The images that the core's Program takes; HostError where it holds none."""
        if self._image is None:
            _ = self.core
            words = self._registers(Register.PROGRAM_INFO, PROGRAM_INFO_WORDS)
            if not words[ProgramInfo.HASH]:
                raise HostError("the core holds no Program: load one")
            try:
                self._image = ImageFormat.from_words(words)
            except ValueError as error:
                raise HostError(f"the core holds no Program that can be used, load one: {error}") from error
        return self._image

    def holds(self, program: Program) -> bool:
        """Whether the core has this Program, as far as whoever loaded it says."""
        _ = self.core
        return self._registers(Register.PROGRAM_INFO + ProgramInfo.HASH)[0] == program.hash

    def load(self, program: Program) -> None:
        """Replace the core's Program, whatever the core does at the moment, and check that it came whole.

        Raises
        ------
        HostError
            where the Program is for another core, or the link lost something: the core holds no Program then.
        """
        if why := _mismatch(program.config, self.core):
            raise HostError(f"the Program is for another core: {why}")
        self._image = None
        self.abort()
        writes = program.host_writes()
        for address, words in runs(writes[:-1]):
            self.write_words(address, words)
        self._check_refused("of the Program")
        (found,) = self._registers(Register.CHECKSUM)
        if found != (wanted := checksum(writes)):
            raise HostError(
                f"the Program did not arrive whole (checksum {found:#010x}, not {wanted:#010x}): load again"
            )
        self.write_words(writes[-1][0], [writes[-1][1]])
        self._image = program.image

    def abort(self) -> None:
        """Bring the core back to idle, whatever it does; its Program stays."""
        self.write_words(Region.REGISTERS.address(Register.CONTROL), [Control.ABORT])
        if (status := self.status()) & (Status.BUSY | Status.DONE):
            raise HostError(f"the core does not obey an abort: status {status:#x}")

    def set_watchdog(self, log2_cycles: int) -> None:
        """Stop an image that takes 2 ** log2_cycles cycles, the time for its pixels not counted; 0: never."""
        if log2_cycles not in range(LONGEST_WATCHDOG + 1):
            raise ValueError(f"log2_cycles must be in 0..{LONGEST_WATCHDOG}, not {log2_cycles!r}")
        self.write_words(Region.REGISTERS.address(Register.WATCHDOG), [log2_cycles])

    def status(self) -> Status:
        """What the core does, without the count of refused writes."""
        return Status(self._registers(Register.STATUS)[0] & (1 << REFUSED_SHIFT) - 1)

    def refused_writes(self) -> int:
        """Writes that the core refused since the last start or abort, at most 255."""
        return self._registers(Register.STATUS)[0] >> REFUSED_SHIFT & MOST_REFUSED

    def infer(self, image: np.ndarray, *, classes: int | None = None) -> Inference:
        """Compute one image (C, H, W) of uint8, without the frame that the Program may want.

        Raises
        ------
        ValueError, TypeError
            for an image of another shape than the Program's, or other classes.
        HostError
            where the core stops, takes too long (it is aborted then) or lost something.
        """
        wanted = self.image
        if classes is not None and classes != wanted.classes:
            raise ValueError(f"classes must be the Program's {wanted.classes}, not {classes!r}")
        words = pack_pixels(wanted.framed(np.asarray(image))).tolist()
        if self.status() & Status.BUSY:  # an image broke off
            self.abort()
        self.write_words(Region.REGISTERS.address(Register.CONTROL), [Control.START])
        self.write_words(Region.REGISTERS.address(Register.PIXELS), words, fixed=True)
        self._wait()
        self._check_refused("of the image")
        return Inference(sums=self._sums(wanted.classes), counters=self._counters())

    def _registers(self, first: int, count: int = 1) -> list[int]:
        return self.read_words(Region.REGISTERS.address(first), count)

    def _wait(self) -> None:
        """Until the class sums are there."""
        deadline = self._clock() + self._timeout_s
        while True:
            status = self.status()
            if status & Status.DONE:
                return
            if status & Status.BAD_DESCRIPTOR:
                raise HostError("the core stopped at a descriptor that it does not know: load the Program again")
            if status & Status.TIMED_OUT:
                raise HostError("the core's watchdog stopped the image: load the Program again, or let it run longer")
            if not status & Status.BUSY:
                raise HostError("the core did not start the image, or forgot it: is its link or its power bad?")
            if self._clock() > deadline:
                waiting = "waits for pixels" if status & Status.PIXELS else "has no result"
                self.abort()
                raise HostError(f"after {self._timeout_s:g} s the core still {waiting}; it was aborted")

    def _check_refused(self, what: str) -> None:
        if refused := self.refused_writes():
            many = f"{refused} or more" if refused == MOST_REFUSED else refused
            raise HostError(f"the core refused {many} writes {what}: does somebody else use it?")

    def _sums(self, classes: int) -> list[int]:
        words = self.read_words(Region.RESULTS.address(), classes)
        return [word - (1 << 32) if word >> 31 else word for word in words]

    def _counters(self) -> Counts:
        names = counted(self.core)  # the first of all
        return Counts(zip(names, self._registers(Register.COUNTERS, len(names)), strict=True))


def _mismatch(program: CoreConfig, core: CoreConfig) -> str:
    """Which sizes of the core do not suit a Program, both named; empty where all do."""
    has = asdict(core)
    return "; ".join(
        f"{name} {needs}, the core has {has[name]}"
        for name, needs in asdict(program).items()
        if name != "counters"  # a Program needs none
        if (has[name] != needs if name in _EQUAL else has[name] < needs)
    )
