"""The official Spikformers: keys, sizes, and the same forward pass as SpikingJelly's neurons give."""

import numpy as np
import pytest
import torch

from spikeloom.golden.models.image_config import CIFAR100
from spikeloom.golden.models.spikformer import Spikformer, record_spikes
from spikeloom.golden.models.spikformer_config import SpikformerConfig, official
from spikeloom.golden.network import Network
from spikeloom.golden.network.execute import check_images, execute
from spikeloom.golden.quantization.folded import folded as fold_norms
from spikeloom.golden.quantization.folded import quantized
from spikeloom.golden.quantization.quantize import quantize
from support import official_spikformer as official_code

NO_SPIKINGJELLY = "needs SpikingJelly: pip install --no-deps spikingjelly==2.0.0, and loguru"

SIZES = {
    "cifar 4-384": ("cifar", 4, 384, 12, {}),
    "cifar 2-256": ("cifar", 2, 256, 8, {}),
    "cifar100 4-384": ("cifar", 4, 384, 12, CIFAR100),
    "imagenet 8-384": ("imagenet", 8, 384, 8, {}),
    "imagenet 8-512": ("imagenet", 8, 512, 8, {}),
    "imagenet 8-768": ("imagenet", 8, 768, 8, {}),
}


def dead(key):
    return ".norm1." in key or ".norm2." in key


@pytest.mark.parametrize("name", SIZES)
def test_keys_and_shapes_are_the_official_ones(name):
    dialect, depth, dim, heads, options = SIZES[name]
    config = official(dialect, depth=depth, dim=dim, heads=heads, **options)
    wanted = official_code.shapes(dialect, depth=depth, dim=dim, classes=config.classes)
    with torch.device("meta"):
        state = Spikformer(config).state_dict()
    assert {key: tuple(x.shape) for key, x in state.items()} == {k: v for k, v in wanted.items() if not dead(k)}


@pytest.mark.parametrize(
    "dialect, depth, dim, classes, layers, total, unused",
    [("cifar", 4, 384, 10, 33, 9_330_874, 6_144), ("imagenet", 8, 512, 1000, 61, 29_705_768, 16_384)],
)
def test_numbers_of_parameters_are_the_official_ones(dialect, depth, dim, classes, layers, total, unused):
    wanted = official_code.shapes(dialect, depth=depth, dim=dim, classes=classes)
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    sizes = {k: int(np.prod(v)) for k, v in wanted.items() if not k.endswith(buffers)}
    assert sum(sizes.values()) == total
    assert sum(x for k, x in sizes.items() if dead(k)) == unused
    with torch.device("meta"):
        model = Spikformer(official(dialect, depth=depth, dim=dim, heads=8))
    assert sum(x.numel() for x in model.parameters()) == total - unused
    assert len(model.stages()) == layers


def models(dialect, images, *, seed=0, heads=2, dtype=torch.float32, **size):
    """Ours and the re-stated one, of the same random state dict with batch norms that suit the images."""
    pytest.importorskip("spikingjelly.activation_based.neuron", reason=NO_SPIKINGJELLY)
    height, width = images.shape[2:]
    config = official(dialect, heads=heads, height=height, width=width, **size)
    state = official_code.random_state(dialect, seed=seed, depth=size["depth"], dim=size["dim"], classes=config.classes)
    state = {key: x.to(dtype) if x.is_floating_point() else x for key, x in state.items()}
    restated = official_code.Restated(
        state, dialect=dialect, heads=heads, steps=config.steps, pools=config.pools, calibrate=True
    )
    restated(normalised(config, images, dtype))
    restated.calibrate = False
    model = Spikformer(config).to(dtype).eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not missing and all(dead(key) for key in unexpected)
    return model, restated


def normalised(config, images, dtype=torch.float32):
    """As torchvision's ToTensor and Normalize do."""
    mean, std = (torch.tensor(x, dtype=dtype)[:, None, None] for x in (config.mean, config.std))
    return (images.to(dtype) / 255 - mean) / std


