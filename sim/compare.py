"""Hardware against golden, spike by spike: where is the first difference?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikeloom.golden.network import Network
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


def spikes_of(run: Run, network: Network, *, lanes: int) -> dict[str, np.ndarray]:
    """Spikes that the trace shows, int8 (T_l, B, C, H, W) by layer name; -1 where it shows none."""
    bits = np.unpackbits(run.trace["spikes"], axis=1, bitorder="little")[:, :lanes]
    found = {}
    for index, layer in enumerate(network.layers[:-1]):
        tiles = -(-layer.channels_out // lanes)
        spikes = np.full((layer.steps, len(run.sums), layer.positions, tiles, lanes), -1, np.int8)
        mine = (run.trace["layer"] == index) & (run.trace["step"] < layer.steps)
        rows = run.trace[mine]
        spikes[rows["step"], rows["image"], rows["position"], rows["tile"]] = bits[mine]
        spikes = spikes.reshape(*spikes.shape[:3], tiles * lanes)[..., : layer.channels_out]  # (T, B, positions, C)
        shape = (layer.steps, len(run.sums), layer.channels_out, layer.height_conv, layer.width_conv)
        found[layer.name] = spikes.swapaxes(2, 3).reshape(shape)
    return found


def differences(run: Run, execution: Execution, network: Network, *, lanes: int) -> list[Difference]:
    """The first difference of each image that has one; the execution must be recorded."""
    hardware = spikes_of(run, network, lanes=lanes)
    found: dict[int, Difference] = {}
    for layer in network.layers[:-1]:
        golden = execution.spikes[layer.name]
        wrong = np.argwhere(hardware[layer.name] != golden)
        for step, image, channel, y, x in sorted(wrong.tolist(), key=lambda w: (w[0], w[3], w[4], w[2])):
            if image not in found:
                got = int(hardware[layer.name][step, image, channel, y, x])
                found[image] = Difference(
                    image=image,
                    layer=layer.name,
                    step=step,
                    position=y * layer.width_conv + x,
                    channel=channel,
                    golden=int(golden[step, image, channel, y, x]),
                    hardware=None if got < 0 else got,
                )
    last = network.layers[-1]
    for image, channel in np.argwhere(run.sums[:, : network.classes] != execution.sums).tolist():
        if image not in found:
            found[image] = Difference(
                image=image,
                layer=last.name,
                step=max(last.steps - 1, 0),
                position=0,
                channel=channel,
                golden=int(execution.sums[image, channel]),
                hardware=int(run.sums[image, channel]),
            )
    return [found[image] for image in sorted(found)]
