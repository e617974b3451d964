"""Edges of disparity, moved to where the photo has them."""

import pytest
import torch

from benchmarks.refine import compare, spoil
from magicbokeh_ops.refine import refine_edges


def scene(side=64, edge=30):
    """A photo of two colours, and disparity that steps where they meet."""
    photo = torch.full((1, 3, side, side), 0.7)
    photo[..., :edge] = torch.tensor([0.2, 0.3, 0.1]).view(3, 1, 1)
    photo += 0.01 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    disparity = torch.full((1, 1, side, side), 0.1)
    disparity[..., :edge] = 0.8
    return photo.clamp(0, 1), disparity


@pytest.mark.parametrize("spoiled", [(3, 1.0, 0.0), (7, 0.0, 0.0), (7, 2.0, -1.0), (5, -2.0, 1.0), (9, -2.0, 0.0)])
def test_a_soft_and_moved_edge_comes_back(spoiled):
    photo, exact = scene()
    soft = spoil(exact, *spoiled)
    refined = refine_edges(photo, soft, 3)
    assert ((soft - exact).abs() > 0.1).float().mean() > 0.02
    assert ((refined - exact).abs() > 0.05).float().mean() < 0.001


def test_far_from_edges_nothing_changes():
    photo, _ = scene()
    ramp = torch.linspace(0, 1, 64).expand(1, 1, 64, 64) * 0.1
    assert torch.equal(refine_edges(photo, ramp, 3), ramp)
    _, exact = scene()
    soft = spoil(exact, 7, 1.0, 0.0)
    refined = refine_edges(photo, soft, 3)
    assert torch.equal(refined[..., 40:], soft[..., 40:]) and torch.equal(refined[..., :22], soft[..., :22])


def test_a_batch_is_its_frames_and_any_size_of_map_will_do():
    photo, exact = scene()
    photos = torch.cat([photo, photo.flip(-1)])
    maps = torch.cat([spoil(exact, 5, 1.0, 0.0), spoil(exact.flip(-1), 5, 1.0, 0.0)])
    refined = refine_edges(photos, maps, 3)
    for i in range(2):
        assert torch.equal(refined[i : i + 1], refine_edges(photos[i : i + 1], maps[i : i + 1], 3))
    smaller = torch.nn.functional.interpolate(exact, size=(32, 32), mode="area")
    assert refine_edges(photos, smaller, 2).shape == (2, 1, 64, 64)


def test_the_lens_gains_near_edges():
    """1.5 dB on scenes that were not looked at while the constants were chosen."""

    def spoiled(_, exact):
        return spoil(exact, 7, 1.5, -1.0)

    scores = compare(11, {"soft": spoiled, "refined": lambda photo, exact: refine_edges(photo, spoiled(photo, exact), 3)})
    gains = [result["refined"][0] - result["soft"][0] for result in scores]
    assert sum(gains) / len(gains) > 1.5, gains


def test_bad_input_is_named():
    photo, exact = scene()
    with pytest.raises(ValueError, match="image holds NaN"):
        refine_edges(photo * float("nan"), exact)
    with pytest.raises(ValueError, match="disparity holds NaN"):
        refine_edges(photo, exact * float("nan"))
    with pytest.raises(ValueError, match="disparity has 3 frames for 2 pictures"):
        refine_edges(photo.repeat(2, 1, 1, 1), exact.repeat(3, 1, 1, 1))
