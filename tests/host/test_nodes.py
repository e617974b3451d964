"""Every node with inputs as they really come, good and bad, and the way a run is stopped."""

import time
import urllib.error
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from magicbokeh_ops import files
from tests.host.conftest import node

LOOK = {
    "highlight_boost": 0,
    "blades": 0,
    "rotation": 0,
    "roundness": 0,
    "squeeze": 1,
    "cat_eye": 0,
    "near_scale": 1,
    "far_scale": 1,
}
FOCUS = {"k": 8, "focus_mode": "point", "focus_x": 0.5, "focus_y": 0.5, "focus": 0.5}


def lens(image: str, disparity: str, **changes) -> dict:
    return {
        "image": node("TestImage", kind=image),
        "disparity": node("TestMask", kind=disparity),
        "lens": node(
            "MagicBokehLensBlur", image=["image", 0], disparity=["disparity", 0], **{"focus": 0.5, "k": 8, **LOOK, **changes}
        ),
        "probe": node("TestProbe", image=["lens", 0]),
    }


def defocus(disparity: str, image: str | None = None, mask: str | None = None, output=0, **changes) -> dict:
    prompt = {
        "disparity": node("TestMask", kind=disparity),
        "defocus": node("MagicBokehDefocusMap", disparity=["disparity", 0], **{**FOCUS, **changes}),
        "probe": node("TestProbe", **{("mask", "number", "image", "number")[output]: ["defocus", output]}),
    }
    if image:
        prompt["image"] = node("TestImage", kind=image)
        prompt["defocus"]["inputs"]["image"] = ["image", 0]
    if mask:
        prompt["mask"] = node("TestMask", kind=mask)
        prompt["defocus"]["inputs"]["focus_mask"] = ["mask", 0]
    return prompt


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


@pytest.mark.parametrize(
    ("image", "disparity", "shape"),
    [
        ("photo", "ramp", [1, 48, 64, 3]),
        ("batch of 3", "ramp", [3, 48, 64, 3]),
        ("batch of 3", "batch of 3", [3, 48, 64, 3]),
        ("photo", "batch of 2", [2, 48, 64, 3]),
        ("rgba", "ramp", [1, 48, 64, 4]),
        ("half", "half", [1, 48, 64, 3]),
        ("uint8", "uint8", [1, 48, 64, 3]),
        ("odd", "small", [1, 37, 53, 3]),
        ("photo", "two-dimensional", [1, 48, 64, 3]),
    ],
)
def test_lens_blur_takes(host, image, disparity, shape):
    result = host.found(lens(image, disparity))
    assert result["shape"] == shape
    assert result["dtype"] == "torch.float32" and result["contiguous"]
    assert result["low"] >= 0 and result["high"] <= 1


@pytest.mark.parametrize(
    "look",
    [
        {"highlight_boost": 4},
        {"blades": 3},
        {"blades": 3, "rotation": 40},
        {"blades": 3, "roundness": 0.5},
        {"squeeze": 2},
        {"cat_eye": 1},
        {"near_scale": 0},
        {"far_scale": 0},
        {"color_space": "linear"},
        {"focus_range": 0.4},
        {"falloff": 2},
    ],
    ids=lambda look: "+".join(look),
)
def test_every_option_reaches_the_lens(host, look):
    others = {key: value for key, value in look.items() if key == "blades" and len(look) > 1}
    assert host.found(lens("photo", "ramp", **look))["row"] != host.found(lens("photo", "ramp", **others))["row"]


def test_a_matte_and_a_plate_reach_the_lens(host):
    """A plate alone is refused in a sentence."""
    asked = lens("photo", "left half", focus=0.1, k=20)
    rows = [host.found(asked)["row"]]
    asked["matte"], asked["plate"] = node("TestMask", kind="soft edge"), node("TestImage", kind="half white")
    for name, source in (("matte", "matte"), ("background", "plate")):
        asked["lens"]["inputs"][name] = [source, 0]
        rows.append(host.found(asked)["row"])
    assert rows[0] != rows[1] != rows[2]
    del asked["lens"]["inputs"]["matte"]
    assert "needs a matte" in host.error(asked)


def test_scene_linear_light_goes_through(host):
    """A prompt without color_space, as those from before it, is of sRGB; there light this bright is no photo."""
    still = lens("daylight with a lamp", "ramp", k=0, color_space="linear")
    row = host.found(still)["row"]
    assert max(row) > 400
    blurred = host.found({**still, "lens": lens("", "", k=8, color_space="linear")["lens"]})["row"]
    assert blurred != row and max(blurred) > 5
    assert "darken it if it is HDR" in host.error(lens("daylight with a lamp", "ramp"))


