"""Primitives of the Lattice ECP5."""

from dataclasses import dataclass

from amaranth.hdl import Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

# Lattice FPGA-DS-02012, "sysCLOCK PLL timing".
_INPUT_HZ = (8e6, 400e6)
_OUTPUT_HZ = (3.125e6, 400e6)
_VCO_HZ = (400e6, 800e6)
_DETECTOR_HZ = (8e6, 400e6)  # "10" there, but an input of 8 MHz is allowed, and boards have it
_DIVIDERS = range(1, 129)
_FEEDBACK_DIVIDERS = range(1, 81)
_VCO_CENTRE_HZ = 600e6


def _inside(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


@dataclass(frozen=True, kw_only=True)
class PllParameters:
    """Dividers of one EHXPLLL; the feedback is CLKOP, the output CLKOP or, with another divider, CLKOS.

    input_hz: the clock that comes in.
    input_div: divides it for the phase detector, 1 to 128.
    feedback_div: divides CLKOP for the phase detector, 1 to 80.
    primary_div: divides the oscillator for CLKOP, 1 to 128.
    output_div: divides the oscillator for the output, 1 to 128; CLKOS is used where it differs.
    """

    input_hz: float
    input_div: int
    feedback_div: int
    primary_div: int
    output_div: int

    def __post_init__(self) -> None:
        for name in ("input_div", "primary_div", "output_div"):
            if getattr(self, name) not in _DIVIDERS:
                raise ValueError(f"{name} must be in 1..128, not {getattr(self, name)!r}")
        if self.feedback_div not in _FEEDBACK_DIVIDERS:
            raise ValueError(f"feedback_div must be in 1..80, not {self.feedback_div!r}")
        for name, value, limits in (
            ("input_hz", self.input_hz, _INPUT_HZ),
            ("the phase detector's frequency", self.input_hz / self.input_div, _DETECTOR_HZ),
            ("the oscillator's frequency", self.vco_hz, _VCO_HZ),
            ("the feedback's frequency", self.vco_hz / self.primary_div, _OUTPUT_HZ),
            ("the output's frequency", self.output_hz, _OUTPUT_HZ),
        ):
            if not _inside(value, limits):
                low, high = (limit / 1e6 for limit in limits)
                raise ValueError(f"{name} must be in {low:g}..{high:g} MHz, not {value / 1e6:g} MHz")

    @property
    def vco_hz(self) -> float:
        """Of the oscillator."""
        return self.input_hz * self.feedback_div * self.primary_div / self.input_div

    @property
    def output_hz(self) -> float:
        """Of the output."""
        return self.vco_hz / self.output_div


def solve_pll(*, input_hz: float, output_hz: float, tolerance: float = 0.001) -> PllParameters:
    """Dividers for the frequency nearest to the wanted one; of equals, the oscillator nearest to 600 MHz.

    Parameters
    ----------
    input_hz, output_hz : float
    tolerance : float
        Largest relative error.

    Raises
    ------
    ValueError
        Where a frequency is out of the device's range, or the nearest one (it says which) too far away.
    """
    for name, value, limits in (("input_hz", input_hz, _INPUT_HZ), ("output_hz", output_hz, _OUTPUT_HZ)):
        if not _inside(value, limits):
            low, high = (limit / 1e6 for limit in limits)
            raise ValueError(f"{name} must be in {low:g}..{high:g} MHz, not {value / 1e6:g} MHz")
    best: tuple[tuple[float, float, int], PllParameters] | None = None
    for input_div in _DIVIDERS:
        detector_hz = input_hz / input_div
        if not _inside(detector_hz, _DETECTOR_HZ):
            continue
        for multiplier in range(1, int(_VCO_HZ[1] / detector_hz) + 1):
            vco_hz = detector_hz * multiplier
            if not _inside(vco_hz, _VCO_HZ):
                continue
            for output_div in {int(vco_hz / output_hz), int(vco_hz / output_hz) + 1}.intersection(_DIVIDERS):
                error = abs(vco_hz / output_div - output_hz)
                key = (round(error, 3), abs(vco_hz - _VCO_CENTRE_HZ), input_div)
                if not _inside(vco_hz / output_div, _OUTPUT_HZ) or best is not None and key >= best[0]:
                    continue
                if (primary_div := _primary_div(multiplier, output_div, vco_hz)) is not None:
                    parameters = PllParameters(
                        input_hz=input_hz,
                        input_div=input_div,
                        feedback_div=multiplier // primary_div,
                        primary_div=primary_div,
                        output_div=output_div,
                    )
                    best = (key, parameters)
    if best is None:
        raise ValueError(f"a PLL makes nothing near {output_hz / 1e6:g} MHz from {input_hz / 1e6:g} MHz")
    parameters = best[1]
    if abs(parameters.output_hz / output_hz - 1) > tolerance:
        raise ValueError(
            f"a PLL does not make {output_hz / 1e6:g} MHz from {input_hz / 1e6:g} MHz; "
            f"the nearest is {parameters.output_hz / 1e6:.6g} MHz"
        )
    return parameters


def _primary_div(multiplier: int, output_div: int, vco_hz: float) -> int | None:
    """CLKOP's divider: the output's where that works, so that one output is enough."""
    for primary_div in (output_div, *_DIVIDERS):
        feedback_div, rest = divmod(multiplier, primary_div)
        if not rest and feedback_div in _FEEDBACK_DIVIDERS and _inside(vco_hz / primary_div, _OUTPUT_HZ):
            return primary_div
    return None


_SETTINGS = dict(
    a_ICP_CURRENT="12",
    a_LPF_RESISTOR="8",
    a_MFG_ENABLE_FILTEROPAMP="1",
    a_MFG_GMCREF_SEL="2",
    p_PLLRST_ENA="DISABLED",
    p_INTFB_WAKE="DISABLED",
    p_STDBY_ENABLE="DISABLED",
    p_DPHASE_SOURCE="DISABLED",
    p_OUTDIVIDER_MUXA="DIVA",
    p_OUTDIVIDER_MUXB="DIVB",
    p_OUTDIVIDER_MUXC="DIVC",
    p_OUTDIVIDER_MUXD="DIVD",
)
"""Attributes and parameters that no frequency changes."""
_IDLE = dict(RST=0, STDBY=0, PLLWAKESYNC=0, ENCLKOP=0, ENCLKOS=0)
_IDLE |= dict(PHASESEL0=0, PHASESEL1=0, PHASEDIR=1, PHASESTEP=1, PHASELOADREG=1)
"""Levels of the inputs that are not used: no reset, no standby, no shift of the phase."""


class Pll(wiring.Component):
    """One EHXPLLL that makes one clock from another; not for simulation.

    `locked` is asynchronous: reset the new domain with it through a `ResetSynchronizer`.

    Parameters
    ----------
    parameters : PllParameters

    Members
    -------
    clock_in : In(1)
    clock_out : Out(1)
    locked : Out(1)

    Source
    ------
    Lattice FPGA-TN-02200; loop-filter attributes and the phase of CLKOP as Lattice's generator and Project
    Trellis' ecppll choose them.
    """

    def __init__(self, *, parameters: PllParameters) -> None:
        self.parameters = parameters
        super().__init__({"clock_in": In(1), "clock_out": Out(1), "locked": Out(1)})

    def elaborate(self, platform):
        m = Module()
        p = self.parameters
        primary = Signal()
        secondary = p.output_div != p.primary_div
        output = {}
        if secondary:
            output = dict(
                p_CLKOS_ENABLE="ENABLED",
                p_CLKOS_DIV=p.output_div,
                p_CLKOS_CPHASE=p.output_div // 2,
                p_CLKOS_FPHASE=0,
                o_CLKOS=self.clock_out,
            )
        else:
            m.d.comb += self.clock_out.eq(primary)
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{p.input_hz / 1e6:.6f}",
            a_FREQUENCY_PIN_CLKOP=f"{p.vco_hz / p.primary_div / 1e6:.6f}",
            **_SETTINGS,
            p_FEEDBK_PATH="CLKOP",
            p_CLKI_DIV=p.input_div,
            p_CLKFB_DIV=p.feedback_div,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=p.primary_div,
            p_CLKOP_CPHASE=p.primary_div // 2,
            p_CLKOP_FPHASE=0,
            i_CLKI=self.clock_in,
            i_CLKFB=primary,
            o_CLKOP=primary,
            o_LOCK=self.locked,
            **{f"i_{pin}": Const(level, 1) for pin, level in _IDLE.items()},
            **output,
        )
        return m
