"""Convolutions and batch norms that see only the kept positions."""

import pytest
import torch
from torch import nn

from spikeloom.golden.training.sparse_convolution import enlarged, sparse_convolutions


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()]
    layers += [nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)]
    return nn.Sequential(*layers)


def masks(batch=3, size=4):
    keep = torch.zeros(batch, 1, size, size)
    keep.view(batch, -1)[:, :7] = 1
    return keep.view(batch, -1)[:, torch.randperm(size * size)].view(batch, 1, size, size)


def test_every_convolution_is_masked_again():
    model, keep = network().eval(), masks()
    for x in model.parameters():
        x.data.uniform_(-1, 1)
    images = torch.randn(3, 1, 8, 8) * enlarged(keep, 8, 8)
    with sparse_convolutions([model], keep):
        found = model(images)
    expected = images
    for layer in model:  # in evaluation, batch norms are functions of each position alone
        expected = layer(expected)
        for b in range(3):
            size = expected.shape[2] // 4
            for row in range(expected.shape[2]):
                for column in range(expected.shape[3]):
                    expected[b, :, row, column] *= keep[b, 0, row // size, column // size]
    assert torch.allclose(found, expected, atol=1e-6)
    assert not torch.allclose(model(images) * keep, expected, atol=1e-3)  # plain again, and seen from outside


def test_batch_norm_counts_the_kept_positions_alone():
    norm, keep = nn.BatchNorm2d(2), masks(batch=2)
    x = torch.randn(2, 2, 4, 4)
    with sparse_convolutions([norm], keep):
        y = norm(x)
    for channel in range(2):
        seen = x[:, channel][keep[:, 0] == 1]
        expected = (seen - seen.mean()) / torch.sqrt(seen.var(unbiased=False) + norm.eps)
        assert torch.allclose(y[:, channel][keep[:, 0] == 1], expected, atol=1e-6)
        assert torch.allclose(norm.running_mean[channel], 0.1 * seen.mean(), atol=1e-6)
        assert torch.allclose(norm.running_var[channel], 0.9 + 0.1 * seen.var(), atol=1e-6)
    assert (y * (1 - keep) == 0).all() and norm.num_batches_tracked == 1


def test_without_momentum_the_statistics_are_the_mean_of_all():
    norm, keep = nn.BatchNorm2d(2, momentum=None), masks(batch=2)
    batches = torch.randn(3, 2, 2, 4, 4)
    with sparse_convolutions([norm], keep):
        for x in batches:
            norm(x)
    seen = batches.transpose(1, 2).flatten(2, 3)[:, :, keep[:, 0].flatten(0, 1) == 1]  # (3, C, kept)
    assert torch.allclose(norm.running_mean, seen.mean((0, 2)), atol=1e-6)
    assert torch.allclose(norm.running_var, seen.var(2).mean(0), atol=1e-6)


def test_tokens_are_masked_as_their_map():
    norm, linear, keep = nn.BatchNorm1d(3), nn.Conv1d(3, 3, 1), masks(batch=2)
    x = torch.randn(2, 3, 16)
    with sparse_convolutions([norm, linear], keep):
        y = norm(linear(x))
    flat = keep.flatten(2)
    assert (y * (1 - flat) == 0).all()
    assert torch.allclose(y.transpose(1, 2)[flat[:, 0] == 1].mean(0), torch.zeros(3), atol=1e-6)


def test_with_everything_kept_nothing_changes():
    model, images = network(), torch.randn(3, 1, 8, 8)
    torch.manual_seed(1)
    plain = model(images)
    again = network()
    with sparse_convolutions([again], torch.ones(3, 1, 4, 4)):
        masked = again(images)
    assert torch.allclose(plain, masked, atol=1e-6)
    for (key, one), other in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.allclose(one, other, atol=1e-6), key


def test_gradients_reach_the_weights():
    model, keep = network(), masks()
    with sparse_convolutions([model], keep):
        model(torch.randn(3, 1, 8, 8) * enlarged(keep, 8, 8)).square().sum().backward()
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in model[0].parameters())


def test_a_mask_grows_by_the_place_of_each_position():
    keep = torch.tensor([[1.0, 0, 1, 0]]).view(1, 1, 1, 4)
    assert enlarged(keep, 1, 8).flatten().tolist() == [1, 1, 0, 0, 1, 1, 0, 0]
    assert enlarged(keep, 2, 7)[0, 0, 1].tolist() == [1, 1, 0, 0, 1, 1, 0]


def test_a_mask_that_does_not_fit_is_refused():
    model = network()
    with (
        pytest.raises(ValueError, match="a mask of 9x9 does not fit a map of 8x8"),
        sparse_convolutions([model], torch.ones(2, 1, 9, 9)),
    ):
        model(torch.randn(2, 1, 8, 8))
    nothing = torch.zeros(2, 1, 3, 3)
    with pytest.raises(ValueError, match="the mask keeps no position"), sparse_convolutions([], nothing):
        pass
    assert "forward" not in model[1].__dict__ and not model[0]._forward_hooks
