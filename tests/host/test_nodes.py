"""Lens and focus with inputs as they really come, good and bad, and the way a run is stopped."""

import time
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
    asked = lens("dark with a soft edge", "left half", focus=0.1, k=20)
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


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
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
    ],
)
def test_bad_input_is_named(host, prompt, message):
    error = host.error(prompt)
    assert message in error
    assert len(error.splitlines()) == 1


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
