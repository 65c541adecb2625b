"""Pins and clock of a board around the core and its bridge."""

from amaranth.build import ResourceError
from amaranth.hdl import ClockDomain, Elaboratable, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from .bridged_core import BridgedCore
from .primitives.ecp5 import Pll, PllParameters

CLOCK_NET = "clk"
"""The core's clock, as its net is called in all reports. It is kept: Yosys takes one of the aliases by the alphabet."""


class Board(Elaboratable):
    """A board around the `BridgedCore`: clock pin -> PLL -> `sync`, in reset until the PLL locks; serial line; lights.

    Parameters
    ----------
    pll : PllParameters
        From the board's clock to the core's.
    baud : int
        Rate of the serial line; see `BridgedCore`.

    Raises
    ------
    ValueError
        As `BridgedCore`.
    """

    def __init__(self, *, pll: PllParameters, baud: int) -> None:
        self.pll = pll
        self.inside = BridgedCore(clock_hz=pll.output_hz, baud=baud)

    def elaborate(self, platform):
        m = Module()
        self._clock(m, platform)
        m.submodules.bridged_core = self.inside
        self._serial_line(m, platform)
        self._lights(m, platform)
        return m

    def _clock(self, m, platform):
        m.submodules.clock_pin = clock_pin = io.Buffer("i", platform.request(platform.default_clk, 0, dir="-"))
        m.submodules.pll = pll = Pll(parameters=self.pll)
        m.domains.sync = sync = ClockDomain()
        sync.clk = Signal(name=CLOCK_NET, attrs={"keep": 1})
        m.d.comb += [pll.clock_in.eq(clock_pin.i), sync.clk.eq(pll.clock_out)]
        m.submodules.reset = ResetSynchronizer(~pll.locked)

    def _serial_line(self, m, platform):
        uart = platform.lookup("uart", 0)
        pins = platform.request("uart", 0, dir={pin.name: "-" for pin in uart.ios})
        m.submodules.rx_pin = rx_pin = io.Buffer("i", pins.rx)
        m.submodules.tx_pin = tx_pin = io.Buffer("o", pins.tx)
        m.d.comb += [self.inside.rx.eq(rx_pin.i), tx_pin.o.eq(self.inside.tx)]

    def _lights(self, m, platform):
        """As many as the board has."""
        for index, light in enumerate(self.inside.leds):
            try:
                pin = platform.request("led", index, dir="-")
            except ResourceError:
                break
            m.submodules[f"led_pin{index}"] = led_pin = io.Buffer("o", pin)
            m.d.comb += led_pin.o.eq(light)
