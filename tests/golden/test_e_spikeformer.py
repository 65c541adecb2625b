"""E-SpikeFormer: keys, sizes and equations of the official code; integer spikes equal spike-driven inference."""

import pytest
import torch

from spikeloom.golden.models.e_spikeformer import ESpikeformer, record_spikes
from spikeloom.golden.models.e_spikeformer_config import ESpikeformerConfig, official
from spikeloom.golden.models.multi_spike import MultiSpike
from support.e_spikeformers import SMALL, make, random_images
from support.official_e_spikeformer import Official


@pytest.mark.parametrize(
    ("size", "parameters"), [("t", 2_702_048), ("s", 5_105_608), ("m", 10_023_112), ("l", 18_987_504)]
)
def test_official_sizes(size, parameters):
    with torch.device("meta"):
        model = ESpikeformer(official(size))
    assert sum(x.numel() for x in model.parameters()) == parameters
    assert len(model.state_dict()) == 605
    assert len(model.time_steps()) == 105
    assert model.config.token_map == (14, 14)


def norm(name, channels):
    keys = {f"{name}.{x}": (channels,) for x in ("weight", "bias", "running_mean", "running_var")}
    return keys | {f"{name}.num_batches_tracked": ()}


def test_keys_and_shapes_are_the_official_ones():
    with torch.device("meta"):
        shapes = {key: tuple(x.shape) for key, x in ESpikeformer(official("t")).state_dict().items()}
    expected = {"downsample1_1.encode_conv.weight": (12, 3, 7, 7), "downsample1_1.encode_conv.bias": (12,)}
    expected |= norm("downsample1_1.encode_bn", 12)
    block = "ConvBlock1_1.0"
    expected[f"{block}.Conv.pwconv1.0.weight"] = (24, 12, 1, 1)
    expected[f"{block}.Conv.dwconv.0.weight"] = (24, 1, 7, 7)
    expected[f"{block}.Conv.pwconv2.0.weight"] = (12, 24, 1, 1)
    for part, channels in (("pwconv1", 24), ("dwconv", 24), ("pwconv2", 12)):
        expected |= norm(f"{block}.Conv.{part}.1", channels)
    expected |= {f"{block}.conv1.weight": (48, 12, 3, 3), f"{block}.conv2.weight": (12, 48, 3, 3)}
    expected |= norm(f"{block}.bn1", 48) | norm(f"{block}.bn2", 12)
    block = "block3.5"
    for part, channels, before, kernel in (("pwconv1", 192, 96, 1), ("dwconv", 192, 1, 3), ("pwconv2", 96, 192, 1)):
        expected[f"{block}.conv.{part}.0.weight"] = (channels, before, kernel, kernel)
        expected |= norm(f"{block}.conv.{part}.1", channels)
    for part, channels, before in (("q", 96, 96), ("k", 96, 96), ("v", 384, 96), ("proj", 96, 384)):
        expected[f"{block}.attn.{part}_conv.0.weight"] = (channels, before, 1, 1)
        expected |= norm(f"{block}.attn.{part}_conv.1", channels)
    for i, channels, before in ((1, 384, 96), (2, 96, 384)):
        expected[f"{block}.mlp.fc{i}_conv.weight"] = (channels, before, 1)
        expected[f"{block}.mlp.fc{i}_conv.bias"] = (channels,)
        expected |= norm(f"{block}.mlp.fc{i}_bn", channels)
    expected |= {"head.weight": (1000, 128), "head.bias": (1000,)}
    for stage, last in (("downsample1_1", None), ("ConvBlock1_1", 0), ("block3", 5), ("head", None)):
        place = stage if last is None else f"{stage}.{last}"
        there = {key: shape for key, shape in shapes.items() if key.startswith(f"{place}.")}
        assert there == {key: shape for key, shape in expected.items() if key.startswith(f"{place}.")}
    stages = {key.split(".")[0]: 0 for key in shapes}
    assert list(stages) == [
        "downsample1_1", "ConvBlock1_1", "downsample1_2", "ConvBlock1_2", "downsample2", "ConvBlock2_1",
        "ConvBlock2_2", "downsample3", "block3", "downsample4", "block4", "head",
    ]  # fmt: skip


