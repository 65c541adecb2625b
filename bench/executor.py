"""How fast the golden executor runs the shipped digits model: images a second, with and without recording.

    python bench/executor.py [--repeat N]

Reads nothing but the package; prints a table. The target is 200 images/s on two cores without recording.
"""

import argparse
import time

from spikeloom.golden import checkpoints, datasets
from spikeloom.golden.counts import counts
from spikeloom.golden.execute import execute
from spikeloom.golden.quantize import quantize
from spikeloom.golden.shipped import shipped


def rate(function, images, repeat):
    """Images a second of the fastest of some runs."""
    best = float("inf")
    for _ in range(repeat):
        started = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - started)
    return images / best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5, help="runs of which the fastest counts")
    repeat = parser.parse_args().repeat
    model, _ = checkpoints.load(shipped("digits"))
    images, labels = datasets.load("digits", "test")
    print(f"{'weights':>8} {'accuracy':>9} {'images/s':>9} {'recording':>10} {'counting':>9}")
    for bits in (8, 4):
        network = quantize(model, weight_bits=bits)
        done = execute(network, images, record=True)
        rates = [
            rate(lambda network=network: execute(network, images), len(images), repeat),
            rate(lambda network=network: execute(network, images, record=True), len(images), repeat),
            rate(
                lambda network=network, done=done: counts(network, done, lanes=16, columns=2, neuron_lanes=4),
                len(images),
                1,
            ),
        ]
        speeds = f"{rates[0]:>9.0f} {rates[1]:>10.0f} {rates[2]:>9.0f}"
        print(f"{f'int{bits}':>8} {done.accuracy(labels):>9.2%} {speeds}")


if __name__ == "__main__":
    main()
