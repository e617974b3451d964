"""A matte and a clean plate in the lens, on scenes of known coverage."""

from functools import cache

import pytest
import torch
from pymatting import estimate_foreground_ml
from torch import Tensor

from magicbokeh_ops import lens
from magicbokeh_ops.aperture import Aperture
from magicbokeh_ops.color import linear_to_srgb, srgb_to_linear
from magicbokeh_ops.evaluation.metrics import psnr
from magicbokeh_ops.lens import render, tiles
from magicbokeh_ops.lens.matte import Matte, unmix
from magicbokeh_ops.synthesis.raytrace import Layer, flatten, rays_for, trace
from magicbokeh_ops.synthesis.scenes import three_layers
from magicbokeh_ops.windows import widen
from tests.support.spoiled import spoil

SIZE, K = 160, 12
MARGIN = K + 8
INNER = (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))


@cache
def scene(seed: int = 11) -> tuple[list[Layer], Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Layers, photo, disparity, and the subject's matte, the plate and its disparity."""
    layers = [Layer(layer.color.clamp(max=1), layer.alpha, layer.plane) for layer in three_layers(SIZE, MARGIN, seed)]
    photo, plate = flatten(layers), flatten(layers[1:])
    return (
        layers,
        linear_to_srgb(photo[0])[None],
        photo[1][None],
        layers[0].alpha[None],
        linear_to_srgb(plate[0])[None],
        plate[1][None],
    )


@cache
def truth(layer: int) -> tuple[float, Tensor]:
    """Disparity of a layer, and the picture with that in focus."""
    layers = scene()[0]
    middle = SIZE // 2 + MARGIN
    depths = [float(one.disparity()[0, middle, middle]) for one in layers]
    rays = rays_for(K * max(abs(depth - depths[layer]) for depth in depths))
    return depths[layer], linear_to_srgb(trace(layers, depths[layer], K, rays))


def gain(disparity: Tensor, layer: int, **given: Tensor) -> float:
    """Gain in dB near the outline of the subject, over no matte."""
    _, photo, _, alpha, _, _ = scene()
    focus, picture = truth(layer)
    near = widen(((alpha > 0.02) & (alpha < 0.98)).float(), K)[INNER] > 0
    scores = [psnr(render(photo, disparity, focus, K, **options)[INNER], picture[None][INNER], near) for options in (given, {})]
    return scores[0] - scores[1]


@pytest.mark.long
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_matte_mends_soft_disparity(layer):
    _, _, disparity, alpha, plate, behind = scene()
    soft = spoil(disparity, 7, 1.5, -1.0)
    with_matte = gain(soft, layer, matte=alpha)
    assert with_matte > 1
    assert gain(soft, layer, matte=alpha, background=plate, background_disparity=behind) > with_matte


@pytest.mark.long
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_matte_and_a_plate_better_exact_disparity(layer):
    _, _, disparity, alpha, plate, behind = scene()
    assert gain(disparity, layer, matte=alpha) > -0.5
    assert gain(disparity, layer, matte=alpha, background=plate, background_disparity=behind) > 0.5


@pytest.mark.long
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(
    ("wrong", "cost"),
    [(lambda matte: matte.roll(2, -1), 1), (lambda matte: matte.flip(-1).roll(40, -2), 2)],
    ids=["moved", "other"],
)
def test_a_wrong_matte_costs_little(wrong, cost, soft):
    _, _, disparity, alpha, _, _ = scene()
    disparity = spoil(disparity, 7, 1.5, -1.0) if soft else disparity
    assert sum(gain(disparity, layer, matte=wrong(alpha)) for layer in range(3)) / 3 > -cost


@pytest.mark.long
@pytest.mark.parametrize("seed", [11, 12])
def test_colours_of_both_sides_are_closer_than_pymattings(seed):
    """Estimated by Germer et al. (2020), as the package of its authors does."""
    layers, photo, disparity, alpha, plate, _ = scene(seed)
    light, alpha = srgb_to_linear(photo)[0], alpha[0]
    rows, cols = (slice(0, length) for length in alpha.shape[-2:])
    known = Matte(alpha, 3, alpha.device)
    known.survey(light, disparity[0], rows)
    known.finish()
    sides = known.sides(light, disparity[0], rows, cols)
    near, far = unmix(light, alpha, sides.near_color, sides.far_color)
    assert (alpha * near + (1 - alpha) * far - light).abs().max() < 1e-6
    pixels, shares = light.movedim(0, -1).double().numpy(), alpha[0].double().numpy()
    theirs = estimate_foreground_ml(pixels, shares, return_background=True)
    truth = layers[0].color, srgb_to_linear(plate)[0]
    mixed = (alpha > 0.02) & (alpha < 0.98)
    for ours, other, true, weight in zip((near, far), theirs, truth, (alpha, 1 - alpha)):
        errors = [(((one - true) ** 2) * weight * mixed).sum() for one in (ours, torch.from_numpy(other).movedim(-1, 0))]
        assert errors[0] < errors[1]


@pytest.mark.long
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_the_outline_of_a_hard_mask_is_soft_as_the_photo(layer):
    """A segmenter's mask knows no mixed pixels; the photo has them all the same."""
    _, _, disparity, alpha, plate, behind = scene()
    mask = (alpha > 0.5).float()
    assert gain(disparity, layer, matte=mask) > -0.1
    assert gain(disparity, layer, matte=mask, background=plate, background_disparity=behind) > 0


@pytest.mark.long
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_subject_that_something_stands_in_front_of(layer):
    layers, photo, disparity, _, _, _ = scene()
    front, subject, background = layers
    matte = (subject.alpha * (1 - front.alpha))[None]
    plate, behind = (plane[None] for plane in flatten([front, background]))
    focus, picture = truth(layer)
    near = widen(((matte > 0.02) & (matte < 0.98)).float(), K)[INNER] > 0
    full = {"matte": matte, "background": linear_to_srgb(plate), "background_disparity": behind}
    plain, with_matte, with_plate = (
        psnr(render(photo, disparity, focus, K, **given)[INNER], picture[None][INNER], near)
        for given in ({}, {"matte": matte}, full)
    )
    assert with_matte > plain - 0.1
    assert with_plate > plain + 0.5


@pytest.mark.long
def test_a_plate_with_transparency_and_a_coloured_aperture():
    """White stays white, whichever of the pictures it is in."""
    _, _, disparity, alpha, _, _ = scene()
    white = torch.ones(1, 3, *alpha.shape[-2:])
    opaque = torch.ones_like(alpha)
    given = {"matte": alpha, "background": white, "alpha": opaque, "aperture": Aperture(fringing=0.5)}
    assert (render(white, disparity, 0.3, 12, **given) - 1).abs().max() < 0.01


@pytest.mark.long
@pytest.mark.parametrize("with_plate", [False, True])
def test_without_blur_the_photo_stays(with_plate):
    """Also with an aperture so small that some pixels have none."""
    _, photo, disparity, alpha, plate, _ = scene()
    given = {"background": plate} if with_plate else {}
    assert (render(photo, disparity, 0.4, 0, matte=alpha, **given) - photo).abs().max() < 1e-4
    sharp = render(photo, disparity, 0.4, 0.05, matte=alpha, **given)
    assert (sharp - photo).abs().max() < 1e-2


@pytest.mark.long
@pytest.mark.parametrize("with_plate", [False, True])
def test_blocks_equal_the_whole(monkeypatch, with_plate):
    monkeypatch.setattr(tiles, "TILE", 64)
    _, photo, disparity, alpha, plate, behind = scene()
    photo, disparity, alpha, plate, behind = (torch.cat([x, x.flip(-1)], -1) for x in (photo, disparity, alpha, plate, behind))
    given = {"background": plate, "background_disparity": behind} if with_plate else {}
    whole, in_blocks = (
        render(photo, spoil(disparity, 7, 0, 0), 0.3, 6, matte=alpha, block=block, **given) for block in (lens.BLOCK, 1)
    )
    assert (in_blocks - whole).abs().max() < 2e-4


def test_what_stands_in_front_of_the_subject_stays_in_front():
    """A post in focus in front of a subject out of focus, whose matte it cuts in two."""
    disparity = torch.full((1, 1, 128, 128), 0.1)
    matte, photo = torch.zeros_like(disparity), torch.zeros(1, 3, 128, 128)
    disparity[..., 30:98, 30:98], matte[..., 30:98, 30:98], photo[..., 30:98, 30:98] = 0.5, 1, 0.6
    disparity[..., 60:68], matte[..., 60:68], photo[..., 60:68] = 0.9, 0, 1
    plate = torch.zeros_like(photo)
    plate[..., 60:68] = 1
    for given in ({}, {"background": plate}):
        out = render(photo, disparity, 0.9, 20, matte=matte, **given)
        assert (out[..., 61:67] - 1).abs().max() < 0.02


def test_a_plate_shows_what_is_hidden():
    """Behind a bar close to the lens there is a bright line, which no other pixel tells of."""
    disparity, photo, matte = torch.full((1, 1, 96, 96), 0.1), torch.full((1, 3, 96, 96), 0.2), torch.zeros(1, 1, 96, 96)
    plate = photo.clone()
    plate[..., 46:50] = 0.9
    disparity[..., 40:56], photo[..., 40:56], matte[..., 40:56] = 0.9, 0.05, 1
    focused = {"focus": 0.1, "k": 40}
    without, with_plate = (
        render(photo, disparity, matte=matte, **focused, **given)[0, 0, 48, 44:52] for given in ({}, {"background": plate})
    )
    assert with_plate[2:6].mean() > without.mean() + 0.1


@pytest.mark.long
def test_frames_are_independent_and_alpha_goes_along():
    _, photo, disparity, alpha, plate, _ = scene()
    opaque = torch.ones_like(alpha)
    opaque[..., :30] = 0
    both = {"matte": torch.cat([alpha, alpha.flip(-1)]), "background": plate, "alpha": opaque}
    out = render(photo.expand(2, -1, -1, -1), disparity, 0.3, 8, **both)
    single = render(photo, disparity, 0.3, 8, **{**both, "matte": alpha.flip(-1)})
    assert out.shape[1] == 4 and torch.allclose(out[1:], single, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_matte_without_an_outline_changes_nothing(value):
    _, photo, disparity, alpha, _, _ = scene()
    plain = render(photo, disparity, 0.3, 8)
    assert (render(photo, disparity, 0.3, 8, matte=torch.full_like(alpha, value)) - plain).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"matte": torch.rand(1, 1, 40, 40)}, "matte is 40 x 40 pixels, image 200 x 200"),
        ({"matte": torch.rand(3, 1, 200, 200)}, "matte"),
        ({"matte": torch.full((1, 1, 200, 200), 7.0)}, "matte"),
        ({"matte": torch.full((1, 1, 200, 200), torch.nan)}, "matte"),
        ({"background": torch.rand(1, 3, 200, 200)}, "background needs a matte"),
        ({"matte": torch.rand(1, 1, 200, 200), "background": torch.rand(1, 3, 40, 40)}, "background is 40 x 40 pixels"),
        ({"matte": torch.rand(1, 1, 200, 200), "background": torch.full((1, 3, 200, 200), torch.inf)}, "background holds NaN"),
        ({"matte": torch.rand(1, 1, 200, 200), "background_disparity": torch.rand(1, 1, 200, 200)}, "give that too"),
    ],
)
def test_errors_name_what_is_wrong(given, message):
    _, photo, disparity, _, _, _ = scene()
    with pytest.raises(ValueError, match=message):
        render(photo, disparity, 0.3, 8, **given)
