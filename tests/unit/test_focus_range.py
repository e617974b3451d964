"""What stays sharp around the focus, and how the blur grows from there."""

import numpy as np
import pytest
import torch

from magicbokeh_ops import defocus, lens
from magicbokeh_ops.cli import main
from magicbokeh_ops.overlay import focus_overlay

RAMP = torch.linspace(0, 1, 201).expand(1, 1, 60, 201)


def photo() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(1, 3, 60, 201)


def test_the_neutral_values_are_a_lens():
    assert torch.equal(defocus.signed_radius(RAMP, 0.3, 20), 20 * (RAMP - 0.3))
    assert torch.equal(lens.render(photo(), RAMP, 0.3, 20), lens.render(photo(), RAMP, 0.3, 20, focus_range=0, falloff=1))


@pytest.mark.parametrize("focus, focus_range", [(0.5, 0.2), (0.3, 0.4), (0.9, 0.5)])
def test_within_the_range_the_picture_is_the_photo(focus, focus_range):
    out = lens.render(photo(), RAMP, focus, 30, focus_range=focus_range)
    inside = (RAMP[0, 0, 0] - focus).abs() < focus_range / 2 - 0.05  # blur from beyond reaches in by its own radius
    assert (out - photo())[..., inside].abs().max() < 1e-4
    outside = (RAMP[0, 0, 0] - focus).abs() > focus_range / 2 + 0.1
    assert (out - photo())[..., outside].abs().mean() > 0.05


def test_the_blur_begins_softly_and_in_the_end_grows_as_in_a_lens():
    radius = defocus.signed_radius(RAMP, 0.2, 100, focus_range=0.2)[0, 0, 0]
    step = radius.diff()
    assert (radius[20:61].abs() < 1e-5).all()
    assert (step >= 0).all() and step.diff()[61:].min() > -1e-4
    assert step[61] < 0.2 and step[-1] == pytest.approx(0.5, rel=0.01)  # 100 pixels over 201 columns
    assert torch.allclose(defocus.signed_radius(RAMP, 0.5, 10, 0.3), -defocus.signed_radius(RAMP, 0.5, 10, 0.3).flip(-1))


@pytest.mark.parametrize("falloff", [0.5, 2.0])
def test_falloff_is_a_power(falloff):
    radius = defocus.signed_radius(RAMP, 0.0, 16, falloff=falloff)
    assert torch.allclose(radius, 16 * RAMP**falloff)


def test_map_mask_and_overlay_follow():
    values = defocus.defocus_map(RAMP, 0.5, 32, 0.4, 2.0)
    assert torch.equal(values, defocus.signed_radius(RAMP, 0.5, 32, 0.4, 2.0).abs() / 32)
    image = torch.full((1, 3, 60, 201), 0.5)
    green = [focus_overlay(image, RAMP, 0.5, 32, focus_range=size)[0, 1, 5] > 0.55 for size in (0, 0.4)]
    assert green[1].sum() > green[0].sum() + 60


@pytest.mark.parametrize(
    "wrong, message",
    [({"focus_range": -0.1}, "focus_range is -0.1"), ({"falloff": 0}, "falloff is 0"), ({"falloff": float("nan")}, "falloff")],
)
def test_wrong_values_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        lens.render(photo(), RAMP, 0.5, 10, **wrong)


def test_options_of_the_command_line(tmp_path):
    np.save(tmp_path / "photo.npy", photo()[0].permute(1, 2, 0).numpy())
    np.save(tmp_path / "near.npy", RAMP[0, 0].numpy())
    options = ["--focus", "0.5", "--k", "20", "--normalize", "none", "--focus-range", "0.3", "--falloff", "1.5"]
    arguments = ["lens", tmp_path / "photo.npy", "-d", tmp_path / "near.npy", *options, "-o", tmp_path / "out.npy"]
    main([str(argument) for argument in arguments], standalone_mode=False)
    expected = lens.render(photo(), RAMP, 0.5, 20, focus_range=0.3, falloff=1.5)[0].permute(1, 2, 0)
    assert np.allclose(np.load(tmp_path / "out.npy"), expected.numpy(), atol=1e-6)
