"""What the lens nodes have beside focus and k: tilt, named lenses, irises, and outputs for compositors."""

import sys
from types import SimpleNamespace

import pytest
import torch

from magicbokeh_ops import defocus, lens
from magicbokeh_ops.aperture import Aperture, IrisPicture
from tests.support import stand_in_host as host

LENS, SWEEP, MAP = host.nodes.LensBlur, host.nodes.Sweep, host.nodes.DefocusMap
HEIGHT, WIDTH = 72, 96


def photo(channels: int = 3) -> torch.Tensor:
    return torch.rand(1, HEIGHT, WIDTH, channels, generator=torch.Generator().manual_seed(0))


def ramp() -> torch.Tensor:
    return torch.linspace(0, 1, WIDTH).expand(1, HEIGHT, WIDTH).clone()


def triangle() -> torch.Tensor:
    return torch.ones(32, 32).tril()


def rendered(k: float = 12.0, focus: float = 0.5, **options) -> torch.Tensor:
    """What the library makes of the same."""
    return lens.render(photo().movedim(-1, 1), ramp()[:, None], focus, k, **options).movedim(1, -1)


def blurred(**more) -> torch.Tensor:
    return host.run(LENS, image=photo(), disparity=ramp(), **{"k": 12.0, **more})[0]


@pytest.mark.long
@pytest.mark.parametrize(
    "widgets, options",
    [
        ({}, {}),
        ({"lens": "mirror"}, {"aperture": Aperture(ring=0.5)}),
        ({"lens": "mirror", "ring": 0.7, "blades": 6}, {"aperture": Aperture(6, ring=0.7)}),
        ({"spherical": -0.5, "fringing": 0.1}, {"aperture": Aperture(spherical=-0.5, fringing=0.1)}),
        ({"blades": 5, "star": 0.5, "squeeze": 0.5}, {"aperture": Aperture(5, star=0.5, squeeze=0.5)}),
        ({"swirl": 0.5}, {"aperture": Aperture(swirl=0.5)}),
        ({"tilt": 0.4, "tilt_direction": 90.0}, {"tilt": 0.4, "tilt_direction": 90.0}),
        ({"iris": triangle()[None]}, {"aperture": Aperture(picture=IrisPicture(triangle()[None]))}),
    ],
)
def test_widgets_mean_what_the_library_does(widgets, options):
    assert torch.equal(blurred(**widgets), rendered(**options))


@pytest.mark.long
def test_an_iris_is_a_mask_or_a_picture_of_any_kind():
    as_mask = blurred(iris=triangle()[None])
    grey = triangle()[None, ..., None].expand(-1, -1, -1, 3)
    several = torch.cat([grey, 1 - grey])
    transparent = torch.cat([torch.ones(1, 32, 32, 3), triangle()[None, ..., None]], -1)
    for iris in (grey, grey[..., :1], several, transparent, triangle()):
        assert torch.allclose(blurred(iris=iris), as_mask, atol=1e-5)
    red_above = torch.ones(1, 32, 32, 3)
    red_above[:, :16, :, 1:] = 0.2
    assert (blurred(iris=red_above) - blurred(iris=torch.ones(1, 32, 32, 3))).abs().max() > 0.01


@pytest.mark.parametrize(
    "widgets, message",
    [
        ({"iris": torch.zeros(1, 8, 8)}, "iris is black"),
        ({"lens": "petzval"}, "lens is 'petzval'"),
        ({"iris": torch.rand(8)}, "iris has shape"),
        ({"iris": torch.full((1, 8, 8), torch.nan)}, "iris"),
        ({"star": 0.5}, "star is 0.5 with a round opening; set blades"),
        ({"tilt": float("nan")}, "tilt is nan"),
        ({"ring": 2.0}, "ring is 2.0; it goes from 0"),
    ],
)
def test_what_can_not_be_is_refused_by_name(widgets, message):
    with pytest.raises(ValueError, match=message):
        blurred(**widgets)


