"""Boards by name."""

import pytest

from spikeloom.gen.targets import Target, target, target_names
from spikeloom.rtl.core.config import CoreConfig


@pytest.mark.parametrize(
    "name, device, luts, block_rams, lanes",
    [
        ("ulx3s-12f", "LFE5U-12F", 24288, 56, 16),
        ("ulx3s-25f", "LFE5U-25F", 24288, 56, 16),
        ("ulx3s-45f", "LFE5U-45F", 43848, 108, 32),
        ("ulx3s-85f", "LFE5U-85F", 83640, 208, 32),
    ],
)
def test_ulx3s(name, device, luts, block_rams, lanes):
    found = target(name)
    assert (found.name, found.device, found.package, found.speed) == (name, device, "BG381", "6")
    assert (found.luts, found.block_rams) == (luts, block_rams)
    assert found.clock_hz >= 50_000_000
    assert CoreConfig(**found.core).lanes == lanes
    assert found.platform().device == device


@pytest.mark.parametrize(
    "spelling, name",
    [
        ("ULX3S_85F", "ulx3s-85f"),
        ("ULX3S_85F_Platform", "ulx3s-85f"),
        ("ulx3s85f", "ulx3s-85f"),
        ("versa_ecp5", "versa-ecp5"),
        ("VersaECP55GPlatform", "versa-ecp5-5g"),
        ("ecpix5_85f", "ecpix5-85f"),
        ("ECPIX545Platform", "ecpix5-45f"),
        ("icepi_zero", "icepi-zero"),
        ("ICESugarProPlatform", "icesugar-pro"),
        ("colorlight_5a75b_r7_0", "colorlight-5a75b-r7-0"),
    ],
)
def test_spellings(spelling, name):
    assert target(spelling).name == name


def test_every_name_resolves():
    names = target_names()
    assert len(names) >= 10
    for name in names:
        assert target(name).name == name


@pytest.mark.parametrize(
    "name, near",
    [
        ("ulx3s", "ulx3s-85f"),
        ("ulx3s-65f", "ulx3s-85f"),
        ("versa", "versa-ecp5"),
        ("colorlight_i9", "colorlight"),
    ],
)
def test_unknown(name, near):
    with pytest.raises(ValueError, match=f"unknown board '{name}': did you mean .*{near}") as error:
        target(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["", "icebreaker", "zzzz"])
def test_nothing_near(name):
    with pytest.raises(ValueError, match=f"unknown board '{name}': did you mean "):
        target(name)


@pytest.mark.parametrize("name", ["orangecrab_r0_2_85f", "butterstick"])
def test_no_uart(name):
    with pytest.raises(ValueError, match="has no uart resource in amaranth-boards.*ulx3s-85f"):
        target(name)
    assert target_names(usable=False).count(name.replace("_", "-")) == 1


def test_wrong_values():
    values = dict(name="x", board="a:b", device="LFE5U-25F", package="BG381", speed="6", luts=1, block_rams=1)
    with pytest.raises(ValueError, match="clock_hz must be a positive integer, not 0"):
        Target(**values, clock_hz=0)
    with pytest.raises(ValueError, match="lanes must be a multiple of 16 up to 256, or a power of two below 16, not 3"):
        Target(**values, core={"lanes": 3})
