"""The map on the host bus: the page, the C header and LiteX's table say what the hardware has."""

import csv
import hashlib
import re
import shutil
import subprocess
from dataclasses import fields, replace
from pathlib import Path

import pytest
from amaranth.lib import data

from spikeloom.gen.compiler import compile_network
from spikeloom.gen.errors import CompileError
from spikeloom.gen.host.c_header import c_header
from spikeloom.gen.host.csr_csv import csr_csv
from spikeloom.gen.sizing import smallest_core
from spikeloom.golden.network.random_network import random_network
from spikeloom.rtl.core.config import CoreConfig
from spikeloom.rtl.core.counters import COUNTERS
from spikeloom.rtl.core.layouts import DESCRIPTOR
from spikeloom.rtl.core.registers import (
    CAPABILITIES,
    DESCRIPTOR_VERSION,
    MAP,
    REGION_WORDS,
    Region,
    Register,
    capabilities,
    checksum,
    region_words,
)

PAGE = Path(__file__).parents[2] / "docs" / "host-protocol.md"


def test_page():
    """Every line of the map, and no other, is in the page's table."""
    shown = [line for line in PAGE.read_text().splitlines() if re.match(r"\| `[0-9a-f]{7}` \|", line)]
    assert shown == [f"| `{e.address:07x}` | `{e.name}` | {e.access} | {e.text} |" for e in MAP]


def test_map_has_everything():
    assert [e.offset for e in MAP if e.region == Region.REGISTERS] == [int(register) for register in Register]
    assert {e.region for e in MAP} == set(Region)
    ends = [e.offset + e.words for e in MAP if e.region == Region.REGISTERS]
    assert all(end <= next_one for end, next_one in zip(ends, list(Register)[1:], strict=False))
    assert CAPABILITIES[2:] == tuple(field.name for field in fields(CoreConfig))
    assert dict(zip(CAPABILITIES, capabilities(CoreConfig()), strict=True))["weight_rows"] == CoreConfig().weight_rows


def test_c_header(tmp_path):
    """Compiles as C, and its addresses are the map's."""
    text = c_header()
    defined = dict(re.findall(r"#define SPIKELOOM_(\w+) (\w+)u", text))
    for entry in MAP:
        assert int(defined[entry.name], 0) == entry.address
    for i, name in enumerate(COUNTERS):
        assert int(defined[f"COUNTER_{name.upper()}"], 0) == 16 + i
    assert int(defined["CORE_CLASSES"], 0) == 32 + CAPABILITIES.index("classes")
    assert int(defined["PROGRAM_HASH"], 0) == 64
    assert len(re.findall(r"#define SPIKELOOM_(\w+) ", text)) == len(defined)
    if shutil.which("gcc"):
        (tmp_path / "spikeloom.h").write_text(text)
        (tmp_path / "a.c").write_text('#include "spikeloom.h"\nunsigned x[] = {SPIKELOOM_WEIGHTS};\n')
        command = ["gcc", "-std=c99", "-Wall", "-Werror", "-pedantic", "-c", "a.c"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)


def test_csr_csv():
    """Five columns, byte addresses; each register of one word by name, each memory with its size in bytes."""
    config = CoreConfig()
    rows = list(csv.reader(csr_csv(config).splitlines()))
    assert all(len(row) == 5 for row in rows)
    assert ["constant", "config_csr_data_width", "32", "", ""] in rows
    assert ["csr_register", "spikeloom_control", "0x00000004", "1", "wo"] in rows
    assert [
        "csr_register",
        "spikeloom_core_lanes",
        f"{4 * (32 + CAPABILITIES.index('lanes')):#010x}",
        "1",
        "ro",
    ] in rows
    memories = {row[1]: (int(row[2], 16), int(row[3])) for row in rows if row[0] == "memory_region"}
    assert memories["spikeloom_results"] == (0x4000000, 4 * config.classes)
    assert memories["spikeloom_weights"] == (0x10000000, config.weight_rows * config.lanes * config.weight_width // 8)


def test_regions_have_room():
    """Models of the papers' sizes fit; a memory that would run into the next region is refused, before synthesis."""
    assert region_words(CoreConfig(lanes=128, weight_rows=1 << 19))[Region.WEIGHTS] == REGION_WORDS
    network = random_network(0)
    config = smallest_core(network, lanes=128, neuron_lanes=8)
    compile_network(network, replace(config, weight_rows=1 << 19))
    with pytest.raises(CompileError, match="WEIGHTS must have at most 16777216 words on the host bus, not 16777248"):
        compile_network(network, replace(config, weight_rows=(1 << 19) + 1))


def test_checksum():
    """By hand: rotate, then XOR; registers do not count."""
    weights = Region.WEIGHTS.address(1)
    assert checksum([(weights, 0x80000000)]) == 0x84000001
    assert checksum([(weights, 0x80000000), (weights + 1, 1), (2, 7)]) == 0x0C000000


def test_descriptor_version():
    """A descriptor that changes needs another version: raise DESCRIPTOR_VERSION, then put the new digest here."""
    digest = hashlib.sha256(repr(list(_leaves(DESCRIPTOR))).encode()).hexdigest()[:8]
    assert (DESCRIPTOR_VERSION, digest) == (6, "a0f0c781")


def _leaves(layout, path=()):
    for name, field in layout:
        if isinstance(field.shape, data.StructLayout):
            yield from _leaves(field.shape, (*path, name))
        else:
            yield (*path, name), field.offset, field.width
