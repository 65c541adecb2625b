"""The floating-point model: official names and sizes, its maths, its options and what they refuse."""

import pytest
import torch

from spikeloom.golden.models.spikformer import Spikformer, record_spikes
from spikeloom.golden.models.spikformer_config import SpikformerConfig

CIFAR = dict(channels=3, height=32, width=32, dim=384, depth=4, heads=12, pools=(False, False, True, True))


def test_parameters_carry_the_official_names_and_shapes():
    """The list of the official CIFAR state dict, without its unused LayerNorms."""
    expected = {"head.weight": (10, 384), "head.bias": (10,)}

    def norm(name, channels):
        for key in ("weight", "bias", "running_mean", "running_var"):
            expected[f"{name}.{key}"] = (channels,)
        expected[f"{name}.num_batches_tracked"] = ()

    before = 3
    for suffix, after in zip(("", "1", "2", "3"), (48, 96, 192, 384), strict=True):
        expected[f"patch_embed.proj_conv{suffix}.weight"] = (after, before, 3, 3)
        norm(f"patch_embed.proj_bn{suffix}", after)
        before = after
    expected["patch_embed.rpe_conv.weight"] = (384, 384, 3, 3)
    norm("patch_embed.rpe_bn", 384)
    for b in range(4):
        for part in ("attn.q", "attn.k", "attn.v", "attn.proj", "mlp.fc1", "mlp.fc2"):
            after, before = {"mlp.fc1": (1536, 384), "mlp.fc2": (384, 1536)}.get(part, (384, 384))
            expected[f"block.{b}.{part}_linear.weight"] = (after, before)
            expected[f"block.{b}.{part}_linear.bias"] = (after,)
            norm(f"block.{b}.{part}_bn", after)
    model = Spikformer(SpikformerConfig(**CIFAR, bias=True))
    assert {key: tuple(x.shape) for key, x in model.state_dict().items()} == expected
    assert sum(x.numel() for x in model.parameters()) == 9_330_874 - 6_144  # less the dead LayerNorms
    assert len(model.stages()) == 33


def test_model_equals_its_equations_written_out():
    """One block in evaluation, step by step and token by token as in the paper, Q K^T before V."""
    torch.manual_seed(0)
    config = SpikformerConfig(dim=16, heads=2, mlp_ratio=2, steps=3, bias=True, threshold=0.25)
    model = Spikformer(config).double()
    for stage in model.stages():
        if stage.norm is not None:
            torch.nn.init.uniform_(stage.norm.bias, 0.0, 1.0)
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    for _ in range(5):
        model(images)
    model.eval()
    scores, spikes = record_spikes(model, images)

    def lif(currents, threshold=0.25):
        v, out = torch.zeros_like(currents[0]), []
        for x in currents:
            h = v + (x - v) / 2
            s = (h >= threshold).double()
            v = h * (1 - s)
            out.append(s)
        return out

    embed = model.patch_embed
    x = [images.double() / 256] * 3
    for i, pool in enumerate(config.pools):
        conv, norm = (getattr(embed, f"proj_{kind}{i or ''}") for kind in ("conv", "bn"))
        x = lif([norm(conv(step)) for step in x])
        assert torch.equal(torch.stack(x), spikes[f"sps.{i}"])
        if pool:
            x = [torch.nn.functional.max_pool2d(step, 3, 2, 1) for step in x]
    rpe = lif([embed.rpe_bn(embed.rpe_conv(step)) for step in x])
    x = [(a + b).flatten(2).transpose(1, 2) for a, b in zip(x, rpe, strict=True)]  # (B, N, C)

    def layer(owner, part, tokens):
        linear, norm = getattr(owner, f"{part}_linear"), getattr(owner, f"{part}_bn")
        return lif([norm(linear(step).transpose(1, 2)).transpose(1, 2) for step in tokens])

    attn, mlp = model.block[0].attn, model.block[0].mlp
    q, k, v = (layer(attn, part, x) for part in "qkv")
    mixed = []
    for a, b, c in zip(q, k, v, strict=True):
        heads = [(a[..., i : i + 8] @ b[..., i : i + 8].transpose(1, 2) * 0.125) @ c[..., i : i + 8] for i in (0, 8)]
        mixed.append(torch.cat(heads, -1))
    projected = layer(attn, "proj", lif(mixed, 0.5))
    x = [a + b for a, b in zip(x, projected, strict=True)]
    x = [a + b for a, b in zip(x, layer(mlp, "fc2", layer(mlp, "fc1", x)), strict=True)]
    expected = model.head(torch.stack(x).mean(0).mean(1))
    assert all(0 < s.mean() < 1 for s in spikes.values())
    assert torch.allclose(scores, expected, rtol=1e-12, atol=1e-12)  # the order of the mean's additions


def test_shape_of_the_tokens_follows_the_pools():
    for pools, size in (((False,) * 4, 8), ((False, True, True, False), 2), ((True,) * 4, 1)):
        model = Spikformer(SpikformerConfig(dim=16, heads=2, pools=pools)).eval()
        _, spikes = record_spikes(model, torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
        assert spikes["block.0.q"].shape == (4, 2, 16, size, size)


def test_masks_silence_the_steps_behind_them():
    torch.manual_seed(0)
    model = Spikformer(SpikformerConfig(dim=16, heads=2, dynamic=True, initial_steps=2, threshold=0.1))
    _, spikes = record_spikes(model, torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8))
    assert all(x[:2].any() and not x[2:].any() for x in spikes.values())
    assert set(model.time_steps().values()) == {2}


def test_groups_of_masks():
    model = Spikformer(SpikformerConfig(dim=16, heads=2, depth=2, dynamic=True))
    sizes = {"sps": 5, "qkv": 6, "attn": 4, "mlp": 4}
    assert {group: len(model.masks((group,))) for group in sizes} == sizes
    assert Spikformer(SpikformerConfig(dim=16, heads=2)).masks(("sps",)) == []


def test_initial_steps_are_half_of_all_by_default():
    assert [SpikformerConfig(steps=x).initial for x in (1, 4, 5)] == [1, 2, 3]


REFUSED = [
    (dict(depth=-1), "depth must be at least 0, not -1"),
    (dict(channels=0), "channels must be at least 1, not 0"),
    (dict(steps=0), "steps must be at least 1, not 0"),
    (dict(classes=2.5), "classes must be an integer, not 2.5"),
    (dict(dim=60), "dim must be a multiple of 8, not 60"),
    (dict(heads=5), r"dim must be a multiple of heads \(5\), not 64"),
    (dict(pools=(True,)), "pools must have 4 items, not 1"),
    (dict(pools=(1, 0, 0, 0)), "pools.0 must be true or false, not 1"),
    (dict(dim=1 << 14), "dim must be at most 8192, not 16384"),
    (dict(threshold=0), "threshold must be above 0, not 0"),
    (dict(neuron="if"), "neuron must be one of spikingjelly, dts, not 'if'"),
    (dict(initial_steps=5), "initial_steps must be in 0..4, not 5"),
]


@pytest.mark.parametrize("options, message", REFUSED)
def test_bad_configurations_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SpikformerConfig(**options)
