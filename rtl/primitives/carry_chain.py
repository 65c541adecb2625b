"""Additions in which each bit of an operand is a function of a few others, at one look-up table a bit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .family import has_ecp5_cells

_A, _B, _C, _D = 0xAAAA, 0xCCCC, 0xF0F0, 0xFF00  # the inputs of a table of 16 entries, as tables
_ALL = 0xFFFF


@dataclass(frozen=True, kw_only=True)
class Addition:
    """What is added: x + y, each bit of x and y a function of the bits a, b, c, d of its place.

    Half a CCU2C is a table for the sum of the two bits before the carry, x ^ y; where they are equal, the same table's
    entry at c = d = 0 goes on as the carry. So x must depend on a and b alone, and y be zero at c = d = 0: then that
    entry is x.

    Raises
    ------
    ValueError
        where y is not zero at c = d = 0.
    """

    x: Callable[[Any, Any], Any]
    """Of a and b, from ``&``, ``|``, ``^`` and ``~``."""
    y: Callable[[Any, Any, Any, Any], Any]
    """Of a, b, c and d, likewise."""

    def __post_init__(self) -> None:
        if self.y(_A, _B, 0, 0) & _ALL:
            raise ValueError("y must be zero where c and d are: a CCU2C cannot add it")

    @property
    def table(self) -> int:
        """INIT of the CCU2C."""
        return (self.x(_A, _B) ^ self.y(_A, _B, _C, _D)) & _ALL


SUM = Addition(x=lambda a, b: a, y=lambda a, b, c, d: c)
"""a + c"""

GATED_ACCUMULATE = Addition(x=lambda a, b: a, y=lambda a, b, c, d: a & d | b & c & ~d)
"""a + (d ? a : b & c): accumulator, element, gate, double"""

GATED_PAIR = Addition(x=lambda a, b: a & b, y=lambda a, b, c, d: c & d)
"""(a & b) + (c & d): two elements with their gates"""

CHOSEN_SUM = Addition(x=lambda a, b: a, y=lambda a, b, c, d: b & d | ~b & c)
"""a + (b ? d : c): a bias and a potential, halved or not"""

_CARRY_IN = Addition(x=lambda a, b: a, y=lambda a, b, c, d: a & c)
"""a + a at c = 1: makes a carry of a"""


class CarryChain(wiring.Component):
    """``total = x + y``, and 1 where there is a `carry`, all bits at once; wraps.

    Combinational. Portable: an addition; for the ECP5: half a CCU2C a bit, and half a one for `carry`. What is narrower
    than the chain is extended when it is assigned to a port: with its sign, where it has one.

    Parameters
    ----------
    addition : Addition
    width : int, bits, positive
    with_carry : bool, whether there is a `carry`

    Members
    -------
    a, b, c, d : In(width), what `addition` takes; what it does not use stays unconnected
    carry : In(1), only `with_carry`
    total : Out(width)

    Raises
    ------
    ValueError
        for a width below 1.

    Source
    ------
    CCU2C as Yosys models it: ``S = table ^ CIN``, ``COUT = table ? CIN : (table at c = d = 0)``.
    """

    def __init__(self, *, addition: Addition, width: int, with_carry: bool = False) -> None:
        if width < 1:
            raise ValueError(f"width must be positive, not {width!r}")
        self.addition, self.width, self.with_carry = addition, width, with_carry
        ports = {name: In(width) for name in "abcd"} | {"total": Out(width)}
        super().__init__(ports | ({"carry": In(1)} if with_carry else {}))

    def elaborate(self, platform):
        return self._ecp5() if has_ecp5_cells(platform) else self._portable()

    def _portable(self):
        m = Module()
        x, y = Signal(self.width), Signal(self.width)
        m.d.comb += [
            x.eq(self.addition.x(self.a, self.b)),
            y.eq(self.addition.y(self.a, self.b, self.c, self.d)),
            self.total.eq(x + y + (self.carry if self.with_carry else 0)),
        ]
        return m

    def _ecp5(self):
        m = Module()
        one, zero = Const(1, 1), Const(0, 1)
        bits = [(self.addition.table, *place) for place in zip(self.a, self.b, self.c, self.d, strict=True)]
        if self.with_carry:
            bits.insert(0, (_CARRY_IN.table, self.carry, zero, one, zero))
        bits += [(SUM.table, zero, zero, zero, zero)] * (len(bits) % 2)
        carry, total = zero, []
        for i in range(0, len(bits), 2):
            # an output of its own for each pin: Amaranth makes ports of slices that are driven
            outputs = {pin: Signal(name=f"{pin.lower()}_{i}") for pin in ("S0", "S1", "COUT")}
            inputs = {
                f"i_{pin}{half}": value
                for half in range(2)
                for pin, value in zip("ABCD", bits[i + half][1:], strict=True)
            }
            m.submodules[f"bits_{i}"] = Instance(
                "CCU2C",
                p_INIT0=Const(bits[i][0], 16),
                p_INIT1=Const(bits[i + 1][0], 16),
                p_INJECT1_0="NO",
                p_INJECT1_1="NO",
                i_CIN=carry,
                **inputs,
                **{f"o_{pin}": signal for pin, signal in outputs.items()},
            )
            carry = outputs["COUT"]
            total += [outputs["S0"], outputs["S1"]]
        m.d.comb += self.total.eq(Cat(total[self.with_carry :])[: self.width])
        return m
