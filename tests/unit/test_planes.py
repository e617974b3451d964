"""What pictures and maps may be, and how a map meets a photo."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from magicbokeh_ops import defocus, lens, overlay, planes, sampler
from magicbokeh_ops.depth import refine


def noise(*size, seed=0):
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed))


def ramp(height, width):
    """From 0 to 1 along the longer side."""
    longer = torch.linspace(0, 1, max(height, width))
    return (longer if width >= height else longer[:, None]).expand(1, 1, height, width)


class NoModel:
    """In place of the VAE: says that it was asked."""

    cell = 8

    def encode(self, *_args):
        raise RuntimeError("begun")


PHOTO = noise(1, 3, 80, 120)
MEETINGS = {
    "lens": lambda values: lens.render(PHOTO, values, 0.5, 0.0),
    "overlay": lambda values: overlay.focus_overlay(PHOTO, values, 0.5, 8),
    "refine": lambda values: refine.refine_edges(PHOTO, values, 1),
    "defocus": lambda values: sampler.render(NoModel(), None, PHOTO, values, upscale=2),
    "focus_mask": lambda values: sampler.render(NoModel(), None, PHOTO, torch.zeros(1, 1, 80, 120), values),
    "focus mask": lambda values: defocus.focus_from_mask(ramp(80, 120), values),
    "sky": lambda values: defocus.from_distance(1 + ramp(80, 120), values),
}


@pytest.mark.parametrize("meet", MEETINGS.values(), ids=MEETINGS)
def test_a_map_of_another_shape_is_refused_wherever_it_meets_a_photo(meet):
    for height, width in ((80, 90), (120, 80), (800, 1300)):
        with pytest.raises(ValueError, match=rf"is {width} x {height} pixels and \D+ 120 x 80, a different aspect ratio"):
            meet(ramp(height, width))
    for height, width in ((20, 30), (27, 40), (800, 1200), (120, 182)):
        try:
            meet(ramp(height, width))
        except RuntimeError as reached:
            assert "begun" in str(reached)


@given(st.integers(1, 600), st.integers(1, 600), st.floats(0.01, 1), st.sampled_from([math.floor, math.ceil, round]))
def test_rounding_to_pixels_makes_no_other_shape(height, width, scale, rounded):
    small = [max(1, rounded(length * scale)) for length in (height, width)]
    planes.check_same_shape(ramp(*small), (height, width), "map")
    planes.check_same_shape(ramp(height, width), small, "map")


@given(st.integers(100, 600), st.integers(100, 600), st.floats(0.3, 1), st.floats(1.1, 3))
def test_stretching_by_a_tenth_makes_another_shape(height, width, scale, factor):
    stretched = [round(height * scale), round(width * scale * factor)]
    assume(min(stretched) >= 60)
    with pytest.raises(ValueError, match="a different aspect ratio"):
        planes.check_same_shape(ramp(*stretched), (height, width), "map")


def test_a_map_of_one_value_fits_everything():
    """As the empty mask that Load Image gives, 64 x 64, for a photo without alpha."""
    assert planes.fit(torch.zeros(1, 1, 64, 64), (80, 120), "mask").shape == (1, 1, 80, 120)
    with pytest.raises(ValueError, match="focus_mask is empty"):
        defocus.focus_from_mask(ramp(80, 120), torch.zeros(1, 1, 64, 64))


PICTURES = {
    "bytes": (noise(1, 3, 40, 60) * 255).round(),
    "dark bytes": (noise(1, 3, 40, 60) ** 2 * 10).round(),
    "half black bytes": (noise(1, 3, 40, 60) * 255).round() * (ramp(40, 60) > 0.5),
    "few black and white bytes": 255 * (noise(1, 1, 40, 60) > 0.8).float().expand(-1, 3, -1, -1),
    "16 bits": (noise(1, 3, 40, 60) * 65535).round(),
    "-1..1": 2 * noise(1, 3, 40, 60) - 1,
    "a clip of bytes": (noise(3, 3, 40, 60) * 255).round(),
}
LIGHT = {
    "photo": noise(1, 3, 40, 60),
    "black": torch.zeros(1, 3, 40, 60),
    "a lamp in a photo": torch.where(noise(1, 1, 40, 60, seed=1) > 0.98, 300, noise(1, 3, 40, 60)),
    "lamps at night": 80 * (noise(1, 1, 40, 60) > 0.95).float().expand(-1, 3, -1, -1),
    "a bright sky": torch.where(ramp(40, 60) > 0.6, 6, noise(1, 3, 40, 60)),
    "overexposed": 3 * noise(1, 3, 40, 60),
    "a sharp resampling": torch.where(noise(1, 1, 40, 60, seed=1) > 0.98, -4, 1.2 * noise(1, 3, 40, 60) - 0.09),
}


@pytest.mark.parametrize("image", PICTURES.values(), ids=PICTURES)
def test_pictures_with_other_white_or_black_are_refused(image):
    with pytest.raises(ValueError, match=r"image goes from .* (divide it|bring -1..1 to 0..1)"):
        planes.check_levels(image)


@pytest.mark.parametrize("image", LIGHT.values(), ids=LIGHT)
def test_light_above_white_is_no_fault(image):
    planes.check_levels(image)


def test_masks_and_defocus_have_their_ranges():
    planes.check_range(1.08 * ramp(8, 8) - 0.04, "focus_mask")
    planes.check_range(16 * ramp(8, 8), "defocus", 16)
    for values, name, highest in (
        (255 * ramp(8, 8), "focus_mask", 1),
        (2 * ramp(8, 8) - 1, "focus_mask", 1),
        (255 * ramp(8, 8), "defocus", 16),
    ):
        with pytest.raises(ValueError, match=rf"{name} goes from .* must lie in 0..{highest}"):
            planes.check_range(values, name, highest)


@pytest.mark.parametrize("shape", [(0, 4, 4), (1, 0, 4), (1, 4, 0)])
def test_empty_pictures_and_maps_are_refused(shape):
    batch, height, width = shape
    with pytest.raises(ValueError, match="image is empty"):
        planes.check_image(torch.zeros(batch, 3, height, width))
    for call in (
        defocus.normalize,
        defocus.check_disparity,
        lambda x: defocus.to_disparity(x, "disparity"),
        defocus.from_distance,
        defocus.focus_mask,
    ):
        with pytest.raises(ValueError, match="is empty|no pixel"):
            call(torch.zeros(batch, 1, height, width))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("convention", ["disparity", "inverted depth"])
def test_unknown_pixels_are_filled_from_around(bad, convention):
    known = noise(2, 1, 61, 83, seed=1) > 0.4
    known[1, :, 10:50, 20:70] = False
    truth = ramp(61, 83).expand(2, -1, -1, -1).clone()
    filled = defocus.to_disparity(truth.masked_fill(~known, bad), "disparity")
    assert torch.equal(filled[known], truth[known])
    assert (filled - truth).abs()[0].max() < 0.1 and (filled - truth).abs()[1].max() < 0.4
    assert filled.diff(dim=-1).abs().max() < 0.15 and filled.diff(dim=-2).abs().max() < 0.15  # no seams
    assert torch.isfinite(defocus.to_disparity(truth.masked_fill(~known, bad), convention)).all()


def test_unknown_pixels_never_leave_the_range_and_need_one_that_is_known():
    for size in ((1, 1), (1, 9), (64, 1), (33, 47)):
        values = torch.full((1, 1, *size), float("nan"))
        with pytest.raises(ValueError, match="without a single finite value"):
            defocus.to_disparity(values, "disparity")
        values[..., -1, -1] = 0.3
        assert torch.allclose(defocus.to_disparity(values, "disparity"), torch.full_like(values, 0.3))
    # Large numbers, as stereo has them, and every other frame whole.
    values = 300 + noise(2, 1, 33, 47)
    holes = values.clone()
    holes[0][noise(1, 33, 47) < 0.7] = float("inf")
    filled = defocus.to_disparity(holes, "disparity")
    assert torch.equal(filled[1], values[1]) and 300 <= filled.min() and filled.max() <= 301.001
