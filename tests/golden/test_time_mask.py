"""Dynamic time steps: equations 4 to 11, one by one."""

import pytest
import torch

from spikeloom.golden.models.spikformer import SpikingLayer
from spikeloom.golden.models.spikformer_config import SpikformerConfig
from spikeloom.golden.models.time_mask import (
    HIGHEST,
    LOWEST,
    TimeMask,
    initial_parameters,
    mask_loss,
    prefix_length,
    scores,
)


def mask_of(values, *, floor=False):
    mask = TimeMask(steps=len(values), initial=0, floor=floor)
    mask.tp.data = torch.tensor(values)
    return mask


def test_scores_are_suffix_sums():
    assert scores(torch.tensor([1.0, 2.0, 4.0, 8.0])).tolist() == [15, 14, 12, 8]


def test_scores_are_the_row_vector_times_a_lower_triangle():
    tp = torch.rand(6)
    assert torch.allclose(scores(tp), tp @ torch.ones(6, 6).tril())  # tolerance: the order of additions


def test_mask_is_one_from_a_score_of_one_on():
    assert mask_of([0.25, 0.25, 0.5, 0.25]).mask().tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("steps", [1, 2, 4, 6, 8])
def test_initial_parameters_give_the_steps_asked_for_inside_the_gradient_window(steps):
    for initial in range(steps + 1):
        tp = initial_parameters(steps, initial)
        score = scores(tp)
        assert bool((tp >= 0).all())
        assert bool(((score > 0) & (score < 2)).all())
        assert int((score >= 1).sum()) == initial
        assert mask_of(tp.tolist()).steps == initial


def test_initial_parameters_refuse_more_steps_than_there_are():
    with pytest.raises(ValueError, match=r"the initial time steps must be in 0..4, not 5"):
        initial_parameters(4, 5)


def test_output_is_spikes_times_mask():
    spikes = torch.ones(3, 2, 2)
    assert mask_of([0.5, 0.25, 0.75])(spikes).tolist() == [[[1.0] * 2] * 2, [[1.0] * 2] * 2, [[0.0] * 2] * 2]


def test_gradient_of_the_parameters_is_equation_10_and_11():
    # Scores 2.75 (outside the window), 1.5, 0.5 and 0 (outside);
    # dL/dTP_i = sum over j <= i of (Y_j g_j + lambda) w_j.
    mask = mask_of([1.25, 1.0, 0.5, 0.0])
    spikes = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    gradient = torch.tensor([[1.0, 2.0], [3.0, 5.0], [7.0, 11.0], [13.0, 17.0]])
    ((mask(spikes) * gradient).sum() + 0.5 * mask_loss([mask])).backward()
    second, third = 5.0 + 0.5, 18.0 + 0.5
    assert mask.tp.grad.tolist() == [0.0, second, second + third, second + third]


def test_gradient_of_the_spikes_is_masked():
    mask = mask_of([0.5, 0.25, 0.75])
    spikes = torch.ones(3, 1, requires_grad=True)
    mask(spikes).sum().backward()
    assert spikes.grad.tolist() == [[1.0], [1.0], [0.0]]


def test_floor_keeps_the_first_step_and_gives_it_no_gradient():
    low = [0.1, 0.1, 0.1]
    assert mask_of(low).steps == 0
    floored = mask_of(low, floor=True)
    assert floored.steps == 1
    assert floored.mask().tolist() == [1, 0, 0]
    mask_loss([floored]).backward()
    assert floored.tp.grad.tolist() == [0.0, 1.0, 2.0]


def test_mask_loss_counts_the_active_steps_of_all_layers():
    assert mask_loss([mask_of([0.25, 0.25, 1.0]), mask_of([1.0, 0.0, 0.25])]).item() == 3 + 1
    assert mask_loss([]).item() == 0


