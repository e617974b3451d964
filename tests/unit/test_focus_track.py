"""The node that makes a focus for every frame: its ways to follow, what it takes as boxes, and what it says."""

import json
from functools import cache

import numpy as np
import pytest
import torch

from magicbokeh_ops.color import linear_to_srgb
from magicbokeh_ops.synthesis.moving import crossing
from tests.support import stand_in_host as host

FRAMES, SIZE = 16, 128
read_boxes = host.nodes.focus_track.read_boxes


@cache
def clip():
    """IMAGE, MASK of disparity, and the clip itself."""
    made = crossing(SIZE, FRAMES, seed=2, margin=2)
    light, disparity = zip(*(made.photo(i) for i in range(FRAMES)))
    return linear_to_srgb(torch.stack(light)).clamp(0, 1).movedim(1, -1), torch.cat(disparity), made


def track(**given):
    image, disparity, _ = clip()
    return host.run(host.nodes.FocusTrack, **{"image": image, "disparity": disparity, **given})


@pytest.mark.parametrize("subject", [0, 1])
@pytest.mark.parametrize("follow", ["point", "mask", "box"])
def test_the_focus_follows_a_subject(follow, subject):
    _, _, made = clip()
    x, y = made.point(subject, 0)
    masks = torch.stack([made.masks(i)[subject] for i in range(FRAMES)])
    boxes = [[side * SIZE for side in made.box(subject, i)] for i in range(FRAMES)]
    focus, k, plot, report = track(follow=follow, point_x=x, point_y=y, subject_mask=masks, boxes=boxes, k=12.0)
    assert focus == pytest.approx(made.path(subject), abs=0.02)
    assert k == [12] * FRAMES
    assert plot.shape == (1, 320, 960, 3) and "frames" in report.lower()


@pytest.mark.long
def test_its_outputs_go_to_the_lens():
    image, disparity, made = clip()
    focus, k, *_ = track(follow="keys", keys="0: 0.8 k 2, 15: 0.2 k 8")
    found, *_ = host.run(host.nodes.LensBlur, image=image, disparity=disparity, focus=focus, k=k)
    last, *_ = host.run(host.nodes.LensBlur, image=image[-1:], disparity=disparity[-1:], focus=0.2, k=8.0)
    assert torch.allclose(found[-1:], last, atol=1e-5)


def test_keys_are_kept_as_they_are():
    """Nothing smooths them, nor limits their speed; a point has the disparity of its frame."""
    _, _, made = clip()
    x, y = made.point(0, 8)
    focus, k, *_ = track(follow="keys", keys=f"0: 0.9, 4: 0.1 hold, 8: ({x:.4f}, {y:.4f}) k 3 hold", k=7.0)
    assert focus[:8] == [0.9] * 4 + [0.1] * 4
    assert focus[8:] == pytest.approx([made.path(0)[8]] * 8, abs=0.01)
    assert k == [3] * FRAMES


@pytest.mark.long
def test_k_of_keys_counts_beside_a_subject():
    x, y = clip()[2].point(0, 0)
    given = {"follow": "point", "point_x": x, "point_y": y}
    focus, k, *_ = track(**given, keys="0: 0.5 k 4, 15: k 64")
    assert focus == track(**given)[0]
    assert (k[0], k[-1]) == (4, 64)


def test_k_of_each_frame_is_passed_on():
    assert track(follow="keys", keys="0: 0.5", k=np.arange(FRAMES))[1] == list(range(FRAMES))


def test_a_cut_resets_the_focus():
    """And is looked for only where wanted."""
    image, disparity, made = clip()
    masks = torch.stack([made.masks(i)[0] for i in range(FRAMES)])
    image, disparity = torch.cat([image, 1 - image]), torch.cat([disparity, 0.3 * disparity])
    given = {"image": image, "disparity": disparity, "subject_mask": torch.cat([masks, masks]), "follow": "mask"}
    focus, _, _, report = track(**given)
    assert report == f"Cut at frame {FRAMES}."
    assert focus[FRAMES - 1] == pytest.approx(made.path(0)[-1], abs=0.01)
    assert focus[FRAMES] == pytest.approx(0.3 * made.path(0)[0], abs=0.01)
    over = track(**given, find_cuts=False)[0]
    assert abs(over[FRAMES] - over[FRAMES - 1]) <= 0.04001


