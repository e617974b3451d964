"""The node Camera: what it takes for distances, whose pixels count, and what goes on to the lens."""

import json
import math

import pytest
import torch

from magicbokeh_ops.camera import Camera, crop_factor
from tests.support import stand_in_host as host

METRES, ANY_UNIT, DISPARITY = host.nodes.camera.DEPTHS
HEIGHT, WIDTH = 60, 90
NAN = float("nan")


def metres(frames=1, sky=False):
    """From 1 to 10 m across."""
    found = torch.linspace(1, 10, WIDTH).expand(frames, HEIGHT, WIDTH).clone()
    if sky:
        found[:, :10] = math.inf
    return found


def camera(**inputs):
    names = ("disparity", "focus", "k", "report", "hyperfocal", "near_limit", "far_limit")
    return dict(zip(names, host.run(host.nodes.Camera, **inputs)))


def radius(made, at=(40, 45)):
    """Of one pixel of the first frame."""
    return made["k"] * (float(made["disparity"][0][at]) - made["focus"])


def expected(distance, size=(HEIGHT, WIDTH), settings=(50.0, 1.8, 2.0, (36.0, 24.0))):
    lens = Camera(*settings)
    return lens.radius_per_dioptre(size) * (1 / distance - lens.vergence)


def test_every_pixel_is_blurred_as_its_distance_says():
    for depth in (metres(), metres(sky=True), metres(3)):
        made = camera(depth=depth)
        for column in (5, 20, 60, 85):
            assert radius(made, (40, column)) == pytest.approx(expected(float(depth[0, 40, column])), abs=2e-5)
    assert radius(camera(depth=metres(sky=True)), (0, 0)) == pytest.approx(expected(math.inf), abs=1e-5)


def test_depth_may_come_as_picture_or_geometry():
    plain = camera(depth=metres())
    sky = torch.zeros(1, HEIGHT, WIDTH)
    sky[:, :10] = 1
    picture = metres()[..., None].expand(-1, -1, -1, 3)
    for depth in (picture, {"depth": metres()}, {"depth": metres(), "sky": sky}):
        assert radius(camera(depth=depth)) == pytest.approx(radius(plain), abs=1e-5)
    assert radius(camera(depth={"depth": metres(), "sky": sky}), (0, 0)) == pytest.approx(expected(math.inf), abs=1e-5)


def test_without_metres_one_known_distance_gives_them():
    known = {"known_x": 0.25, "known_y": 0.5, "known_distance": float(metres()[0, 30, round(0.25 * WIDTH)])}
    there = radius(camera(depth=metres()))
    for depth, depth_is in (
        (metres() / 7, ANY_UNIT),
        (1000 * metres(), ANY_UNIT),
        ({"depth": metres() / 7}, ANY_UNIT),
        ({"depth": metres() / 7}, DISPARITY),
        (1 / metres(), DISPARITY),
        (50 / metres(), DISPARITY),
    ):
        assert radius(camera(depth=depth, depth_is=depth_is, **known)) == pytest.approx(there, rel=0.02)
    # In metres it is not asked for, wrong or not.
    assert radius(camera(depth=metres(), known_distance=NAN)) == there


def test_a_clip_has_one_scale_and_its_first_frame_the_known_distance():
    clip = torch.cat([metres(), 3 * metres()])
    made = camera(depth=clip / 5, depth_is=ANY_UNIT, known_distance=float(metres()[0, 30, 45]))
    assert made["k"] == pytest.approx(camera(depth=clip)["k"], rel=0.02)


def test_k_counts_in_the_pixels_of_the_photo():
    alone = camera(depth=metres())
    for frames in (1, 2):
        with_photo = camera(depth=metres(), image=torch.rand(frames, 2 * HEIGHT, 2 * WIDTH, 3))
        assert with_photo["k"] == pytest.approx(2 * alone["k"]) and with_photo["focus"] == alone["focus"]
        assert with_photo["disparity"].shape == (1, 2 * HEIGHT, 2 * WIDTH)


def test_an_equivalent_focal_length_sees_the_same_on_a_smaller_sensor():
    phone, full = "phone main camera (9.8 x 7.3 mm)", "full frame (36 x 24 mm)"
    crop = crop_factor((9.8, 7.3))
    square = metres()[..., :HEIGHT]
    settings = {"depth": square, "focal_length": 24.0, "focal_length_is": "full-frame equivalent", "sensor": phone}
    real = camera(**{**settings, "focal_length": 24.0 / crop, "focal_length_is": "real"})
    assert camera(**settings)["k"] == real["k"] and camera(**settings)["report"] == real["report"]
    assert camera(**{**settings, "sensor": full})["k"] == pytest.approx(crop * real["k"], rel=0.1)


def test_the_numbers_can_be_chained():
    made = camera(depth=metres())
    assert made["near_limit"] < 2 < made["far_limit"] < made["hyperfocal"]
    for distance in (0.0, math.inf, made["hyperfocal"]):
        assert camera(depth=metres(), focus_distance=distance)["far_limit"] == 0
    endless = camera(depth=metres(), focus_distance=made["hyperfocal"])
    assert (
        camera(depth=metres(), focus_distance=endless["far_limit"])["focus"]
        == camera(depth=metres(), focus_distance=0.0)["focus"]
    )
    assert json.loads(json.dumps([value for name, value in endless.items() if name != "disparity"], allow_nan=False))


def test_the_report_is_shown_on_the_node():
    done = host.execute(host.nodes.Camera, depth=metres(), focus_distance=20.0)
    report = done.args[3]
    assert done.ui == {"magicbokeh_info": [report]}
    assert report.splitlines()[0] == "50 mm, f/1.8, focus at 20 m"
    assert report.splitlines()[-1].endswith("nothing at the focus distance")


@pytest.mark.parametrize(
    ("depth", "doubt"),
    [(1000 * metres(), "median distance is"), (metres() / 1000, "median distance is"), (metres() / 10, "above 1 m")],
)
def test_other_units_are_doubted_only(depth, doubt):
    made = camera(depth=depth, focus_distance=0.5)
    assert doubt in made["report"].splitlines()[-1]
    assert "Note" not in camera(depth=depth, depth_is=ANY_UNIT)["report"]


def test_a_wall_is_no_scene():
    with pytest.raises(ValueError, match=r"1 / depth is constant \(0.5 everywhere\)"):
        camera(depth=torch.full((1, HEIGHT, WIDTH), 2.0))
    with pytest.raises(ValueError, match=r"^depth is constant \(0.5 everywhere\)"):
        camera(depth=torch.full((1, HEIGHT, WIDTH), 0.5), depth_is=DISPARITY)


def test_the_lens_and_the_focus_map_take_what_comes_out():
    """Also with the focus beyond the farthest point of the picture."""
    photo = torch.rand(1, HEIGHT, WIDTH, 3)
    made = camera(depth=metres(), image=photo, focal_length=85.0, focus_distance=0.0)
    assert made["focus"] < 0
    sockets = {name: made[name] for name in ("disparity", "focus", "k")}
    picture = host.run(host.nodes.LensBlur, image=photo, **sockets)[0]
    assert (picture - photo).abs().mean() > 0.05
    shown = host.run(host.nodes.DefocusMap, focus_mode="value", **sockets)
    assert float(shown[0].amin()) == pytest.approx(expected(10, settings=(85.0, 1.8, 0.0)) / 32, rel=0.01)