@pytest.mark.parametrize(("seed", "levels"), [(0, 4), (1, 8), (2, 3)])
def test_forward_equals_the_equations(seed, levels):
    """In float64, where no rounding moves a potential over a half: to 1e-5 of scores of about 5."""
    model = make(seed, torch.float64, levels=levels)
    images = random_images(model, 8, seed)
    config = model.config
    twin = Official(model.state_dict(), levels=levels, heads=config.heads, strides=config.strides)
    expected = twin(images.double() / 256)
    got = model(images)
    assert expected.std(0).min() > 0.5  # images differ
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def test_official_model_runs_with_normalised_images():
    """The smallest preset, all its blocks, on small images to keep it cheap."""
    config = official("t", height=64, width=64)
    torch.manual_seed(0)
    model = ESpikeformer(config).double()
    images = random_images(model, 4)
    with torch.no_grad():
        for norms in model.modules():
            if isinstance(norms, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                norms.momentum = None
        model(images)  # batch norm statistics of these images
        model.eval()
        model.head.weight.normal_()
        got = model(images)
        mean, std = (torch.tensor(x, dtype=torch.float64).view(3, 1, 1) for x in (config.mean, config.std))
        expected = Official(model.state_dict())((images / 255.0 - mean) / std)
    assert got.shape == (4, 1000) and expected.std() > 0.1
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("seed", "levels"), [(0, 4), (1, 8), (2, 4)])
def test_spike_driven_inference_is_the_same_exactly(seed, levels):
    """Proposition 1, of random models of few-bit numbers: every layer's spikes and the scores, bit for bit."""
    model = make(seed, torch.float64, dyadic=True, levels=levels, heads=1, dims=(8, 8, 16, 16))
    images = random_images(model, 4, seed)
    scores, integers = record_spikes(model, images)
    with model.spike_driven():
        driven_scores, steps = record_spikes(model, images)
    assert torch.equal(scores, driven_scores)
    seen = torch.zeros(levels + 1)
    for name, x in integers.items():
        assert torch.equal(steps[name].sum(0), x), name
        assert torch.equal(steps[name], steps[name].sort(0, descending=True)[0]), name  # front-loaded
        seen += torch.bincount(x.flatten().long(), minlength=levels + 1)
    assert seen.min() > 0
    assert not any(x.driven for x in model.modules() if isinstance(x, MultiSpike))


@pytest.mark.trains
def test_spike_driven_inference_of_a_trained_model():
    """To rounding: the trained weights are not dyadic, and sums of D parts round otherwise than one sum."""
    torch.manual_seed(0)
    model = ESpikeformer(ESpikeformerConfig(**SMALL)).double()
    images, labels = random_images(model, 16), torch.arange(16) % 10
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    first = None
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < first - 0.15  # 0.4 from the worst of four seeds
    assert all(x.grad is not None for x in model.parameters())
    model.eval()
    scores = model(images).detach()
    with model.spike_driven():
        driven = model(images)
    assert scores.std() > 0.1
    torch.testing.assert_close(driven, scores, rtol=0, atol=1e-9)


