"""Integer spikes of the spike firing approximation, and the same as binary steps (Proposition 1)."""

import math

import numpy as np
import pytest
import torch

from spikeloom.golden.models.sfa import sfa, sfa_spikes


def hard_values(levels, dtype):
    """A grid, every tie with its neighbours in the number type, both ends with theirs, and what is far outside."""
    grid = torch.arange(-3000, (levels + 3) * 1000 + 1, dtype=torch.float64) / 1000
    special = torch.arange(-2, 2 * levels + 4, dtype=torch.float64) / 2
    special = special.to(dtype)
    up, down = (torch.nextafter(special, torch.full_like(special, end)) for end in (math.inf, -math.inf))
    far = torch.tensor([-1e9, -0.0, 1e-30, -1e-30, 1e9], dtype=dtype)
    return torch.cat([grid.to(dtype), special, up, down, far])


def rounded(x, levels):
    """Half to even, by Python's own rounding of exact decimals."""
    return [max(0, min(levels, round(max(min(value, 1e6), -1e6)))) for value in x.double().tolist()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("levels", [1, 3, 4, 8])
def test_binary_steps_sum_to_the_integer(levels, dtype):
    x = hard_values(levels, dtype)
    integers, spikes = sfa(x, levels), sfa_spikes(x, levels)
    assert integers.dtype == spikes.dtype == dtype
    assert integers.tolist() == rounded(x, levels)
    assert spikes.shape == (levels, len(x)) and set(spikes.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(spikes.sum(0), integers)
    assert torch.equal(spikes, torch.stack([(integers >= j).to(dtype) for j in range(1, levels + 1)]))  # front-loaded


def test_it_is_the_neuron_of_the_paper_where_there_is_no_tie():
    x = np.random.default_rng(0).uniform(-2, 6, 10000)
    v, total = x + 0.5, np.zeros_like(x)
    for _ in range(4):
        s = v >= 1
        v, total = v - s, total + s
    assert total.tolist() == sfa(torch.from_numpy(x), 4).tolist()


@pytest.mark.parametrize(("x", "spikes"), [(0.5, [0, 0, 0]), (1.5, [1, 1, 0]), (2.5, [1, 1, 0]), (3.5, [1, 1, 1])])
def test_halves_become_even(x, spikes):
    assert sfa_spikes(torch.tensor(x), 3).tolist() == spikes


def test_gradient_passes_straight_through_inside():
    x = torch.tensor([-0.01, 0.0, 0.3, 2.5, 4.0, 4.01], requires_grad=True)
    (sfa(x, 4) * torch.arange(1.0, 7)).sum().backward()
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 0]


@pytest.mark.parametrize("function", [sfa, sfa_spikes])
def test_levels_must_be_positive(function):
    with pytest.raises(ValueError, match="levels must be positive, not 0"):
        function(torch.zeros(1), 0)
