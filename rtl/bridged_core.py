"""What goes into the FPGA, except pins and clock: the core and its link to the host. There is no processor in it."""

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .core import CORE_MODULE
from .host.uart_bridge import UartBridge

_RATE_TOLERANCE = 0.02


def serial_divisor(*, clock_hz: float, baud: int) -> int:
    """Clock cycles a bit.

    Raises ValueError where the clock is too slow for the rate, or the rates differ by more than 2 %.
    """
    divisor = round(clock_hz / baud)
    if divisor < 4:
        raise ValueError(f"baud must be at most a quarter of the clock ({clock_hz / 4:.0f}), not {baud!r}")
    actual = clock_hz / divisor
    if abs(actual / baud - 1) > _RATE_TOLERANCE:
        raise ValueError(
            f"baud must be within 2 % of the clock over an integer, not {baud!r}: "
            f"the nearest of {clock_hz / 1e6:g} MHz is {actual:.0f}"
        )
    return divisor


class BridgedCore(wiring.Component):
    """The core, as the module `CORE_MODULE` of its own Verilog file, behind a `UartBridge`.

    The file is instantiated, not elaborated again: what is simulated is what is synthesised.

    Parameters
    ----------
    clock_hz : float
        Of the `sync` domain.
    baud : int
        Rate of the serial line, within 2 % of the clock over an integer of at least 4.
    timeout_s : float
        Silence on the line that ends a frame, in seconds.

    Members
    -------
    rx : In(1)
    tx : Out(1)
    leds : Out(2)
        Busy, done.

    Raises
    ------
    ValueError
        See `serial_divisor` and `UartBridge`.
    """

    def __init__(self, *, clock_hz: float, baud: int = 1_000_000, timeout_s: float = 0.1) -> None:
        self.clock_hz = clock_hz
        self.baud = baud
        self.timeout_s = timeout_s
        self._bridge = UartBridge(
            divisor=serial_divisor(clock_hz=clock_hz, baud=baud), timeout=round(timeout_s * clock_hz)
        )
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "leds": Out(2)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.bridge = bridge = self._bridge
        host = bridge.host
        m.submodules.core = Instance(
            CORE_MODULE,
            i_clk=ClockSignal(),
            i_rst=ResetSignal(),
            i_host__request=host.request,
            i_host__write=host.write,
            i_host__address=host.address,
            i_host__write_data=host.write_data,
            o_host__read_data=host.read_data,
            o_host__acknowledge=host.acknowledge,
            o_busy=self.leds[0],
            o_done=self.leds[1],
        )
        m.d.comb += [bridge.rx.eq(self.rx), self.tx.eq(bridge.tx)]
        return m
