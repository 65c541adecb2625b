"""The neurons: in floating point against loops and autograd, in integers against the formula of `network`."""

import random

import pytest
import torch

from spikeloom.golden.models.neurons import dts_lif, spikingjelly_lif
from spikeloom.golden.network import Neuron
from spikeloom.golden.network.neurons import lif


def test_spikingjelly_lif_follows_its_formula_on_dyadic_currents():
    torch.manual_seed(0)
    currents = torch.randint(-64, 192, (8, 500)) / 64
    spikes = spikingjelly_lif(currents)
    for i in range(500):
        v = 0.0
        for t in range(8):
            h = v + (currents[t, i].item() - v) / 2
            s = h >= 1.0
            assert spikes[t, i].item() == s
            v = 0.0 if s else h
    assert 0.05 < spikes.mean() < 0.95


def test_spikingjelly_lif_fires_at_the_threshold_itself():
    assert spikingjelly_lif(torch.tensor([[2.0]])).item() == 1
    assert spikingjelly_lif(torch.tensor([[1.0]]), threshold=0.5).item() == 1


def test_dts_lif_follows_equations_1_and_2_on_dyadic_currents():
    torch.manual_seed(1)
    currents = torch.randint(-64, 128, (8, 500)) / 64
    spikes = dts_lif(currents, threshold=0.75)
    for i in range(500):
        u = 0.0
        for t in range(8):
            h = 0.5 * u + currents[t, i].item()
            s = h > 0.75
            assert spikes[t, i].item() == s
            u = h - 0.75 * s
    assert 0.05 < spikes.mean() < 0.95


def test_dts_lif_is_quiet_at_the_threshold_itself():
    assert dts_lif(torch.tensor([[1.0]])).item() == 0


@pytest.mark.parametrize("threshold, leak", [(0.5, 0.5), (1.0, 0.5), (1.0, 1.0)])
def test_gradient_of_spikingjelly_lif_equals_autograd_of_its_steps(threshold, leak):
    torch.manual_seed(2)
    currents = (torch.randn(6, 40, dtype=torch.float64) * 2).requires_grad_()
    weights = torch.randn(6, 40, dtype=torch.float64)
    (spikingjelly_lif(currents, threshold=threshold, leak=leak) * weights).sum().backward()
    fused, currents.grad = currents.grad, None
    v, total = torch.zeros(40, dtype=torch.float64), 0.0
    for t in range(6):
        h = leak * v + currents[t] / 2
        smooth = torch.sigmoid(4 * (h - threshold))
        hard = (h >= threshold).double()
        total = total + ((hard - smooth).detach() + smooth) @ weights[t]
        v = h * (1 - hard)
    total.backward()
    assert torch.allclose(fused, currents.grad, rtol=1e-12, atol=1e-14)  # the order of additions differs


@pytest.mark.parametrize("threshold, leak, gamma", [(1.0, 0.5, 1.0), (0.5, 0.25, 0.3)])
def test_gradient_of_dts_lif_equals_autograd_of_its_steps(threshold, leak, gamma):
    torch.manual_seed(3)
    currents = torch.randn(6, 40, dtype=torch.float64).requires_grad_()
    weights = torch.randn(6, 40, dtype=torch.float64)
    (dts_lif(currents, threshold=threshold, leak=leak, gamma=gamma) * weights).sum().backward()
    fused, currents.grad = currents.grad, None
    u, total = torch.zeros(40, dtype=torch.float64), 0.0
    for t in range(6):
        h = leak * u + currents[t]
        slope = gamma / threshold * torch.clamp(1 - (h / threshold - 1).abs(), min=0)
        total = total + (slope.detach() * h) @ weights[t]  # its derivative is the surrogate's
        u = h - threshold * (h > threshold)
    total.backward()
    assert torch.allclose(fused, currents.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("leak", [False, True])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_integer_lif_follows_the_contract(hard, strict, leak, dtype):
    rng = random.Random(4)
    neuron = Neuron(hard=hard, strict=strict, leak=leak)
    steps, given, batch, channels, size = 6, 4, 3, 5, 7
    currents = torch.tensor([rng.randrange(-20, 30) for _ in range(given * batch * channels * size)], dtype=dtype).view(
        given, batch, channels, size
    )
    bias = torch.tensor([-3, 0, 5, 8, 20], dtype=dtype)
    threshold = torch.tensor([1, 7, 12, 30, 11], dtype=dtype)
    spikes, potentials = lif(currents, bias=bias, threshold=threshold, neuron=neuron, steps=steps)
    assert spikes.shape == potentials.shape == (steps, batch, channels, size)
    fired = 0
    for b in range(batch):
        for c in range(channels):
            for p in range(size):
                u, theta = 0, threshold[c].item()
                for t in range(steps):
                    acc = currents[t, b, c, p].item() if t < given else 0
                    h = u + acc + bias[c].item()
                    s = h > theta if strict else h >= theta
                    r = (0 if hard else h - theta) if s else h
                    u = r if not leak else (r + 1) // 2 if strict else r // 2
                    assert potentials[t, b, c, p].item() == h
                    assert spikes[t, b, c, p].item() == s
                    fired += s
    assert 0.1 < fired / spikes.numel() < 0.9


def test_integer_lif_with_fewer_steps_than_currents_and_with_none():
    currents = torch.ones(4, 1, 1, 1, dtype=torch.int64)
    one = torch.ones(1, dtype=torch.int64)
    for steps in (0, 1, 3):
        spikes, potentials = lif(currents, bias=0 * one, threshold=one, neuron=Neuron(), steps=steps)
        assert spikes.shape == potentials.shape == (steps, 1, 1, 1)
        assert bool(spikes.all())


def test_integer_lif_refuses_floats():
    one = torch.ones(1, dtype=torch.int64)
    with pytest.raises(TypeError, match="lif needs integers, not torch.float32, torch.int64, torch.int64"):
        lif(torch.ones(1, 1, 1), bias=one, threshold=one, neuron=Neuron(), steps=1)


def test_integer_lif_refuses_negative_steps():
    one = torch.ones(1, dtype=torch.int64)
    with pytest.raises(ValueError, match="steps must not be negative, not -1"):
        lif(torch.ones(1, 1, 1, dtype=torch.int64), bias=one, threshold=one, neuron=Neuron(), steps=-1)
