"""Scales of channels, in numbers that a reader can follow."""

import numpy as np
import pytest

from spikeloom.golden.quantization.scales import best_scale


def weights(*values):
    return np.array(values, float).reshape(1, -1, 1, 1)


def test_a_scale_is_at_most_the_threshold_so_that_this_is_an_integer():
    (scale,) = best_scale("layer", weights(100.0, -80.0), 8, 0.5, 2.0**-20, "power-of-two")
    assert scale == 0.5


@pytest.mark.parametrize("largest, expected", [(0.7, 2.0**-7), (0.51, 2.0**-8)])
def test_one_weight_is_clipped_where_that_costs_less_than_rounding_the_others(largest, expected):
    """2^-7 holds all; 2^-8 holds up to 0.496, and the small weights without an error."""
    small = np.tile(np.arange(1, 61) * 2.0**-8, 40)
    (scale,) = best_scale("layer", weights(*small, largest), 8, 1.0, 2.0**-20, "power-of-two")
    assert scale == expected


def test_a_channel_without_weights_has_the_least_scale():
    (scale,) = best_scale("layer", weights(0.0, 0.0), 8, 1.0, 2.0**-10, "power-of-two")
    assert scale in (2.0**-10, 2.0**-11)