def test_an_exr_keeps_its_light(host):
    """Saved, loaded and photographed without blur by ComfyUI's own nodes and ours."""
    if host.version == "0.3.64":
        pytest.skip("ComfyUI 0.3.64 has no EXR")
    exr = {"format": "exr", "format.bit_depth": "32-bit float", "format.input_color_space": "linear"}

    def saved(prompt: dict, source: str) -> Path:
        prompt["save"] = node("SaveImageAdvanced", images=[source, 0], filename_prefix="light", **exr)
        done = host.run(prompt)
        assert done["status"]["status_str"] == "success", done["status"]
        return host.base / "output" / done["outputs"]["save"]["images"][0]["filename"]

    first = saved({"image": node("TestImage", kind="daylight with a lamp")}, "image")
    (host.base / "input" / "light.exr").write_bytes(first.read_bytes())
    loaded = lens("", "ramp", k=0, color_space="linear") | {"image": node("LoadImage", image="light.exr")}
    del loaded["probe"]
    before, after = (files.read_photo(path, "linear")[0] for path in (first, saved(loaded, "lens")))
    assert before.max() > 400
    assert torch.allclose(after, before, rtol=1e-3, atol=1e-5)


def test_sweep(host):
    sweep = {"focus_from": 1, "focus_to": 0, "k_from": 8, "k_to": 4, "frames": 5, "easing": "linear"}
    prompt = lens("photo", "ramp")
    prompt["lens"] = node("MagicBokehSweep", image=["image", 0], disparity=["disparity", 0], **sweep, **LOOK)
    assert host.found(prompt)["shape"] == [5, 48, 64, 3]
    prompt["image"]["inputs"]["kind"] = "batch of 3"
    assert host.found(prompt)["shape"] == [3, 48, 64, 3]


def test_defocus_map(host):
    assert host.found(defocus("ramp", output=1))["number"] == pytest.approx(0.5, abs=0.02)
    assert host.found(defocus("ramp", output=3))["number"] == 8
    assert host.found(defocus("ramp", mask="left half", focus_mode="mask", output=1))["number"] == pytest.approx(0.25, abs=0.02)
    assert host.found(defocus("ramp", focus_mode="value", focus=0.7, output=1))["number"] == pytest.approx(0.7)
    assert host.found(defocus("ramp"))["high"] == pytest.approx(8 / 32 * 0.5, abs=0.01)
    assert host.found(defocus("small", image="odd"))["shape"] == [1, 37, 53]
    assert host.found(defocus("ramp", image="batch of 3", output=2))["shape"] == [3, 48, 64, 3]
    assert host.found(defocus("batch of 3", image="photo", output=2))["shape"] == [3, 48, 64, 3]
    assert host.found(defocus("ramp", output=2))["shape"] == [1, 48, 64, 3]
    # The empty mask that Load Image gives for a photo without alpha may stay connected.
    assert host.found(defocus("ramp", mask="empty 64"))["shape"] == [1, 48, 64]


def test_what_stays_sharp_around_the_focus(host):
    """As the map shows it, and as the lens gets it from there."""
    plain, wide = (host.found(defocus("ramp", focus_x=0.5, focus_range=size))["row"] for size in (0, 0.5))
    assert sum(value < 1e-3 for value in wide) > sum(value < 1e-3 for value in plain) + 20
    handed = lens("photo", "ramp", k=12, focus_range=["defocus", 4], falloff=["defocus", 5])
    handed["defocus"] = defocus("ramp", focus_range=0.5, falloff=2)["defocus"]
    assert host.found(handed)["row"] == host.found(lens("photo", "ramp", k=12, focus_range=0.5, falloff=2))["row"]


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


def test_focus_by_what_is_near(host):
    # The near side of a ramp is its right half.
    assert host.found(defocus("ramp", output=1, focus_mode="nearest subject"))["number"] == pytest.approx(0.75, abs=0.02)


def test_focus_by_boxes(host):
    prompt = defocus("ramp", image="photo", output=1, focus_mode="box")
    assert "holds no box" in host.error(prompt)
    if "PrimitiveBoundingBox" not in host.get("/object_info"):
        return  # this ComfyUI has no boxes, so the node has no socket for them
    prompt["box"] = node("PrimitiveBoundingBox", x=8, y=8, width=16, height=16)
    prompt["defocus"]["inputs"]["focus_box"] = ["box", 0]
    assert host.found(prompt)["number"] == pytest.approx(16 / 64, abs=0.02)
    prompt["box"] = node("TestBoxes", found=True)
    assert host.found(prompt)["number"] == pytest.approx(48 / 64, abs=0.02)
    prompt["box"] = node("TestBoxes", found=False)
    assert "holds no box" in host.error(prompt)


