"""`NeuronLane` against `golden.neurons.lif`: random neurons of all kinds, at the edges of their widths too."""

import random

import cocotb
import torch
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.golden.network import Neuron
from spikeloom.golden.network.neurons import lif
from spikeloom.rtl.core.layouts import NEURON
from spikeloom.rtl.core.neuron_lane import NeuronLane
from spikeloom.sim.bench import pack, parameters, start

CASES = [dict(sum_width=4, width=5), dict(sum_width=18, width=19)]
FLAGS = (False, True)
NEURONS = [Neuron(hard=h, strict=s, leak=k) for h in FLAGS for s in FLAGS for k in FLAGS]
COUNT = 60  # neurons at a time
LATENCY = 3


def build(*, sum_width, width):
    return NeuronLane(sum_width=sum_width, width=width)


def draw(neuron, steps, *, sum_width, width):
    """Currents (T, 1, C), biases and thresholds (C,) of which no number leaves `width` bits, spikes, H before it."""
    drawn = 40 * COUNT
    half, most = 1 << sum_width - 1, 1 << width - 1
    currents = torch.randint(-half, half, (steps, 1, drawn))
    currents[:, :, ::3] = torch.where(currents[:, :, ::3] < 0, -half, half - 1)
    bias, threshold = (torch.randint(-most, most, (drawn,)) >> random.randrange(width) for _ in range(2))
    spikes, potentials = lif(currents, bias=bias, threshold=threshold, neuron=neuron, steps=steps)
    lower = int(neuron.strict)
    fits = (bias - lower >= -most) & (threshold > -most)
    for numbers in (potentials - lower, left(neuron, spikes, potentials, threshold)):  # (T, 1, C)
        fits &= ((numbers >= -most) & (numbers < most)).all(dim=(0, 1))
    chosen = fits.nonzero()[:COUNT, 0]
    assert len(chosen) > COUNT // 2
    return currents[:, 0, chosen], bias[chosen], threshold[chosen], spikes[:, 0, chosen], potentials[:, 0, chosen]


def left(neuron, spikes, potentials, threshold):
    """What a step leaves."""
    after = torch.zeros_like(potentials) if neuron.hard else potentials - threshold
    return torch.where(spikes, after, potentials) - int(neuron.strict)


async def step(dut, inputs):
    """Spikes and what is left of neurons that come one a cycle; inputs: by port, a number a neuron."""
    count = len(next(iter(inputs.values())))
    found = []
    for cycle in range(count + LATENCY):
        if cycle < count:
            for port, values in inputs.items():
                getattr(dut, port).value = values[cycle]
        await ReadOnly()
        if cycle >= LATENCY:
            found.append((int(dut.spike.value), dut.left.value.to_signed()))
        await FallingEdge(dut.clk)
    return found


def pairs(values, sum_width):
    """Each number beside a zero, in either place, as bits."""
    mask = (1 << sum_width) - 1
    return [(x & mask) << random.choice((0, sum_width)) for x in values.tolist()]


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(index=range(8))
async def equals_golden(dut, index):
    """1 to 8 steps; before the first, what was kept is anything."""
    sizes, neuron = parameters(), NEURONS[index]
    await start(dut, neuron=0, sum=0, bias=0, negated_threshold=0, biased=1, kept=0, first=0, fires=1)
    dut.neuron.value = pack(NEURON, {"hard": neuron.hard, "strict": neuron.strict, "leak": neuron.leak})
    mask = (1 << sizes["width"]) - 1
    for steps in (1, 2, 8):
        currents, bias, threshold, spikes, potentials = draw(neuron, steps, **sizes)
        count = len(bias)
        kept = [random.getrandbits(sizes["width"]) for _ in range(count)]
        for t in range(steps):
            inputs = dict(
                sum=pairs(currents[t], sizes["sum_width"]),
                bias=[(x - neuron.strict) & mask for x in bias.tolist()],
                negated_threshold=[-x & mask for x in threshold.tolist()],
                kept=kept,
                first=[int(t == 0)] * count,
            )
            got = await step(dut, inputs)
            wanted = left(neuron, spikes[t], potentials[t], threshold)
            assert got == list(zip(spikes[t].int().tolist(), wanted.tolist(), strict=True)), t
            kept = [x & mask for _, x in got]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def integrates_alone(dut):
    """Without `fires` there is neither spike nor reset, and without `biased` no bias: what a readout needs."""
    width, sum_width = parameters()["width"], parameters()["sum_width"]
    await start(
        dut, neuron=pack(NEURON, {"hard": 1}), sum=0, bias=0, negated_threshold=0, biased=0, kept=0, first=0, fires=0
    )
    mask = (1 << width) - 1
    for biased in (0, 1):
        dut.biased.value = biased
        numbers = [[random.randint(-4, 3) for _ in range(COUNT)] for _ in range(3)]
        kept, bias, added = numbers
        inputs = dict(
            kept=[x & mask for x in kept],
            bias=[x & mask for x in bias],
            sum=pairs(torch.tensor(added), sum_width),
        )
        got = await step(dut, inputs)
        wanted = [a + b * biased + c for a, b, c in zip(kept, bias, added, strict=True)]
        assert got == [(0, unpack_signed(x, width)) for x in wanted]


def unpack_signed(value, width):
    """The number that `width` bits of it are."""
    return (value + (1 << width - 1)) % (1 << width) - (1 << width - 1)
