"""Sweeps, overlay, demo photo, colour and the ray tracer's own sanity."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from magicbokeh_ops.aperture import Aperture
from magicbokeh_ops.color import linear_to_srgb, match_low_frequencies, match_mean_and_spread, srgb_to_linear
from magicbokeh_ops.demo import demo_photo
from magicbokeh_ops.overlay import BEHIND, IN_FOCUS, IN_FRONT, focus_overlay
from magicbokeh_ops.sweep import EASINGS, sweep
from magicbokeh_ops.synthesis.raytrace import Layer, flatten, rays_for, trace
from magicbokeh_ops.synthesis.scenes import three_layers
from magicbokeh_ops.tiling import blend, released_positions


@given(st.sampled_from(EASINGS), st.floats(0, 100), st.floats(0, 100), st.integers(2, 50), st.booleans())
def test_sweep_goes_from_start_to_end(easing, start, end, frames, by_ratio):
    values = sweep(start, end, frames, easing, by_ratio)
    assert len(values) == frames
    assert values[0] == pytest.approx(start, abs=1e-9) and values[-1] == pytest.approx(end, abs=1e-9)
    steps = [b - a for a, b in zip(values, values[1:])]
    assert all(s * (end - start) >= -1e-9 for s in steps)


def test_sweep_by_ratio_is_even_in_stops():
    assert sweep(4, 64, 5, by_ratio=True) == pytest.approx([4, 8, 16, 32, 64])


@pytest.mark.parametrize(("frames", "easing", "message"), [(1, "linear", "frames is 1"), (4, "bounce", "easing is 'bounce'")])
def test_bad_sweep_is_refused(frames, easing, message):
    with pytest.raises(ValueError, match=message):
        sweep(0, 1, frames, easing)


@given(st.floats(0, 8))
def test_srgb_round_trip(value):
    x = torch.tensor(value, dtype=torch.float64)
    assert srgb_to_linear(linear_to_srgb(x)) == pytest.approx(value, abs=1e-6)


def test_srgb_known_values():
    assert srgb_to_linear(torch.tensor([0.0, 0.5, 1.0])).tolist() == pytest.approx([0, 0.21404, 1], abs=1e-5)


def test_overlay_colours_say_where_the_focus_is():
    disparity = torch.linspace(0, 1, 300).expand(1, 1, 200, 300)
    shown = focus_overlay(torch.full((2, 3, 200, 300), 0.5), disparity, 0.5, 32, point=(0.5, 0.2))[0, :, 100]
    for column, color in ((5, BEHIND), (150, IN_FOCUS), (295, IN_FRONT)):
        assert (shown[:, column] - 0.5).argmax() == torch.tensor(color).argmax()
    # The legend covers the lower left, the ring is around the point.
    grey = torch.full((1, 3, 200, 300), 0.5)
    assert (focus_overlay(grey, disparity, 0.5, 0) - focus_overlay(grey, disparity, 0.5, 0, (0.5, 0.2))).abs().max() > 0.4


@pytest.mark.parametrize("size", [(320, 512), (1000, 320)])
def test_overlay_legend_lies_inside(size):
    shown = focus_overlay(torch.full((1, 3, *size), 0.5), torch.zeros(1, 1, *size), 0.456, 100.5)[0]
    changed = (shown != shown[:, :1, :1]).any(0)
    assert changed.any() and not changed[:, -1].any() and not changed[-1].any()


def test_demo_photo_is_as_described():
    photo, disparity = demo_photo()
    assert photo.shape == (1, 3, 512, 512) and disparity.shape == (1, 1, 512, 512)
    assert photo.min() >= 0 and photo.max() <= 1 and disparity.min() >= 0 and disparity.max() <= 1
    helmet, face, backdrop = disparity[0, 0, 425, 380], disparity[0, 0, 100, 215], disparity[0, 0, 50, 130]
    assert helmet > face + 0.1 > backdrop + 0.5


class OnePoint(Aperture):
    """A lens that lets through a single ray per pixel."""

    def samples(self, n, field=(0.0, 0.0)):
        return torch.tensor([[0.7, 0.0]])


def test_a_ray_meets_a_slanted_plane_where_geometry_says():
    """The layer's colour is its own x, so the picture tells where each ray met it.

    In disparity space a ray is a line: it passes x at the focal plane and moves K u pixels per unit of disparity.
    """
    k, focus, plane = 12.0, 0.6, (0.2, 0.002, 0.0)
    color = torch.arange(80.0).expand(3, 40, 80) / 80
    hit = 80 * trace([Layer(color, torch.ones(1, 40, 80), plane)], focus, k, 1, OnePoint())[0, 20, 20:60]
    disparity = plane[0] + plane[1] * hit
    assert torch.allclose(hit, torch.arange(20.0, 60.0) + k * 0.7 * (disparity - focus), atol=1e-3)


def test_the_traced_picture_of_a_slanted_plane_shifts_with_the_aperture():
    """A one-sided aperture moves a stripe on a flat layer by K (d - d_f) times its mean."""
    color = torch.zeros(3, 40, 80)
    color[:, :, 40] = 1
    layer = Layer(color, torch.ones(1, 40, 80), (0.9, 0.0, 0.0))

    class OneSided(Aperture):
        def samples(self, n, field=(0.0, 0.0)):
            points = super().samples(n, field)
            return points[points[:, 0] > 0]

    column = trace([layer], 0.4, 16, 2000, OneSided())[0, 20]
    center = float((column * torch.arange(80)).sum() / column.sum())
    assert center == pytest.approx(40 - 8 * 4 / (3 * torch.pi), abs=0.2)


def test_opaque_layers_hide_and_light_adds_up():
    near, far = torch.full((3, 16, 16), 0.7), torch.full((3, 16, 16), 0.2)
    half = torch.full((1, 16, 16), 0.25)
    layers = [Layer(near, half, (0.9, 0, 0)), Layer(far, torch.ones_like(half), (0.1, 0, 0))]
    expected = 0.25 * 0.7 + 0.75 * 0.2
    assert torch.allclose(trace(layers, 0.5, 6, 64), torch.tensor(expected), atol=1e-5)
    light, disparity = flatten(layers)
    assert torch.allclose(light, torch.tensor(expected)) and torch.allclose(disparity, torch.tensor(0.1))


def test_scenes_repeat_and_differ():
    first, again, other = three_layers(48, 8, 1), three_layers(48, 8, 1), three_layers(48, 8, 2)
    assert len(first) == 3 and first[0].color.shape == (3, 64, 64)
    assert all(torch.equal(a.color, b.color) and a.plane == b.plane for a, b in zip(first, again))
    assert not torch.equal(first[2].color, other[2].color)
    middle = [float(layer.disparity()[0, 32, 32]) for layer in first]
    assert middle == sorted(middle, reverse=True) and middle[2] == pytest.approx(0.15)
    assert first[2].color.max() > 1 and rays_for(20) == round(torch.pi * 22**2)


@given(st.integers(16, 200), st.integers(16, 200))
def test_released_tiles_cover_everything(height, width):
    positions = released_positions((height, width), 16, 8)
    tiles = [torch.ones(1, 1, 16, 16)] * len(positions)
    assert torch.allclose(blend(tiles, positions, (height, width), 8), torch.ones(1, 1, height, width))
    assert len(set(positions)) == len(positions)


def test_a_short_axis_is_refused():
    with pytest.raises(ValueError, match="shorter than a tile"):
        released_positions((10, 40), 16, 8)


def test_colour_transfers():
    generator = torch.Generator().manual_seed(0)
    image, reference = torch.rand(2, 2, 3, 40, 50, generator=generator) * 0.5 + 0.2
    matched = match_mean_and_spread(image, 0.6 * reference + 0.2)
    assert torch.allclose(matched.mean((2, 3)), (0.6 * reference + 0.2).mean((2, 3)), atol=1e-3)
    assert torch.allclose(match_low_frequencies(image + 0.1, image), image, atol=1e-5)
    assert torch.allclose(match_mean_and_spread(image, image), image, atol=1e-5)