def test_what_the_page_gets(host):
    outputs = host.run(defocus("ramp", image="photo", focus_x=0.25))["outputs"]["defocus"]
    assert outputs["magicbokeh_size"] == [64, 48]
    assert outputs["magicbokeh_focus"] == [
        {
            "mode": "point",
            "focus": pytest.approx(0.25, abs=0.02),
            "k": 8,
            "focus_range": 0,
            "falloff": 1,
            "tilt": 0,
            "tilt_direction": 0,
        }
    ]
    photo, packed = (Image.open(BytesIO(host.image(outputs[f"magicbokeh_{kind}"][0]))) for kind in ("photo", "disparity"))
    assert photo.size == packed.size == (64, 48)
    high, low, _ = np.moveaxis(np.asarray(packed.convert("RGB"), dtype=np.float64), -1, 0)
    assert np.abs((high * 256 + low) / 65535 - np.linspace(0, 1, 64)).max() <= 1 / 65535
    large = host.run(defocus("ramp", image="12 megapixels"))["outputs"]["defocus"]
    assert large["magicbokeh_size"] == [4000, 3000]
    assert Image.open(BytesIO(host.image(large["magicbokeh_photo"][0]))).size == (1024, 768)


def test_focus_mask(host):
    prompt = defocus("ramp", k=32)
    prompt["mask"] = node("MagicBokehFocusMask", defocus=["defocus", 0], threshold=0.1, smooth=2, min_area=0.01)
    prompt["probe"] = node("TestProbe", mask=["mask", 0])
    row = host.found(prompt)["row"]
    assert set(row) == {0.0, 1.0}
    assert sum(row) / len(row) == pytest.approx(0.2, abs=0.05)


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
        (lens("photo", "empty 64"), "disparity is constant"),
        (lens("photo", "with NaN"), "disparity holds NaN"),
        (lens("with NaN", "ramp"), "image holds NaN"),
        (lens("photo", "metres"), "disparity goes from 1 to 10"),
        (lens("bytes", "ramp"), "image goes from 0 to 255"),
        (lens("photo", "square"), "disparity is 48 x 48 pixels and the photo 64 x 48"),
        (lens("photo", "no frames"), "disparity is empty"),
        (lens("no frames", "ramp"), "image is empty"),
        (defocus("ramp", mask="bytes", focus_mode="mask"), "focus_mask goes from 0 to 255"),
        (lens("channels first", "ramp"), "image has shape"),
        (lens("batch of 3", "batch of 2"), "disparity"),
        (lens("photo", "ramp", blades=2), "blades is 2"),
        (defocus("empty 64"), "disparity is constant"),
        (defocus("ramp", focus_mode="mask"), "focus_mask is not connected"),
        (defocus("ramp", mask="empty 64", focus_mode="mask"), "focus_mask is empty"),
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


def test_interrupt_within_a_second(host):
    """A photo of 12 megapixels with large surfaces, whose steps are the longest."""
    start = time.monotonic()
    host.found(lens("golden", "golden", k=21))
    small_photo = time.monotonic() - start  # a second or less, if nothing else is going on here
    prompt_id = host.queue(lens("12 megapixels", "blocks", k=64))
    time.sleep(7)
    assert host.get("/queue")["queue_running"], "the run was over before it could be stopped"
    start = time.monotonic()
    host.post("/interrupt", {})
    status = host.result(prompt_id)["status"]
    took = time.monotonic() - start
    assert "execution_interrupted" in [kind for kind, _ in status["messages"]]
    assert took < max(1.5, 2 * small_photo), (took, small_photo)


def test_pictures_while_it_runs(host):
    asked = lens("golden", "golden", k=24, cat_eye=0.5)  # many tiles
    host.get("/test/previews")
    assert host.run(asked)["status"]["status_str"] == "success"
    sent = host.get("/test/previews")
    assert len(sent) > 1
    assert all(after[0] - before[0] >= 0.25 for before, after in zip(sent, sent[1:]))
    for _, width, height, mean in sent:
        assert (width, height) == (512, 427) and mean == pytest.approx(sent[0][3], rel=0.1)
