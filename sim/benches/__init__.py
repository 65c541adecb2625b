"""One cocotb bench a component: its tests, and `CASES`, the parameter sets that `spikeloom.sim.regress` runs.

``build(**case)`` makes the component of a case; the tests get the case from `spikeloom.sim.bench.parameters`.
"""
