"""One block memory of the ECP5, with output registers."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from .ports import MemorySharedPort

SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
"""Words and bits of a word; in the first, which takes both ports for one word, A only writes and B only reads."""

_WORDS = 1024  # of 18 bits
_ADDRESS_BITS = 14
_DATA_BITS = 18


def init_values(init, width):
    """The 64 INITVAL of contents of `width` bits a word: 16 pieces of 18 bits each, every 20 bits.

    A word of 36 bits takes two pieces, the low half first; words of less than 9 bits share the lower 8 of 9.
    """
    in_byte = 8 // width  # words of less than 9 bits
    pieces = [0] * _WORDS
    for address, value in enumerate(init):
        bit = address // in_byte * 9 + address % in_byte * width if in_byte else address * width
        piece, shift = divmod(bit, _DATA_BITS)
        pieces[piece] |= value << shift & (1 << _DATA_BITS) - 1
        if width == 36:
            pieces[piece + 1] |= value >> _DATA_BITS
    return [sum(piece << 20 * i for i, piece in enumerate(pieces[at : at + 16])) for at in range(0, _WORDS, 16)]


class Dp16kd(wiring.Component):
    """One DP16KD: two ports of one clock, each with its output register.

    A port must not read a word in the cycle in which the other one writes it.

    Parameters
    ----------
    depth, width : int, one of `SHAPES`
    init : sequence of int, at most `depth`

    Members
    -------
    a, b : In(MemorySharedPort)

    Raises
    ------
    ValueError
        for another shape.

    Source
    ------
    Lattice FPGA-TN-02204; which bits of INITVAL are which word: as Yosys maps memories. In 36-bit mode the low half of
    a word leaves through the pins and the output register of port A, so that port's clock is always enabled.
    """

    def __init__(self, *, depth, width, init=()):
        if (depth, width) not in SHAPES:
            raise ValueError(f"(depth, width) must be one of {SHAPES}, not {(depth, width)!r}")
        self.depth, self.width, self.init = depth, width, init
        port = MemorySharedPort(depth.bit_length() - 1, width)
        super().__init__({"a": In(port), "b": In(port)})

    def elaborate(self, platform):
        m = Module()
        one_word = self.width == 36
        contents = {}
        if any(self.init):
            contents = {
                f"p_INITVAL_{i:02X}": Const(value, 320) for i, value in enumerate(init_values(self.init, self.width))
            }
        pins = {}
        for name, port in (("A", self.a), ("B", self.b)):
            # an output of its own for each pin: Amaranth makes ports of slices that are driven
            out = [Signal(name=f"do{name.lower()}{i}") for i in range(_DATA_BITS)]
            if not one_word:
                m.d.comb += port.data.eq(Cat(out))
            written = self.a.write_data[_DATA_BITS * (name == "B") :] if one_word else port.write_data
            pins |= {f"o_DO{name}{i}": bit for i, bit in enumerate(out)}
            pins |= self._inputs(name, port, written)
        if one_word:
            m.d.comb += self.b.data.eq(Cat(pins[f"o_DO{name}{i}"] for name in "AB" for i in range(_DATA_BITS)))
            pins |= {"i_CEA": Const(1, 1), "i_WEA": self.a.enable & self.a.write, "i_WEB": Const(0, 1)}
        m.submodules.cell = Instance(
            "DP16KD",
            p_DATA_WIDTH_A=self.width,
            p_DATA_WIDTH_B=self.width,
            p_REGMODE_A="OUTREG",
            p_REGMODE_B="OUTREG",
            p_RESETMODE="SYNC",
            p_ASYNC_RESET_RELEASE="SYNC",
            p_CSDECODE_A="0b000",
            p_CSDECODE_B="0b000",
            p_CLKAMUX="CLKA",
            p_CLKBMUX="CLKB",
            p_WRITEMODE_A="NORMAL",
            p_WRITEMODE_B="NORMAL",
            p_GSR="DISABLED",
            **contents,
            **pins,
        )
        return m

    def _inputs(self, name, port, written):
        """The input pins of a port."""
        low = _ADDRESS_BITS - len(port.address)  # the first address pin; byte enables below
        enables = {36: 4, 18: 2}.get(self.width, 0)
        address = [Const(int(i < enables), 1) for i in range(low)] + list(port.address)
        pins = {f"i_AD{name}{i}": bit for i, bit in enumerate(address)}
        pins |= {f"i_CS{name}{i}": Const(0, 1) for i in range(3)}
        pins |= {f"i_DI{name}{i}": written[i] if i < len(written) else Const(0, 1) for i in range(_DATA_BITS)}
        return pins | {
            f"i_CLK{name}": ClockSignal(),
            f"i_CE{name}": port.enable,
            f"i_OCE{name}": Const(1, 1),
            f"i_WE{name}": port.write,
            f"i_RST{name}": Const(0, 1),
        }
