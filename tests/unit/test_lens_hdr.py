"""Light above white goes through the lens: in, out, and all of it."""

import pytest
import torch
import torch.nn.functional as F

from magicbokeh_ops import lens
from magicbokeh_ops.color import linear_to_srgb, srgb_to_linear

LAMP = 65504.0  # the largest half float, as the sun in an EXR


def night(lamp: float, side: int = 5, size: int = 160) -> torch.Tensor:
    """Linear light (1, 3, size, size): a lamp in front of a dim pattern."""
    torch.manual_seed(0)
    light = 0.02 + 0.1 * torch.rand(1, 3, size, size)
    middle = slice(size // 2 - side // 2, size // 2 - side // 2 + side)
    light[..., middle, middle] = lamp * torch.tensor([1.0, 0.8, 0.5])[:, None, None]
    return light


def flat(size: int = 160, value: float = 0.5) -> torch.Tensor:
    return torch.full((1, 1, size, size), value)


@pytest.mark.parametrize("space", ["srgb", "linear"])
@pytest.mark.parametrize("lamp", [1.0, 30.0, LAMP])
def test_without_blur_light_stays_as_it_is(space, lamp):
    light = night(lamp)
    light[..., 0, 0] = -0.01  # out of the colour space
    image = light if space == "linear" else linear_to_srgb(light)
    steps = torch.where(torch.arange(160) < 80, 0.2, 0.9).expand(1, 1, 160, 160)
    out = lens.render(image, steps, 0.3, 0, color_space=space)
    assert (out - image).abs().max() <= 1e-3 * image.max()
    dim = image < 0.3
    assert (out - image)[dim].abs().max() < 1e-4


@pytest.mark.parametrize("near", [0.5, 0.9])
@pytest.mark.parametrize("radius", [0.5, 2, 8, 30])
@pytest.mark.parametrize("lamp", [3.0, 500.0, LAMP])
def test_a_lamp_keeps_its_energy(lamp, radius, near):
    """On a surface, and as a lamp of its own that is nearer than it."""
    light = night(lamp)
    disparity = flat()
    disparity[..., 74:86, 74:86] = near
    out = lens.render(light, disparity, near - 0.4, radius / 0.4, color_space="linear")
    without = light.clone()
    without[..., 78:83, 78:83] = 0.07
    rest = lens.render(without, disparity, near - 0.4, radius / 0.4, color_space="linear")
    energy = (out - rest).double().sum((0, 2, 3))
    assert energy.tolist() == pytest.approx((light - without).double().sum((0, 2, 3)).tolist(), rel=0.02)


@pytest.mark.parametrize("k", [0.7, 1.5, 4, 10, 40])
def test_nothing_of_a_lamp_is_seen_where_its_disc_does_not_reach(k):
    """A transform's rounding is as large as the brightest light in it."""
    disparity = torch.where(torch.arange(400) < 150, 0.5, 0.9).expand(1, 1, 400, 400)
    pictures = [lens.render(night(lamp, size=400), disparity, 0.0, k, color_space="linear") for lamp in (LAMP, 2.0)]
    outside = torch.ones(400, 400, dtype=torch.bool)
    reach = int(k) + 12
    outside[200 - reach : 200 + reach, 200 - reach : 200 + reach] = False
    assert (pictures[0] - pictures[1]).abs().amax((0, 1))[outside].max() < 1e-4


@pytest.mark.parametrize("radius", [3, 8, 11.5, 16, 25, 40, 50, 58])
def test_the_disc_of_a_lamp_ends_where_geometry_says(radius):
    """Where its light falls to half of what it is within, around the middle."""
    light = torch.zeros(1, 3, 192, 192)
    light[..., 96, 96] = LAMP
    disc = lens.render(light, flat(192, 0.1), 0.9, radius / 0.8, color_space="linear")[0, 1] / LAMP
    x = torch.arange(192.0) - 96
    away = torch.hypot(x[:, None], x).round().long().flatten()
    profile = torch.zeros(137).scatter_add_(0, away, disc.flatten()) / torch.bincount(away, minlength=137)
    half = 0.5 / (torch.pi * radius**2)
    first = int((profile < half).nonzero()[0])
    edge = first - 1 + float((profile[first - 1] - half) / (profile[first - 1] - profile[first]))
    assert edge == pytest.approx(radius, abs=0.5) and disc.sum() == pytest.approx(1, abs=0.01)


def test_both_colour_spaces_give_one_picture():
    light = night(20.0)
    disparity = torch.linspace(0, 1, 160).expand(1, 1, 160, 160)
    linear = lens.render(light, disparity, 0.4, 20, color_space="linear")
    coded = lens.render(linear_to_srgb(light), disparity, 0.4, 20)
    assert torch.allclose(srgb_to_linear(coded), linear, rtol=1e-4, atol=1e-5)


def test_a_photo_up_to_white_gives_a_picture_up_to_white():
    torch.manual_seed(0)
    photo = (torch.rand(1, 3, 120, 120) > 0.5).float()
    for k in (0.5, 2, 9, 30):
        assert lens.render(photo, torch.linspace(0, 1, 120).expand(1, 1, 120, 120), 0.5, k).max() <= 1


def test_highlight_boost_is_for_what_the_sensor_has_clipped():
    """Light that is known is not made brighter, and boosted light comes out above white."""
    light = night(20.0)
    plain, boosted = (
        lens.render(linear_to_srgb(light), flat(), 0.1, 20, highlight_boost=stops, color_space="srgb") for stops in (0, 4)
    )
    assert torch.allclose(plain, boosted)
    clipped = linear_to_srgb(light.clamp(max=1))
    assert lens.render(clipped, flat(), 0.1, 5, highlight_boost=4).max() > 1
    assert torch.equal(
        lens.render(light, flat(), 0.1, 20, highlight_boost=4, color_space="linear"),
        lens.render(light, flat(), 0.1, 20, color_space="linear"),
    )


def test_alpha_goes_with_bright_light():
    light = night(50.0)
    alpha = torch.ones(1, 1, 160, 160)
    alpha[..., :40] = 0
    out = lens.render(light, flat(), 0.1, 20, color_space="linear", alpha=alpha)
    opaque = lens.render(light, flat(), 0.1, 20, color_space="linear")
    assert out.shape == (1, 4, 160, 160)
    assert torch.allclose(out[:, :3, 60:100, 70:], opaque[..., 60:100, 70:], rtol=1e-3, atol=1e-4)
    assert out[:, 3, :, :30].max() < 1e-3


def test_unknown_colour_spaces_are_refused():
    with pytest.raises(ValueError, match="color_space is 'aces'; it is one of: srgb, linear"):
        lens.render(night(1.0), flat(), 0.5, 1, color_space="aces")


def lamp_and_its_light(
    radius: float, lit: float = 500.0, size: int = 160, finer: int = 20
) -> tuple[torch.Tensor, torch.Tensor]:
    """A round lamp, whose rim pixels hold a share of its light, and the distance (size, size) of pixels from its middle."""
    x = (torch.arange(size * finer) + 0.5) / finer - size / 2 - 0.3
    covered = F.avg_pool2d((torch.hypot(x, x[:, None]) < radius).float()[None, None], finer)
    x = torch.arange(size) + 0.5 - size / 2 - 0.3
    return lit * covered.expand(1, 3, -1, -1), torch.hypot(x, x[:, None])


@pytest.mark.parametrize("all_of_it", [False, True])
@pytest.mark.parametrize("focus", [0.0, 1.0])
@pytest.mark.parametrize("radius", [0.8, 1.5, 3.0])
def test_the_rim_of_a_lamp_is_as_far_as_the_lamp(radius, focus, all_of_it):
    """Its light neither stays sharp on a wall in focus nor lands in a disc as large as the wall's."""
    light, away = lamp_and_its_light(radius)
    disparity = 0.5 * (light[:, :1] > 0 if all_of_it else away[None, None] < radius).float()
    disc = lens.render(light, disparity, focus, 32, color_space="linear")[0, 0]
    assert disc[away > 16 + radius + 1].sum() < 0.002 * light[0, 0].sum()
    assert disc[away < radius + 2].max() < 1.03 * disc[(away > radius + 4) & (away < 11)].median()


@pytest.mark.parametrize("texture", [0.0, 0.1])
@pytest.mark.parametrize("lamp", [7.0, 50.0, 500.0])
def test_a_lamp_beside_something_in_focus_leaves_no_outline_on_it(lamp, texture):
    torch.manual_seed(0)
    light = torch.full((1, 3, 128, 128), 0.4)
    light[..., 64:] = 0.24
    light += texture * (torch.rand(1, 1, 128, 128) - 0.5)
    light[..., 62:66, 60:64] = lamp
    disparity = (torch.arange(128) >= 64).float().expand(1, 1, 128, 128)
    out = lens.render(light, disparity, 1.0, 32, color_space="linear")
    beside = (..., slice(60, 68), slice(64, 128))
    assert (out - light)[beside].abs().max() < 0.01
    # The light of the lamp is nowhere held back.
    disc = out[0, 0, 40:88, 62]
    assert disc.min() > 0.9 * disc.median()
