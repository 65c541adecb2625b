"""How fast the golden executor runs networks: images a second, with and without recording.

    python bench/executor.py [--repeat N] [--checkpoint FILE]

Without a checkpoint: the shipped digits model on its held-out images, and Spikformer-1-64 for images of 28x28 with
random weights on random images, since every number is computed whatever its value. Prints a table. Targets, without
recording: 200 images/s for the digits and 150 for 28x28 on two cores; what is measured here is one.
"""

import argparse
import time

import numpy as np
import torch

from spikeloom.gen.sizing import plan_smallest
from spikeloom.golden.data import datasets
from spikeloom.golden.models import checkpoints
from spikeloom.golden.models.spikformer import Spikformer
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.network.execute import execute
from spikeloom.golden.quantization.quantize import quantize
from spikeloom.golden.zoo.shipped import shipped
from spikeloom.sim.expected_counters import expected_counters

IMAGES = 360
FASHION = SpikformerConfig(height=28, width=28, pools=(False, True, True, False))  # T = 4 in every layer


def rate(function, images, repeat):
    """Images a second of the fastest of some runs: of wall clock, and of the process's own time."""
    best = np.full(2, np.inf)
    for _ in range(repeat):
        started = time.perf_counter(), time.process_time()
        function()
        best = np.minimum(best, (time.perf_counter() - started[0], time.process_time() - started[1]))
    return images / best


def table(name, model, images, labels, repeat):
    """Print a line for 8 and one for 4 bits."""
    few = images[:60]
    for bits in (8, 4):
        network = quantize(model, weight_bits=bits)
        done = execute(network, few, record=True)
        plan = plan_smallest(network, lanes=16, columns=2, neuron_lanes=4)
        plain = rate(lambda network=network: execute(network, images), len(images), repeat)
        recording = rate(lambda network=network: execute(network, few, record=True), len(few), repeat)
        counting = rate(
            lambda plan=plan, done=done: expected_counters(plan, done),
            len(few),
            1,
        )
        accuracy = "-" if labels is None else f"{execute(network, images).accuracy(labels):.2%}"
        speeds = f"{plain[0]:>9.0f} {plain[1]:>11.0f} {recording[0]:>10.0f} {counting[0]:>9.0f}"
        print(f"{name:<10} {f'int{bits}':>7} {accuracy:>9} {speeds}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5, help="runs of which the fastest counts")
    parser.add_argument("--checkpoint", help="of another model, on random images")
    options = parser.parse_args()
    torch.manual_seed(0)
    columns = f"{'images/s':>9} {'/CPU second':>11} {'recording':>10} {'counting':>9}"
    print(f"{'model':<10} {'weights':>7} {'accuracy':>9} {columns}")
    if options.checkpoint:
        models = {"given": checkpoints.load(options.checkpoint)[0]}
    else:
        digits, _ = checkpoints.load(shipped("digits"))
        table("digits", digits, *datasets.load("digits", "test"), options.repeat)
        models = {"1-64 28x28": Spikformer(FASHION).eval()}
    for name, model in models.items():
        shape = quantize(model).image_shape
        images = np.random.default_rng(0).integers(0, 256, (IMAGES, *shape), dtype=np.uint8)
        table(name, model, images, None, options.repeat)


if __name__ == "__main__":
    main()
