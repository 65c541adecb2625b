"""`TimeMaskController`: every combination of step counts up to 6."""

import itertools

import cocotb
from cocotb.triggers import Timer

from spikeloom.rtl.core.layouts import DESCRIPTOR, Kind
from spikeloom.rtl.core.time_mask import TimeMaskController
from spikeloom.sim.bench import pack

CASES: list[dict] = [{}]
MOST = 6


def build():
    return TimeMaskController()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def exhaustive(dut):
    """What a step does, derived from the list of active steps."""
    counts = range(MOST + 1)
    kinds = ((Kind.ACCUMULATE, 0), (Kind.ACCUMULATE, 1), (Kind.READOUT, 0))
    for steps, steps_in, steps_run, (kind, direct) in itertools.product(counts, counts, counts, kinds):
        if steps_run < steps:
            continue
        fields = dict(steps=steps, steps_in=steps_in, steps_run=steps_run, kind=kind, direct=direct)
        dut.layer.value = pack(DESCRIPTOR, fields)
        active = list(range(steps))
        scanned = [t for t in active if t < steps_in and (t == 0 or not direct)]
        for step in range(max(1, steps_run)):
            dut.step.value = step
            await Timer(1, unit="ns")
            got = {name: int(getattr(dut, name).value) for name in ("skip", "active", "scan", "keep", "again", "end")}
            wanted = dict(
                skip=steps_run == 0 and kind != Kind.READOUT,
                active=step in active,
                scan=step in scanned,
                keep=direct and step in active[:-1],
                again=direct and step > 0,
                end=step >= steps_run - 1,
            )
            assert got == wanted, (fields, step)
            if step in active:
                assert int(dut.first.value) == (step == active[0])
                assert int(dut.last.value) == (step == active[-1])
