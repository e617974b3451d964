"""The ray tracer's own sanity, and the scenes that it is used on."""

import pytest
import torch

from magicbokeh_ops.aperture import Aperture
from magicbokeh_ops.synthesis.raytrace import Layer, flatten, rays_for, trace
from magicbokeh_ops.synthesis.scenes import three_layers


class OnePoint(Aperture):
    """A lens that lets through a single ray per pixel."""

    def rays(self, n, field=(0.0, 0.0), in_front=False):
        return torch.tensor([[[0.7, 0.0]]]), torch.ones(1, 1)


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
        def rays(self, n, field=(0.0, 0.0), in_front=False):
            points, weights = super().rays(n, field, in_front)
            right = points[0, :, 0] > 0
            return points[:, right], weights[:, right]

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
