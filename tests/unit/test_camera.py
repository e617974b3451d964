"""The camera in real units, against closed formulas and rays that are followed through a thin lens."""

import math
import random

import pytest
import torch

from magicbokeh_ops import lens
from magicbokeh_ops.aperture import Aperture
from magicbokeh_ops.camera import SENSORS, Camera, check_distances, crop_factor, dioptres_per_unit, from_disparity

SIZE = (400, 600)


def some_camera(draw: random.Random) -> Camera:
    focal_length = draw.uniform(2, 400)
    focus_distance = draw.choice([0, math.inf, focal_length / 1000 * draw.uniform(1.2, 4), 10 ** draw.uniform(0, 3)])
    return Camera(focal_length, draw.uniform(0.7, 32), focus_distance, draw.choice(list(SENSORS.values())))


def pixels_per_mm(camera: Camera, height: int, width: int) -> float:
    """Of the largest crop of the sensor with the shape of the picture, tried out rather than calculated."""
    long, short = max(camera.sensor), min(camera.sensor)
    across, down = (long, short) if width >= height else (short, long)
    cropped = (across, across * height / width)
    if cropped[1] > down:
        cropped = (down * width / height, down)
    return width / cropped[0]


def circle_of_confusion(camera: Camera, distance: float) -> float:
    """Diameter on the sensor in mm, as books have it: A f |D - S| / (D (S - f)) with all lengths in mm."""
    f, opening, d = camera.focal_length, camera.focal_length / camera.f_number, 1000 * distance
    if camera.focus_distance in (0, math.inf):
        return opening * f / d
    s = 1000 * camera.focus_distance
    return opening * f * abs(d - s) / (d * (s - f))


def test_the_radius_is_that_of_the_circle_of_confusion():
    draw = random.Random(0)
    for _ in range(2000):
        camera = some_camera(draw)
        height, width = draw.randint(16, 6000), draw.randint(16, 6000)
        near = 10 ** draw.uniform(-1.5, 1.5)
        far, distance = near * draw.uniform(1.1, 100), near * draw.uniform(0.9, 150)
        far = draw.choice([far, math.inf])
        focus, k = camera.focus_and_k(1 / far, 1 / near, (height, width))
        disparity = (1 / distance - 1 / far) / (1 / near - 1 / far)
        expected = circle_of_confusion(camera, distance) / 2 * pixels_per_mm(camera, height, width)
        assert abs(k * (disparity - focus)) == pytest.approx(expected, rel=1e-6, abs=1e-9 * k)


def refracted(lens_point: float, height: float, distance: float, focal_length: float) -> tuple[float, float]:
    """A ray from a point of this height before the lens, behind it: where it leaves the lens, and its slope. All in mm."""
    return lens_point, (lens_point - height) / distance - lens_point / focal_length


def traced_radius(camera: Camera, distance: float) -> float:
    """Radius in mm of what rays from a point through all of the opening make on the sensor.

    The sensor stands where rays from a point in focus cross. Nothing but the refraction of a thin lens is taken for granted.
    """
    f, rim = camera.focal_length, camera.focal_length / camera.f_number / 2
    s = 1000 * camera.focus_distance if camera.focus_distance else 1e12
    (a, slope_a), (b, slope_b) = (refracted(u, 3.0, s, f) for u in (-rim, rim))
    sensor = (b - a) / (slope_a - slope_b)
    points = (rim * Aperture().samples(4000)[:, 0].double()).tolist()
    rays = [refracted(u, -5.0, 1000 * distance, f) for u in (*points, -rim, rim)]
    hits = [u + sensor * slope for u, slope in rays]
    return (max(hits) - min(hits)) / 2


