"""Nodes that make, change and use depth, with inputs as they really come, good and bad."""

import urllib.error
from io import BytesIO

import pytest
from PIL import Image

from tests.host.conftest import node


def disparity_from(source: dict, slot=0, convention="disparity (near = white)", normalize="minmax", **more) -> dict:
    return {
        "source": source,
        "from": node(
            "MagicBokehDisparityFrom",
            depth=["source", slot],
            convention=convention,
            normalize=normalize,
            depth_ratio=10,
            **{"refine": 0, **more},
        ),
        "probe": node("TestProbe", mask=["from", 0]),
    }


def camera(source: dict, slot=0, output=0, **changes) -> dict:
    settings = {"focal_length": 50, "focal_length_is": "real", "f_number": 2, "sensor": "full frame (36 x 24 mm)"}
    settings |= {"focus_distance": 2, "depth_is": "distance in metres", "known_distance": 2, "known_x": 0.5, "known_y": 0.5}
    return {
        "source": source,
        "camera": node("MagicBokehCamera", depth=["source", slot], **{**settings, **changes}),
        "probe": node("TestProbe", **{"number" if output else "mask": ["camera", output]}),
    }


def test_disparity_of_any_source_is_refined(host):
    """A soft edge 3 pixels beside the photo's own goes there; without refine the map only gets the photo's size."""
    asked = disparity_from(node("TestMask", kind="soft edge"), normalize="none", refine=6, image=["image", 0])
    asked["image"] = node("TestImage", kind="half white")
    refined = host.found(asked)
    assert refined["shape"] == [1, 48, 64]
    assert refined["row"][:30] == pytest.approx([1] * 30, abs=0.02) and refined["row"][34:64] == pytest.approx(
        [0] * 30, abs=0.02
    )
    asked["from"]["inputs"]["refine"] = 0
    soft = host.found(asked)
    assert soft["shape"] == [1, 48, 64] and 0.2 < soft["row"][32] < 0.95


def touch_up(disparity: str, mask: str, operation: str, image: str | None = None, **changes) -> dict:
    settings = {"value": 0.9, "amount": 0.1, "point_x": 0.75, "point_y": 0.5, "radius": 4, "edge": 4}
    prompt = {
        "disparity": node("TestMask", kind=disparity),
        "mask": node("TestMask", kind=mask),
        "touch_up": node(
            "MagicBokehDisparityTouchUp",
            disparity=["disparity", 0],
            mask=["mask", 0],
            operation=operation,
            **{**settings, **changes},
        ),
        "probe": node("TestProbe", mask=["touch_up", 0]),
    }
    if image:
        prompt["image"] = node("TestImage", kind=image)
        prompt["touch_up"]["inputs"]["image"] = ["image", 0]
    return prompt


def test_touch_up(host):
    row = host.found(touch_up("ramp", "left half", "set to value"))["row"]
    assert row[:31] == pytest.approx([0.9] * 31) and row[34:] == pytest.approx([i / 63 for i in range(34, 64)], abs=1e-6)
    assert host.found(touch_up("ramp", "left half", "value of a point"))["row"][4] == pytest.approx(0.75, abs=0.02)
    in_front = host.found(touch_up("ramp", "left half", "in front of its surroundings"))["row"]
    assert in_front[:31] == sorted(in_front[:31]) and in_front[4] > 0.5
    assert host.found(touch_up("ramp", "left half", "add amount", "batch of 3"))["shape"] == [3, 48, 64]
    assert "mask is empty" in host.error(touch_up("ramp", "empty 64", "smooth"))


def test_touch_ups_in_a_row(host):
    """The second is of the photo's size, and changes what the first has left."""
    prompt = touch_up("ramp", "left half", "set to value", value=0.2)
    second = touch_up("ramp", "left half", "add amount", "photo", amount=0.5)
    prompt["second"], prompt["image"] = second["touch_up"], second["image"]
    prompt["second"]["inputs"]["disparity"] = ["touch_up", 0]
    prompt["probe"]["inputs"]["mask"] = ["second", 0]
    row = host.found(prompt)["row"]
    assert row[4] == pytest.approx(0.7, abs=0.01) and row[60] == pytest.approx(60 / 63, abs=0.01)


