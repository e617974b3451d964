"""The focus that follows a subject: where it is measured, how it is pulled, and what becomes of a point."""

from functools import cache

import numpy as np
import pytest
import torch

from magicbokeh_ops import tracking
from magicbokeh_ops.color import linear_to_srgb
from magicbokeh_ops.synthesis.moving import crossing
from magicbokeh_ops.tracking.report import gaps
from magicbokeh_ops.tracking.subject import ellipse, layers_in, path_through

FRAMES = 24


@cache
def clip(seed: int):
    """Photos (N, 3, H, W) and disparity (N, 1, H, W) of a clip, and the clip itself."""
    made = crossing(128, FRAMES, seed, margin=2)
    light, disparity = zip(*(made.photo(i) for i in range(FRAMES)))
    return linear_to_srgb(torch.stack(light)).clamp(0, 1), torch.stack(disparity), made


def maker(planes):
    return lambda i: planes[i : i + 1]


def known(path):
    return [value for value in path if value is not None]


# Layers of a region


def test_layers_of_a_region_are_its_peaks():
    """Near to far, with their shares, whatever lies between."""
    generator = np.random.default_rng(0)
    values = np.concatenate(
        [0.7 + 0.01 * generator.standard_normal(600), 0.3 + 0.01 * generator.standard_normal(300), np.linspace(0, 1, 40)]
    )
    (near, share), (far, other), *_ = layers_in(values, np.ones_like(values))
    assert (near, far) == (pytest.approx(0.7, abs=0.003), pytest.approx(0.3, abs=0.003))
    assert share == pytest.approx(0.65, abs=0.03) and other == pytest.approx(0.33, abs=0.03)


def test_a_region_with_nothing_known_has_no_layers():
    assert layers_in(np.array([np.nan, 0.5]), np.array([1.0, 0.0])) == []


def test_a_path_stays_with_its_subject():
    """Larger layers before it come and go, a wide hole in it is behind it, and it may be hidden altogether."""
    subject = [0.4 + 0.005 * i for i in range(30)]
    frames = [[(value, 0.4), (0.1, 0.6)] for value in subject]
    for i in range(10, 18):
        frames[i] = [(0.8, 0.6), *frames[i]]
    for i in range(13, 15):
        frames[i] = [(0.8, 1.0)]
    path = path_through(frames, 0.3)
    assert path[13:15] == [None, None]
    assert known(path) == [value for i, value in enumerate(subject) if i not in (13, 14)]


def test_a_box_counts_in_its_middle():
    weights = ellipse((40, 80), (0.25, 0.5, 0.5, 1.0))
    assert weights[30, 30] == weights.max() and weights[:20].max() == 0 and weights[:, 41:].max() == 0


def test_a_mask_with_holes_is_measured_where_it_is_near():
    """More of it lies behind the subject than on it; in some frames it is empty."""
    _, disparity, made = clip(1)
    masks = torch.stack([made.masks(i)[:1] for i in range(FRAMES)])
    masks[:, :, ::2] = 0
    masks[:, :, :30, :40] = 1
    masks[5:7] = 0
    measured = tracking.by_masks(maker(disparity), maker(masks), FRAMES, [])
    assert measured[5:7] == [None, None]
    off = [abs(value - true) for value, true in zip(measured, made.path(0)) if value is not None]
    assert len(off) == FRAMES - 2 and max(off) < 0.01


# Pulling


def test_a_pull_has_no_lag():
    """It is the same backwards, and a straight move stays what it is up to its ends."""
    values = (0.2 + 0.6 * (np.arange(40) > 19) + 0.02 * np.sin(np.arange(40))).tolist()
    forth, back = (tracking.pull(path, [], 3, 0.03) for path in (values, values[::-1]))
    assert forth == pytest.approx(back[::-1])
    straight = np.linspace(0.2, 0.6, 40).tolist()
    assert tracking.pull(straight, [], 5, 0.04) == pytest.approx(straight)


def test_a_pull_is_no_faster_than_asked():
    values = [0.1] * 20 + [0.9] * 20
    path = np.array(tracking.pull(values, [], 0, 0.05))
    assert np.abs(np.diff(path)).max() == pytest.approx(0.05)
    assert path[19] + path[20] == pytest.approx(1.0)  # early by as much as late
    assert tracking.pull(values, [], 0, 0) == values


def test_a_cut_resets_the_pull():
    values = [0.1] * 20 + [0.9] * 20
    assert tracking.pull(values, [20], 4, 0.01) == pytest.approx(values)


def test_a_pull_holds_what_is_not_found_again():
    measured = [None, 0.2, None, None, 0.5, 0.6, None, None, None, None]
    assert tracking.pull(measured, [8], 0, 0) == pytest.approx([0.2, 0.2, 0.3, 0.4, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6])
    with pytest.raises(ValueError, match="nothing is known"):
        tracking.pull([None, None], [], 0, 0)


# Cuts


