"""Disparity that stands still, on moving scenes of known truth."""

import pytest
import torch

from magicbokeh_ops import steady as module
from magicbokeh_ops.color import linear_to_srgb
from magicbokeh_ops.evaluation.metrics import psnr
from magicbokeh_ops.lens import render
from magicbokeh_ops.steady import REACH, steadied, steady
from magicbokeh_ops.synthesis.raytrace import trace
from tests.support.memory_peak import peak_of
from tests.support.moving import flicker, moving_scene, steepness
from tests.support.spoiled import spoil_clip

MARGIN = 16


@pytest.fixture(scope="module")
def scene():
    return moving_scene(2, 11, 96, MARGIN)


def photos(moments) -> torch.Tensor:
    return torch.cat([moment.photo for moment in moments])


@pytest.mark.long
def test_what_a_network_makes_stands_still(scene):
    truth = [moment.disparity for moment in scene]
    given = spoil_clip(truth, 5)
    stood = steady(torch.cat(given), photos(scene)).split(1)
    assert flicker(stood, scene, MARGIN) < flicker(given, scene, MARGIN) / 3
    assert steepness(stood, scene, MARGIN) > 0.95 * steepness(given, scene, MARGIN)
    assert abs(torch.cat(stood).mean() - torch.cat(truth).mean()) < 0.01
    assert all(0 <= near.min() and near.max() <= 1 for near in stood)

    def error(maps):
        return sum(float((near - true).abs().mean()) for near, true in zip(maps, truth))

    assert error(stood) < 0.7 * error(given)
    # Half of it is the mixture.
    half = steady(torch.cat(given), photos(scene), 0.5)
    assert torch.allclose(half, (torch.cat(given) + torch.cat(stood)) / 2, atol=1e-6)


@pytest.mark.long
def test_what_is_consistent_stays_to_the_bit(scene):
    exact = torch.cat([moment.disparity for moment in scene])
    for given in (exact, (exact * 255).round() / 255, exact.half()):
        assert torch.equal(steady(given, photos(scene)), given)
    # One frame of another scale is enough.
    other = exact.clone()
    other[5] *= 0.95
    found = steady(other, photos(scene))
    assert (found[5] - exact[5]).abs().median() < (other[5] - exact[5]).abs().median() / 3


def still(frames: int, size: tuple[int, int] = (40, 56)) -> tuple[torch.Tensor, torch.Tensor]:
    """Disparity and photo of a clip in which nothing moves."""
    generator = torch.Generator().manual_seed(0)
    near = torch.linspace(0.2, 0.8, size[1]).expand(frames, 1, *size)
    return near.clone(), torch.rand(1, 3, *size, generator=generator).expand(frames, -1, -1, -1)


@pytest.mark.long
def test_nothing_adds_up_over_hundreds_of_frames(monkeypatch):
    near, photo = still(300)
    monkeypatch.setattr(module, "find_flow", lambda first, _second: torch.zeros_like(first[:, :2]))
    noise = 0.03 * torch.randn(near.shape, generator=torch.Generator().manual_seed(1))
    scales, shifts = 0.05 * (2 * torch.rand(2, 300, 1, 1, 1, generator=torch.Generator().manual_seed(2)) - 1)
    found = steady(near * (1 + scales) + shifts + noise, photo)
    assert (found[-100:] - near[-100:]).abs().mean() < 0.02
    for part in found.split(100):
        assert abs(float(part.mean() - 0.5)) < 0.005
        spread = part.mean((0, 1, 2))
        assert 0.57 < spread[-1] - spread[0] < 0.63


def test_what_comes_nearer_comes_nearer(monkeypatch):
    """The whole scene, as when the camera moves: its scale is followed without delay."""
    near, photo = still(30)
    monkeypatch.setattr(module, "find_flow", lambda first, _second: torch.zeros_like(first[:, :2]))
    true = near * torch.linspace(0.6, 1.2, 30).view(-1, 1, 1, 1)
    jumps = 0.05 * (2 * torch.rand(30, 1, 1, 1, generator=torch.Generator().manual_seed(3)) - 1)
    found = steady(true * (1 + jumps), photo)
    assert (found - true).mean((1, 2, 3))[REACH:-REACH].abs().max() < 0.015


