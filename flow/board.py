"""A board on a serial port."""

from __future__ import annotations

from spikeloom.gen.host.device import Device as _Device
from spikeloom.gen.host.link import Transport, open_serial

BAUD = 1_000_000
"""Of the boards that `spikeloom build` makes, unless it is told otherwise."""


class Device(_Device):
    """The core on a board, ready to be asked: `gen.host.device.Device` with its serial port opened.

    Parameters
    ----------
    port : str or Transport
        A serial port such as ``/dev/ttyUSB0``, or anything with the ``read`` and ``write`` of one.
    baud : int
        Bits a second of the line; as the board was built.
    timeout_s : float
        Seconds until an image must be done.

    Raises
    ------
    HostError
        Where the port cannot be opened, or no core of ours answers.
    """

    def __init__(self, port: str | Transport, *, baud: int = BAUD, timeout_s: float = 5.0) -> None:
        transport = open_serial(port, baud=baud) if isinstance(port, str) else port
        super().__init__(transport, timeout_s=timeout_s)
        self.identify()