def test_projection_makes_masks_prefixes():
    mask = mask_of([-0.5, 0.5, 0.75])
    with pytest.raises(ValueError, match="the time mask 010 is no prefix: an active step follows a masked one"):
        _ = mask.steps
    mask.project_()
    assert mask.tp.tolist() == [0.0, 0.5, 0.75]
    assert mask.steps == 2


def test_projection_keeps_all_scores_inside_the_window():
    dead = mask_of([0.0, 0.0, -0.5, 0.0])
    dead.project_()
    assert scores(dead.tp).tolist() == [pytest.approx(LOWEST)] * 4 and dead.steps == 0
    frozen = mask_of([0.25, 0.5, 0.75, 1.5])
    frozen.project_()
    assert scores(frozen.tp).tolist() == pytest.approx([HIGHEST, HIGHEST, HIGHEST, 1.5]) and frozen.steps == 4
    assert bool((frozen.tp >= 0).all())
    inside = mask_of([0.25, 0.125, 0.75, 0.5])
    before = inside.tp.clone()
    inside.project_()
    assert torch.equal(inside.tp, before)  # to the last bit


def trained(layer, target, steps, *, mask_weight=0.0):
    """Train the layer's mask alone: neurons that fire in each step are to fire in that share of ``T_max``."""
    optimizer = torch.optim.AdamW(layer.parameters(), 1e-2, weight_decay=0.0)
    currents = torch.full((4, 2, 3, 5), 10.0)
    seen = []
    for _ in range(steps):
        share = layer(currents).mean(0)
        loss = (share - target).square().mean() + mask_weight * mask_loss([layer.time_mask])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        layer.time_mask.project_()
        seen.append(layer.steps)
    return seen


def layer_of(**more):
    return SpikingLayer(SpikformerConfig(dynamic=True, steps=4, **more))


@pytest.mark.trains
def test_a_mask_grows_where_the_task_needs_more_steps():
    layer = layer_of(initial_steps=1)
    assert trained(layer, 1.0, 200)[-1] == 4
    assert sorted(set(trained(layer_of(initial_steps=1), 0.75, 300)[-50:])) in ([3], [2, 3], [3, 4], [2, 3, 4])


@pytest.mark.trains
def test_a_mask_that_died_recovers_and_one_that_froze_shrinks():
    layer = layer_of(initial_steps=2, floor=False)
    assert trained(layer, 1.0, 400, mask_weight=1.0)[-1] == 0  # the mask loss is all that counts
    assert trained(layer, 1.0, 400)[-1] == 4  # then the task
    layer = layer_of(initial_steps=2)
    assert trained(layer, 2.0, 400)[-1] == 4  # wants more than there are: scores rise as far as they may
    assert trained(layer, 0.25, 400, mask_weight=0.01)[-1] == 1


def test_without_the_projection_they_do_not(monkeypatch):
    """As in the paper, where nothing keeps a score inside the open window."""

    def paper(mask):
        mask.tp.data.clamp_(min=0)

    monkeypatch.setattr(TimeMask, "project_", paper)
    layer = layer_of(initial_steps=2, floor=False)
    assert trained(layer, 1.0, 400, mask_weight=1.0)[-1] == 0
    assert set(trained(layer, 1.0, 400)) == {0}


def test_the_mask_loss_takes_weights():
    first, second = mask_of([0.25, 0.25, 1.0]), mask_of([1.0, 0.0, 0.25])
    loss = mask_loss([first, second], [0.5, torch.tensor(4.0)])
    assert loss.item() == 3 * 0.5 + 4
    loss.backward()
    assert first.tp.grad[0].item() == 0.5 and second.tp.grad[0].item() == 4
    with pytest.raises(ValueError):
        mask_loss([first, second], [0.5])


def test_prefix_length_counts_leading_ones():
    assert [prefix_length(x) for x in ([0, 0], [1, 0], [1, 1], [])] == [0, 1, 2, 0]


def test_prefix_length_refuses_gaps():
    with pytest.raises(ValueError, match="the time mask 101 is no prefix"):
        prefix_length([1, 0, 1])