def test_cuts_are_found_and_moves_are_not():
    """Nor is a flash."""
    (one, _, _), (other, _, _) = clip(1), clip(2)
    assert tracking.find_cuts(one.split(1)) == []
    assert tracking.find_cuts(torch.cat([one[:9], other[3:10], one[9:]]).split(1)) == [9, 16]
    flash = one.clone()
    flash[7] = 1
    assert tracking.find_cuts(flash.split(1)) == []
    swing = torch.stack([torch.roll(one[0], 12 * i, -1) for i in range(8)])
    assert tracking.find_cuts(swing.split(1)) == []


# A point


@pytest.mark.parametrize("subject", [0, pytest.param(1, marks=pytest.mark.long)])
def test_a_point_goes_with_its_subject(subject):
    """From the middle of the clip, where the nearer one hides the other; it may be lost there, and what is found is the same thing."""
    photo, disparity, made = clip(2)
    start = 0 if subject else 12
    x, y = made.point(subject, start)
    path = tracking.by_point(maker(photo), maker(disparity), FRAMES, [], start, x, y)
    true = made.path(subject)
    off = [abs(seen.disparity - value) for seen, value in zip(path, true) if seen is not None]
    assert len(off) > FRAMES / 2 and max(off) < 0.02
    ends = [i for i in (0, FRAMES - 1) if path[i] is not None]
    assert ends
    if not subject:
        far = [np.hypot(seen.x - made.point(0, i)[0], seen.y - made.point(0, i)[1]) for i, seen in enumerate(path)]
        assert max(far) < 0.02


@pytest.mark.long
def test_a_point_that_goes_is_lost_and_said_to_be():
    """The subject vanishes in the middle of the clip, and there is nothing like it."""
    photo, disparity, made = clip(2)
    blank, _, empty = clip(1)
    x, y = made.point(0, 0)
    background = torch.full_like(disparity[:1], 0.1)
    photo, disparity = (torch.cat([a[:12], b.expand(12, -1, -1, -1)]) for a, b in ((photo, blank[:1]), (disparity, background)))
    path = tracking.by_point(maker(photo), maker(disparity), FRAMES, [], 0, x, y)
    assert all(path[:12]) and path[12:] == [None] * 12
    assert tracking.describe(path, [], "the point") == ["Frames 12 to 23: the point is lost; the focus holds."]
    pulled = tracking.pull([seen and seen.disparity for seen in path], [], 0, 0)
    assert pulled[12:] == [pulled[11]] * 12


@pytest.mark.long
def test_a_point_is_found_again_in_a_later_shot():
    """Only where it looks as it did."""
    photo, disparity, made = clip(2)
    others, their_disparity, _ = clip(1)
    photo, disparity = (
        torch.cat([own[:6], other[:6], own[6:12]]) for own, other in ((photo, others), (disparity, their_disparity))
    )
    path = tracking.by_point(maker(photo), maker(disparity), 18, [6, 12], 0, *made.point(0, 0))
    assert path[6:12] == [None] * 6
    off = [abs(seen.disparity - true) for seen, true in zip(path[12:], made.path(0)[6:12])]
    assert max(off) < 0.02


def test_a_point_of_no_frame_is_refused():
    with pytest.raises(ValueError, match="^point_frame is 5, but the clip's 3 frames are 0 to 2"):
        tracking.by_point(maker(torch.rand(3, 3, 8, 8)), maker(torch.rand(3, 1, 8, 8)), 3, [], 5, 0.5, 0.5)


# What is said and shown


def test_what_is_said_of_gaps():
    measured = [None, 0.2, None, None, 0.5, None, 0.4, None, None]
    assert gaps(measured, [7]) == [(0, 0, True), (2, 3, True), (5, 5, True), (7, 8, False)]
    assert tracking.describe(measured, [7], "it") == [
        "Frame 0: it is not seen yet; the focus waits where it will be.",
        "Frames 2 to 3: it is lost, and found again; the focus goes straight from one to the other.",
        "Frame 5: it is lost, and found again; the focus goes straight from one to the other.",
        "Frames 7 to 8: it is lost; the focus holds.",
        "Cut at frame 7.",
    ]


@pytest.mark.parametrize("frames", [1, 2, 50])
def test_the_plot_shows_the_focus(frames):
    """The line is in the row of its value; lost frames are marked where they are."""
    measured = [0.5] * frames
    plot = tracking.draw_plot([0.75] * frames, measured, [])
    assert plot.shape == (1, 3, 320, 960) and 0 <= plot.amin() and plot.amax() <= 1
    rows = ((plot[0] - torch.tensor([0x4D, 0xD9, 0x5A]).view(3, 1, 1) / 255).abs().amax(0) < 0.01)[50:].any(1).nonzero() + 50
    assert abs(float(rows.float().mean()) - (40 + 0.25 * 240)) < 2
    measured[-1] = None
    assert not torch.equal(tracking.draw_plot([0.75] * frames, measured, []), plot)
