"""Training that begins with another model's weights, with other time steps, and what masks do in it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from spikeloom.cli.main import run as command
from spikeloom.golden.models import checkpoints
from spikeloom.golden.models.architectures import make_model
from spikeloom.golden.models.e_spikeformer_config import ESpikeformerConfig
from spikeloom.golden.models.spikformer import Spikformer
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.training.masked_autoencoder import PretrainConfig
from spikeloom.golden.training.run_config import DataConfig, MaskConfig, RunConfig, TrainConfig, from_mapping
from spikeloom.golden.training.train import train_run
from spikeloom.golden.training.warm_start import begin_with

SMALL = SpikformerConfig(dim=8, heads=2, steps=4)
DYNAMIC = replace(SMALL, steps=3, dynamic=True, initial_steps=1, neuron="dts")


def saved(path, config=SMALL, seed=5):
    torch.manual_seed(seed)
    model = make_model(config)
    for x in model.buffers():
        x.add_(1)
    checkpoints.save(path, model)
    return model


def quick_run(tmp_path, **more):
    fields = dict(
        data=DataConfig(train_images=24, test_images=10),
        model=DYNAMIC,
        train=TrainConfig(epochs=2, batch_size=8, learning_rate=1e-9, warmup_epochs=0, weight_decay=0, device="cpu"),
    )
    return RunConfig(init=str(tmp_path / "one.safetensors"), **{**fields, **more})


def test_weights_and_batch_norms_are_taken_over_and_masks_begin_anew(tmp_path):
    given = saved(tmp_path / "one.safetensors", replace(SMALL, dynamic=True, initial_steps=4))
    model = Spikformer(DYNAMIC)
    begin_with(model, str(tmp_path / "one.safetensors"))
    there = given.state_dict()
    for key, x in model.state_dict().items():
        assert torch.equal(x, there[key]) or "time_mask" in key
    assert set(model.time_steps().values()) == {1}
    begin_with(Spikformer(replace(SMALL, dim=64, heads=4)), "digits")  # by the name of a shipped model


@pytest.mark.parametrize(
    "config, expected",
    [
        (replace(SMALL, dim=16), r"tensor 'patch_embed.proj_conv.weight' must have shape \(2.*, not \(1, 1, 3, 3\)"),
        (replace(SMALL, depth=2), r"tensor 'block.1.*' must have shape .*, not nothing"),
        (replace(SMALL, depth=0), "has the tensor 'block.0.*', which the model does not"),
        (ESpikeformerConfig(), "must hold a model of the architecture e_spikeformer, not spikformer"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_tensor(tmp_path, config, expected):
    saved(tmp_path / "one.safetensors")
    with pytest.raises(ValueError, match=f"init: .*one.safetensors:? {expected}"):
        begin_with(make_model(config), str(tmp_path / "one.safetensors"))


def test_a_missing_one_is_named_and_pre_training_is_another_beginning():
    with pytest.raises(FileNotFoundError, match="no such checkpoint: gone"):
        begin_with(Spikformer(SMALL), "gone")
    with pytest.raises(ValueError, match="pretrain and init both say what training begins with: leave one out"):
        RunConfig(architecture="e_spikeformer", model=ESpikeformerConfig(), pretrain=PretrainConfig(), init="one")


@pytest.mark.trains
def test_a_run_begins_with_it_and_goes_on_without_it(tmp_path):
    """A learning rate near zero leaves the weights where they began."""
    given = saved(tmp_path / "one.safetensors")
    run = quick_run(tmp_path)
    model, report = train_run(run, tmp_path / "run")
    for (name, x), y in zip(model.patch_embed.named_parameters(), given.patch_embed.parameters(), strict=False):
        if "time_mask" not in name and name == "proj_conv.weight":
            assert torch.allclose(x, y, atol=1e-6)  # 6 steps of at most 1e-9
    assert report.recipe.init == str(tmp_path / "one.safetensors")
    (tmp_path / "one.safetensors").unlink()
    again, _ = train_run(run, tmp_path / "run")  # from its state
    assert all(torch.equal(x, y) for x, y in zip(model.parameters(), again.parameters(), strict=True))
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        train_run(run, tmp_path / "run", restart=True)


RUN = """
name: two
data: {train_images: 24, test_images: 10}
model: {dim: 8, heads: 2, steps: 2}
train: {epochs: 1, batch_size: 8, device: cpu}
"""


def test_the_command_line_names_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "one.safetensors")
    Path("two.yaml").write_text(RUN)
    assert command(["train", "two.yaml", "--init", "one.safetensors", "--json"]) == 0
    checkpoint = json.loads(capsys.readouterr().out)["checkpoint"]
    assert checkpoints.load(checkpoint)[1]["recipe"]["init"] == "one.safetensors"
    assert command(["train", "two.yaml", "--init", "gone", "--restart"]) == 2
    assert "no such checkpoint: gone" in capsys.readouterr().err


@pytest.mark.trains
def test_masks_stay_as_they_are_after_their_epochs(tmp_path):
    saved(tmp_path / "one.safetensors")
    masks = MaskConfig(weight=10.0, rate=1e6, groups=("qkv",), epochs=1)
    run = quick_run(tmp_path, masks=masks)
    run = replace(run, train=replace(run.train, learning_rate=1e-8))
    found = {}
    for name, config in (("stopped", masks), ("on", replace(masks, epochs=None))):
        model, _ = train_run(replace(run, masks=replace(config, ahead=2)), tmp_path / name)
        assert model.ahead == (0 if name == "stopped" else 2)
        found[name] = model.block[0].attn.q_lif.time_mask.tp.detach()
    begun = Spikformer(DYNAMIC).block[0].attn.q_lif.time_mask.tp.detach()
    assert 0 < float((found["stopped"] - begun).abs().sum()) < float((found["on"] - begun).abs().sum())


def test_steps_that_are_left_out_change_no_score():
    """With the batch norms' statistics at rest: they are over the steps that are computed."""
    torch.manual_seed(0)
    model = Spikformer(replace(SMALL, steps=6, dynamic=True, initial_steps=2)).train()
    for x in model.modules():
        if isinstance(x, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(x.bias, 0.5, 1.5)
            x.eval()
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    assert model.steps_computed() == 6
    whole = model(images)
    model.ahead = 1
    assert model.steps_computed() == 3
    # Tolerance: sums of as many numbers and zeros, in another order.
    assert torch.allclose(model(images), whole, rtol=1e-4, atol=1e-6)
    model.block[0].attn.proj_lif.time_mask.tp.data = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 1.5])
    assert model.steps_computed() == 6
    assert model.eval().steps_computed() == 6


def test_the_keys_have_defaults_that_change_nothing():
    run = from_mapping({"model": {"dynamic": True}})
    assert run.init is None and run.spikes.weight == 0 and run.masks.cost == "steps" and run.masks.ahead is None
    assert run.masks.schedule == "constant" and run.masks.epochs is None
