"""The lens in blocks, its memory, and photos that are transparent in places."""

from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F

from magicbokeh_ops import lens
from magicbokeh_ops.aperture import Aperture
from magicbokeh_ops.color import srgb_to_linear
from magicbokeh_ops.lens import convolve, render, tiles
from magicbokeh_ops.lens.edges import split_edges
from tests.support.memory_peak import peak_of


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def scene(height: int, width: int) -> torch.Tensor:
    """Disparity of a slope with a nearer surface and a thin thing before it."""
    disparity = torch.linspace(0, 0.3, height)[:, None].expand(1, 1, height, width).clone()
    disparity[..., height // 3 :, width // 4 : width // 2] = 0.6
    disparity[..., :, width // 2 : width // 2 + 7] = 0.95
    return disparity


ALPHA = F.interpolate(noise(1, 1, 15, 20, seed=2), size=(160, 220), mode="bilinear")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, pytest.param({"aperture": Aperture(cat_eye=0.7)}, marks=pytest.mark.long), {"alpha": ALPHA}],
    ids=["plain", "cat eye", "alpha"],
)
@pytest.mark.parametrize("k", [6, pytest.param(30, marks=pytest.mark.long)])
def test_blocks_equal_the_whole(monkeypatch, k, options):
    """Also around a light brighter than white, whose rounding is the largest."""
    monkeypatch.setattr(tiles, "TILE", 64)
    image, disparity = noise(1, 3, 160, 220), scene(160, 220)
    image[..., 50:54, 100:104] = 4
    splits: list[tuple[int, int]] = []

    def counted(light, *rest):
        splits.append(tuple(light.shape[-2:]))
        return split_edges(light, *rest)

    with patch("magicbokeh_ops.lens.photo.split_edges", counted):
        whole = render(image, disparity, 0.3, k, **options)
        once = len(splits)
        in_blocks = render(image, disparity, 0.3, k, block=1, **options)
    assert once == 1 and len(splits) > 8
    assert (in_blocks - whole).abs().max() < 2e-4


@pytest.mark.long
@pytest.mark.parametrize(("radius", "block", "cat_eye"), [(5, 2**16, 0.0), (10, 2**20, 0.0), (5, 2**20, 1.0)])
def test_memory_stays_within_what_is_promised(monkeypatch, radius, block, cat_eye):
    monkeypatch.setattr(tiles, "TILE", 512)
    size = (500, 720)
    image, disparity = noise(1, 3, *size), F.interpolate(noise(1, 1, 10, 14), size=size, mode="bilinear")
    focus = (disparity.amin() + disparity.amax()) / 2
    k = radius / float(disparity.amax() - focus)
    taken = peak_of(lambda: render(image, disparity, focus, k, aperture=Aperture(cat_eye=cat_eye), block=block))
    promised = lens.memory_needed(size, radius, Aperture(cat_eye=cat_eye), block)
    assert promised / 8 < taken - image.nbytes < promised


@pytest.mark.long
@pytest.mark.parametrize(
    ("with_plate", "aperture"),
    [(False, Aperture()), (True, Aperture()), (True, Aperture(fringing=0.3))],
    ids=["matte", "plate", "plate, a coloured aperture and alpha"],
)
def test_memory_of_a_matte_stays_within_what_is_promised(monkeypatch, with_plate, aperture):
    monkeypatch.setattr(tiles, "TILE", 512)
    size = (500, 720)
    image = noise(1, 3, *size)
    disparity, matte = (F.interpolate(noise(1, 1, 10, 14, seed=seed), size=size, mode="bilinear") for seed in (1, 2))
    given = {"matte": (20 * matte - 9.5).clamp(0, 1)} | ({"background": image.flip(-1)} if with_plate else {})
    if aperture.colored:
        given["alpha"] = F.interpolate(noise(1, 1, 10, 14, seed=3), size=size, mode="bilinear")
    radius = 10 * float((disparity - 0.5).abs().amax())
    taken = peak_of(lambda: render(image, disparity, 0.5, 10, aperture=aperture, **given))
    promised = lens.memory_needed(size, radius, aperture, matte=True, background=with_plate)
    assert promised / 8 < taken - image.nbytes < promised


