"""Compiled neurons: the same spikes and gradients as the plain loops, and a clear word without a compiler."""

import pytest
import torch

from spikeloom.golden.models import neurons


def plain_spikingjelly(currents, threshold, leak):
    """The equations, step by step, with autograd; spikes and the surrogate as in the published code."""
    v, spikes = torch.zeros_like(currents[0]), []
    for x in currents:
        h = leak * v + x / 2
        hard, smooth = (h >= threshold).to(h.dtype), torch.sigmoid(4 * (h - threshold))
        spikes.append((hard - smooth).detach() + smooth)
        v = h * (1 - hard)
    return torch.stack(spikes)


def plain_dts(currents, threshold, leak):
    u, spikes = torch.zeros_like(currents[0]), []
    for x in currents:
        h = leak * u + x
        hard = (h > threshold).to(h.dtype)
        slope = torch.clamp(1 - (h / threshold - 1).abs(), min=0) / threshold
        spikes.append(hard + (slope.detach() * h - (slope * h).detach()))
        u = h - threshold * hard
    return torch.stack(spikes)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
@pytest.mark.parametrize("fused, plain", [(neurons.spikingjelly_lif, plain_spikingjelly), (neurons.dts_lif, plain_dts)])
def test_compiled_neurons_equal_the_plain_loop(fused, plain):
    torch.manual_seed(0)
    for shape, leak in (((4, 3, 5, 7), 0.5), ((4, 2, 33), 1.0)):
        currents = (2 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
        weights = torch.randn(shape, dtype=torch.float64)
        found = {}
        for name in ("plain", "loop", "compiled"):
            with neurons.compiled_neurons(name == "compiled"):
                spikes = plain(currents, 0.75, leak) if name == "plain" else fused(currents, threshold=0.75, leak=leak)
                (spikes * weights).sum().backward()
            found[name] = spikes.detach().round(), currents.grad
            currents.grad = None
        for name in ("loop", "compiled"):
            assert torch.equal(found[name][0], found["plain"][0])
            # Tolerance: float64, products and sums in another order.
            assert torch.allclose(found[name][1], found["plain"][1], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("fused", [neurons.spikingjelly_lif, neurons.dts_lif])
def test_half_precision_keeps_its_type_and_exact_potentials(fused):
    torch.manual_seed(1)
    currents = torch.randn(4, 1000).bfloat16().requires_grad_()
    spikes = fused(currents)
    assert spikes.dtype == torch.bfloat16
    assert torch.equal(spikes.float(), fused(currents.detach().float()))
    spikes.sum().backward()
    assert currents.grad.dtype == torch.bfloat16


def test_expanded_currents_and_gradients():
    """The image's currents are one tensor seen T times, and a mean's gradient is one number seen often."""
    image = torch.randn(1, 2, 3).requires_grad_()
    neurons.spikingjelly_lif(image.expand(4, -1, -1)).mean().backward()
    seen, image.grad = image.grad, None
    neurons.spikingjelly_lif(image.expand(4, -1, -1).contiguous()).mean().backward()
    assert torch.equal(seen, image.grad)


def test_compiling_needs_a_compiler(monkeypatch):
    monkeypatch.setattr(neurons.shutil, "which", lambda _name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"need a C\+\+ compiler: install g\+\+ or switch train.compile off"):
        with neurons.compiled_neurons():
            pass
    with neurons.compiled_neurons(False):
        assert not neurons._compiling
