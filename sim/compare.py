"""Hardware against golden, spike by spike: where is the first difference?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikeloom.gen.plan import LayerPlan, Plan
from spikeloom.golden.network.execute import Execution
from spikeloom.sim.verilated import Run


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first spike (or class sum) of an image in which hardware and golden differ, in execution order."""

    image: int
    layer: str
    step: int
    position: int
    channel: int
    golden: int
    hardware: int | None

    def __str__(self) -> str:
        got = "nothing" if self.hardware is None else self.hardware
        return (
            f"image {self.image}: layer {self.layer!r}, step {self.step}, position {self.position}, "
            f"channel {self.channel}: golden {self.golden}, hardware {got}"
        )


def spikes_of(run: Run, plan: Plan) -> dict[str, np.ndarray]:
    """Spikes that the trace shows, int8 (T_l, B, C, H, W) by layer name; -1 where it shows none."""
    bits = np.unpackbits(run.trace["spikes"], axis=1, bitorder="little")[:, : plan.word_bits]
    return {layer.name: _spikes_of_layer(run, layer, bits) for layer in plan.layers if not layer.readout}


def _spikes_of_layer(run: Run, plan: LayerPlan, bits: np.ndarray) -> np.ndarray:
    images, words, width = len(run.sums), plan.tiles[-1].spike_words.stop, bits.shape[1]
    spikes = np.full((plan.steps, images, plan.positions, words, width), -1, np.int8)
    mine = (run.trace["layer"] == plan.index) & (run.trace["step"] < plan.steps)
    rows = run.trace[mine]
    spikes[rows["step"], rows["image"], rows["position"], rows["word"]] = bits[mine]
    spikes = spikes.reshape(*spikes.shape[:3], words * width)[..., : plan.layer.channels_out]  # (T, B, positions, C)
    return spikes.swapaxes(2, 3).reshape(plan.steps, images, plan.layer.channels_out, plan.height, plan.width)


def differences(run: Run, execution: Execution, plan: Plan) -> list[Difference]:
    """The first difference of each image that has one; the execution must be recorded."""
    hardware = spikes_of(run, plan)
    found: dict[int, Difference] = {}
    for layer in plan.layers[:-1]:
        golden = execution.spikes[layer.name]
        wrong = np.argwhere(hardware[layer.name] != golden)
        for step, image, channel, y, x in sorted(wrong.tolist(), key=lambda w: (w[0], w[3], w[4], w[2])):
            if image not in found:
                got = int(hardware[layer.name][step, image, channel, y, x])
                found[image] = Difference(
                    image=image,
                    layer=layer.name,
                    step=step,
                    position=y * layer.width + x,
                    channel=channel,
                    golden=int(golden[step, image, channel, y, x]),
                    hardware=None if got < 0 else got,
                )
    last = plan.layers[-1]
    for image, channel in np.argwhere(run.sums[:, : plan.network.classes] != execution.sums).tolist():
        if image not in found:
            found[image] = Difference(
                image=image,
                layer=last.name,
                step=last.steps - 1,
                position=0,
                channel=channel,
                golden=int(execution.sums[image, channel]),
                hardware=int(run.sums[image, channel]),
            )
    return [found[image] for image in sorted(found)]
