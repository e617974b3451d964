"""Counts of frames, boxes and numbers that come into the nodes: taken as meant, or refused in one sentence."""

from functools import partial

import pytest
import torch

from tests.support import stand_in_host as host
from tests.support.node_pictures import WIDTH, noise, ramp

BOX = {"x": 8, "y": 8, "width": 16, "height": 16}


def test_counts_of_frames_are_named_as_they_are():
    sweep = partial(host.run, host.nodes.Sweep, frames=2)
    for run, message in (
        (lambda: sweep(image=noise(), disparity=ramp(3)), "disparity has 3 frames for a sweep of 2"),
        (lambda: sweep(image=noise(3), disparity=ramp(2)), "disparity has 2 frames for 3 pictures"),
        (lambda: host.run(host.nodes.LensBlur, image=noise(3), disparity=ramp(2)), "disparity has 2 frames for 3 pictures"),
        (lambda: host.run(host.nodes.DefocusMap, image=noise(2), disparity=ramp(3)), "image has 2 frames for 3 of disparity"),
        (lambda: host.run(host.nodes.DisparityFrom, image=noise(2), depth=ramp(3)), "image has 2 frames for 3 of depth"),
        (lambda: host.run(host.nodes.Camera, image=noise(2), depth=ramp(3)), "image has 2 frames for 3 of depth"),
        (
            lambda: host.run(host.nodes.SteadyDisparity, image=noise(2), disparity=ramp(3)),
            "image has 2 frames for 3 of disparity",
        ),
        (
            lambda: host.run(host.nodes.MatteFromDisparity, image=noise(2), disparity=ramp(3)),
            "image has 2 frames for 3 of disparity",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            run()
    assert len(sweep(image=noise(), disparity=ramp(2))[0]) == 2
    assert len(sweep(image=noise(3), disparity=ramp(1))[0]) == 3


def test_boxes():
    focus = partial(host.run, host.nodes.DefocusMap, disparity=ramp(1, 33, 44), focus_mode="box")
    backwards = {"x": 24, "y": 24, "width": -16, "height": -16}
    for boxes in (
        BOX,
        [BOX, {"x": 0, "y": 0, "width": 3, "height": 3}],
        [[], None, [BOX]],
        (BOX,),
        backwards,
        {**BOX, "score": 0.5},
    ):
        assert focus(image=noise(), focus_box=boxes)[1] == pytest.approx(16 / WIDTH, abs=0.02)
    for boxes in (None, [], [[], []], [None]):
        with pytest.raises(ValueError, match="holds no box"):
            focus(image=noise(), focus_box=boxes)
    for boxes in (
        [8, 8, 24, 24],
        [[8.0, 8, 24, 24]],
        torch.tensor([[8, 8, 24, 24]]),
        {"x": 1, "y": 2},
        {**BOX, "x": None},
        "face",
    ):
        with pytest.raises(ValueError, match="x, y, width and height by name"):
            focus(image=noise(), focus_box=boxes)
    for x in (-100, WIDTH + 1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="nothing of it lies in the photo"):
            focus(image=noise(), focus_box={**BOX, "x": x})


def test_a_box_needs_the_photo_that_it_counts_in():
    with pytest.raises(ValueError, match="image is not connected; focus_box is in pixels of the photo"):
        host.run(host.nodes.DefocusMap, disparity=ramp(1, 33, 44), focus_mode="box", focus_box=BOX)


@pytest.mark.parametrize("bad", [float("nan"), -1.0])
def test_linked_numbers_are_checked(bad):
    """ComfyUI checks what is typed into a widget, not what a link brings."""
    for run, message in (
        (lambda: host.run(host.nodes.LensBlur, image=noise(), disparity=ramp(), k=bad), "^k is"),
        (lambda: host.run(host.nodes.LensBlur, image=noise(), disparity=ramp(), near_scale=bad), "^near_scale is"),
        (lambda: host.run(host.nodes.LensBlur, image=noise(), disparity=ramp(), highlight_boost=bad), "^highlight_boost is"),
        (lambda: host.run(host.nodes.Sweep, image=noise(), disparity=ramp(), frames=2, k_to=bad), "^k_to is"),
        (
            lambda: host.run(host.nodes.DisparityFrom, depth=ramp(), convention="depth (near = black)", depth_ratio=bad),
            "^depth_ratio is",
        ),
        (lambda: host.run(host.nodes.FocusMask, defocus=ramp(), smooth=-1), "^smooth is -1"),
        (lambda: host.run(host.nodes.SteadyDisparity, image=noise(), disparity=ramp(), strength=bad), "^strength"),
        (lambda: host.run(host.nodes.MatteFromDisparity, image=noise(), disparity=ramp(), step=bad), "^step is"),
        (lambda: host.run(host.nodes.MatteFromDisparity, image=noise(), disparity=ramp(), reach=-2), "^reach is -2"),
        (lambda: host.run(host.nodes.DisparityFrom, depth=ramp(), image=noise(), refine=-1), r"^reach \(refine\) is -1"),
    ):
        with pytest.raises(ValueError, match=message):
            run()
