"""What spikes and steps cost: the counts of the integer network, and losses that put them to use."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from spikeloom.golden.analysis.operations import operations
from spikeloom.golden.models.e_spikeformer_config import ESpikeformerConfig
from spikeloom.golden.models.spikformer import Spikformer
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.quantization.folded import folded
from spikeloom.golden.quantization.quantize import quantize
from spikeloom.golden.training.costs import CostLoss, CostMeter, layer_costs
from spikeloom.golden.training.run_config import MaskConfig, RunConfig, SpikeConfig

SHAPES = [
    dict(dim=16, heads=2, pools=(False, True, False, True), steps=3),
    dict(dim=8, heads=4, depth=2, height=9, width=7, pools=(True, False, True, False), mlp_ratio=3),
    dict(dim=8, heads=2, pools=(False, True, False, False), pool_first=True, neuron="dts"),
    dict(dim=8, heads=2, residual="ms", neuron="dts", attention_threshold=1.0),
    dict(dim=8, heads=2, channels=3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.2), depth=0),
]


def spiking(config, seed=0):
    """A model whose neurons do spike, in evaluation mode."""
    torch.manual_seed(seed)
    model = Spikformer(config)
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(norm.bias, 0.5, 1.5)
    return model.eval()


def images_of(config, count=5):
    shape = (count, config.channels, config.height, config.width)
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
def test_accumulates_are_those_of_the_integer_network(shape):
    """The folded model has the integer network's spikes; a tensor may be a sum of the spikes of several layers."""
    model = spiking(SpikformerConfig(**shape))
    network = quantize(model)
    exact, images = folded(model, network), images_of(model.config)
    meter = CostMeter(exact, "accumulates")
    with torch.no_grad():
        exact(torch.from_numpy(images))
    work = operations(network, images)
    costs = {stage.name: float(meter.steps(stage.name).sum()) for stage in exact.stages()}
    attention = [x for x in network.layers if x.kind == "attention"]
    into_attention = {name for x in attention for name in x.inputs}
    wanted = sum(work[x.name].unary for x in network.layers if not x.direct and x not in attention)
    assert sum(cost for name, cost in costs.items() if name not in into_attention) == pytest.approx(wanted, rel=1e-6)
    for layer in attention:
        assert costs[layer.inputs[1]] == pytest.approx(work[layer.name].product_unary, rel=1e-6)
        assert wanted > 0 and costs[layer.inputs[0]] > 0 and costs[layer.inputs[2]] > 0


def test_cycles_are_groups_of_channels_and_of_neurons():
    """Spikformer-1-64 by hand: its first layer feeds 16 channels, the last one of the embedding nearly all."""
    costs = layer_costs(SpikformerConfig(height=28, width=28, pools=(False, True, True, False)), "cycles")
    first, rpe = costs["sps.0"], costs["rpe"]
    assert first.spike[5, 5] == 9 and first.spike[0, 0] == 4 and first.spike[0, 5] == 6
    assert first.step == 28 * 28 * 8 / 8 and costs["sps.1"].step == 28 * 28 * 16 / 8
    assert costs["sps.1"].spike.shape == (14, 14)  # behind the pool
    assert rpe.spike.tolist() == [[3 * 2 + 8 + 1] * 7] * 7  # q, k, v of 64 channels, fc1 of 256, 10 classes
    assert rpe.dense == 49 * 64 * 15 + 49 * 64 / 8
    assert costs["block.0.q"].spike.unique().tolist() == [1]  # heads of 16 channels


def test_weights_are_relative_and_of_the_active_steps():
    model = spiking(SpikformerConfig(dim=8, heads=2, dynamic=True, initial_steps=2, floor=False))
    meter = CostMeter(model, "accumulates")
    with torch.no_grad():
        model(torch.from_numpy(images_of(model.config)))
    weights = meter.weights()
    assert weights.keys() == model.time_steps().keys()
    assert float(sum(weights.values())) == pytest.approx(len(weights))
    for name in ("sps.1", "block.0.q"):
        expected = meter.steps(name)[:2].mean() / meter.steps("sps.0")[:2].mean()
        assert float(weights[name] / weights["sps.0"]) == pytest.approx(float(expected))
    model.patch_embed.rpe_lif.time_mask.tp.data.fill_(0.1)  # no active step
    assert float(meter.weights()["rpe"]) > 0
    model(torch.zeros_like(torch.from_numpy(images_of(model.config))))
    for name in meter._spikes:
        meter._spikes[name] = torch.zeros_like(meter._spikes[name])
    assert set(map(float, meter.weights().values())) == {0}


def gradients(run):
    """Of the masks and of the weights, by the losses that a run adds alone."""
    model = spiking(replace(run.model)).train()
    losses = CostLoss(model, run)
    model(torch.from_numpy(images_of(model.config)))
    losses.loss(0.25).backward()
    masks = {x.name: x.neurons.time_mask.tp.grad for x in model.stages()}
    weights = {name: x.grad for name, x in model.named_parameters() if "time_mask" not in name}
    return masks, weights


DYNAMIC = SpikformerConfig(dim=8, heads=2, dynamic=True, initial_steps=2, floor=False)


def test_the_mask_loss_presses_by_what_a_step_costs():
    for cost in ("steps", "accumulates", "cycles"):
        masks, weights = gradients(RunConfig(model=DYNAMIC, masks=MaskConfig(weight=0.5, groups=("sps",), cost=cost)))
        assert all(x is None for x in weights.values())
        assert masks["block.0.q"] is None
        presses = {name: x.tolist() for name, x in masks.items() if x is not None}
        steps = [0.5, 1.0, 1.5, 2.0]  # TP of a step is in the scores of all before it
        if cost == "steps":
            assert set(map(tuple, presses.values())) == {tuple(steps)} and len(presses) == 5
        else:
            assert presses["rpe"] == pytest.approx([x * presses["rpe"][0] / 0.5 for x in steps])
            assert presses["rpe"][0] != pytest.approx(presses["sps.0"][0])


@pytest.mark.parametrize("schedule, factor", [("constant", 1), ("rise", 0.25), ("fall", 0.75)])
def test_the_weight_of_the_mask_loss_follows_its_schedule(schedule, factor):
    config = MaskConfig(weight=0.5, groups=("qkv",), schedule=schedule)
    masks, _ = gradients(RunConfig(model=DYNAMIC, masks=config))
    assert masks["block.0.q"][0].item() == pytest.approx(0.5 * factor)


def test_the_penalty_presses_on_neurons_and_not_on_the_masks_behind_them():
    run = RunConfig(model=DYNAMIC, masks=MaskConfig(groups=()), spikes=SpikeConfig(weight=0.5))
    masks, weights = gradients(run)
    assert masks["block.0.fc2"] is None  # the last one; the others say what later layers see
    assert float(weights["patch_embed.rpe_conv.weight"].abs().sum()) > 0


def test_the_penalty_is_one_where_every_neuron_spikes_in_one_step():
    config = replace(DYNAMIC, initial_steps=1)
    model = spiking(config)
    meter = CostMeter(model, "cycles")
    model(torch.from_numpy(images_of(config)))
    meter._spikes = {name: torch.ones_like(x) for name, x in meter._spikes.items()}
    assert float(meter.penalty()) == pytest.approx(1)


def test_a_penalty_is_for_spikformers():
    with pytest.raises(ValueError, match="spikes.weight is for the architecture spikformer, not e_spikeformer"):
        RunConfig(architecture="e_spikeformer", model=ESpikeformerConfig(), spikes=SpikeConfig(weight=1.0))
