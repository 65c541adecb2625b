"""Layers without time steps, T_l = 0: said, trained, quantised and executed. The core: tests/sim/test_verilated.py."""

import numpy as np
import pytest
import torch

from spikeloom.golden.analysis.operations import TOTAL, operations
from spikeloom.golden.data import datasets
from spikeloom.golden.models import checkpoints
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.models.spikformer_layers import collapse, collapsed
from spikeloom.golden.network.execute import execute
from spikeloom.golden.network.random_network import random_images, random_network
from spikeloom.golden.quantization.quantize import quantize
from spikeloom.golden.training.run_config import MASK_GROUPS, DataConfig, MaskConfig, RunConfig, TrainConfig
from spikeloom.golden.training.train import train_run

SAID = [
    ({"sps.0": 2, "rpe": 1}, None),
    ({"sps.0": 2, "rpe": 0}, "T_l = 0 in 1 of 2 layers, which never fire: rpe"),
    (
        {"sps.0": 1, "sps.1": 0, "sps.2": 0},
        "T_l = 0 in 2 of 3 layers, which never fire: sps.1, sps.2; "
        "nothing of an image passes sps.1, so that all images get one class",
    ),
    (
        {"block.0.q": 0, "block.0.proj": 1, "block.1.fc2": 0, "block.1.fc1": 3},
        "T_l = 0 in 2 of 4 layers, which never fire: block.0.q, block.1.fc2; "
        "attention of block.0 bypassed, but for the biases of proj; MLP of block.1 bypassed",
    ),
]


@pytest.mark.parametrize("steps,said", SAID)
def test_what_is_said_of_layers_without_steps(steps, said):
    assert collapse(steps) == said
    assert collapsed(steps) == [name for name in steps if steps[name] == 0]


def sums(network, images):
    return execute(network, images).sums


def test_what_is_said_is_so():
    """Bypassed parts of a random network: silencing what else belongs to them changes nothing."""
    network = random_network(3, height=4, width=4, stem=(4, 8), hidden=8, time_steps="full")
    images = random_images(network, 8, seed=1)
    assert len(np.unique(sums(network, images), axis=0)) > 1
    for name in ("sps.0", "sps.1"):
        assert len(np.unique(sums(network.with_steps({name: 0}), images), axis=0)) == 1
    attention = [f"block.0.{part}" for part in ("q", "k", "v", "attn")]
    whole = sums(network.with_steps(dict.fromkeys(attention, 0)), images)
    assert not np.array_equal(whole, sums(network, images))
    for name in attention:
        assert np.array_equal(sums(network.with_steps({name: 0}), images), whole)
    for last, rest in (("block.0.proj", attention), ("block.0.fc2", ["block.0.fc1"])):
        alone = sums(network.with_steps({last: 0}), images)
        assert np.array_equal(alone, sums(network.with_steps(dict.fromkeys([last, *rest], 0)), images))


@pytest.mark.trains
@pytest.mark.parametrize("residual", ["sew", "ms"])
@pytest.mark.parametrize("floor", [False, True])
def test_a_collapse_goes_through_training_quantisation_and_execution(tmp_path, residual, floor):
    """A mask loss that outweighs everything takes all steps, or all but one."""
    run = RunConfig(
        data=DataConfig(train_images=48, test_images=20),
        model=SpikformerConfig(
            dim=8, heads=2, mlp_ratio=1, steps=2, dynamic=True, floor=floor, residual=residual, threshold=0.25
        ),
        train=TrainConfig(epochs=2, batch_size=8, device="cpu"),
        masks=MaskConfig(weight=100.0, rate=50.0, groups=MASK_GROUPS),
    )
    model, report = train_run(run, tmp_path / "run")
    steps = {name: count for name, count in report.t_per_layer.items() if name != "head_in"}  # in no group
    assert set(steps.values()) == {int(floor)}
    checkpoints.save(tmp_path / "model.safetensors", model)
    loaded, header = checkpoints.load(tmp_path / "model.safetensors")
    assert loaded.time_steps() == header["t_per_layer"] == report.t_per_layer
    images = datasets.load("digits", "test", None)[0][:8]
    network = quantize(loaded)
    execution = execute(network, images, record=True)
    work = operations(network, images)
    if floor:
        assert {execution.spikes[name].shape[0] for name in steps} == {1}
        return
    assert not any(execution.spikes[name].size or execution.spike_counts[name].any() for name in steps)
    assert len(np.unique(execution.sums, axis=0)) == 1
    assert all(work[name].unary == work[name].neuron_updates == 0 for name in steps) and work["sps.0"].image_macs == 0
    if residual == "sew":
        assert work[TOTAL].spikes == work[TOTAL].activity == work[TOTAL].steps == 0
    with torch.no_grad():
        assert len(torch.unique(model(torch.from_numpy(images)), dim=0)) == 1


@pytest.mark.trains
@pytest.mark.parametrize("steps", [1, 3, 8])
@pytest.mark.parametrize("neuron", ["dts", "spikingjelly"])
def test_every_number_of_initial_steps_can_be_trained(steps, neuron):
    shape = dict(dim=8, heads=2, mlp_ratio=1, steps=steps, dynamic=True, floor=False, neuron=neuron)
    for initial in range(steps + 1):
        run = RunConfig(
            data=DataConfig(train_images=16, test_images=4),
            model=SpikformerConfig(**shape, initial_steps=initial),
            train=TrainConfig(epochs=1, batch_size=16, device="cpu"),
            masks=MaskConfig(groups=("sps", "attn")),
        )
        model, report = train_run(run)
        assert set(report.t_per_layer.values()) == {initial}  # one step of the optimiser moves no mask so far
        network = quantize(model)
        spikes = execute(network, datasets.load("digits", "test", None)[0][:2], record=True).spikes
        assert {x.shape[0] for x in spikes.values()} == {initial}