@pytest.mark.parametrize(
    "camera",
    [Camera(50, 1.8, 2), Camera(6.9, 1.8, 0.5, SENSORS["phone main camera"]), Camera(100, 2.8, 0.4), Camera(85, 1.4, 0)],
)
def test_rays_through_a_thin_lens_spread_by_the_radius(camera):
    focus, k = camera.focus_and_k(0, 1 / 0.3, SIZE)
    for distance in (0.3, 0.35, 0.8, 2, 7, 1000):
        expected = traced_radius(camera, distance) * pixels_per_mm(camera, *SIZE)
        assert abs(k * (0.3 / distance - focus)) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_the_lens_makes_discs_as_large_as_the_rays():
    """A bright dot on a wall at 5 m, with something at 1 m beside it, measured in the finished picture."""
    camera = Camera(85, 1.4, 1.5)
    near, wall = 1 / 1.0, 1 / 5.0
    focus, k = camera.focus_and_k(wall, near, (96, 144))
    photo, disparity = torch.zeros(1, 3, 96, 144), torch.zeros(1, 1, 96, 144)
    photo[..., 48, 60], disparity[..., 130:] = 1, 1
    light = lens.render(photo, disparity, focus, k, color_space="linear")[0, 0].double()
    y, x = torch.meshgrid(torch.arange(96) - 48.0, torch.arange(144) - 60.0, indexing="ij")
    measured = math.sqrt(2 * float((light * (x**2 + y**2)).sum() / light.sum()))  # of a uniform disc
    assert measured == pytest.approx(traced_radius(camera, 5) * pixels_per_mm(camera, 96, 144), rel=0.03)


def test_the_depth_of_field_ends_where_discs_are_just_visible():
    draw = random.Random(1)
    for _ in range(500):
        camera = some_camera(draw)
        visible = 0.03 / crop_factor(camera.sensor)
        near, far = camera.limits()
        assert circle_of_confusion(camera, near) == pytest.approx(visible, rel=1e-6)
        if math.isfinite(far):
            assert circle_of_confusion(camera, far) == pytest.approx(visible, rel=1e-6)
        else:
            assert circle_of_confusion(camera, 1e9) <= visible * (1 + 1e-6)


def test_hyperfocal_distance_and_limits_as_tables_have_them():
    camera = Camera(50, 1.8, 2)
    assert camera.hyperfocal == pytest.approx(46.346, abs=1e-3)
    assert camera.limits() == pytest.approx((1.9192, 2.0879), abs=1e-4)
    there = Camera(50, 1.8, camera.hyperfocal)
    assert there.limits() == (pytest.approx(camera.hyperfocal / 2), math.inf)
    assert Camera(50, 1.8, 0).limits() == (pytest.approx(camera.hyperfocal - 0.05), math.inf)


def test_the_sensor_is_turned_for_a_portrait_and_cropped_to_the_picture():
    camera = Camera(50, 1.8, 2)
    assert camera.focus_and_k(0, 1, (600, 400)) == pytest.approx(camera.focus_and_k(0, 1, (400, 600)))
    assert camera.field_of_view((400, 600)) == pytest.approx((39.598, 26.991), abs=1e-3)
    assert camera.field_of_view((600, 400)) == pytest.approx((26.991, 39.598), abs=1e-3)
    assert camera.field_of_view((900, 900)) == pytest.approx((26.991, 26.991), abs=1e-3)
    assert camera.field_of_view((900, 1600))[0] == pytest.approx(39.598, abs=1e-3)
    turned = Camera(50, 1.8, 2, (24.0, 36.0))
    assert turned.focus_and_k(0, 1, (400, 600)) == camera.focus_and_k(0, 1, (400, 600))


def test_twice_the_pixels_make_twice_the_radius_and_infinity_needs_no_number_of_its_own():
    camera = Camera(35, 2, 3)
    (focus, k), (same, double) = (camera.focus_and_k(0.1, 2, size) for size in ((300, 400), (600, 800)))
    assert same == focus and double == pytest.approx(2 * k)
    assert Camera(35, 2, 0).focus_and_k(0, 2, SIZE) == Camera(35, 2, math.inf).focus_and_k(0, 2, SIZE)
    assert Camera(35, 2, 1e9).focus_and_k(0, 2, SIZE) == pytest.approx(Camera(35, 2, 0).focus_and_k(0, 2, SIZE), abs=1e-6)


def test_the_focus_may_lie_outside_the_picture():
    assert Camera(50, 2, 0).focus_and_k(0.2, 1, SIZE)[0] == pytest.approx(-0.25)
    assert Camera(50, 2, 0.5).focus_and_k(0.2, 1, SIZE)[0] == pytest.approx(2.25)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((0, 1.8, 2), "focal_length is 0"),
        ((-50, 1.8, 2), "focal_length is -50"),
        ((math.nan, 1.8, 2), "focal_length is nan"),
        ((math.inf, 1.8, 2), "focal_length is inf"),
        ((50, 0, 2), "f_number is 0"),
        ((50, -2, 2), "f_number is -2"),
        ((50, math.nan, 2), "f_number is nan"),
        ((50, math.inf, 2), "f_number is inf"),
        ((50, 1.8, -1), "focus_distance is -1"),
        ((50, 1.8, math.nan), "focus_distance is nan"),
        ((50, 1.8, 0.05), "focus_distance is 0.05 m"),
        ((50, 1.8, 0.01), "farther away than its focal length, 50 mm"),
        ((50, 1.8, 2, (36.0, 0.0)), "sensor is 36 x 0 mm"),
        ((50, 1.8, 2, (math.nan, 24.0)), "sensor is nan x 24 mm"),
    ],
)
def test_what_no_camera_has(settings, message):
    with pytest.raises(ValueError, match=message):
        Camera(*settings)