def pixels(count, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rough = torch.rand(count, 3, size // 4, size // 4, generator=generator)
    smooth = torch.nn.functional.interpolate(rough, scale_factor=4, mode="bilinear")
    return (255 * smooth).round().to(torch.uint8)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("dialect, size, heads", [("cifar", 16, 2), ("cifar", 32, 4), ("imagenet", 64, 2)])
def test_forward_pass_is_the_official_one(dialect, size, heads, seed):
    images = pixels(6, size, seed)
    model, restated = models(dialect, images, seed=seed, heads=heads, depth=2, dim=32, classes=7)
    expected = restated(normalised(model.config, images))
    scores, spikes = record_spikes(model, images)
    aside, ties = official_code.compare(restated, scores, expected, spikes)
    assert aside <= 2, f"{ties} neurons in {aside} of 6 images decide otherwise"
    assert all(0.003 < float(x.mean()) < 0.97 for x in spikes.values())
    assert set(spikes) == set(restated.spikes)


def test_forward_pass_of_4_384():
    """Full size, one image; in float64, whose ties are too rare to matter."""
    images = pixels(1, 32)
    model, restated = models("cifar", images, heads=12, depth=4, dim=384, dtype=torch.float64)
    expected = restated(normalised(model.config, images, torch.float64))
    scores, spikes = record_spikes(model, images)
    assert official_code.compare(restated, scores, expected, spikes) == (0, 0)
    assert len(spikes) == 33


def test_forward_pass_of_8_512_at_full_size():
    """ImageNet's 224x224, one image and the first of its four steps; in float64, whose ties are too rare to matter."""
    images = pixels(1, 224)
    model, restated = models("imagenet", images, heads=8, depth=8, dim=512, steps=1, dtype=torch.float64)
    expected = restated(normalised(model.config, images, torch.float64))
    scores, spikes = record_spikes(model, images)
    assert official_code.compare(restated, scores, expected, spikes) == (0, 0)
    assert len(spikes) == 61 and spikes["block.7.fc2"].shape == (1, 1, 512, 14, 14)


def test_comparison_finds_a_wrong_model():
    images = pixels(2, 16)
    model, restated = models("cifar", images, depth=1, dim=16)
    expected = restated(normalised(model.config, images))
    model.block[0].attn.q_lif.threshold = 1.01
    with pytest.raises(AssertionError, match="fires otherwise"):
        official_code.compare(restated, *(model(images), expected), record_spikes(model, images)[1])


@pytest.fixture(scope="module")
def normalising():
    """A small model that normalises its pixels, with batch norms that suit random images."""
    torch.manual_seed(3)
    config = official("imagenet", depth=1, dim=16, heads=2, classes=5, height=16, width=12, pools=(False, True) * 2)
    model = Spikformer(config)
    for stage in model.stages():
        if stage.norm is not None:
            torch.nn.init.uniform_(stage.norm.weight, 1.0, 3.0)
            torch.nn.init.uniform_(stage.norm.bias, -0.5, 1.0)
    for _ in range(20):
        model(random_pixels(32))
    return model.eval()


def random_pixels(count):
    return torch.randint(0, 256, (count, 3, 16, 12), dtype=torch.uint8)


def test_folding_the_normalisation_changes_nothing(normalising):
    """Mean and deviation in weights and bias, the mean pixel around the image: the same numbers."""
    images = random_pixels(8)
    model = Spikformer(normalising.config).double().eval()
    model.load_state_dict(normalising.state_dict())
    scores, spikes = record_spikes(model, images)
    folded_scores, folded = record_spikes(fold_norms(model, dtype=torch.float64), images)
    assert all(torch.equal(folded[name], x) for name, x in spikes.items())
    assert torch.allclose(scores, folded_scores, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bits", [8, 4])
def test_theorem_holds_for_normalised_images(normalising, bits):
    """The integer network equals the floating-point model with its weights and its padding pixel, spike by spike."""
    images = random_pixels(12)
    network = quantize(normalising, weight_bits=bits)
    assert network.padding_pixel == (124, 116, 104)
    assert (network.height, network.width, network.image_shape) == (18, 14, (3, 16, 12))
    assert [network.layer(x).padding for x in ("sps.0", "sps.1")] == [0, 1]
    done = execute(network, images.numpy(), record=True)
    _, spikes = record_spikes(quantized(network, dtype=torch.float64), images)
    for name, x in spikes.items():
        assert (x.numpy().astype(bool) == done.spikes[name]).all(), name
        assert done.spikes[name].any()


def test_rounding_the_padding_pixel_touches_the_border_alone(normalising):
    """First layer: potentials differ at most by the rounding (0.5 of 255) times the weights outside the image."""
    from dataclasses import replace

    network = quantize(normalising)
    images = random_pixels(4).numpy()
    other = replace(network, padding_pixel=tuple(x + 1 for x in network.padding_pixel))
    first, second = (execute(x, images, record=True).potentials["sps.0"] for x in (network, other))
    assert (first[:1, :, :, 1:-1, 1:-1] == second[:1, :, :, 1:-1, 1:-1]).all()
    outside = network.layer("sps.0").weight.astype(int)[:, :, 0].sum((1, 2))  # above the first row
    assert ((second - first)[0, :, :, 0, 1:-1] == outside[:, None]).all()


def test_frame_of_the_image(normalising, tmp_path):
    network = quantize(normalising)
    network.save(tmp_path / "n.safetensors")
    network = Network.load(tmp_path / "n.safetensors")
    assert network.padding_pixel == (124, 116, 104)
    images = random_pixels(2).numpy()
    framed = network.framed(images)
    assert (framed[:, :, 1:-1, 1:-1] == images).all() and framed.shape == (2, 3, 18, 14)
    for edge in (framed[:, :, 0], framed[:, :, -1], framed[..., 0], framed[..., -1]):
        assert (edge == np.array(network.padding_pixel)[:, None]).all()
    assert (check_images(network, images) == framed).all() and check_images(network, framed) is framed
    with pytest.raises(ValueError, match=r"images must have shape \(B, 3, 16, 12\), not \(1, 3, 12, 16\)"):
        check_images(network, np.zeros((1, 3, 12, 16), np.uint8))


@pytest.mark.parametrize(
    "pixel, message",
    [
        ((124, 116), "padding_pixel must have 3 numbers, one a channel, not 2"),
        ((124, 116, 256), r"padding_pixel must be in 0\.\.255, not 256"),
        ((124, 116, 1.5), r"padding_pixel must be in 0\.\.255, not 1.5"),
    ],
)
def test_bad_padding_pixels_are_refused(normalising, pixel, message):
    from dataclasses import replace

    with pytest.raises(ValueError, match=message):
        replace(quantize(normalising), padding_pixel=pixel)


def test_core_takes_framed_images(normalising, tmp_path):
    """On the simulated hardware, bit-exact, without any change to it."""
    from spikeloom.gen.compiler import compile_network
    from spikeloom.gen.sizing import smallest_core
    from spikeloom.sim.simulate import simulate

    network = quantize(normalising)
    compiled = compile_network(network, smallest_core(network, lanes=8, neuron_lanes=4))
    report = simulate(compiled, random_pixels(2).numpy(), build_dir=tmp_path)
    assert report.images_bit_exact == report.images == 2


def test_exported_pixels_have_the_frame(normalising, tmp_path):
    from spikeloom.cli.main import run
    from spikeloom.gen.host.pixels import pack_pixels

    network = quantize(normalising)
    network.save(tmp_path / "n.safetensors")
    np.savez(tmp_path / "x.npz", images=random_pixels(2).numpy())
    options = ["--data", f"{tmp_path}/x.npz", "--lanes", "8", "-o", f"{tmp_path}/out", "--json", "--images", "2"]
    assert run(["compile", f"{tmp_path}/n.safetensors", *options]) == 0
    with np.load(tmp_path / "x.npz") as file:
        words = pack_pixels(network.framed(file["images"])).ravel().tolist()
    assert [int(x, 16) for x in (tmp_path / "out" / "pixels.hex").read_text().split()] == words


def test_a_framed_image_is_not_padded_again(normalising):
    from dataclasses import replace

    network = quantize(normalising)
    layers = (replace(network.layers[0], padding=1), *network.layers[1:])
    with pytest.raises(ValueError, match="layer 'sps.0': padding must be 0, since the image has a frame"):
        replace(network, layers=layers)


REFUSED = [
    (dict(dialect="spikingjelly"), "dialect must be one of cifar, imagenet, not 'spikingjelly'"),
    (dict(mean=(0.5,)), "mean and std must be given together"),
    (dict(mean=(0.5, 0.5), std=(0.5,)), "mean must have 1 numbers, one a channel, not 2"),
    (dict(mean=(0.5,), std=(0.0,)), r"std must be in 0\.\.1"),
    (dict(mean=(127.0,), std=(0.5,)), r"mean must be in 0\.\.1, of pixels in 0\.\.1, not \(127.0,\)"),
]


@pytest.mark.parametrize("options, message", REFUSED)
def test_bad_configurations_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SpikformerConfig(**options)
