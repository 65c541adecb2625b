"""Pre-training with hidden patches: what is hidden, what is drawn, and that it learns."""

from dataclasses import replace

import pytest
import torch

from spikeloom.common.schema import checked
from spikeloom.golden.data import datasets
from spikeloom.golden.models.e_spikeformer import ESpikeformer
from spikeloom.golden.models.e_spikeformer_config import ESpikeformerConfig
from spikeloom.golden.training import training_state
from spikeloom.golden.training.evaluation import accuracy
from spikeloom.golden.training.masked_autoencoder import MaskedAutoencoder, PretrainConfig, positions
from spikeloom.golden.training.run_config import DataConfig, RunConfig, TrainConfig, load
from spikeloom.golden.training.train import train_run

SHAPE = dict(height=12, width=12, dims=(4, 8, 8, 8), depths=(1, 1, 0, 0, 1, 0), strides=(2, 1, 2, 1, 1))
SHAPE |= dict(stem_kernel=3, sep_kernel=3, heads=2, sep_ratio=1, mlp_ratio=1, value_ratio=1)


def autoencoder(seed=0, channels=1, **options):
    torch.manual_seed(seed)
    encoder = ESpikeformer(ESpikeformerConfig(channels=channels, **SHAPE))
    return MaskedAutoencoder(encoder, PretrainConfig(dim=16, depth=1, heads=2, **options))


def images(count=4, channels=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, 12, 12), dtype=torch.uint8, generator=generator)


def test_patches_are_cut_in_order():
    model, x = autoencoder(channels=2), images(channels=2).float()
    cut = model.cut(x)
    assert cut.shape == (4, 9, 2 * 4 * 4)
    for row in range(3):
        for column in range(3):
            patch = x[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            assert (cut[:, 3 * row + column] == patch.flatten(1)).all()


@pytest.mark.parametrize(("hidden", "seen"), [(0.5, 4), (0.75, 2), (0.01, 8), (0.99, 1)])
def test_as_many_patches_are_hidden_in_each_image(hidden, seen):
    keep = autoencoder(hidden=hidden).random_mask(50, torch.device("cpu"))
    assert keep.shape == (50, 1, 3, 3) and (keep.flatten(1).sum(1) == seen).all()
    assert len({tuple(x.tolist()) for x in keep.flatten(1)}) > 1


def test_nothing_of_a_hidden_patch_is_seen():
    """Changing the pixels of the hidden patches changes nothing that is drawn; of a seen patch, a lot."""
    model = autoencoder()
    for x in model.modules():
        if isinstance(x, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            x.momentum = None  # the mean of all, at once
    for seed in range(3):
        model(images(seed=seed))
    model.eval()
    one, keep = images(), model.random_mask(4, torch.device("cpu"))
    visible = keep.repeat_interleave(4, 2).repeat_interleave(4, 3).bool()
    hidden_changed = torch.where(visible, one, 255 - one)
    seen_changed = torch.where(visible, 255 - one, one)
    with torch.no_grad():
        drawn = model.drawn(one, keep)
        assert torch.equal(drawn, model.drawn(hidden_changed, keep))
        assert not torch.allclose(drawn, model.drawn(seen_changed, keep), atol=1e-3)


def test_the_loss_is_that_of_the_hidden_patches():
    model = autoencoder().eval()
    keep = model.random_mask(4, torch.device("cpu"))
    model.random_mask = lambda count, device: keep
    with torch.no_grad():
        loss, drawn = float(model(images())), model.drawn(images(), keep)
    errors = []
    for image, mask, patches in zip(images(), keep[:, 0], drawn, strict=True):
        for row in range(3):
            for column in range(3):
                if mask[row, column]:
                    continue
                pixels = image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].double().flatten()
                wanted = (pixels - pixels.mean()) / (pixels.var() + 1).sqrt()
                errors.append(float(((patches[3 * row + column] - wanted) ** 2).mean()))
    assert len(errors) == 4 * 5
    assert loss == pytest.approx(sum(errors) / len(errors), rel=1e-5)


@pytest.mark.trains
def test_it_learns_to_draw():
    """Ramps to the left or to the right: what is seen tells what is hidden."""
    model = autoencoder()
    ramp = torch.arange(12).float().expand(1, 12, 12)
    pictures = torch.stack([ramp * 20, 220 - ramp * 20] * 4).to(torch.uint8)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    losses = []
    for _ in range(100):
        loss = model(pictures)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) / 10 < 0.6  # 0.94 is what the best guess without a look at the image costs
    assert all(x.grad is not None for x in model.encoder.downsample1_1.parameters())