def test_a_known_distance_gives_the_scale():
    distances = torch.linspace(1, 9, 200).repeat(100, 1)[None, None]
    for unit in (1, 0.2, 1000):
        found = dioptres_per_unit(unit / distances, 0.25, 0.5, float(distances[0, 0, 50, 50]))
        assert found == pytest.approx(1 / unit, rel=1e-2)
    for x, y, distance, message in (
        (1.5, 0.5, 2, "known_x is 1.5"),
        (0.5, math.nan, 2, "known_y is nan"),
        (0.5, 0.5, 0, "known_distance is 0"),
        (0.5, 0.5, math.inf, "known_distance is inf"),
        (0.5, 0.5, math.nan, "known_distance is nan"),
    ):
        with pytest.raises(ValueError, match=message):
            dioptres_per_unit(1 / distances, x, y, distance)
    with pytest.raises(ValueError, match=r"known_x, known_y is \(0.5, 0.5\), which is infinitely far"):
        dioptres_per_unit(torch.zeros(1, 1, 9, 9), 0.5, 0.5, 2)


def test_disparity_whose_zero_is_infinitely_far():
    ramp = torch.linspace(-0.02, 1, 50).expand(1, 1, 40, 50).clone()
    assert from_disparity(ramp).amin() == 0 and torch.equal(from_disparity(ramp)[..., 5:], ramp[..., 5:])
    assert torch.equal(from_disparity(300 * ramp.clamp(min=0)), 300 * ramp.clamp(min=0))
    ramp[..., 20, 20] = math.nan
    assert torch.isfinite(from_disparity(ramp)).all()
    with pytest.raises(ValueError, match="depth goes from -1 to 1"):
        from_disparity(torch.linspace(-1, 1, 50).expand(1, 1, 40, 50))


@pytest.mark.parametrize(
    ("distances", "doubt"),
    [
        ((1.0, 30.0), ""),
        ((1000.0, 30000.0), "median distance is 15500 m"),
        ((0.001, 0.012), "median distance is 0.0065 m"),
        ((0.0, 1.0), "no distance is above 1 m"),
        ((0.2, 1.2), ""),
    ],
)
def test_distances_that_are_hardly_metres_are_doubted(distances, doubt):
    values = torch.linspace(*distances, 101)[:, None].repeat(1, 10)[None, None]
    reciprocal = torch.where(values > 0, 1 / values, torch.zeros_like(values))
    found = check_distances(lambda: [reciprocal, torch.zeros_like(reciprocal)])  # a sky says nothing
    assert found == "" if not doubt else doubt in found


def test_the_report_says_what_a_photographer_asks():
    camera = Camera(50, 1.8, 2)
    first, blur, sharp, hyperfocal, view, depth = camera.describe(0, 1 / 1.2, SIZE).splitlines()
    assert first == "50 mm, f/1.8, focus at 2 m"
    (at_near, at_infinity) = (circle_of_confusion(camera, d) / 2 * 600 / 36 for d in (1.2, 1e12))
    assert blur == f"Blur radius in pixels: {at_near:.1f} nearest, {at_infinity:.1f} at infinity"
    assert sharp == "Sharp from 1.919 m to 2.088 m" and hyperfocal == "Hyperfocal distance 46.35 m"
    assert view == "Field of view 39.6 x 27.0 degrees"
    assert depth == "Depth from 1.2 m to infinity"
    assert camera.describe(0.1, 0.4, SIZE).splitlines()[-1] == "Depth from 2.5 m to 10 m: nothing at the focus distance"
    assert Camera(50, 1.8, 0).describe(0, 1, SIZE).splitlines()[0] == "50 mm, f/1.8, focus at infinity"
    assert "to infinity" in Camera(50, 1.8, 50).describe(0, 1, SIZE).splitlines()[2]
