"""Grain as an option of the lens and its nodes (`test_grain.py` is about the noise itself)."""

import pytest
import torch

from magicbokeh_ops import lens
from tests.support import stand_in_host as host

SIDE, NOISE = 256, 0.04


def noisy() -> torch.Tensor:
    """A smooth photo (1, 3, H, W) with noise all over."""
    across = torch.linspace(0.3, 0.7, SIDE).expand(1, 3, SIDE, SIDE)
    return across + NOISE * torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def depth() -> torch.Tensor:
    """In focus at 0.8 on the left, far away on the right."""
    return torch.where(torch.arange(SIDE) < SIDE // 2, 0.8, 0.2).expand(1, 1, SIDE, SIDE).contiguous()


def strength(picture: torch.Tensor, columns: slice) -> float:
    part = picture[..., 8:-8, columns]
    return float((part[..., 1:] - part[..., :-1]).std() / 2**0.5)


LEFT, RIGHT = slice(8, 110), slice(146, -8)


@pytest.mark.long
def test_what_the_blur_takes_is_put_back_and_no_more():
    photo = noisy()
    plain = lens.render(photo, depth(), 0.8, 20)
    assert strength(plain, RIGHT) < 0.2 * NOISE
    grainy = lens.render(photo, depth(), 0.8, 20, grain=1.0, grain_seed=3)
    assert strength(grainy, RIGHT) == pytest.approx(NOISE, rel=0.15)
    assert torch.equal(grainy[..., LEFT], plain[..., LEFT])
    assert strength(lens.render(photo, depth(), 0.8, 20, grain=0.5), RIGHT) == pytest.approx(NOISE / 2, rel=0.2)
    assert torch.equal(lens.render(photo, depth(), 0.8, 20, grain=1.0, grain_seed=3), grainy)
    assert not torch.equal(lens.render(photo, depth(), 0.8, 20, grain=1.0, grain_seed=4), grainy)


@pytest.mark.long
def test_every_frame_has_its_seed():
    photo = noisy()
    several = lens.render(photo.expand(2, -1, -1, -1), depth(), 0.8, 20, grain=1.0, grain_seed=[3, 4])
    for frame, seed in zip(several, (3, 4)):
        assert torch.equal(frame, lens.render(photo, depth(), 0.8, 20, grain=1.0, grain_seed=seed)[0])


def test_alpha_keeps_transparent_parts_free_of_grain():
    alpha = torch.ones(1, 1, SIDE, SIDE)
    alpha[..., SIDE // 2 :, :] = 0
    plain, grainy = (lens.render(noisy(), depth(), 0.8, 20, alpha=alpha, grain=amount) for amount in (0.0, 1.0))
    assert torch.equal(plain[:, 3], grainy[:, 3])
    difference = ((plain - grainy)[:, :3] * plain[:, 3:])[..., -60:, :]  # as it is seen over black
    assert difference.abs().max() < 0.005
    assert strength(grainy[:, :3, :110], RIGHT) > 0.8 * NOISE


@pytest.mark.parametrize("grain", [-0.1, 1.5, float("nan")])
def test_amounts_that_can_not_be_are_refused(grain):
    with pytest.raises(ValueError, match="grain is .*; it goes from 0"):
        lens.render(noisy(), depth(), 0.8, 20, grain=grain)


@pytest.mark.long
def test_in_a_clip_the_grain_moves_unless_it_is_to_stand_still():
    photo, disparity = noisy().movedim(1, -1), depth()[:, 0]
    inputs = {"image": photo.expand(2, -1, -1, -1), "disparity": disparity, "focus": 0.8, "k": 20.0, "grain": 1.0}
    moving, still = (host.run(host.nodes.LensBlur, grain_still=still, **inputs)[0] for still in (False, True))
    assert torch.equal(still[0], still[1]) and torch.equal(moving[0], still[0])
    difference = (moving[0] - moving[1]).movedim(-1, 0)
    assert difference[..., LEFT].abs().max() == 0 and float(difference[..., RIGHT].std()) == pytest.approx(
        2**0.5 * NOISE, rel=0.2
    )
    other = host.run(host.nodes.LensBlur, grain_seed=1, grain_still=True, **inputs)[0]
    assert torch.equal(other[0], moving[1])
