import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from magicbokeh_ops import lens
from magicbokeh_ops.aperture import Aperture
from magicbokeh_ops.color import linear_to_srgb, srgb_to_linear
from magicbokeh_ops.evaluation.metrics import psnr
from magicbokeh_ops.lens import tiles
from magicbokeh_ops.synthesis.raytrace import Layer, flatten, rays_for, trace
from magicbokeh_ops.synthesis.scenes import three_layers


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def steps(height=96, width=128):
    """Disparity of three flat surfaces."""
    disparity = torch.full((1, 1, height, width), 0.1)
    disparity[..., height // 4 :, width // 4 : width // 2] = 0.5
    disparity[..., height // 2 :, width // 3 : width // 3 * 2] = 0.9
    return disparity


@pytest.mark.parametrize("k", [0, 8, 64])
def test_all_in_focus_returns_the_photo(k):
    image = noise(1, 3, 70, 50)
    assert (lens.render(image, torch.full((1, 1, 70, 50), 0.3), 0.3, k) - image).abs().max() < 1 / 255


def test_k_0_returns_the_photo_at_any_depth():
    image = noise(1, 3, 96, 128)
    assert (lens.render(image, steps(), 0.5, 0) - image).abs().max() < 1 / 255


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.floats(0, 60), st.integers(0, 5))
def test_any_size_gives_a_picture(height, width, focus, k, seed):
    small = [math.ceil(9 * length / max(height, width)) for length in (height, width)]
    out = lens.render(noise(1, 3, height, width, seed=seed), noise(1, 1, *small, seed=seed), focus, k)
    assert out.shape == (1, 3, height, width)
    assert torch.isfinite(out).all() and out.min() >= 0 and out.max() <= 1


@pytest.mark.long
@settings(max_examples=10)
@given(st.floats(0, 1), st.floats(0, 30), st.floats(0.1, 0.9))
def test_a_plain_photo_stays_plain(focus, k, level):
    out = lens.render(torch.full((1, 3, 64, 80), level), noise(1, 1, 16, 20), focus, k)
    assert (out - level).abs().max() < 1 / 255


@pytest.mark.parametrize("focus", [0.1, 0.5, 0.9])
def test_light_is_kept(focus):
    """A bright thing in the middle of a dark picture: blurred or not, it sends as much light."""
    image = torch.full((1, 3, 160, 160), 0.05)
    image[..., 60:100, 60:100] = noise(1, 3, 40, 40)
    disparity = torch.full((1, 1, 160, 160), 0.1)
    disparity[..., 60:100, 60:100] = 0.9
    out = lens.render(image, disparity, focus, 16)
    assert srgb_to_linear(out).mean() == pytest.approx(srgb_to_linear(image).mean().item(), rel=0.005)


def test_a_batch_equals_its_single_runs():
    image, disparity = noise(3, 3, 64, 80), noise(3, 1, 8, 10)
    focus, k = [0.2, 0.5, 0.9], [4.0, 8.0, 16.0]
    together = lens.render(image, disparity, focus, k)
    for i in range(3):
        assert torch.equal(together[i : i + 1], lens.render(image[i : i + 1], disparity[i : i + 1], focus[i], k[i]))


@pytest.mark.slow
@pytest.mark.parametrize("cat_eye", [0.0, pytest.param(0.7, marks=pytest.mark.long)])
def test_tiles_leave_no_seam(monkeypatch, cat_eye):
    image, disparity = noise(1, 3, 200, 260), steps(200, 260)
    whole = lens.render(image, disparity, 0.5, 12, aperture=Aperture(cat_eye=cat_eye))
    monkeypatch.setattr(tiles, "TILE", 128)
    tiled = lens.render(image, disparity, 0.5, 12, aperture=Aperture(cat_eye=cat_eye))
    assert (tiled - whole).abs().max() < 1e-4


@pytest.mark.long
def test_cat_eye_has_no_seam_in_a_gradient():
    image = torch.linspace(0.2, 0.8, 300).expand(1, 3, 200, 300)
    out = lens.render(image, torch.full((1, 1, 200, 300), 0.9), 0.1, 20, aperture=Aperture(cat_eye=1.0))
    assert (out[..., 30:-30] - image[..., 30:-30]).abs().max() < 1 / 255


def point_light(disparity, k, aperture=Aperture(), focus=0.5, at=(60, 60), size=121):
    """Linear picture of one bright pixel, in units of its light."""
    image = torch.zeros(1, 3, size, size)
    image[..., at[0], at[1]] = 0.9
    out = lens.render(image, torch.full((1, 1, size, size), disparity), focus, k, aperture=aperture)
    return srgb_to_linear(out)[0, 0] / srgb_to_linear(torch.tensor(0.9))


@pytest.mark.parametrize("radius", [3.3, 7, 12, 30])
def test_a_light_becomes_a_disc_of_the_radius(radius):
    disc = point_light(0.5 + radius / 100, 100)
    y, x = (torch.arange(121) - 60).float()[:, None], (torch.arange(121) - 60).float()[None]
    assert disc.sum() == pytest.approx(1, abs=0.005)
    spread = math.sqrt(float((disc * (x**2 + y**2)).sum() / disc.sum()))
    assert spread == pytest.approx(radius / math.sqrt(2), rel=0.03, abs=0.15)


def test_blades_point_up_behind_and_down_in_front():
    triangle = Aperture(blades=3, rotation=90)  # a corner at the top
    behind, front = point_light(0.2, 60, triangle), point_light(0.8, 60, triangle)
    rows = [(disc.sum(1) > 4e-3).nonzero()[:, 0] - 60 for disc in (behind, front)]
    assert rows[0].min() == pytest.approx(-17, abs=3) and rows[0].max() == pytest.approx(9, abs=3)
    assert rows[1].min() == pytest.approx(-9, abs=3) and rows[1].max() == pytest.approx(17, abs=3)


@pytest.mark.long
def test_squeeze_and_cat_eye_narrow_the_disc():
    def width_and_height(disc):
        bright = disc > disc.max() / 3
        return bright.any(0).sum().item(), bright.any(1).sum().item()

    width, height = width_and_height(point_light(0.9, 40, Aperture(squeeze=2)))
    assert height == pytest.approx(2 * width, rel=0.15)
    middle = width_and_height(point_light(0.9, 40, Aperture(cat_eye=1)))
    side = width_and_height(point_light(0.9, 40, Aperture(cat_eye=1), at=(60, 96)))
    assert side[0] < 0.9 * middle[0] and side[1] == pytest.approx(middle[1], rel=0.15)


def test_near_and_far_scale():
    image = noise(1, 3, 96, 128)
    sharp_front = lens.render(image, steps(), 0.5, 16, near_scale=0)
    assert (sharp_front[..., 80:, 60:70] - image[..., 80:, 60:70]).abs().max() < 1 / 255
    assert (sharp_front[..., :20, 90:] - image[..., :20, 90:]).abs().mean() > 0.05
    sharp_back = lens.render(image, steps(), 0.5, 16, far_scale=0)
    assert (sharp_back[..., :10, 100:] - image[..., :10, 100:]).abs().max() < 1 / 255


def test_highlight_boost_brightens_only_blurred_highlights():
    image = torch.full((1, 3, 64, 64), 0.3)
    image[..., 30:34, 30:34] = 1.0
    behind, sharp = torch.full((1, 1, 64, 64), 0.2), torch.full((1, 1, 64, 64), 0.8)
    plain, boosted = (lens.render(image, behind, 0.8, 16, highlight_boost=stops) for stops in (0, 3))
    assert boosted[..., 32, 32].mean() > plain[..., 32, 32].mean() + 0.1
    assert torch.allclose(boosted[..., :8, :8], plain[..., :8, :8], atol=1e-3)
    assert torch.allclose(lens.render(image, sharp, 0.8, 16, highlight_boost=3), image, atol=1e-3)


def test_no_colour_bleeds_from_the_sharp_subject():
    """A red subject in focus leaves no red in the blurred green around it, and keeps its edge."""
    image = torch.zeros(1, 3, 96, 96)
    image[:, 1] = 0.6
    image[:, :, 32:64, 32:64] = torch.tensor([0.9, 0.1, 0.1]).view(1, 3, 1, 1)
    disparity = torch.full((1, 1, 96, 96), 0.1)
    disparity[..., 32:64, 32:64] = 0.8
    change = (lens.render(image, disparity, 0.8, 24) - image).abs().amax(1)
    assert change.max() < 0.06 and (change > 0.01).sum() <= 4  # at most the corners


def test_steps_of_8_bit_disparity_leave_no_contours():
    """A dark slope in focus before a bright sky: whatever shines through between two steps is seen at once."""
    image = 0.1 + 0.1 * noise(1, 3, 96, 160)
    image[..., :20, :] = 0.95
    slope = torch.linspace(0.75, 0.9, 160).expand(1, 1, 96, 160).clone()
    slope[..., :20, :] = 0.1
    exact, stepped = (lens.render(image, d, 0.82, 40) for d in (slope, (slope * 255).round() / 255))
    change = (exact - stepped)[..., 22:, :]
    assert change.abs().max() < 0.06 and change.square().mean().sqrt() < 0.01


def test_blurred_foreground_is_soft_over_a_sharp_background():
    image = torch.zeros(1, 3, 96, 96)
    image[:, 1] = 0.6
    image[:, :, :, 48:] = torch.tensor([0.9, 0.1, 0.1]).view(1, 3, 1, 1)
    disparity = torch.full((1, 1, 96, 96), 0.1)
    disparity[..., 48:] = 0.9
    red = srgb_to_linear(lens.render(image, disparity, 0.1, 20))[0, 0, 48]
    assert (red[1:] - red[:-1]).min() > -1e-3
    assert red[36] > 0.01 and red[52] < 0.7 and red[20] < 1e-3


@pytest.mark.long
@pytest.mark.parametrize("aperture", [Aperture(), Aperture(blades=5, rotation=20)])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_against_the_ray_tracer(index, aperture):
    """One small scene; benchmarks/lens_quality.py measures the rest."""
    layers = three_layers(128, 20, seed=3)
    focus = float(layers[index].disparity()[0, 84, 84])
    truth = trace(layers, focus, 12, rays_for(12), aperture)
    light, disparity = flatten(layers)
    out = lens.render(linear_to_srgb(light)[None], disparity[None], focus, 12, aperture=aperture)[0]
    inner = (slice(None), slice(20, -20), slice(20, -20))
    assert psnr(out.clamp(max=1)[inner], linear_to_srgb(truth).clamp(max=1)[inner]) > 33


def test_a_single_plane_equals_the_ray_tracer():
    color = srgb_to_linear(noise(3, 96, 96))
    layers = [Layer(color, torch.ones(1, 96, 96), (0.3, 0.0, 0.0))]
    truth = linear_to_srgb(trace(layers, 0.8, 12, rays_for(12)))
    out = lens.render(linear_to_srgb(color)[None], torch.full((1, 1, 96, 96), 0.3), 0.8, 12)[0]
    assert psnr(out[:, 10:-10, 10:-10], truth[:, 10:-10, 10:-10]) > 55


def test_progress_counts_up_and_may_stop():
    seen = []
    lens.render(noise(2, 3, 64, 64), steps(64, 64), 0.5, 8, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen) and seen[0][0] == 0 and seen[-1][0] == seen[-1][1]

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lens.render(noise(1, 3, 64, 64), steps(64, 64), 0.5, 8, progress=stop)


@pytest.mark.parametrize("block", [pytest.param(lens.BLOCK, marks=pytest.mark.long), 1])
def test_progress_moves_before_the_first_tile_is_done(block):
    """Edges and what lies behind them take a third of the time of a large photo."""
    seen, before = [], []
    blocks = (
        noise(1, 1, 24, 32).repeat_interleave(32, 2).repeat_interleave(32, 3)
    )  # of 12 megapixels or more there are more bands
    lens.render(
        noise(1, 3, 768, 1024),
        blocks,
        0.5,
        8,
        progress=lambda done, total: seen.append(done / total),
        show=lambda _: before.append(len(seen)),
        block=block,
    )
    prepared = seen[: before[0]]
    assert len(set(prepared)) >= 4
    assert seen == sorted(seen) and seen[-1] == 1


@pytest.mark.parametrize(
    ("image", "disparity", "message"),
    [
        (torch.rand(1, 4, 8, 8), torch.rand(1, 1, 8, 8), "image is torch.float32 of shape"),
        ((torch.rand(1, 3, 8, 8) * 255).byte(), torch.rand(1, 1, 8, 8), "image is torch.uint8"),
        (torch.full((1, 3, 8, 8), float("nan")), torch.rand(1, 1, 8, 8), "image holds NaN"),
        (torch.rand(1, 3, 8, 8), torch.full((1, 1, 8, 8), float("inf")), "disparity holds NaN"),
        (torch.rand(1, 3, 8, 8), torch.rand(1, 8, 8), "disparity has shape"),
        (torch.rand(3, 3, 8, 8), torch.rand(2, 1, 8, 8), "2 frames for 3 pictures"),
    ],
)
def test_bad_input_is_refused(image, disparity, message):
    with pytest.raises(ValueError, match=message):
        lens.render(image, disparity, 0.5, 4)


@pytest.mark.parametrize("options", [{"blades": 2}, {"blades": -1}, {"roundness": 1.5}, {"squeeze": 0.0}, {"cat_eye": -0.1}])
def test_bad_aperture_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Aperture(**options)


@given(st.sampled_from([0, 3, 5, 8]), st.floats(0, 1), st.floats(1, 2), st.floats(0, 1))
def test_aperture_stays_in_the_unit_circle(blades, roundness, squeeze, cat_eye):
    points = Aperture(blades, 10, roundness, squeeze, cat_eye).samples(500, (0.6, 0.8))
    assert len(points) > 50
    assert points.norm(dim=1).max() <= 1 + 1e-6
    if not blades:
        assert points.mean(0).abs().max() < 0.05


@pytest.mark.parametrize("option", ["highlight_boost", "near_scale", "far_scale"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_bad_option_is_refused(option, value):
    with pytest.raises(ValueError, match=option):
        lens.render(noise(1, 3, 8, 8), noise(1, 1, 8, 8), 0.5, 4, **{option: value})


def test_the_strongest_boost_is_a_picture():
    out = lens.render(torch.ones(1, 3, 64, 64) * steps(64, 64), steps(64, 64), 0.1, 16, highlight_boost=16)
    assert torch.isfinite(out).all() and out.max() > 1
    with pytest.raises(ValueError, match="highlight_boost is 1000; it goes from 0 to 16 stops"):
        lens.render(noise(1, 3, 8, 8), noise(1, 1, 8, 8), 0.5, 4, highlight_boost=1000)


def test_a_huge_radius_is_a_haze_and_cheap():
    image = noise(1, 3, 64, 96)
    out = lens.render(image, steps(64, 96), 0.9, 512, near_scale=4, far_scale=4)
    assert torch.isfinite(out).all()
    assert torch.allclose(out, lens.render(image, steps(64, 96), 0.9, 400, far_scale=4), atol=1e-5)
    assert lens.memory_needed((512, 512), 2048) == lens.memory_needed((512, 512), 256) < 2**31


def test_lights_are_not_smeared_under_the_foreground():
    """A light of eight times white beside a blurred foreground: the surface continued under it stays within white."""
    image = torch.full((1, 3, 96, 96), 0.2)
    image[..., 44:52, 40:46] = linear_to_srgb(torch.tensor(8.0))
    disparity = torch.full((1, 1, 96, 96), 0.1)
    disparity[..., 48:] = 0.9
    plain = lens.render(image.clamp(max=1), disparity, 0.1, 20)
    assert torch.allclose(lens.render(image, disparity, 0.1, 20)[..., 50:], plain[..., 50:], atol=0.01)
