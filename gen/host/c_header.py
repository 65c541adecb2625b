"""The register map in C: for firmware, and for the simulator's harness."""

from __future__ import annotations

from enum import IntFlag

from spikeloom.rtl.core.layouts import DESCRIPTOR_VERSION
from spikeloom.rtl.core.registers import (
    IDENTITY,
    MAP,
    MAP_VERSION,
    MOST_REFUSED,
    REFUSED_SHIFT,
    Control,
    Status,
    named_words,
)

PREFIX = "SPIKELOOM_"


def c_header() -> str:
    """Text of a header with the word address of everything on the host bus, C99 or C++; multiply by 4 for bytes."""
    registers = [(entry.name, f"{entry.address:#010x}", entry.text) for entry in MAP]
    known = {name for name, _, _ in registers}
    members = [(name, f"{address:#010x}", "") for name, address, _ in named_words() if name not in known]
    values = [("IDENTITY_VALUE", f"{IDENTITY:#010x}", ""), ("MAP_VERSION", str(MAP_VERSION), "")]
    values += [("DESCRIPTOR_VERSION", str(DESCRIPTOR_VERSION), "")]
    values += [*_bits("CONTROL", Control), *_bits("STATUS", Status)]
    values += [("STATUS_REFUSED_SHIFT", str(REFUSED_SHIFT), ""), ("STATUS_REFUSED_MASK", str(MOST_REFUSED), "")]
    return "\n".join(
        [
            "/* The core's map on its host bus, word addresses. Generated from rtl/core/registers.py. */",
            "#ifndef SPIKELOOM_H",
            "#define SPIKELOOM_H",
            "",
            *_section("Registers and memories", registers),
            *_section("What lies in the registers of several words", members),
            *_section("Values and bits", values),
            "#endif",
            "",
        ]
    )


def _bits(name: str, flags: type[IntFlag]) -> list[tuple[str, str, str]]:
    return [(f"{name}_{bit.name}", f"{int(bit):#x}", "") for bit in flags]


def _section(title: str, lines: list[tuple[str, str, str]]) -> list[str]:
    defines = [f"#define {PREFIX}{name} {value}u" + (f" /* {text} */" if text else "") for name, value, text in lines]
    return [f"/* {title} */", *defines, ""]
