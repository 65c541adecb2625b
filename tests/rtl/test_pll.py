"""The PLL's dividers, against the device's limits written out here and against a search of all settings."""

import itertools
import random

import pytest

from spikeloom.rtl.primitives.ecp5 import PllParameters, solve_pll


def reachable(input_mhz):
    """All (output, oscillator) in MHz, by brute force over what the device allows."""
    outputs = set()
    for input_div, feedback_div in itertools.product(range(1, 13), range(1, 81)):
        detector = input_mhz / input_div
        if not 8 <= detector <= 400:
            continue
        for primary_div in range(1, 129):
            vco = detector * feedback_div * primary_div
            if 400 <= vco <= 800 and 3.125 <= vco / primary_div <= 400:
                outputs.update((vco / output_div, vco) for output_div in range(1, 129))
    return {(out, vco) for out, vco in outputs if 3.125 <= out <= 400}


@pytest.mark.parametrize("input_mhz", [8, 12, 25, 48, 100])
def test_nearest(input_mhz):
    """Nothing allowed is nearer to the wanted frequency, or as near with a better oscillator."""
    possible = reachable(input_mhz)
    rng = random.Random(input_mhz)
    for wanted in [50, 60, *(rng.uniform(4, 390) for _ in range(20))]:
        found = solve_pll(input_hz=input_mhz * 1e6, output_hz=wanted * 1e6, tolerance=1)
        best = min(abs(out - wanted) for out, _ in possible)
        assert abs(found.output_hz / 1e6 - wanted) == pytest.approx(best, abs=1e-6)
        centre = min(abs(vco - 600) for out, vco in possible if abs(abs(out - wanted) - best) < 1e-9)
        assert abs(found.vco_hz / 1e6 - 600) == pytest.approx(centre, abs=1e-6)


@pytest.mark.parametrize("input_mhz, output_mhz", [(25, 50), (25, 65), (12, 50), (48, 50), (100, 60), (8, 50)])
def test_exact(input_mhz, output_mhz):
    """The equations of the device, with the numbers found."""
    p = solve_pll(input_hz=input_mhz * 1e6, output_hz=output_mhz * 1e6)
    feedback = input_mhz / p.input_div * p.feedback_div
    assert feedback * p.primary_div / p.output_div == pytest.approx(output_mhz)
    assert 400 <= feedback * p.primary_div <= 800
    assert 8 <= input_mhz / p.input_div <= 400


def test_says_nearest():
    message = "a PLL does not make 133 MHz from 25 MHz; the nearest is 133.333 MHz"
    with pytest.raises(ValueError, match=message):
        solve_pll(input_hz=25e6, output_hz=133e6)
    assert solve_pll(input_hz=25e6, output_hz=133e6, tolerance=0.01).output_hz == pytest.approx(400e6 / 3)


@pytest.mark.parametrize(
    "input_hz, output_hz, message",
    [
        (7e6, 50e6, "input_hz must be in 8..400 MHz, not 7 MHz"),
        (25e6, 3e6, "output_hz must be in 3.125..400 MHz, not 3 MHz"),
        (25e6, 401e6, "output_hz must be in 3.125..400 MHz, not 401 MHz"),
    ],
)
def test_out_of_range(input_hz, output_hz, message):
    with pytest.raises(ValueError, match=message):
        solve_pll(input_hz=input_hz, output_hz=output_hz)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"input_div": 0}, "input_div must be in 1..128, not 0"),
        ({"output_div": 129}, "output_div must be in 1..128, not 129"),
        ({"feedback_div": 81}, "feedback_div must be in 1..80, not 81"),
        ({"input_div": 4}, "the phase detector's frequency must be in 8..400 MHz, not 6.25 MHz"),
        ({"primary_div": 17}, "the oscillator's frequency must be in 400..800 MHz, not 850 MHz"),
        (
            {"output_div": 128, "primary_div": 8},
            "the output's frequency must be in 3.125..400 MHz, not 3.125",
        ),
    ],
)
def test_checked(change, message):
    good = dict(input_hz=25e6, input_div=1, feedback_div=2, primary_div=12, output_div=12)
    assert PllParameters(**good).output_hz == 50e6
    if change == {"output_div": 128, "primary_div": 8}:
        assert PllParameters(**good | change).output_hz == 3.125e6  # the limit itself
        return
    with pytest.raises(ValueError, match=message):
        PllParameters(**good | change)
