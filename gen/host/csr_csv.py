"""The register map for LiteX's clients: `litex_server --uart` and ``RemoteClient(csr_csv=...)``."""

from __future__ import annotations

from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.registers import MAP, named_words, region_words

BYTES = 4


def csr_csv(config: CoreConfig) -> str:
    """Text of a ``csr.csv`` for one core: byte addresses, which LiteX's clients divide by four themselves.

    A register is ``regs.spikeloom_control``, a memory ``mems.spikeloom_weights``.
    """
    modes = {"r": "ro", "w": "wo", "rw": "rw"}
    lines = ["csr_base,spikeloom,0x00000000,,", "constant,config_csr_data_width,32,,"]
    lines += [
        f"csr_register,spikeloom_{name.lower()},{address * BYTES:#010x},1,{modes[access]}"
        for name, address, access in named_words()
    ]
    sizes = region_words(config)
    lines += [
        f"memory_region,spikeloom_{entry.name.lower()},{entry.address * BYTES:#010x},{sizes[entry.region] * BYTES},"
        for entry in MAP
        if entry.region in sizes
    ]
    return "\n".join([*lines, ""])
