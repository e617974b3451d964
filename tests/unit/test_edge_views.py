"""The drawn truth of `benchmarks.edges`: matte, plate and photo belong together, and mixed pixels are found."""

from dataclasses import replace

import pytest
import torch

from benchmarks.edge_views import MIXED, WRONG, View, cached, drawn
from magicbokeh_ops.color import linear_to_srgb, srgb_to_linear
from magicbokeh_ops.lens import render
from magicbokeh_ops.synthesis.scenes import three_layers


@pytest.fixture(scope="module")
def scene():
    return drawn(3, 64, (4,), finer=1)


@pytest.mark.long
def test_matte_puts_subject_and_plate_together_to_the_photo(scene):
    front = scene[0]
    subject = three_layers(64, 12, 3)[0].color.clamp(max=1)
    light = front.matte * subject + (1 - front.matte) * srgb_to_linear(front.plate)
    assert (linear_to_srgb(light) - front.photo).abs().max() < 1e-5
    assert 0.03 < front.matte.mean() < 0.5


@pytest.mark.long
def test_things_in_front_of_a_subject_are_in_its_plate_and_not_in_its_matte(scene):
    front, middle = scene
    assert torch.equal(front.other, middle.matte) and torch.equal(middle.other, front.matte)
    covered = (front.matte > 0.999).expand_as(front.photo)
    assert covered.any() and (middle.plate - front.photo)[covered].abs().max() < 0.02
    assert float((front.matte + middle.matte).max()) <= 1 + 1e-6


def test_disparity_steps_where_half_a_pixel_is_covered(scene):
    front = scene[0]
    subject = three_layers(64, 12, 3)[0].disparity()[None]
    covered = front.matte > 0.5
    assert torch.equal(front.disparity[covered], subject[covered])
    assert torch.equal(front.disparity[~covered], front.plate_disparity[~covered])
    assert (subject > front.plate_disparity)[covered].all()


@pytest.mark.long
def test_without_an_aperture_the_truth_is_the_photo():
    for view in drawn(4, 32, (0,), soft=5):
        assert (view.truth - view.photo).abs().max() < 1e-4
        assert view.truth.shape == (3, 3, 48, 48) and view.inner(view.truth).shape == (3, 3, 32, 32)


def test_pixels_that_light_of_mixed_ones_reaches(scene):
    flat = torch.zeros(1, 1, 76, 76)
    matte = flat.clone()
    matte[..., 30, 40], matte[..., 30, 10], matte[..., 60, 60] = 0.5, MIXED / 2, 1.0
    view = replace(scene[0], matte=matte, disparity=flat + 0.2, plate_disparity=flat + 0.1, focus=torch.tensor([0.7]))
    for k, reach in ((4, 8), (20, 12)):  # blur radii of 2.4 and 12 px
        near = replace(view, k=torch.tensor([k])).near_mixed(matte, 0)
        rows, cols = near[0, 0].nonzero().unbind(1)
        assert (int(rows.min()), int(rows.max())) == (30 - reach, 30 + reach)
        assert (int(cols.min()), int(cols.max())) == (40 - reach, 40 + reach)


def test_wrong_mattes_are_wrong(scene):
    view = scene[0]
    moved, wide, other = (make(view) for make in WRONG.values())
    assert (moved[..., 2:] - view.matte[..., :-2]).abs().max() < 1e-4
    assert (wide >= view.matte).all() and wide.mean() > view.matte.mean() + 0.01
    assert torch.equal(other, scene[1].matte)


def test_the_lens_is_close_to_the_truth_away_from_mixed_pixels(scene):
    view = scene[0]
    # Over the background, which is slanted: of the cut-outs nothing is far enough from their edges.
    picture = render(view.photo, view.disparity, float(view.focus[2]), 4)
    away = ~view.near_mixed(view.matte, 2) & ~view.near_mixed(view.other, 2)
    error = view.inner((picture - view.truth[2:]).abs().amax(1, keepdim=True))[view.inner(away)]
    assert len(error) > 300 and error.mean() < 0.02


def test_scenes_are_kept(scene, tmp_path):
    made = []

    def make() -> list[View]:
        made.append(1)
        return scene

    for _ in range(2):
        again = cached(tmp_path, "some", make)
        assert len(again) == 2 and all(
            torch.equal(plane, getattr(scene[i], key)) for i in range(2) for key, plane in vars(again[i]).items()
        )
    assert len(made) == 1
