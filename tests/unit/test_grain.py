"""Noise that is known, measured and put back."""

import math

import pytest
import torch
import torch.nn.functional as F

from magicbokeh_ops import demo, grain, lens
from magicbokeh_ops.color import linear_to_srgb, srgb_to_linear
from magicbokeh_ops.synthesis.scenes import dead_leaves
from tests.support.memory_peak import peak_of

SIZE = 288
HALF = SIZE // 2
CHROMA = torch.tensor([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]]) / torch.tensor([[2.0], [6.0]]).sqrt()


def scene() -> torch.Tensor:
    """A smooth wall that gets brighter downwards, with leaves in front of the upper left of it."""
    picture = torch.linspace(0.25, 0.75, SIZE)[:, None].expand(1, 3, SIZE, SIZE).clone()
    picture[..., :HALF, :HALF] = dead_leaves((HALF, HALF), 200, torch.Generator().manual_seed(3))
    return picture


def blotchy(channels: int, spread: float) -> torch.Tensor:
    """Noise (1, channels, SIZE, SIZE) of standard deviation 1, white before a Gaussian blur."""
    noise = torch.randn(1, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    if not spread:
        return noise
    taps = torch.exp(-(torch.arange(-8.0, 9.0) ** 2) / 2 / spread**2)
    taps = (taps / taps.norm()).expand(channels, 1, 1, -1)
    noise = F.conv2d(F.pad(noise, (8, 8, 8, 8), mode="circular"), taps, groups=channels)
    return F.conv2d(noise, taps.mT, groups=channels)


# Noise, its standard deviation at a level, and its correlation from pixel to pixel and from red to green.
KINDS = {
    "white": (lambda x: 0.02 * blotchy(3, 0), lambda level: 0.02, 0.0, 0.0),
    "by brightness": (lambda x: (0.01 + 0.04 * x) * blotchy(3, 0), lambda level: 0.01 + 0.04 * level, 0.0, 0.0),
    "blotchy": (lambda x: 0.02 * blotchy(3, 1.2), lambda level: 0.02, math.exp(-1 / 4 / 1.2**2), 0.0),
    "grey": (lambda x: 0.02 * blotchy(1, 0.6).expand_as(x), lambda level: 0.02, math.exp(-1 / 4 / 0.6**2), 1.0),
    "chroma": (
        lambda x: 0.02 * torch.einsum("kc,bkyx->bcyx", CHROMA, blotchy(2, 0.8)),
        lambda level: 0.02 * math.sqrt(2 / 3),
        math.exp(-1 / 4 / 0.8**2),
        -0.5,
    ),
}


def test_texture_is_not_added_to_the_noise():
    """Where a brightness occurs in textured parts only, its noise is like that of other levels."""
    picture = scene()
    picture[..., :HALF] = 0.4 * dead_leaves((SIZE, HALF), 500, torch.Generator().manual_seed(3))
    found = grain.measure(picture.clamp(min=0.05) + 0.01 * blotchy(3, 0))
    assert found.at(torch.full((3, 1, 1), 0.15)).max() < 0.015


def next_pixel(noise: torch.Tensor) -> float:
    """Correlation of noise (3, H, W) with itself one pixel further, on both axes."""
    pairs = ((noise[..., 1:], noise[..., :-1]), (noise[:, 1:], noise[:, :-1]))
    return sum(float((one * other).mean() / (one.std() * other.std())) for one, other in pairs) / 2


def red_and_green(noise: torch.Tensor) -> float:
    return float(torch.corrcoef(noise[:2].flatten(1))[0, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_measured(kind):
    make, sigma, along, across = KINDS[kind]
    picture = scene()
    found = grain.measure(picture + make(picture))
    for level in (0.3, 0.5, 0.7):
        at = found.at(torch.full((3, 1, 1), level))
        assert at.flatten().tolist() == pytest.approx([sigma(level)] * 3, rel=0.15)
    correlation = torch.fft.ifft2(found.spectrum).real
    assert correlation[[0, 1, 2], [0, 1, 2], 0, 0].tolist() == pytest.approx([1] * 3, abs=1e-4)
    assert correlation[[0, 1, 2], [0, 1, 2], 0, 1].tolist() == pytest.approx([along] * 3, abs=0.1)
    assert float(correlation[0, 1, 0, 0]) == pytest.approx(across, abs=0.1)


@pytest.mark.parametrize("k", [2, pytest.param(24, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_blurred_background_gets_the_noise_that_the_photo_has(kind, k):
    make, sigma, along, across = KINDS[kind]
    picture = scene()
    photo = picture + make(picture)
    disparity = torch.where(torch.arange(SIZE) < HALF, 0.9, 0.4).expand(1, 1, SIZE, SIZE)
    radius = k * (disparity - 0.9).abs()
    sharp, blurred = (lens.render(image, disparity, 0.9, k) for image in (picture, photo))
    out = grain.add(blurred, grain.measure(photo), radius, 1.0, seed=5)
    assert torch.equal(out[..., :HALF], blurred[..., :HALF])
    noise = (out - sharp)[0, ..., HALF + 20 :]
    for rows, level in ((slice(10, 76), 0.325), (slice(212, 278), 0.675)):
        assert noise[:, rows].std((1, 2)).tolist() == pytest.approx([sigma(level)] * 3, rel=0.15)
    assert next_pixel(noise) == pytest.approx(along, abs=0.1)
    assert red_and_green(noise) == pytest.approx(across, abs=0.1)


def white_noise(level: float = 0.5, sigma: float = 0.03, size: int = SIZE) -> tuple[torch.Tensor, grain.Grain]:
    """A plain picture, and noise for it."""
    spectrum = torch.eye(3)[..., None, None].expand(-1, -1, grain.BLOCK, grain.BLOCK)
    return torch.full((1, 3, size, size), level), grain.Grain(torch.zeros(3, 1), torch.full((3, 1), sigma), spectrum)


def everywhere(picture: torch.Tensor, radius: float = 20.0) -> torch.Tensor:
    return torch.full_like(picture[:, :1], radius)


@pytest.mark.parametrize("amount", [0.25, 0.5, 1.0])
def test_amount_is_a_share_of_the_photo_s_noise(amount):
    picture, noise = white_noise()
    added = grain.add(picture, noise, everywhere(picture), amount, seed=1) - picture
    assert float(added.std()) == pytest.approx(0.03 * amount, rel=0.03)


def test_amount_0_returns_the_picture_and_more_than_1_is_refused():
    picture, noise = white_noise()
    assert torch.equal(grain.add(picture, noise, everywhere(picture), 0.0, seed=1), picture)
    with pytest.raises(ValueError, match="grain is 1.5"):
        grain.add(picture, noise, everywhere(picture), 1.5, seed=1)


def test_what_a_small_blur_leaves_is_not_added_again():
    """Where half of the noise was asked for and more is left, there is nothing to add."""
    picture, noise = white_noise()
    added = [float((grain.add(picture, noise, everywhere(picture, r), 1.0, seed=1) - picture).std()) for r in (0.1, 0.5, 1, 3)]
    assert added == sorted(added) and added[0] < 0.006 and added[-1] > 0.029
    assert torch.equal(grain.add(picture, noise, everywhere(picture, 0.2), 0.1, seed=1), picture)


def test_a_seed_gives_the_same_grain_and_another_one_another():
    picture, noise = white_noise()
    one, same, other = (grain.add(picture, noise, everywhere(picture), 1.0, seed) - picture for seed in (7, 7, 8))
    assert torch.equal(one, same)
    assert abs(float((one * other).mean())) < 0.02 * float((one**2).mean())
    # Neither do two tiles have one grain.
    next_tile = one.roll(grain.BLOCK - grain.TILE, -1)
    assert abs(float((one * next_tile)[..., :40].mean())) < 0.05 * float((one**2).mean())


def test_tiles_do_not_show():
    """Blotchy noise has as much energy, and as much in common, at the borders of tiles and of the picture as elsewhere."""
    picture, noise = white_noise(size=3 * (grain.TILE - grain.BLOCK) - grain.BLOCK // 2)
    near = torch.fft.fftfreq(grain.BLOCK)
    blotches = torch.exp(-((near[:, None] ** 2 + near**2) * 60))
    noise = grain.Grain(noise.levels, noise.sigma, noise.spectrum * blotches / blotches.mean())
    added = (grain.add(picture, noise, everywhere(picture), 1.0, seed=1) - picture)[0]
    power = (added**2).mean((0, 1))
    shared = (added[..., 1:] * added[..., :-1]).mean((0, 1))
    borders = [i * (grain.TILE - grain.BLOCK) - grain.BLOCK // 2 for i in (1, 2)]
    for profile in (power, shared):
        at = torch.stack([profile[border - 3 : border + 3].mean() for border in borders]).mean()
        assert float(at) == pytest.approx(float(profile.mean()), rel=0.1)
    for end in (power[:6], power[-6:]):
        assert float(end.mean()) == pytest.approx(float(power.mean()), rel=0.25)


def test_what_is_transparent_or_sharp_stays_as_it_is():
    picture, noise = white_noise()
    alpha, radius = torch.ones_like(picture[:, :1]), everywhere(picture)
    alpha[..., 100:], radius[..., :100, :] = 0, 0
    out = grain.add(picture, noise, radius, 1.0, seed=1, alpha=alpha)
    assert torch.equal(out[..., 100:], picture[..., 100:]) and torch.equal(out[..., :100, :], picture[..., :100, :])
    assert float((out - picture)[..., 100:, :100].std()) == pytest.approx(0.03, rel=0.05)


@pytest.mark.parametrize("level", [0.0, 0.005, 0.99, 1.0])
def test_a_photo_up_to_white_stays_within_black_and_white(level):
    picture, noise = white_noise(level)
    out = grain.add(picture, noise, everywhere(picture), 1.0, seed=1)
    assert out.min() >= 0 and out.max() <= 1
    assert float(out.mean()) == pytest.approx(level, abs=2e-3)
    assert torch.equal(out, picture) == (level in (0.0, 1.0))


def test_light_above_white_has_the_noise_of_the_brightest_level():
    picture, noise = white_noise(3.0)
    picture[..., 0, 0] = -0.1
    out = grain.add(picture, noise, everywhere(picture), 1.0, seed=1)
    assert float((out - picture).std()) == pytest.approx(0.03, rel=0.05)
    assert out[..., 0, 0].min() >= -0.1 and torch.isfinite(out).all()


@pytest.mark.long
def test_linear_light_has_the_noise_of_the_same_photo_in_srgb():
    make, _, along, _ = KINDS["blotchy"]
    photo = scene()
    photo += make(photo)
    found = grain.measure(srgb_to_linear(photo), color_space="linear")
    assert torch.allclose(found.sigma, grain.measure(photo.clamp(min=0)).sigma, rtol=1e-2)
    picture = srgb_to_linear(scene().flip(-1))
    out = grain.add(picture, found, everywhere(picture), 1.0, seed=1)
    noise = (linear_to_srgb(out) - linear_to_srgb(picture))[0, ..., :HALF]
    assert float(noise.std()) == pytest.approx(0.02, rel=0.15)
    assert next_pixel(noise) == pytest.approx(along, abs=0.1)


@pytest.mark.parametrize("cell", [1, 2, 3, 5, 8, 16, 40])
def test_a_checkerboard_is_no_noise(cell):
    cells = torch.arange(SIZE) // cell
    board = ((cells[:, None] + cells) % 2).float()
    for picture in (0.3 + 0.4 * board, 0.2 + 0.1 * board + torch.linspace(0, 0.6, SIZE)):
        assert not grain.measure(picture.expand(1, 3, -1, -1)).sigma.any()


@pytest.mark.parametrize("steps", [None, 255])
def test_a_drawn_picture_has_no_noise(steps):
    y, x = torch.linspace(0, 1, SIZE)[:, None], torch.linspace(0, 1, SIZE)
    slope = (0.2 + 0.6 * x).expand(1, 3, SIZE, SIZE)
    bowl = torch.stack(
        [0.2 + 0.5 * ((x - 0.5) ** 2 + (y - 0.4) ** 2), 0.1 + 0.8 * x * y, 0.9 - 0.7 * torch.sin(3 * x) ** 2 * y]
    )
    leaves = [dead_leaves((SIZE, SIZE), count, torch.Generator().manual_seed(0)) for count in (100, 300)]
    for picture in (slope, torch.full_like(slope, 0.5), bowl[None], *(one[None] for one in leaves)):
        drawn = picture if steps is None else (picture * steps).round() / steps
        assert not grain.measure(drawn).sigma.any()


def test_what_is_transparent_is_not_measured():
    photo = scene()
    photo += KINDS["white"][0](photo)
    alpha = torch.ones_like(photo[:, :1])
    alpha[..., HALF:] = 0
    hidden = torch.where(alpha > 0, photo, torch.full_like(photo, 0.6))
    assert float(grain.measure(hidden, alpha).sigma.mean()) == pytest.approx(0.02, rel=0.15)


def test_a_photo_too_small_to_tell_has_no_noise():
    for size in (1, 23, 60):
        picture = torch.rand(1, 3, size, size)
        found = grain.measure(picture)
        assert not found.sigma.any()
        assert torch.equal(grain.add(picture, found, everywhere(picture), 1.0, seed=1), picture)


def test_the_noisy_demo_photo_is_noisier_than_the_clean_one():
    noisy, clean = (
        grain.measure(photo).at(torch.full((3, 1, 1), 0.7)).mean() for photo in (demo.noisy_demo_photo(), demo.demo_photo()[0])
    )
    assert noisy > 2 * clean


def test_a_large_picture_takes_little_memory():
    picture, noise = white_noise(size=1024)
    radius = everywhere(picture)
    taken = peak_of(lambda: grain.add(picture, noise, radius, 1.0, seed=1))
    assert taken < picture.nbytes + 32 * 2**20
