import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from magicbokeh_ops import defocus, windows


def ramp(width=101, height=51, frames=1):
    return torch.linspace(0, 1, width).expand(frames, 1, height, width).clone()


@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-50, 50))
def test_normalize_undoes_any_scale_and_shift(seed, scale, shift):
    values = torch.rand(2, 1, 9, 7, generator=torch.Generator().manual_seed(seed))
    for method in ("minmax", "percentile"):
        expected = defocus.normalize(values, method)
        assert expected.min() == 0 and expected.max() == 1
        assert torch.allclose(defocus.normalize(values * scale + shift, method), expected, atol=2e-3)


def test_normalize_is_one_scale_for_the_batch():
    dim, bright = ramp() * 0.5, ramp()
    out = defocus.normalize(torch.cat([dim, bright]), "minmax")
    assert out[0].max() == pytest.approx(0.5) and out[1].max() == 1


def test_percentile_ignores_a_stray_pixel():
    values = ramp()
    values[..., 3, 3] = 1000
    assert defocus.normalize(values, "minmax")[..., -1].max() < 0.01
    assert defocus.normalize(values, "percentile")[0, 0, 20, 90] == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_constant_disparity_is_refused(method):
    with pytest.raises(ValueError, match="disparity is constant"):
        defocus.normalize(torch.full((1, 1, 4, 4), 0.3), method)


def test_few_distinct_values_survive_percentiles():
    values = torch.zeros(1, 1, 100, 100)
    values[..., 0, 0] = 2
    assert defocus.normalize(values).max() == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.tensor(float("nan")).expand(1, 1, 4, 4), "NaN"),
        (torch.tensor(float("inf")).expand(1, 1, 4, 4), "NaN"),
        (torch.rand(4, 4), "shape"),
        (torch.rand(1, 3, 4, 4), "shape"),
        (ramp() * 2, "goes from 0 to 2"),
    ],
)
def test_bad_disparity_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        defocus.normalize(values, "none")


def test_unknown_normalization_is_refused():
    with pytest.raises(ValueError, match="choose percentile"):
        defocus.normalize(ramp(), "max")


def test_from_distance_sends_everything_odd_to_infinity():
    depth = torch.tensor([1.0, 2.0, float("inf"), 0.0, -1.0, float("nan")]).view(1, 1, 1, 6)
    assert defocus.from_distance(depth).flatten().tolist() == [1, 0.5, 0, 0, 0, 0]
    assert defocus.from_distance(torch.tensor([1e-40, 2.0]).view(1, 1, 1, 2)).flatten().tolist() == [0, 0.5]
    sky = torch.tensor([0.0, 0.9, 0, 0, 0, 0]).view(1, 1, 1, 6)
    assert defocus.from_distance(depth, sky).flatten().tolist() == [1, 0, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="no pixel"):
        defocus.from_distance(torch.zeros(1, 1, 2, 2))


@given(st.floats(1.5, 500))
def test_inverted_depth_is_disparity_of_its_distance(ratio):
    distance = torch.linspace(1, ratio, 50).view(1, 1, 5, 10)
    picture = 1 - (distance - 1) / (ratio - 1)
    expected = defocus.normalize(1 / distance, "minmax")
    assert torch.allclose(defocus.from_inverted_depth(picture, ratio), expected, atol=1e-4)


def test_inverted_depth_needs_a_ratio():
    with pytest.raises(ValueError, match="depth_ratio"):
        defocus.from_inverted_depth(ramp(), 1.0)


def test_focus_from_mask_is_the_lower_median():
    disparity = torch.tensor([0.1, 0.2, 0.6, 0.9, 1.0]).view(1, 1, 1, 5)
    mask = torch.tensor([1.0, 1, 1, 1, 0]).view(1, 1, 1, 5)
    assert defocus.focus_from_mask(disparity, mask) == pytest.approx(0.2)


def test_focus_from_mask_of_another_size():
    mask = torch.zeros(1, 1, 5, 10)
    mask[..., :5] = 1
    assert defocus.focus_from_mask(ramp(), mask) == pytest.approx(0.25, abs=0.03)


