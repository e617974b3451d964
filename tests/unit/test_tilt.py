"""A tilted focal plane: what lies in it stays sharp, and without any depth it makes a miniature."""

import math

import pytest
import torch

from magicbokeh_ops import defocus, lens
from magicbokeh_ops.focal_plane import plane_through, slopes, tilted
from magicbokeh_ops.overlay import focus_overlay


def plane(height: int, width: int, right: float, down: float, middle: float = 0.5) -> torch.Tensor:
    """Disparity (1, 1, H, W) that rises by `right` from the left to the right edge, and by `down` from the upper to the lower."""
    x = (torch.arange(width) + 0.5) / width - 0.5
    y = (torch.arange(height) + 0.5) / height - 0.5
    return (middle + right * x + down * y[:, None])[None, None]


def noise(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1


@pytest.mark.parametrize(
    "tilt, direction, right, down",
    [(0.6, 0, 0, 0.4), (0.6, 90, 0.6, 0), (-0.6, 90, -0.6, 0), (0.6, 180, 0, -0.4), (0.5, -53.130102354, -0.4, 0.2)],
)
def test_a_surface_in_the_plane_of_focus_stays_as_the_photo(tilt, direction, right, down):
    photo, disparity = noise(160, 240), plane(160, 240, right, down)
    assert tilted(disparity, tilt, direction) == pytest.approx(torch.full_like(disparity, 0.5), abs=1e-6)
    out = lens.render(photo, disparity, 0.5, 60, tilt=tilt, tilt_direction=direction)
    contrast = float(out.std() / photo.std())
    assert contrast > 0.98 and (out - photo).abs().max() < 0.02
    level = lens.render(photo, disparity, 0.5, 60)
    assert float(level.std() / photo.std()) < 0.8


def test_the_plane_is_the_same_whatever_the_resolution_of_the_depth():
    photo, small = noise(160, 240), plane(16, 24, 0.3, 0.3)
    tilt, direction = 0.3 * math.hypot(1, 1.5), math.degrees(math.atan2(1, 1.5))
    assert slopes((160, 240), tilt, direction) == pytest.approx((0.3 / 240, 0.3 / 160))
    out = lens.render(photo, small, 0.5, 60, tilt=tilt, tilt_direction=direction)
    inner = (..., slice(10, -10), slice(10, -10))  # disparity's own pixels end within the border
    assert float(out[inner].std() / photo[inner].std()) > 0.98


def test_constant_disparity_gives_a_miniature():
    photo, flat = noise(240, 160), torch.full((1, 1, 240, 160), 0.5)
    out = lens.render(photo, flat, 0.5, 24, tilt=1)
    expected = defocus.signed_radius(flat, 0.5, 24, tilt=1)
    assert expected[0, 0, 0, 0] == pytest.approx(12, abs=0.1) and expected[0, 0, -1, 0] == pytest.approx(-12, abs=0.1)
    rows = out.std((0, 1, 3)) / photo.std((0, 1, 3))
    assert rows[118:122].min() > 0.9 and rows[:40].max() < 0.2 and rows[-40:].max() < 0.2
    assert (out[..., 119:121, :] - photo[..., 119:121, :]).abs().max() < 0.03


@pytest.mark.long
def test_blocks_and_tiles_have_the_plane_of_the_whole_picture(monkeypatch):
    photo, disparity = noise(300, 420), plane(300, 420, -0.2, 0.5)
    options = {"tilt": 0.4, "tilt_direction": 30}
    whole = lens.render(photo, disparity, 0.5, 40, **options)
    monkeypatch.setattr("magicbokeh_ops.lens.tiles.TILE", 128)
    assert (lens.render(photo, disparity, 0.5, 40, block=1, **options) - whole).abs().max() < 1e-4


def test_focus_map_and_overlay_show_the_plane():
    disparity = plane(120, 180, 0.6, 0.0)
    assert defocus.defocus_map(disparity, 0.5, 32, tilt=0.6, tilt_direction=90).max() < 1e-6
    shown = focus_overlay(torch.full((1, 3, 120, 180), 0.5), disparity, 0.5, 32, tilt=0.6, tilt_direction=90)
    green = shown[0, 1, :90] - shown[0, 0, :90]
    assert green.min() > 0.1


@pytest.mark.parametrize("size", [(120, 180), (200, 90)])
def test_three_points_give_the_plane_through_them(size):
    height, width = size
    disparity = plane(*size, 0.35, -0.2, 0.45)
    places = [(0.2, 0.3), (0.9, 0.4), (0.5, 0.95)]
    points = [(x, y, 0.45 + 0.35 * (x - 0.5) - 0.2 * (y - 0.5)) for x, y in places]
    middle, tilt, direction = plane_through(points, size)
    assert middle == pytest.approx(0.45)
    assert tilted(disparity, tilt, direction) == pytest.approx(torch.full_like(disparity, 0.45), abs=1e-5)


@pytest.mark.parametrize(
    "places", [[(0.1, 0.1), (0.5, 0.5), (0.9, 0.9)], [(0.2, 0.3)] * 3, [(0.1, 0.5), (0.8, 0.5), (0.5, 0.501)]]
)
def test_three_points_on_a_line_are_refused(places):
    with pytest.raises(ValueError, match="three focus points .* lie on a line"):
        plane_through([(x, y, 0.5) for x, y in places], (100, 100))


@pytest.mark.parametrize("options", [{"tilt": math.nan}, {"tilt": 0.1, "tilt_direction": math.inf}])
def test_what_is_no_tilt_is_refused_by_name(options):
    with pytest.raises(ValueError, match=list(options)[-1]):
        lens.render(noise(32, 32), plane(32, 32, 0.1, 0.1), 0.5, 8, **options)