def test_spike_driven_dot_products_see_zeros_and_ones_alone(monkeypatch):
    from spikeloom.golden.models import multi_spike

    model = make(3)
    seen = []
    original = multi_spike._without_bias

    def watched(projection, x):
        seen.append((projection, set(x.unique().tolist())))
        return original(projection, x)

    monkeypatch.setattr(multi_spike, "_without_bias", watched)
    products = []
    matmul = torch.Tensor.__matmul__
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: products.append((a, b)) or matmul(a, b))
    with model.spike_driven():
        model(random_images(model))
    projections = [x for x in model.layers() if x.projection is not None][1:]  # all but the image's
    assert [x for x, _ in seen[:: model.config.levels]] == [*(x.projection for x in projections), model.head]
    assert all(values <= {0.0, 1.0} for _, values in seen)
    assert len(products) == 2 * (4 * 4 + 4)
    assert all(any(set(x.unique().tolist()) <= {0.0, 1.0} for x in pair) for pair in products)


def test_layers_are_the_graph():
    model = make()
    layers = {x.name: x for x in model.layers()}
    assert list(layers)[:8] == [
        "downsample1_1.encode_conv", "ConvBlock1_1.0.Conv.spike1", "ConvBlock1_1.0.Conv.pwconv1",
        "ConvBlock1_1.0.Conv.dwconv", "ConvBlock1_1.0.Conv.pwconv2", "ConvBlock1_1.0.spike1", "ConvBlock1_1.0.conv1",
        "ConvBlock1_1.0.conv2",
    ]  # fmt: skip
    attention = layers["block4.0.attn.attn_spike"]
    assert attention.inputs == ("block4.0.attn.q_conv", "block4.0.attn.k_conv", "block4.0.attn.v_conv")
    assert layers["block4.0.attn.proj_conv"].residual == "block4.0.conv.pwconv2"
    assert layers["spike"].inputs == ("block4.0.mlp.fc2_conv",) and layers["spike"].whole_map
    for name, layer in layers.items():
        module = dict(model.named_modules())[name]
        assert module is layer.neurons or layer.projection in (module, module[0] if hasattr(module, "0") else None)


def test_half_precision_reaches_convolutions_but_not_the_products_of_spikes(monkeypatch):
    """Under autocast scores are bfloat16, and the integers of attention are exact, beyond its 8 bits."""
    from spikeloom.golden.models.e_spikeformer_blocks import Attention

    seen = []
    original = Attention._mixed
    monkeypatch.setattr(
        Attention, "_mixed", lambda self, q, k, v: seen.append((q, k, v, original(self, q, k, v))) or seen[-1][3]
    )
    model = make(4)
    with torch.autocast("cpu", torch.bfloat16):
        scores = model(random_images(model))
    assert scores.dtype == torch.bfloat16 and len(seen) == 4
    found = []
    for tensors in seen:
        q, k, v, mixed = (x.detach().double() for x in tensors)  # (B, heads, d, N)
        found.append(torch.einsum("bhin,bhjn,bhjm->bhim", v, k, q))
        assert torch.equal(mixed, found[-1])
    assert not all(torch.equal(x.bfloat16().double(), x) for x in found)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(dims=(7, 8, 12, 12)), "dims must begin with an even number, not 7"),
        (dict(dims=(8, 8, 12)), "dims must have 4 items, not 3"),
        (dict(dims=(8, 8, 12, 13)), r"the last two of dims must be multiples of heads \(3\), not 13"),
        (dict(depths=(1, 1, 1, 1, 1, -1)), "depths.5 must be at least 0, not -1"),
        (dict(strides=(2, 2, 2, 2)), "strides must have 5 items, not 4"),
        (dict(strides=(2, 2, 0, 2, 1)), "strides.2 must be at least 1, not 0"),
        (dict(stem_kernel=4), "stem_kernel must be odd, not 4"),
        (dict(levels=0), "levels must be at least 1, not 0"),
        (dict(levels=2.5), "levels must be an integer, not 2.5"),
        (dict(mean=(0.5,)), "mean and std must be given together"),
    ],
)
def test_bad_configurations(fields, message):
    with pytest.raises(ValueError, match=message):
        ESpikeformerConfig(**{**SMALL, **fields})
    with pytest.raises(ValueError, match="size must be t, s, m, l, not 'x'"):
        official("x")