def steady(disparity: str, image: str, strength: float = 1) -> dict:
    return {
        "disparity": node("TestMask", kind=disparity),
        "image": node("TestImage", kind=image),
        "steady": node("MagicBokehSteadyDisparity", disparity=["disparity", 0], image=["image", 0], strength=strength),
        "probe": node("TestProbe", mask=["steady", 0]),
    }


def test_steady_disparity(host):
    """The first of five frames sees all of them; its own scale is 0.8, the mean 0.88."""
    found = host.found(steady("jumping", "photo"))
    assert found["shape"] == [5, 48, 64] and found["contiguous"]
    assert found["row"] == pytest.approx([0.88 * i / 63 for i in range(64)], abs=0.01)
    assert host.found(steady("jumping", "photo", 0))["row"] == pytest.approx([0.8 * i / 63 for i in range(64)], abs=1e-6)
    assert host.found(steady("batch of 3", "batch of 3"))["row"] == pytest.approx([i / 63 for i in range(64)], abs=1e-6)
    assert "image has 3 frames for 5 of disparity" in host.error(steady("jumping", "batch of 3"))
    assert "different aspect ratio" in host.error(steady("square", "photo"))


def by_hand(image: str, thing: str | None = None, **changes) -> dict:
    settings = {"horizon": 0.25, "near_end": 1, "horizon_tilt": 0, "back_wall": 0, "left_wall": 0, "right_wall": 0}
    settings |= {"vanishing_x": 0.5, "split_things": False}
    prompt = {
        "image": node("TestImage", kind=image),
        "by_hand": node("MagicBokehDisparityByHand", image=["image", 0], **{**settings, **changes}),
        "probe": node("TestProbe", mask=["by_hand", 0]),
    }
    if thing:
        prompt["thing"] = node("TestMask", kind=thing)
        prompt["by_hand"]["inputs"]["things_2"] = ["thing", 0]
    return prompt


def test_disparity_by_hand(host):
    """The probe tells of the middle row, which lies a third of the way from the horizon to the near end."""
    level = (24.5 / 48 - 0.25) / 0.75
    found = host.found(by_hand("photo"))
    assert found["shape"] == [1, 48, 64] and found["low"] == 0
    assert found["row"] == pytest.approx([level] * 64, abs=1e-5)
    assert host.found(by_hand("batch of 3"))["shape"] == [1, 48, 64]
    walled = host.found(by_hand("photo", back_wall=0.5, right_wall=1))["row"]
    assert walled[:40] == pytest.approx([0.5] * 40, abs=1e-5) and walled[-1] == pytest.approx(63.5 / 32 - 1, abs=1e-4)
    stands = host.found(by_hand("photo", "left half"))["row"]
    assert stands[4] == pytest.approx((47.5 / 48 - 0.25) / 0.75, abs=1e-5) and stands[60] == pytest.approx(level, abs=1e-5)
    assert "near_end is 0.1" in host.error(by_hand("photo", near_end=0.1))
    outputs = host.run(by_hand("photo", horizon=0.3))["outputs"]["by_hand"]
    assert Image.open(BytesIO(host.image(outputs["magicbokeh_photo"][0]))).size == (64, 48)


def matte(**more) -> dict:
    return {
        "image": node("TestImage", kind="half white"),
        "disparity": node("TestMask", kind="soft edge"),
        "matte": node("MagicBokehMatteFromDisparity", image=["image", 0], disparity=["disparity", 0], **more),
        "probe": node("TestProbe", mask=["matte", 0]),
    }


def test_matte_from_disparity(host):
    """A soft edge 3 pixels beside the photo's own goes there; a mask of the other side turns it round."""
    found = host.found(matte(reach=6))
    assert found["shape"] == [1, 48, 64] and found["low"] >= 0 and found["high"] <= 1
    assert found["row"] == pytest.approx([1] * 32 + [0] * 32, abs=0.05)
    turned = matte(reach=6, step=0.1, mask=["mask", 0]) | {"mask": node("TestMask", kind="ramp")}
    assert host.found(turned)["row"] == pytest.approx([0] * 32 + [1] * 32, abs=0.05)


