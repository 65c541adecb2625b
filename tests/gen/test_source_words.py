"""Limiting paths in the words of the source, from names that the tools gave to cells."""

import pytest

from spikeloom.gen.toolchain.source_words import in_source_words, path_in_source_words

CORE = "bridged_core.core.engine."


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (f"{CORE}scanner.emitter.left_TRELLIS_FF_Q_2", ("scanner emitter", "left")),
        (f"{CORE}scanner.emitter.left_TRELLIS_FF_Q_26_DI_LUT4_Z_C_CCU2C_S0$CCU2_COMB1", ("scanner emitter", "left")),
        (f"{CORE}scanner.queue.r_port__addr_TRELLIS_FF_Q_CE_LUT4_Z", ("scanner queue", "r_port.addr")),
        (f"{CORE}sequencer.jobs__payload.to.x_TRELLIS_FF_Q", ("sequencer", "jobs.payload.to.x")),
        (f"{CORE}events__payload$72.add_LUT4_C", ("core", "events.payload.add")),
        (f"{CORE}array.$signal$3_TRELLIS_FF_Q", ("array", "unnamed")),
        (f"{CORE}weights.memory.memory.0.19", ("weights memory", None)),
        (f"{CORE}weights.memory.part0.block_0_12.cell", ("weights memory", None)),
        (f"{CORE}jobs.storage.0.3_DI_3_LUT4_Z_C_CCU2C_S0_COUT_CCU2C_CIN$CCU2_COMB0", ("jobs storage", None)),
        (f"{CORE}host_port.busy_LUT4_A", ("host port", "busy")),
        ("$nextpnr_CCU2C_229$CCU2_COMB0", ("", "")),
    ],
)
def test_cells(cell, words):
    assert in_source_words(cell) == words


def test_paths():
    """As recorded with nextpnr 0.11: ends with their signals, between them each component where it begins."""
    cells = [
        f"{CORE}scanner.emitter.left_TRELLIS_FF_Q_2",
        f"{CORE}scanner.emitter.left_TRELLIS_FF_Q_26_DI_LUT4_Z_C_CCU2C_S0$CCU2_COMB0",
        f"{CORE}scanner.gatherer.dirty_LUT4_D_Z_L6MUX21_Z_D0_PFUMX_Z_BLUT_LUT4_Z",
        "$nextpnr_CCU2C_229$CCU2_COMB0",
        f"{CORE}scanner.gatherer.dirty_LUT4_D_Z",
        f"{CORE}scanner.queue.r_port__addr_TRELLIS_FF_Q_CE_LUT4_Z",
        f"{CORE}scanner.queue.r_port__addr_TRELLIS_FF_Q_2",
    ]
    assert path_in_source_words(cells) == "scanner emitter: left -> scanner gatherer -> scanner queue: r_port.addr"
    to_memory = [cells[0], f"{CORE}kv.rows__valid_LUT4_B_D_LUT4_Z", f"{CORE}weights.memory.memory.0.19"]
    assert path_in_source_words(to_memory) == "scanner emitter: left -> kv -> weights memory"
    assert path_in_source_words(cells[:2]) == "scanner emitter: left -> scanner emitter: left"
    assert path_in_source_words(["$nextpnr_1"]) == "cells without names"
