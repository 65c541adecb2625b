"""`Core`: a tiny network through the host bus, every spike and class sum against golden."""

import random

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, ReadOnly

from spikeloom.gen.compiler import compile_network
from spikeloom.gen.host.pixels import pack_pixels
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images, random_network
from spikeloom.rtl.core.core import Core
from spikeloom.rtl.core.counters import COUNTERS
from spikeloom.rtl.core.layouts import trace
from spikeloom.rtl.core.registers import IDENTITY, Region, Register
from spikeloom.sim.bench import cycle, parameters, start, unpack
from spikeloom.sim.expected_counters import TOTAL, expected_counters

TINY = dict(channels=2, height=4, width=4, stem=[4, 4], heads=1, hidden=4, classes=3)
CASES = [
    {"size": dict(lanes=4, columns=1, neuron_lanes=1), "network": dict(TINY, seed=3, steps=2)},
    {
        "size": dict(lanes=8, word=4, columns=2, banks=4, neuron_lanes=2),
        "network": dict(TINY, seed=1, steps=3, neuron="dts"),
    },
]
IMAGES = 2


def compiled(size, network):
    made = random_network(**network)
    return compile_network(made, **size)


def build(*, size, network):
    made = compiled(size, network)
    program = made.program
    return Core(
        config=made.config,
        program_words=program.program_words,
        parameter_words=program.parameter_words,
        weight_rows=program.weight_rows,
    )


async def access(dut, address, data=None, *, pause=0.0):
    """One access of the host; pauses before it."""
    while random.random() < pause:
        await FallingEdge(dut.clk)
    dut.host__request.value, dut.host__write.value = 1, int(data is not None)
    dut.host__address.value, dut.host__write_data.value = address, data or 0
    while True:
        await ReadOnly()
        if int(dut.host__acknowledge.value):
            break
        await FallingEdge(dut.clk)
    value = int(dut.host__read_data.value)
    await FallingEdge(dut.clk)
    dut.host__request.value = 0
    await FallingEdge(dut.clk)
    return value


async def collect(dut, layout, words):
    """What the trace port shows, as it happens."""
    while True:
        await FallingEdge(dut.clk)
        await ReadOnly()
        if int(dut.trace_valid.value):
            words.append(unpack(layout, int(dut.trace_word.value)))


def first_difference(network, word_bits, words, spikes):
    """Layer, step, position and channel of the first spike that is not golden's, in execution order."""
    shown = {(w["layer"], w["step"], w["word"], w["position"]): w["spikes"] for w in words}
    for index, layer in enumerate(network.layers[:-1]):
        golden = spikes[layer.name].reshape(layer.steps, layer.channels_out, layer.positions)
        for step, position, channel in np.ndindex(layer.steps, layer.positions, layer.channels_out):
            word = shown.get((index, step, channel // word_bits, position))
            got = None if word is None else word >> channel % word_bits & 1
            if got != golden[step, channel, position]:
                return f"layer {layer.name!r}, step {step}, position {position}, channel {channel}: hardware {got}"
    return None


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(pause=[0.0, 0.6])
async def equals_golden(dut, pause):
    """Images one after the other, a host that pauses; counters of the host equal golden's."""
    made = compiled(**parameters())
    network, config = made.network, made.config
    images = random_images(network, IMAGES, seed=5)
    execution = execute(network, images, record=True)
    golden = expected_counters(made.plan, execution)[TOTAL]
    await start(dut, host__request=0, host__write=0, host__address=0, host__write_data=0)
    words = []
    cocotb.start_soon(collect(dut, trace(config), words))

    async def host(address, data=None):
        return await access(dut, address, data, pause=pause)

    assert await host(Region.REGISTERS.address(Register.IDENTITY)) == IDENTITY
    for number, image in enumerate(images):
        words.clear()
        await host(Region.REGISTERS.address(Register.CONTROL), 1)
        for word in pack_pixels(image).tolist():
            await host(Region.REGISTERS.address(Register.PIXELS), word)
        began = cycle()
        while not await host(Region.REGISTERS.address(Register.STATUS)) & 2:
            assert cycle() - began < 100_000
        spikes = {name: fired[:, number] for name, fired in execution.spikes.items()}
        assert first_difference(network, config.word, words, spikes) is None
        sums = [await host(Region.RESULTS.address(c)) for c in range(network.classes)]
        assert [s - (s >> 31 << 32) for s in sums] == execution.sums[number].tolist()
        read = {}
        for i, name in enumerate(COUNTERS):
            read[name] = await host(Region.REGISTERS.address(Register.COUNTERS + i))
        for name in ("sops_done", "events", "kv_updates", "membrane_reads", "membrane_writes"):
            assert read[name] == getattr(golden, name)[number], name
        assert read["rows_offered"] - read["events"] == golden.rows_skipped[number]
