"""Focus breathing: the picture gets larger as the focus comes nearer, and nothing else changes."""

import pytest
import torch

from magicbokeh_ops.lens import radius_map, render
from tests.support.layouts import plane, random


def ramp(size: int = 96) -> torch.Tensor:
    """A picture whose red says how far right a pixel is, and whose green how far down."""
    along = (torch.arange(size) + 0.5) / size
    rows, cols = torch.meshgrid(along, along, indexing="ij")
    return torch.stack([cols, rows, torch.zeros_like(rows)])[None]


@pytest.mark.parametrize(("focus", "breathing"), [(1.0, 0.2), (0.5, 0.1)])
def test_the_picture_is_as_much_larger_as_is_said(focus, breathing):
    out = render(ramp(), plane(1, 96, 96), focus, 0, breathing=breathing)
    expected = 0.5 + (ramp() - 0.5) / (1 + breathing * focus)
    assert (out - expected)[:, :2, 2:-2, 2:-2].abs().max() < 1e-3


def test_with_the_farthest_in_focus_nothing_changes():
    image = random(1, 3, 40, 36)
    assert torch.equal(render(image, plane(1), 0.0, 9, breathing=0.3), render(image, plane(1), 0.0, 9))


def test_edges_do_not_go_beyond_the_photo():
    image = (torch.arange(64) > 30).float().expand(1, 3, 64, -1) * 0.8 + 0.1
    out = render(image, plane(1, 64, 64), 1.0, 0, breathing=0.5)
    assert 0.0999 < out.min() and out.max() < 0.9001


def test_radius_alpha_and_matte_go_along():
    """A disc in the middle of the picture, which is both opaque and the subject."""
    away = torch.hypot(*torch.meshgrid(*[torch.arange(96) - 47.5] * 2, indexing="ij"))[None, None]
    disc = (away < 24).float()
    picture = render(ramp(), 0.2 + 0.6 * disc, 0.8, 3, alpha=disc, matte=disc, breathing=0.25)
    assert float(picture[:, 3:].sum() / disc.sum()) == pytest.approx(1.2**2, rel=0.02)
    radius = radius_map(0.2 + 0.6 * disc, (96, 96), 0.8, 3, breathing=0.25)
    assert float((radius.abs() < 0.9).sum() / disc.sum()) == pytest.approx(1.2**2, rel=0.02)


def test_a_slow_pull_does_not_jump():
    """A dot off the middle moves by the same step from frame to frame, far below a pixel."""
    at = torch.arange(96.0)
    dot = torch.exp(-((at - 70) ** 2) / 18) * torch.exp(-((at[:, None] - 48) ** 2) / 18)
    image = dot.expand(1, 3, -1, -1)
    focuses = [0.4 + 0.001 * i for i in range(12)]
    out = render(image.expand(12, -1, -1, -1), torch.full((1, 1, 96, 96), 0.5), focuses, 0, breathing=0.2, color_space="linear")
    places = (out[:, 0] * at).sum((1, 2)) / out[:, 0].sum((1, 2))
    steps = places.diff()
    assert (steps > 0).all() and (steps - steps.mean()).abs().max() < 0.2 * steps.mean()


@pytest.mark.parametrize("breathing", [-0.1, 1.5, float("nan")])
def test_wrong_values_are_refused(breathing):
    with pytest.raises(ValueError, match="breathing is"):
        render(ramp(), plane(1, 96, 96), 0.5, 3, breathing=breathing)