def test_empty_mask_is_refused():
    with pytest.raises(ValueError, match="focus_mask is empty"):
        defocus.focus_from_mask(ramp(), torch.zeros(1, 1, 64, 64))


def test_focus_from_point_ignores_noise():
    disparity = ramp(400, 300)
    clean = defocus.focus_from_point(disparity, 0.3, 0.5)
    assert clean == pytest.approx(0.3, abs=0.01)
    noisy = torch.where(torch.rand(disparity.shape, generator=torch.Generator().manual_seed(0)) < 0.2, 1.0, disparity)
    assert defocus.focus_from_point(noisy, 0.3, 0.5) == pytest.approx(clean, abs=0.01)


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0, 1), st.floats(0, 1))
def test_focus_from_point_exists_everywhere(height, width, x, y):
    disparity = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0))
    assert disparity.min() <= defocus.focus_from_point(disparity, x, y) <= disparity.max()


def test_focus_point_outside_is_refused():
    with pytest.raises(ValueError, match="focus point"):
        defocus.focus_from_point(ramp(), 1.2, 0.5)


@given(st.floats(0, 1), st.floats(0, 32))
def test_defocus_map_is_equation_1(focus, k):
    disparity = ramp()
    radius = defocus.signed_radius(disparity, focus, k)
    assert torch.allclose(radius, k * (disparity - focus), atol=1e-4)
    out = defocus.defocus_map(disparity, focus, k)
    assert torch.allclose(out, radius.abs() / 32) and 0 <= out.min() and out.max() <= 1


def test_one_focus_and_k_per_frame():
    radius = defocus.signed_radius(ramp(frames=2), [0.0, 1.0], [10, 20])
    assert radius[0].max() == 10 and radius[1].min() == -20
    with pytest.raises(ValueError, match="3 values for 2 frames"):
        defocus.signed_radius(ramp(frames=2), [0, 1, 1], 10)


@pytest.mark.parametrize(("focus", "k", "message"), [(0.5, -1, "k is -1"), (float("nan"), 1, "focus is NaN")])
def test_bad_focus_is_refused(focus, k, message):
    with pytest.raises(ValueError, match=message):
        defocus.signed_radius(ramp(), focus, k)


def test_focus_mask_threshold_is_inclusive():
    values = torch.tensor([0.0, 0.1, 0.1001, 1.0]).view(1, 1, 1, 4)
    assert defocus.focus_mask(values).flatten().tolist() == [1, 1, 0, 0]


def test_focus_mask_clean_up():
    values = torch.ones(1, 1, 60, 60)
    values[..., 10:50, 10:50] = 0
    values[..., 30, 10:50] = 1  # a crack
    values[..., 2:6, 52:56] = 0  # an island
    values[..., 20:24, 20:24] = 1  # a hole
    solid = torch.zeros(1, 1, 60, 60)
    solid[..., 10:50, 10:50] = 1
    assert not torch.equal(defocus.focus_mask(values), solid)
    assert torch.equal(defocus.focus_mask(values, smooth=1, min_area=0.01), solid)


def test_clean_up_may_leave_nothing_or_all():
    assert defocus.focus_mask(torch.ones(1, 1, 8, 8), min_area=0.1).max() == 0
    assert defocus.focus_mask(torch.zeros(2, 1, 8, 8), smooth=2, min_area=0.1).min() == 1


@settings(max_examples=20)
@given(st.integers(1, 70), st.integers(1, 70))
def test_resize_gives_the_size_and_keeps_the_range(height, width):
    out = defocus.resize(ramp(), (height, width))
    assert out.shape == (1, 1, height, width) and out.min() >= 0 and out.max() <= 1


def test_frames_must_match():
    with pytest.raises(ValueError, match="2 frames for 3 pictures"):
        defocus.match_batch(ramp(frames=2), 3, "disparity")


