"""The core's map on its host bus, described once: the hardware, the driver, the C header and the page follow it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .config import CoreConfig
from .counters import COUNTERS
from .layouts import DESCRIPTOR_VERSION, DESCRIPTOR_WORDS, WORD_BITS, parameters

IDENTITY = 0x53504C31  # "SPL1"
MAP_VERSION = 6
"""Of everything on this page; a driver refuses another one. 4: the core says the bits of its spike words. 5: banks.
6: how large images and layers may be, and whether there are counters."""

REGION_SHIFT = 24
ADDRESS_BITS = REGION_SHIFT + 4
REGION_WORDS = 1 << REGION_SHIFT
"""Words that a region has room for: a core with a larger memory is refused."""


class Region(IntEnum):
    """Bits 24 to 27 of a word address."""

    REGISTERS = 0
    RESULTS = 1
    PROGRAM = 2
    PARAMETERS = 3
    WEIGHTS = 4

    def address(self, offset: int = 0) -> int:
        """Word address of a word of the region."""
        return int(self) << REGION_SHIFT | offset


class Register(IntEnum):
    """Words of the REGISTERS region; the last three are the first of several."""

    IDENTITY = 0
    CONTROL = 1
    STATUS = 2
    PIXELS = 3
    WATCHDOG = 4
    CHECKSUM = 5
    COUNTERS = 16
    CAPABILITIES = 32
    PROGRAM_INFO = 64


class Control(IntFlag):
    """Bits of CONTROL."""

    START = 1
    ABORT = 2


class Status(IntFlag):
    """Bits of STATUS below the count of refused writes."""

    BUSY = 1
    DONE = 2
    PIXELS = 4
    BAD_DESCRIPTOR = 8
    TIMED_OUT = 16


REFUSED_SHIFT = 8
MOST_REFUSED = 255
LONGEST_WATCHDOG = 31

CAPABILITIES = (
    "map_version",
    "descriptor_version",
    "lanes",
    "columns",
    "banks",
    "neuron_lanes",
    "weight_width",
    "accumulator_width",
    "potential_width",
    "activation_words",
    "weight_rows",
    "membrane_positions",
    "parameter_words",
    "program_layers",
    "row_pixels",
    "classes",
    "word",
    "side",
    "counters",
)
"""Words from `Register.CAPABILITIES` on: versions, then all of `CoreConfig`."""

PROGRAM_INFO_WORDS = 16


class ProgramInfo(IntEnum):
    """Words from `Register.PROGRAM_INFO` on: what the loaded Program wants; the core itself does not read them."""

    HASH = 0
    CHANNELS = 1
    HEIGHT = 2
    WIDTH = 3
    FRAME = 4
    CLASSES = 5
    PADDING = 6


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line of the map."""

    region: Region
    """Where it lies."""
    name: str
    """Of the first word, as a C identifier."""
    offset: int = 0
    """Of the first word, in words from the region's start."""
    words: int | None = 1
    """How many; None where the core's size decides."""
    access: str
    """"r", "w" or "rw", of the host."""
    text: str
    """What it is, one line."""

    @property
    def address(self) -> int:
        """Word address of the first word."""
        return self.region.address(self.offset)


def _register(register: Register, access: str, text: str, words: int = 1) -> Entry:
    return Entry(
        region=Region.REGISTERS, name=register.name, offset=int(register), words=words, access=access, text=text
    )


