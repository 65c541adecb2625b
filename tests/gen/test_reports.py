"""What place and route tells, from a recorded report."""

import json
from pathlib import Path

import pytest

from spikeloom.gen.toolchain.environment import BuildError
from spikeloom.gen.toolchain.reports import BuildReport, parse_report

RECORDED = {
    "utilization": {
        "TRELLIS_COMB": {"available": 24288, "used": 310},
        "TRELLIS_FF": {"available": 24288, "used": 204},
        "DP16KD": {"available": 56, "used": 3},
        "TRELLIS_RAMW": {"available": 3036, "used": 2},
        "MULT18X18D": {"available": 28, "used": 0},
    },
    "fmax": {
        "$glbnet$clk": {"achieved": 61.23456, "constraint": 50},
        "$glbnet$other": {"achieved": 9.0, "constraint": 25},
    },
    "critical_paths": [
        {
            "from": "posedge $glbnet$clk",
            "to": "<async>",
            "path": [
                {
                    "type": "source",
                    "delay": 99,
                    "from": {"cell": "x", "port": "Q"},
                    "to": {"cell": "x", "port": "Q"},
                }
            ],
        },
        {
            "from": "posedge $glbnet$clk",
            "to": "posedge $glbnet$clk",
            "path": [
                {"type": kind, "delay": delay, "from": {"cell": a, "port": p}, "to": {"cell": b, "port": q}}
                for kind, delay, a, p, b, q in [
                    ("clk-to-q", 0.525, "a", "Q", "a", "Q"),
                    ("routing", 1.5, "a", "Q", "c0", "A"),
                    ("logic", 0.25, "c0", "A", "c0", "FCO"),
                    ("routing", 0, "c0", "FCO", "c1", "FCI"),
                    ("logic", 0.071, "c1", "FCI", "c1", "FCO"),
                    ("routing", 0, "c1", "FCO", "c2", "FCI"),
                    ("logic", 0.071, "c2", "FCI", "c2", "FCO"),
                    ("setup", 0, "b", "DI", "b", "DI"),
                ]
            ],
        },
    ],
}


def parse(report, clock_hz=50e6):
    return parse_report(
        report,
        target="ulx3s-25f",
        device="LFE5U-25F",
        clock_hz=clock_hz,
        seed=3,
        seconds=1.5,
        versions={},
        bitstream=Path("x.bit"),
    )


def test_report():
    """Every number of a recorded report arrives under its name."""
    report = parse(RECORDED)
    assert (report.luts, report.flip_flops, report.block_rams) == (310, 204, 3)
    assert (report.distributed_rams, report.multipliers) == (2, 0)
    assert report.available["block_rams"] == 56
    assert (report.clock_mhz, report.fmax_mhz, report.timing_met) == (50.0, 61.23, True)
    path = report.critical_path
    assert (path.source, path.sink, path.delay_ns, path.routing_ns) == ("a.Q", "b.DI", 2.417, 1.5)
    assert path.words == "core: a -> core: b" and report.median_mhz == 61.23
    assert [(s.kind, s.source, s.sink, s.delay_ns) for s in path.steps] == [
        ("clk-to-q", "a.Q", "a.Q", 0.525),
        ("routing", "a.Q", "c0.A", 1.5),
        ("logic", "c0.A", "c0.FCO", 0.25),
        ("carry", "c1.FCI", "c2.FCO", 0.142),
    ]
    assert json.loads(json.dumps(report.as_dict()))["bitstream"] == "x.bit"
    assert not parse(RECORDED, clock_hz=62e6).timing_met


def test_report_without_clock():
    with pytest.raises(BuildError, match="nextpnr reports no clock clk, only: clk25"):
        parse(RECORDED | {"fmax": {"clk25": {"achieved": 1.0}}})


def test_report_survives_json():
    report = parse(RECORDED)
    assert BuildReport.from_dict(json.loads(json.dumps(report.as_dict()))) == report
    none = parse(RECORDED | {"critical_paths": []})
    assert none.critical_path is None and BuildReport.from_dict(none.as_dict()) == none