def test_positions_differ():
    found = positions(3, 4, 8)
    assert found.shape == (12, 8) and len({tuple(x.tolist()) for x in found}) == 12


def test_what_does_not_fit_is_refused():
    encoder = ESpikeformer(ESpikeformerConfig(**SHAPE | dict(height=14, width=14)))
    with pytest.raises(ValueError, match="an image of 14x14 cannot be cut into 4x4 patches"):
        MaskedAutoencoder(encoder, PretrainConfig())
    for options, message in [
        (dict(hidden=1.0), "hidden must be below 1, not 1.0"),
        (dict(epochs=0), "epochs must be at least 1, not 0"),
        (dict(dim=6, heads=2), r"dim must be a multiple of 4 and of heads \(2\), not 6"),
        (dict(learning_rate=0.0), "learning_rate must be above 0, not 0.0"),
    ]:
        with pytest.raises(ValueError, match=message):
            checked(PretrainConfig, options)


# The run.

RUN = RunConfig(
    architecture="e_spikeformer",
    data=DataConfig(train_images=96, test_images=30),
    model=ESpikeformerConfig(**SHAPE | dict(height=8, width=8)),
    pretrain=PretrainConfig(epochs=2, dim=16, depth=1, heads=2),
    train=TrainConfig(epochs=2, batch_size=32, device="cpu"),
)


@pytest.mark.trains
def test_training_begins_with_what_pre_training_found(tmp_path):
    """With a learning rate of 0 training ends where it began."""
    seen = []
    still = replace(RUN, train=replace(RUN.train, learning_rate=0.0))
    model, report = train_run(still, tmp_path, progress=seen.append)
    assert [(x.epoch, x.accuracy is None) for x in seen] == [(1, True), (2, True), (1, False), (2, False)]
    test = datasets.load("digits", "test")
    chosen = datasets.spread_out(len(test.labels), 30)
    assert report.accuracy == accuracy(model, test.images[chosen], test.labels[chosen])
    before = training_state.load(tmp_path / "pretrain" / "state.safetensors").model
    assert any(key.startswith("decoder.") for key in before)
    torch.manual_seed(RUN.train.seed)
    fresh = dict(ESpikeformer(RUN.model).named_parameters())
    for key, x in model.named_parameters():
        assert torch.equal(x, before[f"encoder.{key}"])
        assert torch.equal(x, fresh[key]) == key.startswith("head.")  # which knows nothing of hidden patches


@pytest.mark.trains
def test_a_killed_pre_training_goes_on(tmp_path):
    whole, _ = train_run(RUN)

    class Killed(Exception):
        pass

    for last in (1, 3):  # in pre-training, in training
        seen = []

        def kill(state, seen=seen, last=last):
            seen.append(state)
            if len(seen) == last:
                raise Killed

        with pytest.raises(Killed):
            train_run(RUN, tmp_path, progress=kill)
    again, _ = train_run(RUN, tmp_path)
    assert all(torch.equal(x, again.state_dict()[key]) for key, x in whole.state_dict().items())


def test_only_e_spikeformers_are_pre_trained():
    with pytest.raises(ValueError, match="pretrain is for the architecture e_spikeformer, not spikformer"):
        RunConfig(pretrain=PretrainConfig())


def test_yaml_has_the_section(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("architecture: e_spikeformer\npretrain:\n  epochs: 3\n  hidden: 0.75\n")
    run = load(path)
    assert (run.pretrain.epochs, run.pretrain.hidden, run.pretrain.dim) == (3, 0.75, 64)
    with pytest.raises(ValueError, match="pretrain.epochs must be at least 1, not 0"):
        load(path, ["pretrain.epochs=0"])