def test_a_lost_subject_is_told_of():
    _, _, made = clip()
    masks = torch.stack([made.masks(i)[0] for i in range(FRAMES)])
    masks[10:] = 0
    done = host.execute(host.nodes.FocusTrack, image=clip()[0], disparity=clip()[1], follow="mask", subject_mask=masks)
    focus, _, plot, report = done.args
    assert report == "Frames 10 to 15: the subject is lost; the focus holds."
    assert done.ui["magicbokeh_info"] == [report]
    assert np.abs(np.diff(focus[12:])).max() < 0.01


def test_one_map_serves_all_frames():
    """As of a camera that stands still before a stage; a single picture is a clip of one frame."""
    image, disparity, _ = clip()
    focus, *_ = track(disparity=disparity[:1], follow="keys", keys="0: 0.5, 15: 0.5")
    assert focus == [0.5] * FRAMES
    assert len(track(image=image[:1], disparity=disparity[:1], follow="point")[0]) == 1


@pytest.mark.parametrize(
    ("boxes", "frames", "expected"),
    [
        ({"x": 10, "y": 20, "width": 30, "height": 40, "score": 0.5}, 2, [(0.1, 0.4, 0.4, 1.2)] * 2),
        ([10, 20, 40, 60], 2, [(0.1, 0.4, 0.4, 1.2)] * 2),
        ([[10, 20, 40, 60], [40, 60, 10, 20]], 2, [(0.1, 0.4, 0.4, 1.2)] * 2),
        ([[], None, [{"x": 0, "y": 0, "width": 50, "height": 50}, [1, 2, 3, 4]]], 3, [None, None, (0, 0, 0.5, 1)]),
        ([[[(0, 0, 50, 50)]]], 1, [(0, 0, 0.5, 1)]),
        (np.array([[0, 0, 50, 50], [50, 0, 100, 50]]), 2, [(0, 0, 0.5, 1), (0.5, 0, 1, 1)]),
        (torch.tensor([0, 0, 50, 50]), 2, [(0, 0, 0.5, 1)] * 2),
        ("[[0, 0, 50, 50], null]", 2, [(0, 0, 0.5, 1), None]),
        (json.dumps({"x": 0, "y": 0, "width": 50, "height": 50}), 1, [(0, 0, 0.5, 1)]),
    ],
)
def test_boxes_as_they_come(boxes, frames, expected):
    found = read_boxes(boxes, frames, (50, 100))
    assert [box and pytest.approx(box) for box in expected] == found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"follow": "point", "image": None}, "^image is not connected; a point is followed"),
        ({"follow": "box", "image": None}, "^image is not connected; boxes are in pixels"),
        ({"follow": "mask"}, "^subject_mask is not connected"),
        ({"follow": "box"}, "^boxes is not connected"),
        ({"follow": "box", "boxes": [[]]}, "^boxes shows nothing in any frame"),
        ({"follow": "box", "boxes": "left half"}, "^boxes is text that is no JSON"),
        ({"follow": "box", "boxes": [[1, 2, 3, 4]] * 3}, "^boxes has 3 entries for 16 frames"),
        ({"follow": "box", "boxes": [{"left": 3}]}, "^boxes has {'left': 3}; a box is"),
        ({"follow": "mask", "subject_mask": torch.zeros(1, SIZE, SIZE)}, "^subject_mask shows nothing in any frame"),
        ({"follow": "mask", "subject_mask": torch.ones(3, SIZE, SIZE)}, "^subject_mask has 3 frames"),
        (
            {"follow": "mask", "subject_mask": torch.ones(1, SIZE, 2 * SIZE).tril()},
            "^disparity is 128 x 128 pixels and subject_mask",
        ),
        ({"follow": "point", "point_frame": 16}, "^point_frame is 16, but the clip's 16 frames are 0 to 15"),
        ({"follow": "keys"}, "^keys is empty"),
        ({"follow": "keys", "keys": "0: k 3"}, "^keys say nothing of the focus"),
        ({"follow": "keys", "keys": "99: 0.5"}, "^keys has a key at frame 99"),
        ({"follow": "keys", "keys": "0: 0.5", "k": [1.0, 2.0]}, "^k has 2 values for 16 frames"),
        ({"follow": "the dog"}, "^follow is 'the dog'; choose one of: point, mask, box, keys"),
        ({"disparity": clip()[1] * 300}, "^disparity goes from"),
    ],
)
def test_what_can_not_be_followed_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        track(**given)


def test_the_run_can_be_stopped():
    host.model_management.interrupted = True
    with pytest.raises(host.InterruptProcessingException):
        track(follow="point")
