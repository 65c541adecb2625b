"""How fast Spikformer-1-64 trains on 28x28 images at T = 4: images a second, plain and compiled neurons.

    OMP_WAIT_POLICY=passive python bench/training.py [--repeat N] [--batch N] [--threads N]

Reads nothing but the package; the images are noise. One step is forward, backward and AdamW. "plain" is
autograd through the equations, step by step; "loop" the hand-written backward pass; "compiled" the same as fused
kernels (`train.compile`). The fastest step counts. "CPU" is the same by processor time, which a busy machine
disturbs less: images a second that one process would reach alone. The target is 250 images/s on two cores.
"""

import argparse
import time

import torch
import torch.nn.functional as F

from spikeloom.golden.models import spikformer
from spikeloom.golden.models.neurons import compiled_neurons, dts_lif, spikingjelly_lif
from spikeloom.golden.models.spikformer import Spikformer
from spikeloom.golden.models.spikformer_config import SpikformerConfig


def plain_spikingjelly(currents, *, threshold, leak):
    v, spikes = torch.zeros_like(currents[0]), []
    for x in currents:
        h = leak * v + x / 2
        hard, smooth = (h >= threshold).to(h.dtype), torch.sigmoid(4 * (h - threshold))
        spikes.append((hard - smooth).detach() + smooth)
        v = h * (1 - hard.detach())
    return torch.stack(spikes)


def plain_dts(currents, *, threshold, leak):
    u, spikes = torch.zeros_like(currents[0]), []
    for x in currents:
        h = leak * u + x
        hard = (h > threshold).to(h.dtype)
        slope = torch.clamp(1 - (h / threshold - 1).abs(), min=0).detach() / threshold
        spikes.append(hard + slope * (h - h.detach()))
        u = h - threshold * hard
    return torch.stack(spikes)


def rates(neuron, how, precision, batch, repeat):
    """Images a second by the clock and by processor time."""
    torch.manual_seed(0)
    dynamic = neuron == "dts"
    model = Spikformer(
        SpikformerConfig(height=28, width=28, pools=(False, True, True, False), neuron=neuron, dynamic=dynamic)
    )
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    images = torch.randint(0, 256, (batch, 1, 28, 28), dtype=torch.uint8)
    labels = torch.randint(0, 10, (batch,))

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            scores = model(images)
        optimizer.zero_grad()
        F.cross_entropy(scores.float(), labels).backward()
        optimizer.step()

    chosen = {"spikingjelly": plain_spikingjelly, "dts": plain_dts}
    if how != "plain":
        chosen = {"spikingjelly": spikingjelly_lif, "dts": dts_lif}
    spikformer.spikingjelly_lif, spikformer.dts_lif = chosen["spikingjelly"], chosen["dts"]
    clock, processor = [], []
    with compiled_neurons(how == "compiled"):
        for _ in range(repeat + 2):
            before = time.perf_counter(), time.process_time()
            step()
            clock.append(time.perf_counter() - before[0])
            processor.append(time.process_time() - before[1])
    return batch / min(clock[2:]), batch / min(processor[2:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=10, help="steps of which the fastest counts")
    parser.add_argument("--batch", type=int, default=64, help="images a step")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'neuron':>13} {'precision':>9} {'neurons':>9} {'images/s':>9} {'CPU':>6}")
    for neuron in ("spikingjelly", "dts"):
        for precision in ("float32", "bfloat16"):
            for how in ("plain", "loop", "compiled"):
                by_clock, by_processor = rates(neuron, how, precision, options.batch, options.repeat)
                print(f"{neuron:>13} {precision:>9} {how:>9} {by_clock:>9.0f} {by_processor:>6.0f}", flush=True)


if __name__ == "__main__":
    main()