def test_conventions_agree_about_one_scene():
    """One scene in all four: distances 2..20, as a picture with near white, near black, and as disparity."""
    distance = torch.linspace(2, 20, 60).view(1, 1, 6, 10)
    picture = (distance - 2) / 18
    expected = defocus.normalize(1 / distance, "minmax")
    for convention, values in (
        ("disparity", 1 / distance),
        ("inverted depth", 1 - picture),
        ("depth", picture),
        ("distance", distance),
    ):
        found = defocus.normalize(defocus.to_disparity(values, convention, depth_ratio=10), "minmax")
        assert torch.allclose(found, expected, atol=1e-4), convention


@pytest.mark.parametrize(("convention", "message"), [("depth", "choose the convention distance"), ("metres", "choose one of")])
def test_wrong_convention_is_refused(convention, message):
    with pytest.raises(ValueError, match=message):
        defocus.to_disparity(ramp() * 10, convention)


def test_a_thin_stroke_on_a_large_mask_counts():
    mask = torch.zeros(1, 1, 1024, 1024)
    mask[..., 500:506, 100:140] = 1
    assert defocus.focus_from_mask(ramp(64, 64), mask) == pytest.approx(120 / 1024, abs=0.02)
    with pytest.raises(ValueError, match="no pixel above one half"):
        defocus.focus_from_mask(ramp(), torch.full((1, 1, 8, 8), 0.5))


def test_focus_from_a_box_is_the_median_of_what_is_in_its_middle():
    disparity = torch.full((1, 1, 40, 60), 0.2)
    y, x = torch.meshgrid(torch.arange(40) + 0.5, torch.arange(60) + 0.5, indexing="ij")
    disparity[0, 0][((y - 20) / 10) ** 2 + ((x - 30) / 15) ** 2 <= 1] = 0.7
    assert defocus.focus_from_box(disparity, 0.25, 0.25, 0.75, 0.75) == pytest.approx(0.7)
    # Less than a pixel, and partly outside.
    assert defocus.focus_from_box(disparity, 0.5, 0.5, 0.5, 0.5) == pytest.approx(0.7)
    assert defocus.focus_from_box(disparity, -0.2, -0.2, 0.2, 0.2) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="nothing of it lies in the photo"):
        defocus.focus_from_box(disparity, 1.5, 0.2, 1.7, 0.4)


def test_the_nearest_subject_is_the_largest_near_region():
    disparity = torch.linspace(0.1, 0.3, 600).expand(1, 1, 400, 600).clone()
    disparity[..., 100:350, 100:250] = 0.7
    disparity[..., 20:60, 400:500] = 0.95  # nearer, but small
    assert defocus.focus_on_nearest(disparity) == pytest.approx(0.7, abs=0.01)
    assert defocus.focus_on_nearest(disparity) == defocus.focus_on_nearest(disparity.clone())
    assert defocus.focus_on_nearest(torch.full((1, 1, 8, 8), 0.4)) == pytest.approx(0.4)
    # One focus for all frames: that of the first.
    assert defocus.focus_on_nearest(torch.cat([disparity, 1 - disparity])) == defocus.focus_on_nearest(disparity)


@pytest.mark.parametrize("values", [[[0.3]], [[0.3, 0.3]], [[0.3], [0.7]]])
def test_nearest_of_next_to_nothing(values):
    """One pixel, one value, two pixels."""
    assert defocus.focus_on_nearest(torch.tensor([[values]])) == pytest.approx(values[-1][-1])


@given(st.integers(0, 40), st.integers(1, 30), st.integers(1, 30))
def test_widening_is_max_pooling(radius, height, width):
    values = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(radius)) - 0.5
    pooled = F.max_pool2d(values, (2 * radius + 1, 1), 1, (radius, 0))
    assert torch.equal(windows.widen(values, radius), F.max_pool2d(pooled, (1, 2 * radius + 1), 1, (0, radius)))


@given(st.integers(1, 40), st.integers(0, 20))
def test_sliding_sums_are_sums(count, more):
    values = torch.rand(count + more, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(count))
    found = windows.sliding(values, count, 0, torch.add)
    torch.testing.assert_close(found, values.unfold(0, count, 1).sum(-1))
