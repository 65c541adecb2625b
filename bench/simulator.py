"""Speed of the Verilated core, by size: ``python bench/simulator.py``."""

from __future__ import annotations

import argparse
import tempfile
import time

from spikeloom.gen.compiler import compile_network
from spikeloom.gen.verilog import core_verilog
from spikeloom.golden.network.random_network import random_images, random_network
from spikeloom.sim.verilated import VerilatedCore

# lanes, columns, neuron_lanes
SIZES = [(8, 1, 4), (16, 2, 4), (32, 1, 8), (32, 4, 8)]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=16, help="images a size (default %(default)s)")
    options.add_argument("--build-dir", help="keep the executables there")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print(f"{'lanes':>5} {'columns':>7} {'neuron_lanes':>12} {'compile s':>9} {'cycles/image':>12} {'cycles/s':>9}")
        for lanes, columns, neuron_lanes in SIZES:
            network = random_network(0, stem=(8, 16, 32), heads=4, steps=4)
            made = compile_network(network, lanes=lanes, columns=columns, neuron_lanes=neuron_lanes)
            verilog = core_verilog(made.config, made.program)
            begin = time.monotonic()
            core = VerilatedCore(verilog, config=made.config, build_dir=chosen.build_dir or scratch)
            compiled = time.monotonic()
            run = core.run(random_images(network, chosen.images))
            seconds = time.monotonic() - compiled
            cycles = int(run.counters["cycles"].sum())
            print(
                f"{lanes:5} {columns:7} {neuron_lanes:12} {compiled - begin:9.1f} "
                f"{cycles / chosen.images:12.0f} {cycles / seconds:9.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
