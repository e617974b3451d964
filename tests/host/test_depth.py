"""The depth nodes in a real ComfyUI, on the small random model of the recordings."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from magicbokeh_ops import depth
from magicbokeh_ops.depth.refine import refine_edges
from tests.host.conftest import DEPTH, SMALL_DEPTH, node
from tests.parity.test_depth import photo

PHOTO = "img_167x251_in126"


def prompt(image="golden depth", model="DAdepth.pth", **changes) -> dict:
    widgets = {"input_size": 140, "refine": 0, "smooth_range": 0, **changes}
    return {
        "load": node("MagicBokehDepthLoader", model=model),
        "image": node("TestImage", kind=image),
        "find": node("MagicBokehDisparity", depth_model=["load", 0], image=["image", 0], **widgets),
        "probe": node("TestProbe", mask=["find", 0]),
    }


@pytest.mark.parametrize("refine", [0, 6])
def test_node_gives_what_the_library_gives(host, refine):
    done = host.run(prompt(refine=refine))
    assert done["status"]["status_str"] == "success", done["status"]
    preview = np.array(Image.open(io.BytesIO(host.image(done["outputs"]["find"]["images"][0]))).convert("L"), dtype=int)
    model = depth.build(*depth.read_depth(DEPTH), DEPTH.name)
    with torch.inference_mode():
        expected = depth.disparity(model, photo(PHOTO), 140)
    if refine:
        expected = refine_edges(photo(PHOTO), expected, refine)
    wrong = np.abs(preview - (expected[0, 0].numpy() * 255).astype(int)) > 1
    # Where both sides score alike, rounding decides which surface a pixel joins.
    assert wrong.mean() < (0.002 if refine else 1e-9)


def test_all_ways_to_the_same_weights(host):
    offered = host.get("/object_info/MagicBokehDepthLoader")["MagicBokehDepthLoader"]["input"]["required"]["model"][1][
        "options"
    ]
    assert offered[0] == "automatic"
    assert sorted(offered[1:]) == sorted(["DAdepth.pth", "Depth-Anything-V2-Small-hf", f"{SMALL_DEPTH}.safetensors"])
    first, *others = (host.found(prompt(model=model))["row"] for model in offered)
    assert all(row == pytest.approx(first, abs=1e-5) for row in others)
    loader = host.get("/object_info/MagicBokehLoader")["MagicBokehLoader"]["input"]["required"]["checkpoint"][1]["options"]
    assert "DAdepth.pth" not in loader and "lora.pkl" in loader


@pytest.mark.parametrize(
    ("image", "shape"), [("fading golden depth", [2, 167, 251]), ("odd", [1, 37, 53]), ("rgba", [1, 48, 64])]
)
def test_node_takes(host, image, shape):
    for changes in ({}, {"smooth_range": 1, "refine": 3}):
        found = host.found(prompt(image, **changes))
        assert found["shape"] == shape and found["dtype"] == "torch.float32" and found["contiguous"]
        assert found["low"] >= 0 and found["high"] <= 1


def test_every_option_counts(host):
    plain = host.found(prompt("fading golden depth"))["row"]
    for changes in ({"input_size": 168}, {"refine": 8}, {"smooth_range": 1}):
        assert host.found(prompt("fading golden depth", **changes))["row"] != plain, changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "one wide"}, "image is 1 x 64 pixels, too narrow for depth"),
        ({"image": "with NaN"}, "image holds NaN"),
        ({"image": "channels first"}, "connect an image, (batch, height, width, 3 or 4 channels)"),
    ],
)
def test_bad_input_is_named(host, changes, message):
    error = host.error(prompt(**changes))
    assert message in error and len(error.splitlines()) == 1


def test_a_model_that_sees_nothing_is_named(host):
    asked = prompt()
    asked["blind"] = node("TestBlindDepth", model=["load", 0])
    asked["find"]["inputs"]["depth_model"] = ["blind", 0]
    assert "image looks equally far" in host.error(asked)


def test_unknown_files_are_refused(host):
    assert "secret.pth is" in host.error(prompt(model="../../secret.pth"))


def test_a_second_photo_loads_nothing_again(host):
    host.found(prompt(input_size=154))
    before = len(host.log)
    host.found(prompt("odd", input_size=154))
    assert not [line for line in host.log[before:].splitlines() if "load" in line.lower()]