@pytest.mark.long
def test_nothing_is_taken_across_a_cut():
    near, photo = still(6)
    other, elsewhere = 1 - near.flip(2), torch.rand(1, 3, 40, 56).expand(6, -1, -1, -1)
    jumps = 0.05 * (2 * torch.rand(12, 1, 1, 1, generator=torch.Generator().manual_seed(4)) - 1)
    clip = torch.cat([near, other]) * (1 + jumps)
    found = steady(clip, torch.cat([photo, elsewhere]))
    assert torch.equal(found[:6], steady(clip[:6], photo)) and torch.equal(found[6:], steady(clip[6:], elsewhere))
    assert not torch.equal(found[5], clip[5])


def test_a_frame_depends_on_those_around_it_only():
    near, photo = still(18)
    noisy = (near + 0.03 * torch.randn(near.shape)).clamp(0, 1)
    whole = steady(noisy, photo)
    part = steady(noisy[3 : 3 + 2 * REACH + 1], photo[3 : 3 + 2 * REACH + 1])
    assert torch.equal(part[REACH], whole[3 + REACH])


def test_a_stream_looks_a_few_frames_ahead():
    near, photo = still(12)
    taken = []

    def frames():
        for i in range(12):
            taken.append(i)
            yield near[i : i + 1], photo[i : i + 1]

    stream = steadied(frames())
    for i in range(12):
        assert next(stream).shape == (1, 1, 40, 56)
        assert len(taken) == min(i + REACH + 1, 12)
    assert next(stream, None) is None


def test_maps_and_photos_of_other_sizes():
    near, photo = still(4)
    noisy = (near + 0.03 * torch.randn(near.shape)).clamp(0, 1)
    large = torch.nn.functional.interpolate(photo, scale_factor=2)
    found = steady(noisy, large)
    assert found.shape == near.shape and (found - near).abs().mean() < (noisy - near).abs().mean()
    assert torch.equal(steady(noisy[:1], photo[:1]), noisy[:1])


@pytest.mark.long
def test_memory_does_not_grow_with_the_clip():
    near, photo = still(28, (24, 32))
    noisy = (near + 0.03 * torch.randn(near.shape)).clamp(0, 1)
    few, many = (peak_of(lambda count=count: steady(noisy[:count], photo[:count])) for count in (16, 28))
    assert many - few < 13 * near[:1].nbytes


def test_progress_and_stopping():
    near, photo = still(6)
    seen = []
    steady(near, photo, progress=lambda done, count: seen.append((done, count)))
    assert seen == sorted(seen) and seen[0] == (0, 6) and seen[-1][0] == 5

    def stop(_done, _count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        steady(near, photo, progress=stop)


def test_wrong_inputs():
    near, photo = still(3)
    with pytest.raises(ValueError, match="strength .*2; it goes from 0"):
        steady(near, photo, 2)
    with pytest.raises(ValueError, match="image has 2 frames for 3 pictures"):
        steady(near, photo[:2])
    with pytest.raises(ValueError, match="aspect ratio"):
        steady(near, photo[..., :20])
    with pytest.raises(ValueError, match="NaN"):
        steady(near * torch.nan, photo)


@pytest.mark.long
def test_the_lens_flickers_hardly_more_than_with_exact_disparity(scene):
    focus, k, inner = (
        float(scene[0].layers[1].disparity().mean()),
        MARGIN - 6,
        (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN)),
    )
    middle = scene[3:9]
    true = torch.cat([trace(moment.layers, focus, k, 400)[None] for moment in middle])
    exact = torch.cat([moment.disparity for moment in scene])
    given = torch.cat(spoil_clip(list(exact.split(1)), 6))
    found = []
    for maps in (exact, given, steady(given, photos(scene))):
        pictures = torch.cat([render(moment.photo, near[None], focus, k) for moment, near in zip(middle, maps[3:9])]).clamp(
            max=1
        )
        off = psnr(pictures[inner], linear_to_srgb(true).clamp(max=1)[inner])
        found.append((flicker(pictures.split(1), middle, MARGIN), off))
    (least, _), (before, noisy), (after, clean) = found
    assert after < 1.2 * least < before and clean > noisy
