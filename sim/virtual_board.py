"""A board without a board: the core behind its bridge, compiled by Verilator, as a port for the host's driver."""

from __future__ import annotations

import os
import struct
import subprocess
from types import TracebackType

from amaranth.back import verilog

from spikeloom.gen.host.device import Device
from spikeloom.gen.verilog import core_verilog
from spikeloom.rtl.bridged_core import BridgedCore
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.sim.verilator import SimulationError, compile_board

DIVISOR = 4
"""Clock cycles a bit: the fastest line that the bridge takes."""
CLOCK_HZ = 50e6
TIMEOUT_CYCLES = 1000
"""Silence that ends a frame."""
ANSWER_CYCLES = 20_000
"""A read gives up after so many."""


class VirtualBoard:
    """A transport for `gen.host.device.Device`, bit by bit through the pins; time passes only while it is used.

    Parameters
    ----------
    config : CoreConfig
        Of the core; its memories begin empty.
    build_dir : path
        For the executable; the same core is compiled once.

    Raises
    ------
    SimulationError
        Where Verilator is missing or fails.
    """

    def __init__(self, config: CoreConfig, *, build_dir: str | os.PathLike[str]) -> None:
        design = BridgedCore(clock_hz=CLOCK_HZ, baud=int(CLOCK_HZ / DIVISOR), timeout_s=TIMEOUT_CYCLES / CLOCK_HZ)
        executable = compile_board(
            core_verilog(config),
            verilog.convert(design, name="bridged_core", emit_src=False),
            divisor=DIVISOR,
            build_dir=build_dir,
        )
        self.cycle = 0
        """Of the simulation, as of the last read."""
        self._process = subprocess.Popen([executable], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> VirtualBoard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the simulation."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()

    def device(self, *, timeout_s: float = 1.0) -> Device:
        """The driver, with the simulation's time for its clock."""
        return Device(
            self,
            timeout_s=timeout_s,
            resynchronise_s=2 * TIMEOUT_CYCLES / CLOCK_HZ,
            sleep=self.sleep,
            clock=lambda: self.cycle / CLOCK_HZ,
        )

    def write(self, data: bytes) -> int:
        """Send bytes, one after the other."""
        self._command(b"W" + struct.pack("<I", len(data)) + data)
        return len(data)

    def read(self, size: int = 1) -> bytes:
        """Up to that many bytes, fewer when the board is silent for long."""
        self._command(b"R" + struct.pack("<IQ", size, ANSWER_CYCLES))
        count, self.cycle = struct.unpack("<IQ", self._answer(12))
        return self._answer(count)

    def sleep(self, seconds: float) -> None:
        """Let the board run."""
        self._command(b"S" + struct.pack("<Q", round(seconds * CLOCK_HZ)))

    def _command(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise SimulationError("the simulated board ended by itself") from None

    def _answer(self, size: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if len(data) != size:
            raise SimulationError("the simulated board ended by itself")
        return data
