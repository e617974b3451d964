"""Motion between pictures, where it is known."""

import pytest
import torch

from magicbokeh_ops.flow import enlarged, find_flow, warp
from magicbokeh_ops.planes import resize
from magicbokeh_ops.windows import widen
from tests.support.moving import moving_scene


def missed(flow: torch.Tensor, moment) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels by which a flow misses where something is, away from edges in depth and near them."""
    near = widen((widen(moment.disparity, 1) + widen(-moment.disparity, 1) > 0.05).float(), 6) > 0
    far = (flow - moment.flow).norm(dim=1, keepdim=True)
    return far[moment.seen & ~near], far[moment.seen & near]


@pytest.mark.long
def test_motion_of_things_that_cross_and_turn():
    moment, after = moving_scene(4, 8, 160, 16)[3:5]
    still, edges = missed(find_flow(moment.photo.clamp(max=1), after.photo.clamp(max=1)), moment)
    assert still.mean() < 0.25 and (still > 1).float().mean() < 0.02
    assert edges.mean() < 0.6 and (edges > 1).float().mean() < 0.15
    nothing = missed(torch.zeros_like(moment.flow), moment)
    assert nothing[0].mean() > 0.9


def test_far_motion_and_both_ways_at_once():
    generator = torch.Generator().manual_seed(0)
    drawn = sum(resize(torch.rand(1, 3, 6 * n, 8 * n, generator=generator), (96, 128)) for n in (1, 2, 4)) / 3
    # What is at (x, y) in the first is at (x - 9, y + 6) in the second.
    first, second = drawn[..., 10:-10, 10:-10], drawn[..., 4:-16, 19:-1]
    both = find_flow(torch.cat([first, second]), torch.cat([second, first]))
    middle = both[..., 20:-20, 20:-20]
    for found, true in zip(middle, ((-9.0, 6.0), (9.0, -6.0))):
        assert (found - torch.tensor(true).view(2, 1, 1)).abs().max() < 0.3
    assert torch.allclose(both[:1], find_flow(first, second), atol=1e-3)


def test_a_flow_leads_to_where_it_says():
    values = torch.rand(1, 2, 9, 12)
    flow = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 9, 12)
    assert torch.allclose(warp(values, flow)[..., 2:, :-3], values[..., :-2, 3:], atol=1e-6)
    assert torch.allclose(enlarged(flow, (18, 36)), torch.tensor([9.0, -4.0]).view(1, 2, 1, 1).expand(1, 2, 18, 36))
