"""The core's map on its host bus: 32-bit words, 24-bit word addresses, the region in the top four bits."""

from enum import IntEnum

from amaranth.lib import wiring
from amaranth.lib.wiring import In

IDENTITY = 0x53504C31  # "SPL1"
REGION_SHIFT = 20


class Region(IntEnum):
    """Bits 20 to 23 of a word address."""

    REGISTERS = 0
    RESULTS = 1  # class sums, one signed word a class
    PROGRAM = 2  # descriptors, `layouts.DESCRIPTOR_WORDS` words each
    PARAMETERS = 3  # rows of (bias, threshold) words; a row starts at a multiple of a power of two
    WEIGHTS = 4  # rows of weights, likewise

    def address(self, offset: int = 0) -> int:
        """Word address of a word of the region."""
        return int(self) << REGION_SHIFT | offset


class Register(IntEnum):
    """Words of the REGISTERS region."""

    IDENTITY = 0  # reads `IDENTITY`
    CONTROL = 1  # write 1: start one image; the counters and the results are cleared
    STATUS = 2  # bit 0 busy, bit 1 done (class sums are valid), bit 2 waits for pixels
    PIXELS = 3  # write: four pixels, the first in the low byte, rows by columns by channels
    COUNTERS = 16  # first of `counters.COUNTERS`, in its order


class HostBus(wiring.Signature):
    """One access at a time: hold `request` until `acknowledge`, which lasts one cycle.

    As a classic Wishbone cycle: request = CYC & STB, write = WE. `read_data` is valid with `acknowledge`.
    Seen from the device.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "request": In(1),
                "write": In(1),
                "address": In(24),
                "write_data": In(32),
                "read_data": wiring.Out(32),
                "acknowledge": wiring.Out(1),
            }
        )
