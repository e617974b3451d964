"""Focus and k that change from frame to frame, over ComfyUI's own links."""

import pytest

from tests.host.conftest import node
from tests.host.test_nodes import defocus, lens

FOCUS = [0.1, 0.5, 0.9]


def tracked(asked: dict, kind: str, name: str = "focus", source: str = "TestTrack") -> dict:
    """A prompt whose lens or defocus map gets this input from a link."""
    asked["track"] = node(source, kind=kind)
    asked["lens" if "lens" in asked else "defocus"]["inputs"][name] = ["track", 0]
    return asked


@pytest.mark.parametrize("kind", ["list", "lists in a list", "tensor", "array"])
def test_the_lens_takes_a_focus_for_each_frame(host, kind):
    found = host.found(tracked(lens("batch of 3", "ramp", k=20), kind))
    alone = [host.found(lens("batch of 3", "ramp", k=20, focus=focus))["frames"][i] for i, focus in enumerate(FOCUS)]
    assert found["shape"] == [3, 48, 64, 3]
    assert found["frames"] == pytest.approx(alone, abs=1e-6)


def test_one_value_in_a_list_counts_for_all_frames(host):
    assert host.found(tracked(lens("batch of 3", "ramp"), "one")) == host.found(lens("batch of 3", "ramp"))


def test_the_defocus_map_takes_and_gives_a_focus_for_each_frame(host):
    """A ramp's mean distance from 0.1, 0.5 and 0.9, with k of as many pixels as make it 1."""
    found = host.found(tracked(defocus("batch of 3", focus_mode="value", k=32), "list"))
    assert found["frames"] == pytest.approx([0.41, 0.25, 0.41], abs=0.01)
    assert host.found(tracked(defocus("batch of 3", focus_mode="value", k=32, output=1), "tensor"))["number"] == pytest.approx(
        FOCUS
    )


def test_k_for_each_frame(host):
    found = host.found(tracked(defocus("batch of 3", focus_mode="value", focus=0), "list", "k"))
    assert found["frames"] == pytest.approx([k / 32 / 2 for k in FOCUS], abs=0.001)


def test_the_sampler_gets_the_focus_of_each_frame(host):
    """It takes no focus itself, but the defocus map of each frame."""
    asked = tracked(defocus("batch of 3", "batch of 3", focus_mode="value", k=32), "list")
    asked["loader"] = node("MagicBokehLoader", checkpoint="nano-like.safetensors", base="automatic")
    settings = {"upscale": 2, "color_fix": "none", "preset": "fast", "posterior_seed": -1}
    links = {"model": ["loader", 0], "vae": ["loader", 1], "image": ["image", 0], "defocus": ["defocus", 0]}
    asked["sampler"] = node("MagicBokehSampler", **links, **settings)
    asked["probe"] = node("TestProbe", image=["sampler", 0])
    found = host.found(asked)
    alone = []
    for i, focus in enumerate(FOCUS):
        asked["defocus"]["inputs"]["focus"] = focus
        alone.append(host.found(asked)["frames"][i])
    assert found["frames"] == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "message"),
    [("too short", "focus has 2 values for 3 frames; give one for all, or one each."), ("with NaN", "focus of frame 1 is nan")],
)
@pytest.mark.parametrize("asked", [lens, defocus])
def test_a_track_that_does_not_fit_is_refused(host, asked, kind, message):
    prompt = lens("batch of 3", "ramp") if asked is lens else defocus("batch of 3", focus_mode="value")
    assert message in host.error(tracked(prompt, kind))


@pytest.mark.parametrize("name", ["focus", "k"])
def test_a_list_of_comfyui_makes_pictures_of_one_and_no_clips_of_a_clip(host, name):
    """Also after a node that runs for each of its values."""
    found = host.run(tracked(lens("photo", "ramp"), "list", name, "TestTrackAsList"))
    assert len(found["outputs"]["probe"]["found"]) == 3
    asked = tracked(lens("batch of 3", "ramp"), "list", name, "TestTrackAsList")
    assert f"{name} comes as one of ComfyUI's lists" in host.error(asked)
    asked["half"] = node("TestHalved", number=["track", 0])
    asked["lens"]["inputs"][name] = ["half", 0]
    assert f"{name} comes as one of ComfyUI's lists" in host.error(asked)