MAP = (
    _register(Register.IDENTITY, "r", f'`{IDENTITY:08x}`, "SPL1"'),
    _register(
        Register.CONTROL,
        "w",
        "bit 0: start one image, refused while busy; bit 1: abort, whatever the core does; it is idle then",
    ),
    _register(
        Register.STATUS,
        "r",
        "bit 0 busy; 1 done, the class sums are there; 2 waits for pixels; 3 stopped at a bad descriptor; 4 stopped by "
        "the watchdog; bits 8 to 15: writes refused since the last start or abort, at most 255",
    ),
    _register(Register.PIXELS, "w", "four pixels, the first in the low byte; refused unless awaited"),
    _register(
        Register.WATCHDOG,
        "rw",
        f"n: stop an image after 2^n cycles, pixels not counted; 1 to {LONGEST_WATCHDOG}; 0 never does; "
        f"{LONGEST_WATCHDOG} at reset",
    ),
    _register(
        Register.CHECKSUM,
        "r",
        "of the writes to the Program's memories since the last abort: rotate left by one, XOR data, XOR address",
    ),
    _register(
        Register.COUNTERS,
        "r",
        "of this image, in the order of `rtl/core/counters.py`; a core without counters counts its cycles alone, the "
        "first word",
        len(COUNTERS),
    ),
    _register(
        Register.CAPABILITIES, "r", f"versions and sizes of the core: {', '.join(CAPABILITIES)}", len(CAPABILITIES)
    ),
    _register(
        Register.PROGRAM_INFO,
        "rw",
        "of the Program: hash, then image channels, height, width (with the frame), frame, classes; from word "
        f"{ProgramInfo.PADDING:d} on the frame's pixel, four channels a word; refused while busy",
        PROGRAM_INFO_WORDS,
    ),
    Entry(
        region=Region.RESULTS,
        name="RESULTS",
        words=None,
        access="r",
        text="class sums, one signed word a class; 0 unless done",
    ),
    Entry(
        region=Region.PROGRAM,
        name="PROGRAM",
        words=None,
        access="w",
        text=f"descriptors, {DESCRIPTOR_WORDS} words each; refused while busy",
    ),
    Entry(
        region=Region.PARAMETERS,
        name="PARAMETERS",
        words=None,
        access="w",
        text="rows of (bias, -threshold) words; a row starts at a multiple of a power of two; refused while busy",
    ),
    Entry(
        region=Region.WEIGHTS,
        name="WEIGHTS",
        words=None,
        access="w",
        text="rows of weights, likewise; refused while busy",
    ),
)
"""Every line of the map, in the order of addresses. Everywhere else reads give 0 and writes are refused."""


def named_words() -> list[tuple[str, int, str]]:
    """Every register of one word: name, word address, access; those of several words are taken apart."""
    parts = {
        Register.COUNTERS: tuple(f"COUNTER_{name.upper()}" for name in COUNTERS),
        Register.CAPABILITIES: tuple(f"CORE_{name.upper()}" for name in CAPABILITIES),
        Register.PROGRAM_INFO: tuple(f"PROGRAM_{item.name}" for item in ProgramInfo)
        + tuple(f"PROGRAM_PADDING{i}" for i in range(1, PROGRAM_INFO_WORDS - ProgramInfo.PADDING)),
    }
    return [
        (name, entry.address + i, entry.access)
        for entry in MAP
        if entry.region == Region.REGISTERS
        for i, name in enumerate(parts.get(Register(entry.offset), (entry.name,)))
    ]


def row_stride(bits: int) -> int:
    """Words from one row of a loadable memory to the next: the power of two that holds the row."""
    return 1 << ceil_log2(-(-bits // WORD_BITS))


def region_words(config: CoreConfig) -> dict[Region, int]:
    """Words that a core has in each region behind the registers.

    Raises
    ------
    ValueError
        where a memory is larger than `REGION_WORDS`.
    """
    words = {
        Region.RESULTS: config.classes,
        Region.PROGRAM: config.program_layers * DESCRIPTOR_WORDS,
        Region.PARAMETERS: config.parameter_words * row_stride(parameters(config).size),
        Region.WEIGHTS: config.weight_rows * row_stride(config.lanes * config.weight_width),
    }
    for region, count in words.items():
        if count > REGION_WORDS:
            raise ValueError(f"{region.name} must have at most {REGION_WORDS} words on the host bus, not {count}")
    return words


def capabilities(config: CoreConfig) -> tuple[int, ...]:
    """Values of `CAPABILITIES`, in its order."""
    known = {"map_version": MAP_VERSION, "descriptor_version": DESCRIPTOR_VERSION}
    return tuple(known[name] if name in known else int(getattr(config, name)) for name in CAPABILITIES)


def checksum(writes: Sequence[tuple[int, int]], start: int = 0) -> int:
    """What CHECKSUM reads after (address, word) writes to the Program's memories; all else leaves it as it is."""
    value = start
    for address, word in writes:
        if address >> REGION_SHIFT in (Region.PROGRAM, Region.PARAMETERS, Region.WEIGHTS):
            value = (value << 1 & 0xFFFFFFFF | value >> 31) ^ word ^ address
    return value


class HostBus(wiring.Signature):
    """One access at a time, as a classic Wishbone cycle, seen from the initiator.

    Members
    -------
    request : Out(1)
        CYC & STB: held, with all that follows, until `acknowledge`.
    write : Out(1)
        WE.
    address : Out(28)
        Of a word of 32 bits: the region in the top four bits.
    write_data : Out(32)
    read_data : In(32)
        Valid with `acknowledge`.
    acknowledge : In(1)
        ACK: lasts one cycle, the last of the access.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "request": Out(1),
                "write": Out(1),
                "address": Out(ADDRESS_BITS),
                "write_data": Out(WORD_BITS),
                "read_data": In(WORD_BITS),
                "acknowledge": In(1),
            }
        )
