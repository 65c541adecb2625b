"""An asynchronous serial line: eight data bits, no parity, one stop bit, least significant bit first."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

_LEAST_DIVISOR = 4


def _check_divisor(divisor: int) -> None:
    if not isinstance(divisor, int) or divisor < _LEAST_DIVISOR:
        raise ValueError(f"divisor must be an integer of at least {_LEAST_DIVISOR}, not {divisor!r}")


class SerialReceiver(wiring.Component):
    """Bytes from a serial line; each bit is sampled in its middle, in a count of clocks from the start edge.

    A start bit that is high again in its middle is noise, and ignored. A byte without a stop bit, and a byte
    that comes while the one before it was not taken, are dropped and raise `error` for one cycle; after a
    missing stop bit the line must go high before the next start bit.

    Latency: a byte is valid 9.5 bits and 3 cycles after its start edge, and stays so until it is taken.
    The sender's rate may differ by 4 % (sum of both sides) with divisors from 16.

    Parameters
    ----------
    divisor : int, at least 4
        Clock cycles a bit.

    Members
    -------
    rx : In(1)
        The line, asynchronous to the clock.
    bytes : Out(stream.Signature(8))
        A payload changes only while not valid.
    error : Out(1)
        A byte was lost.

    Raises
    ------
    ValueError
        For a smaller divisor.
    """

    def __init__(self, *, divisor: int) -> None:
        _check_divisor(divisor)
        self.divisor = divisor
        super().__init__(
            {"rx": In(1, init=1), "bytes": Out(stream.Signature(8)), "error": Out(1)},
        )

    def elaborate(self, platform):
        m = Module()
        line = Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.rx, line, init=1, stages=2)

        timer = Signal(range(self.divisor))
        middle = timer == 0
        m.d.sync += timer.eq(timer - 1)
        bits = Signal(range(8))
        shift = Signal(8)
        m.d.sync += self.error.eq(0)
        with m.If(self.bytes.ready):
            m.d.sync += self.bytes.valid.eq(0)

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += timer.eq(self.divisor // 2 - 1)
                with m.If(~line):
                    m.next = "START"
            with m.State("START"):
                with m.If(middle):
                    m.d.sync += [timer.eq(self.divisor - 1), bits.eq(7)]
                    with m.If(line):
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "DATA"
            with m.State("DATA"):
                with m.If(middle):
                    m.d.sync += [
                        timer.eq(self.divisor - 1),
                        bits.eq(bits - 1),
                        shift.eq(Cat(shift[1:], line)),
                    ]
                    with m.If(bits == 0):
                        m.next = "STOP"
            with m.State("STOP"):
                with m.If(middle):
                    with m.If(~line):
                        m.d.sync += self.error.eq(1)
                        m.next = "BREAK"
                    with m.Else():
                        with m.If(self.bytes.valid & ~self.bytes.ready):
                            m.d.sync += self.error.eq(1)
                        with m.Else():
                            m.d.sync += [self.bytes.valid.eq(1), self.bytes.payload.eq(shift)]
                        m.next = "IDLE"
            with m.State("BREAK"):
                with m.If(line):
                    m.next = "IDLE"
        return m


class SerialTransmitter(wiring.Component):
    """Bytes to a serial line.

    Latency: the start bit begins with the cycle after the transfer. Throughput: one byte in
    ``10 * divisor + 1`` cycles.

    Parameters
    ----------
    divisor : int, at least 4
        Clock cycles a bit.

    Members
    -------
    bytes : In(stream.Signature(8))
    tx : Out(1)
        The line; a register, so without glitches.

    Raises
    ------
    ValueError
        For a smaller divisor.
    """

    def __init__(self, *, divisor: int) -> None:
        _check_divisor(divisor)
        self.divisor = divisor
        super().__init__({"bytes": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        timer = Signal(range(self.divisor))
        bits = Signal(range(11))  # still to come, the current one included
        shift = Signal(9)

        m.d.comb += self.bytes.ready.eq(bits == 0)
        with m.If(bits == 0):
            with m.If(self.bytes.valid):
                m.d.sync += [
                    self.tx.eq(0),
                    shift.eq(Cat(self.bytes.payload, 1)),
                    bits.eq(10),
                    timer.eq(self.divisor - 1),
                ]
        with m.Elif(timer == 0):
            m.d.sync += [
                self.tx.eq(shift[0]),
                shift.eq(Cat(shift[1:], 1)),
                bits.eq(bits - 1),
                timer.eq(self.divisor - 1),
            ]
        with m.Else():
            m.d.sync += timer.eq(timer - 1)
        return m