def test_outputs_for_compositors():
    image, disparity = photo(4), ramp()
    settings = {"k": 12.0, "focus": 0.4, "near_scale": 0.5, "far_scale": 2.0, "tilt": 0.2, "focus_range": 0.1}
    picture, radius, iris, alpha = host.run(LENS, image=image, disparity=disparity, lens="mirror", **settings)
    expected = defocus.signed_radius(disparity[:, None], 0.4, 12.0, 0.1, tilt=0.2)[:, 0]
    assert torch.allclose(radius, torch.where(expected > 0, 0.5 * expected, 2 * expected), atol=1e-5)
    assert radius.min() < -3 and radius.max() > 2
    assert torch.equal(alpha, picture[..., 3])
    assert iris.shape == (1, 128, 128, 3) and iris.max() == pytest.approx(1) and iris[0, 64, 64].max() == 0
    assert torch.equal(host.run(LENS, image=image[..., :3], disparity=disparity)[3], torch.ones(1, HEIGHT, WIDTH))
    images, radii, _, alphas = host.run(SWEEP, image=image, disparity=disparity, frames=2, k_from=8.0, k_to=0.0)
    assert radii.shape == alphas.shape == images.shape[:3] and radii[0].abs().max() > 3 and radii[1].abs().max() == 0


@pytest.mark.long
@pytest.mark.parametrize("node", [LENS, SWEEP])
def test_outputs_that_nothing_uses_are_not_made(monkeypatch, node):
    links = sys.modules["pack.nodes.links"]
    inputs = {"image": ["1", 0], "disparity": ["1", 1]}
    for slot, name in ((1, "radius"), (3, "alpha"), (0, None)):
        prompt = {
            "5": {"class_type": f"MagicBokeh{node.__name__}", "inputs": dict(inputs)},
            "6": {"class_type": "PreviewAny", "inputs": {"source": ["5", slot]}},
        }
        prompt = links.note_used_outputs({"prompt": prompt})["prompt"]
        monkeypatch.setattr(node, "hidden", SimpleNamespace(prompt=prompt, unique_id="5"))
        size = {"frames": 2} if node is SWEEP else {}
        _, radius, iris, alpha = host.run(node, image=photo(), disparity=ramp(), **size)
        assert (radius is not None, alpha is not None) == (name == "radius", name == "alpha") and iris is not None


def test_a_mask_of_one_value_and_a_tilt_make_a_miniature():
    flat = torch.full((1, 64, 64), 0.5)  # Solid Mask's usual size: a constant has no shape
    _, focus, *_, tilt, direction = host.run(MAP, disparity=flat, image=photo(), tilt=1.0, focus_y=0.25, k=24.0)
    assert focus == pytest.approx(0.5 + 0.25 * HEIGHT / WIDTH, abs=0.01) and (tilt, direction) == (1.0, 0.0)
    picture, radius, *_ = host.run(
        LENS, image=photo(), disparity=flat, focus=focus, k=24.0, tilt=tilt, tilt_direction=direction
    )
    quarter = HEIGHT // 4
    assert radius[0, quarter].abs().max() < 0.3 and radius[0, -1].min() < -10
    assert (picture[0, quarter] - photo()[0, quarter]).abs().mean() < 0.01
    with pytest.raises(ValueError, match="disparity is constant"):
        host.run(LENS, image=photo(), disparity=flat)


@pytest.mark.parametrize("mode", ["point", "value", "nearest subject", "mask"])
def test_the_focus_of_a_tilted_plane_is_that_of_the_middle_of_the_picture(mode):
    mask = torch.zeros(1, HEIGHT, WIDTH)
    mask[:, 10:14, 70:74] = 1
    inputs = {"disparity": ramp(), "focus_mode": mode, "focus_x": 0.75, "focus_y": 0.2, "focus": 0.3, "focus_mask": mask}
    defocus_map, focus, *_ = host.run(MAP, tilt=0.5, tilt_direction=90.0, **inputs)
    if mode == "value":
        assert focus == 0.3
    if mode == "point":
        assert focus == pytest.approx(0.75 - 0.5 * 0.25, abs=0.01)
        assert defocus_map[0, int(0.2 * HEIGHT), int(0.75 * WIDTH)] < 0.02
    if mode == "mask":
        assert defocus_map[0, 12, 72] < 0.02


def test_three_points_put_the_plane_of_focus_through_them():
    inputs = {"disparity": ramp(), "focus_mode": "three points", "k": 20.0, "focus_x": 0.5, "focus_y": 0.2}
    defocus_map, focus, _, k, _, _, tilt, direction = host.run(MAP, tilt=3.0, **inputs)
    assert (focus, tilt, direction) == (pytest.approx(0.5, abs=0.01), pytest.approx(1, abs=0.02), pytest.approx(90, abs=1))
    assert defocus_map.max() < 0.02
    moved = host.run(MAP, focus_x2=0.1, focus_y2=0.9, **inputs)
    assert moved[6] == pytest.approx(1, abs=0.02)
    with pytest.raises(ValueError, match="three focus points .* lie on a line"):
        host.run(MAP, focus_x2=0.5, focus_y2=0.5, focus_x3=0.5, focus_y3=0.9, **inputs)