def test_disparity_from(host):
    image, mask = node("TestImage", kind="grey depth"), node("TestMask", kind="metres")
    row = host.found(disparity_from(image))["row"]
    assert row[0] == 0 and row[-1] == 1
    row = host.found(disparity_from(mask, convention="distance (in any unit)"))["row"]
    assert row[0] == 1 and row[-1] == 0 and row[32] < 0.2
    row = host.found(disparity_from(image, convention="depth (near = black)"))["row"]
    assert row[0] == 1 and row[-1] == 0 and row[31] == pytest.approx((1 / 5.43 - 0.1) / 0.9, abs=0.01)
    row = host.found(disparity_from(image, convention="inverted depth (near = white)"))["row"]
    assert row[0] == 0 and row[-1] == 1 and row[32] == pytest.approx((1 / 5.43 - 0.1) / 0.9, abs=0.01)
    for far_is, slot in (("sky", 0), ("infinite", 1)):
        row = host.found(disparity_from(node("TestGeometry", far_is=far_is), slot))["row"]
        assert row[:15] == [0] * 15 and row[-1] == 1 and row[32] == pytest.approx((0.1 + 32 / 63) / 1.1, abs=0.01)
    filled = host.found(disparity_from(node("TestMask", kind="with NaN")))
    assert filled["low"] == 0 and filled["high"] == 1 and filled["row"][32] == pytest.approx(32 / 63, abs=0.01)


def test_camera(host):
    """50 mm, f/2, focused on 2 m, on a scene of 1 to 10 m."""
    metres = node("TestMask", kind="metres")
    focus, k = (host.found(camera(metres, output=output))["number"] for output in (1, 2))
    assert focus == pytest.approx(0.4 / 0.9, abs=1e-5)
    assert k == pytest.approx(48 / 24 * 2500 / 4 / (1 - 0.025) * 0.9 / 1000, rel=1e-5)
    row = host.found(camera(metres))["row"]
    assert row[0] == 1 and row[-1] == 0 and row[32] == pytest.approx((1 / (1 + 9 * 32 / 63) - 0.1) / 0.9, abs=1e-5)
    photo = camera(metres, output=2, image=["image", 0]) | {"image": node("TestImage", kind="3 megapixels")}
    assert host.found(photo)["number"] == pytest.approx(2000 / 64 * k)
    for far_is, slot in (("sky", 0), ("infinite", 1)):
        row = host.found(camera(node("TestGeometry", far_is=far_is), slot))["row"]
        assert row[:15] == [0] * 15 and row[-1] == 1
    relative = camera(
        node("TestImage", kind="grey depth"), output=1, depth_is="disparity, one distance known", known_distance=4
    )
    assert host.found(relative)["number"] == pytest.approx(1, abs=0.02)  # 2 m with 4 m halfway to infinity
    endless = camera(metres, output=6, focus_distance=["nearest", 4]) | {"nearest": camera(metres)["camera"]}
    assert host.found(endless)["number"] == 0


def test_what_a_camera_says(host):
    (report,) = host.run(camera(node("TestMask", kind="metres"), focal_length=24))["outputs"]["camera"]["magicbokeh_info"]
    assert report.splitlines()[0] == "24 mm, f/2, focus at 2 m" and report.splitlines()[-1] == "Depth from 1 m to 10 m"
    (report,) = host.run(camera(node("TestMask", kind="ramp"), focus_distance=0))["outputs"]["camera"]["magicbokeh_info"]
    assert report.endswith("or is it disparity?")


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (camera(node("TestMask", kind="metres"), focus_distance=0.04), "focus_distance is 0.04 m"),
        (camera(node("TestMask", kind="one")), "1 / depth is constant"),
        (camera(node("TestImage", kind="photo")), "coloured"),
        (disparity_from(node("TestImage", kind="photo")), "coloured"),
        (disparity_from(node("TestGeometry", far_is="missing")), "holds no depth"),
        (disparity_from(node("TestMask", kind="metres"), convention="depth (near = black)"), "choose the convention distance"),
        (disparity_from(node("TestMask", kind="left half"), refine=3), "image is not connected; refine needs the photo"),
        (disparity_from(node("TestMask", kind="empty 64")), "constant"),
    ],
)
def test_bad_input_is_named(host, prompt, message):
    error = host.error(prompt)
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("bad", [{"convention": "upside down"}, {"normalize": "maybe"}])
def test_unknown_choice_is_refused(host, bad):
    """By ComfyUI itself, or by us where an old one lets it pass."""
    prompt = disparity_from(node("TestMask", kind="ramp"), **bad)
    try:
        error = host.error(prompt)
    except urllib.error.HTTPError as refused:
        error = refused.read().decode()
    assert next(iter(bad.values())) in error
