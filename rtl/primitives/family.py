"""Whether components are made of an FPGA family's own cells, or of what every tool understands."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CellFamily:
    """Stands for Amaranth's platform where Verilog is made of a family's cells, but for no board."""

    family: str
    """As Amaranth's platforms call it: "ecp5"."""


ECP5 = CellFamily(family="ecp5")


def has_ecp5_cells(platform: object) -> bool:
    """Whether `elaborate` may use cells of the ECP5: for `ECP5` and boards with one; else the form is portable."""
    return getattr(platform, "family", None) == ECP5.family
