"""Degradation of photos: kernels, noise and what is lost are those that its settings state."""

import math
from dataclasses import replace

import pytest
import torch

from magicbokeh_ops.synthesis import degradation
from magicbokeh_ops.synthesis.degradation import Degradation, bell_kernels, sinc_kernels
from tests.support.random_values import noise, seeded

pytestmark = pytest.mark.usefixtures("one_thread")


def moments(kernel):
    """Covariance of a kernel taken as a density."""
    offset = torch.arange(-10, 11).float()
    at = torch.stack(torch.meshgrid(offset, offset, indexing="ij")[::-1])
    return torch.einsum("aij,bij,ij->ab", at, at, kernel)


def bell(sigma, rotation=0.0, beta=1.0, plateau=False, size=21):
    at = [torch.tensor([value]) for value in (sigma, rotation, beta, plateau, size)]
    return bell_kernels(*at)[0]


def test_kernels_have_their_stated_kind():
    assert torch.allclose(moments(bell((2.0, 2.0))), 4 * torch.eye(2), atol=0.05)
    turned = moments(bell((3.0, 1.0), math.pi / 4))
    assert torch.allclose(turned, torch.tensor([[5.0, 4.0], [4.0, 5.0]]), atol=0.15)
    gaussian, flat, plateau = bell((2.0, 2.0)), bell((2.0, 2.0), beta=4.0), bell((2.0, 2.0), plateau=True)
    assert gaussian[10, 12] / gaussian[10, 10] == pytest.approx(math.exp(-0.5))
    assert flat[10, 11] / flat[10, 10] == pytest.approx(math.exp(-0.5 * 0.25**4))
    assert plateau[10, 12] / plateau[10, 10] == pytest.approx(0.5)
    small = bell((2.0, 2.0), size=7)
    assert small[7:14, 7:14].sum() == pytest.approx(1) and not small[6].any() and not small[:, 14].any()


def test_sinc_kernel_is_the_formula():
    from scipy.special import j1

    kernel = sinc_kernels(torch.tensor([2.0]), torch.tensor([21]))[0]
    expected = [2 / (2 * math.pi * r) * j1(2 * r) for r in (1, 3, math.sqrt(8))]
    center = 2**2 / (4 * math.pi)
    measured = [float(kernel[10, at] / kernel[10, 10]) for at in (11, 13)] + [float(kernel[12, 12] / kernel[10, 10])]
    assert measured == pytest.approx([e / center for e in expected], abs=1e-5)
    assert kernel.sum() == pytest.approx(1) and kernel.min() < 0


@pytest.mark.parametrize("strength", degradation.STRENGTHS)
def test_random_kernels_sum_to_one_and_mix_as_stated(strength):
    first, second = degradation.STRENGTHS[strength]
    for settings in (first, second):
        kernels = degradation._random_kernels(3000, settings, seeded())
        assert torch.allclose(kernels.sum((1, 2)), torch.ones(3000), atol=1e-4)
        single = (kernels[:, 10, 10] == 1) & (kernels.abs().sum((1, 2)) == 1)
        assert single.float().mean() == pytest.approx(1 - settings.blur, abs=0.03)
        rings = kernels.amin((1, 2)) < -1e-4
        assert rings.float().mean() == pytest.approx(0.1 * settings.blur, abs=0.02)
        reach = 10 - (settings.largest // 2)
        assert not kernels[:, :reach].any() and (reach == 0 or kernels[:, reach].any())


def test_noise_has_its_level():
    gray = torch.full((400, 3, 32, 32), 0.5)
    settings = replace(degradation.STRENGTHS["full"][0], poisson=(0, 0))
    out = degradation._add_noise(gray, settings, seeded(), seeded(1)) - gray
    noisy = out.flatten(1).any(1)
    assert noisy.float().mean() == pytest.approx(0.5, abs=0.08)
    same = (out[:, 0] == out[:, 1]).flatten(1).all(1) & noisy
    assert same.sum() / noisy.sum() == pytest.approx(0.4, abs=0.1)
    assert not torch.equal(out[same][0] / out[same][0].std(), out[same][1] / out[same][1].std())
    spread = out[noisy].flatten(1).std(1) * 255
    assert spread.mean() == pytest.approx(15.5, abs=1.5) and 0.9 < spread.min() < 3 and 28 < spread.max() < 31
    assert out.mean() == pytest.approx(0, abs=1e-3)


def test_shot_noise_follows_the_light():
    levels = torch.arange(256).repeat(64).view(1, 1, 128, 128) / 255
    drawn = degradation._shot_noise(levels.expand(30, 1, 128, 128), seeded())
    for level in (64, 200):
        values = drawn[(levels * 255).round().expand_as(drawn) == level]
        assert values.mean() == pytest.approx(0, abs=0.005)
        assert values.var() == pytest.approx(level / 255 / 256, rel=0.1)


@pytest.mark.parametrize(("scale", "strength"), [(4.0, "full"), (2.0, "mild"), (1.0, "full")])
def test_degradation_keeps_odd_sizes_and_loses_detail(scale, strength):
    photos = noise(2, 3, 97, 131)
    out = Degradation(scale, strength)(photos, seeded(2))
    assert out.shape == photos.shape and out.min() >= 0 and out.max() <= 1
    assert torch.equal(out, Degradation(scale, strength)(photos, seeded(2)))
    assert not torch.equal(out, Degradation(scale, strength)(photos, seeded(3)))


def test_a_smaller_scale_and_mild_keep_more():
    photos = torch.nn.functional.interpolate(noise(4, 3, 24, 24), size=96, mode="bicubic").clamp(0, 1)

    def error(*settings):
        return sum(float((Degradation(*settings)(photos, seeded(i)) - photos).square().mean()) for i in range(6))

    assert error(1.0, "camera") < error(1.0, "light") < error(1.0, "mild") < error(4.0, "mild") < error(4.0, "full")


def test_each_batch_has_one_of_several_strengths():
    photos = noise(2, 3, 97, 131)
    alone = {strength: Degradation(1.5, strength) for strength in ("light", "camera")}
    found = []
    for seed in range(12):
        out = Degradation(1.5, ("light", "camera"))(photos, seeded(seed))
        for strength, degrade in alone.items():
            rest = seeded(seed)
            degradation.integer(rest, 2)  # the choice
            found += [strength] * torch.equal(degrade(photos, rest), out)
    assert len(found) == 12 and set(found) == {"light", "camera"}


def test_a_camera_smooths_before_shrinking():
    """Stripes too fine for the size become grey; without smoothing, other stripes."""
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[..., ::2] = 1
    for smoothly in (True, False):
        spread = [degradation._resize(stripes, (40, 40), smoothly, seeded(seed))[..., 4:-4].std() for seed in range(12)]
        assert (max(spread) < 0.2) == smoothly


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Degradation(scale=0.5), "scale is 0.5"),
        (lambda: Degradation(strength="harsh"), "harsh"),
        (lambda: Degradation(strength=("light", "harsh")), "'harsh'"),
        (lambda: Degradation(strength=()), "strength is ''; choose"),
        (lambda: Degradation()(noise(1, 3, 60, 200), seeded()), "60 x 200"),
    ],
)
def test_bad_degradation_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