@pytest.mark.slow
def test_memory_follows_the_block():
    """50 megapixels in 3 GiB, 200 in 6, of which 0.8 and 3.2 are what tiles that fade into each other add up in."""
    for radius in (24, 64, 128, 200):
        for cat_eye in (0, 1):
            assert lens.memory_needed((6144, 8192), radius, Aperture(cat_eye=cat_eye)) < 3 * 2**30
            assert lens.memory_needed((12288, 16384), radius, Aperture(cat_eye=cat_eye)) < 6 * 2**30
        assert lens.memory_needed((6144, 8192), radius) + 5 * 6144 * 8192 < lens.memory_needed(
            (6144, 8192), radius, Aperture(cat_eye=1)
        )
    assert lens.memory_needed((6144, 8192), 64, block=lens.TILE**2) < 0.7 * lens.memory_needed((6144, 8192), 64)


def cutout(size: int = 96) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A grey subject on transparent pixels that hide bright red, with its disparity: photo, alpha, disparity."""
    inside = torch.zeros(1, 1, size, size)
    inside[..., size // 4 : -size // 4, size // 4 : -size // 4] = 1
    photo = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1) * (1 - inside) + 0.4 * inside
    return photo, inside, 0.2 + 0.6 * inside


@pytest.mark.parametrize("flat", [True, False])
def test_no_colour_bleeds_from_under_transparent_pixels(flat):
    photo, alpha, disparity = cutout()
    out = render(photo, 0 * disparity + 0.8 if flat else disparity, 0.2, 16, alpha=alpha)
    shown = out[:, 3:] > 0.02
    assert shown.sum() > 1.2 * alpha.sum()  # the blurred edge reaches beyond the sharp one
    assert ((out[:, :3] - 0.4).abs() * shown).max() < 0.02


def test_alpha_is_blurred_with_the_picture():
    photo, alpha, disparity = cutout()
    out = render(photo, 0 * disparity + 0.8, 0.2, 16, alpha=alpha)
    as_picture = srgb_to_linear(render(alpha.expand(-1, 3, -1, -1), 0 * disparity + 0.8, 0.2, 16))[:, :1]
    assert torch.allclose(out[:, 3:], as_picture, atol=2e-3)
    sharp = render(photo, disparity, 0.8, 16, alpha=alpha)
    assert (sharp[:, 3:] - alpha).abs().max() < 0.02


@pytest.mark.parametrize("value", [1.0, 0.0])
def test_one_alpha_everywhere(value):
    image, disparity = noise(2, 3, 64, 80), scene(64, 80)
    out = render(image, disparity, 0.3, 12, alpha=torch.full((1, 1, 64, 80), value))
    assert torch.allclose(out[:, 3:], torch.full_like(out[:, 3:], value), atol=1e-4)
    if value:
        assert torch.allclose(out[:, :3], render(image, disparity, 0.3, 12), atol=2e-4)


def test_alpha_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="alpha is "):
        render(noise(1, 3, 64, 80), scene(64, 80), 0.3, 12, alpha=noise(1, 1, 64, 40))
    with pytest.raises(ValueError, match="alpha has 3 frames for 2 pictures"):
        render(noise(2, 3, 64, 80), scene(64, 80), 0.3, 12, alpha=noise(3, 1, 64, 80))


def test_rounding_is_no_colour_where_nothing_is_seen(monkeypatch):
    """Transforms of another size, or of a card, round otherwise."""
    photo, alpha, disparity = cutout()
    colors = [render(photo, disparity, 0.2, 16, alpha=alpha)[:, :3]]
    monkeypatch.setattr(convolve, "SIDES", [side + 9 for side in convolve.SIDES])
    colors.append(render(photo, disparity, 0.2, 16, alpha=alpha)[:, :3])
    assert 0 < (colors[0] - colors[1]).abs().max() < 2e-3
