"""Which command programs a board, and what is said where it fails."""

import stat

import pytest

from spikeloom.gen.targets import target
from spikeloom.gen.toolchain.program_board import ProgramError, program, programmer_command


@pytest.mark.parametrize(
    "board, flash, options",
    [
        ("ulx3s-85f", False, ["-b", "ulx3s", "--write-sram"]),
        ("ulx3s-12f", True, ["-b", "ulx3s", "--write-flash"]),
        ("ecpix5-45f", False, ["-b", "ecpix5", "--write-sram"]),
        ("versa-ecp5-5g", False, ["-c", "ft2232", "--write-sram"]),
    ],
)
def test_programmer_command(board, flash, options):
    assert programmer_command(target(board), "a.bit", flash=flash) == ["openFPGALoader", *options, "a.bit"]


def test_programmer_unknown():
    with pytest.raises(ValueError, match="does not program 'icesugar-pro', use its own tool; it .* ulx3s-85f"):
        programmer_command(target("icesugar-pro"), "a.bit")


def test_program_dry_run():
    command, said = program(target("ulx3s-85f"), "absent.bit", dry_run=True)
    assert command[-1] == "absent.bit" and said == ""


def test_program_no_bitstream(tmp_path):
    with pytest.raises(ProgramError, match="there is no bitstream .*absent.bit: build it first"):
        program(target("ulx3s-85f"), tmp_path / "absent.bit")


def test_program_no_tool(tmp_path, monkeypatch):
    (tmp_path / "a.bit").write_bytes(b"")
    monkeypatch.setenv("OPENFPGALOADER", "no-such-loader")
    with pytest.raises(ProgramError, match="no-such-loader is not installed: sudo apt install openfpgaloader"):
        program(target("ulx3s-85f"), tmp_path / "a.bit")


@pytest.mark.parametrize(
    "said, message",
    [
        (
            "unable to open ftdi device: -3 (device not found)\nJTAG init failed with: unable to open",
            "no ulx3s-85f found .openFPGALoader: unable to open ftdi device: -3 .*: is it connected",
        ),
        (
            "unable to open ftdi device: -4 (usb_open() failed)\nJTAG init failed",
            "no permission to use the board .*-4 .*udev rules",
        ),
        (
            "Error: Failed to claim FPGA device: wrong IDCODE",
            "openFPGALoader failed: Error: Failed to claim FPGA",
        ),
        ("", "openFPGALoader failed: nothing, exit status 1"),
    ],
)
def test_program_fails(tmp_path, monkeypatch, said, message):
    (tmp_path / "a.bit").write_bytes(b"")
    (tmp_path / "said").write_text(said)
    loader = tmp_path / "loader"
    loader.write_text(f"#!/bin/sh\ncat {tmp_path}/said >&2\nexit 1\n")
    loader.chmod(loader.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("OPENFPGALOADER", str(loader))
    with pytest.raises(ProgramError, match=message) as error:
        program(target("ulx3s-85f"), tmp_path / "a.bit")
    assert "\n" not in str(error.value)


def test_program_works(tmp_path, monkeypatch):
    (tmp_path / "a.bit").write_bytes(b"")
    monkeypatch.setenv("OPENFPGALOADER", "echo")
    command, said = program(target("ulx3s-85f"), tmp_path / "a.bit", flash=True)
    assert said.split() == command[1:]
