"""The focus track in ComfyUI: what its sockets take, and its way to the lens."""

import json

import pytest

from tests.host.conftest import node
from tests.host.test_nodes import lens

TRACK = {"follow": "keys", "point_x": 0.5, "point_y": 0.5, "point_frame": 0, "keys": "0: 0.1, 2: 0.9", "k": 8}
TRACK |= {"smoothing": 0, "max_speed": 0, "find_cuts": True}


def tracked(output: int = 0, **changes) -> dict:
    """A prompt with a track over three frames, and what comes out of one of its outputs."""
    return {
        "image": node("TestImage", kind="batch of 3"),
        "disparity": node("TestMask", kind="batch of 3"),
        "track": node("MagicBokehFocusTrack", disparity=["disparity", 0], image=["image", 0], **{**TRACK, **changes}),
        "probe": node("TestProbe", **{("number", "number", "image")[output]: ["track", output]}),
    }


def test_its_numbers_reach_the_lens(host):
    asked = {**lens("batch of 3", "batch of 3"), "track": tracked(keys="0: 0.1 k 4, 2: 0.9 k 16")["track"]}
    asked["lens"]["inputs"] |= {"focus": ["track", 0], "k": ["track", 1]}
    found = host.found(asked)["frames"]
    for i, (focus, k) in enumerate(((0.1, 4), (0.5, 8), (0.9, 16))):
        alone = host.found(lens("batch of 3", "batch of 3", focus=focus, k=k))["frames"]
        assert found[i] == pytest.approx(alone[i], abs=1e-6)


def test_a_point_a_mask_and_boxes(host):
    """The ramp's disparity is that of its column. The picture stands still."""
    asked = tracked(follow="point", point_x=0.25)
    asked["image"] = {**asked["image"], "inputs": {"kind": "batch of 3 that stands still"}}
    assert host.found(asked)["number"] == pytest.approx([0.25] * 3, abs=0.03)
    asked = tracked(follow="mask", subject_mask=["mask", 0]) | {"mask": node("TestMask", kind="left half")}
    assert max(host.found(asked)["number"]) <= 0.5
    for boxes in (json.dumps([[28, 0, 36, 48]] * 3), ["text", 0]):
        asked = tracked(follow="box", boxes=boxes) | {"text": node("PrimitiveString", value="[[28, 0, 36, 48]]")}
        assert host.found(asked)["number"] == pytest.approx([0.5] * 3, abs=0.03)
    asked = tracked(follow="box", boxes=["found", 0]) | {"found": node("TestBoxes", found=True)}
    assert "boxes has 2 entries for 3 frames" in host.error(asked)


def test_boxes_of_a_detector(host):
    asked = tracked(follow="box", keys="", boxes=["found", 0]) | {"found": node("TestBoxes", found=True)}
    asked["image"], asked["disparity"] = node("TestImage", kind="photo"), node("TestMask", kind="batch of 2")
    assert host.found(asked)["number"] == pytest.approx([48 / 64] * 2, abs=0.08)  # of a ramp, its nearest part


def test_it_says_what_it_has_found(host):
    done = host.run(tracked(2))
    assert done["outputs"]["track"]["magicbokeh_info"] == ["3 frames, focus 0.100 to 0.900."]
    assert host.found(tracked(2))["shape"] == [1, 320, 960, 3]
    assert "keys has a key at frame 9" in host.error(tracked(keys="9: 0.5"))


def test_a_second_run_is_cached(host):
    asked = tracked()
    host.run(asked)
    cached = next(body["nodes"] for kind, body in host.run(asked)["status"]["messages"] if kind == "execution_cached")
    assert set(cached) >= {"track"}
