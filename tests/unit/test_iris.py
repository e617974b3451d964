"""Apertures of other kinds than a plain opening: their points, and pictures through them against the ray tracer's rays."""

import math

import pytest
import torch
import torch.nn.functional as F

from magicbokeh_ops import lens
from magicbokeh_ops.aperture import Aperture, IrisPicture, splatted
from magicbokeh_ops.color import linear_to_srgb
from magicbokeh_ops.evaluation.metrics import psnr
from magicbokeh_ops.lenses import LENSES, aperture_of
from magicbokeh_ops.synthesis.raytrace import Layer, flatten, trace


def arrow(colors: int = 1) -> IrisPicture:
    """A triangle that points up, with a darker left half; with three colours, red above and blue below."""
    y = torch.linspace(-1, 1, 96)[:, None]
    x = torch.linspace(-1, 1, 96)[None]
    light = ((x.abs() < (y + 0.9) / 2) & (y < 0.6)).float() * torch.where(x < 0, 0.5, 1.0)
    if colors == 1:
        return IrisPicture(light[None])
    return IrisPicture(light * torch.stack([1 - 0.8 * y, torch.ones_like(y), 1 + 0.8 * y]))


APERTURES = {
    "ring": Aperture(ring=0.5),
    "soap bubble": Aperture(spherical=0.9),
    "creamy": Aperture(spherical=-0.9),
    "star": Aperture(5, star=0.6),
    "wide": Aperture(squeeze=0.5, ring=0.3),
    "fringing": Aperture(fringing=0.2),
    "picture": Aperture(picture=arrow()),
    "coloured picture": Aperture(picture=arrow(3), rotation=20, fringing=0.1),
}


def lamp(
    aperture: Aperture, radius: float, side: int = 96, at: tuple[int, int] | None = None, size=None, **options
) -> torch.Tensor:
    """Linear light (3, side, side) of a lamp in the middle, or at a place, blurred to a radius; behind the focus if it is negative."""
    height, width = size or (side, side)
    light = torch.zeros(1, 3, height, width)
    row, col = at or (side // 2, side // 2)
    light[..., row, col] = 100
    disparity = torch.full((1, 1, height, width), 0.5 + math.copysign(0.4, radius))
    out = lens.render(light, disparity, 0.5, abs(radius) / 0.4, aperture=aperture, color_space="linear", **options)
    return out[0]


def two_layers(size: int, near: float, far: float) -> list[Layer]:
    """A soft-edged disc before a wall, both of smooth colours, and lamps on the wall."""
    y = torch.arange(size, dtype=torch.float32)[:, None]
    x = torch.arange(size, dtype=torch.float32)[None]
    middle = size / 2
    disc = torch.sigmoid(size / 7 - torch.hypot(y - middle, x - middle))[None]
    waves = [0.4 + 0.1 * torch.sin(x / (9 + 2 * i) + i) * torch.cos(y / (11 - i)) for i in range(3)]
    wall = torch.stack(waves[::-1]) + 0.1
    for row in (middle // 3, 2 * middle - middle // 3):
        for col in (middle // 3, middle, 2 * middle - middle // 3):
            wall[:, int(row) : int(row) + 3, int(col) : int(col) + 3] = 6
    return [
        Layer(torch.stack(waves), disc, (near, 0.0, 0.0)),
        Layer(wall, torch.ones(1, size, size), (far, 0.0, 0.0)),
    ]


@pytest.mark.long
@pytest.mark.parametrize("name", APERTURES)
@pytest.mark.parametrize("focus, k", [(0.8, 16.0), (0.95, 20.0)])
def test_pictures_are_those_of_the_ray_tracer_with_the_same_points(name, focus, k):
    aperture, margin = APERTURES[name], 24
    layers = two_layers(96 + 2 * margin, 0.8, 0.2)
    truth = trace(layers, focus, k, 700, aperture, rays_at_once=64)
    light, disparity = flatten(layers)
    out = lens.render(light[None], disparity[None], focus, k, aperture=aperture, color_space="linear")[0]
    inner = (slice(None), slice(margin, -margin), slice(margin, -margin))
    assert psnr(*(linear_to_srgb(picture[inner]).clamp(max=1) for picture in (out, truth))) > 45


@pytest.mark.parametrize("radius", [-9.7, -26.0, 9.7, 40.0])
@pytest.mark.parametrize("name", APERTURES)
def test_a_lamp_becomes_the_picture_of_the_opening_and_keeps_its_light(name, radius):
    aperture = APERTURES[name]
    disc = lamp(aperture, radius, 160)
    assert disc.sum((1, 2)) == pytest.approx([100] * 3, rel=0.01)
    points, weights = aperture.rays(40000, in_front=radius > 0)
    wanted = splatted(-radius * points, 79, weights)
    wanted = 100 * F.pad(wanted / wanted.sum((1, 2), keepdim=True), (1, 0, 1, 0)).expand(3, -1, -1)
    assert (disc - wanted).abs().sum((1, 2)).max() < 12  # of 100: less than a sixteenth lies elsewhere


def test_a_ring_is_dark_inside_and_a_soap_bubble_bright_at_its_rim_behind_the_focus_only():
    middle, half = slice(45, 52), 48

    def profile(disc: torch.Tensor) -> tuple[float, float]:
        return float(disc[1, middle, middle].mean()), float(disc[1, middle, half + 16 : half + 19].mean())

    inside, rim = profile(lamp(Aperture(ring=0.5), -20))
    assert inside < 0.01 * rim
    behind, in_front = profile(lamp(Aperture(spherical=0.8), -20)), profile(lamp(Aperture(spherical=0.8), 20))
    assert behind[1] > 3 * behind[0] and in_front[0] > 2.5 * in_front[1]
    creamy = profile(lamp(Aperture(spherical=-0.8), 20))
    assert creamy == pytest.approx(behind, rel=0.05)


def test_fringes_change_sides_at_the_focus():
    aperture = Aperture(fringing=0.2)
    widths = {}
    for radius in (-20, 20):
        disc = lamp(aperture, radius)
        row = disc[:, 48]
        widths[radius] = [int((color > color[48] / 2).sum()) for color in row]
    red, green, blue = widths[-20]
    assert red < blue < green and abs(red - 33) <= 1 and abs(green - 41) <= 1
    red, green, blue = widths[20]
    assert red > blue > green and abs(red - 49) <= 1


def test_a_picture_stands_upright_behind_the_focus_and_upside_down_before_it():
    behind, before = lamp(Aperture(picture=arrow()), -20), lamp(Aperture(picture=arrow()), 20)
    assert behind[1, :48].sum() < 0.6 * behind[1, 49:].sum()  # the wide part is below
    assert before[1, :48].sum() > 1.6 * before[1, 49:].sum()
    assert behind[1, :, :48].sum() < behind[1, :, 49:].sum()  # the left half is darker
    turned = lamp(Aperture(picture=arrow(), rotation=90), -20)
    assert turned[1, :, :48].sum() < 0.6 * turned[1, :, 49:].sum()  # counter-clockwise: what pointed up points to the left


def test_a_coloured_picture_keeps_white_white_and_colours_the_parts_of_a_disc():
    disc = lamp(Aperture(picture=arrow(3)), -30, 128)
    above, below = disc[:, 48:60].sum((1, 2)), disc[:, 70:80].sum((1, 2))
    assert above[0] > 1.5 * above[2] and below[2] > 1.2 * below[0]
    assert disc.sum((1, 2)) == pytest.approx([100] * 3, rel=0.01)
    grey = torch.full((1, 3, 96, 96), 0.4)
    out = lens.render(grey, torch.full((1, 1, 96, 96), 0.1), 0.9, 20, aperture=Aperture(picture=arrow(3)))
    assert (out - grey).abs().max() < 1e-3


def test_a_colour_that_an_iris_holds_back_everywhere_is_let_through_as_the_others():
    red = torch.zeros(3, 32, 32)
    red[0] = 1
    plain = lamp(Aperture(picture=IrisPicture(torch.ones(1, 32, 32))), -12)
    assert torch.allclose(lamp(Aperture(picture=IrisPicture(red)), -12), plain, atol=1e-4)


def test_alpha_goes_through_a_coloured_aperture():
    alpha = torch.zeros(1, 1, 96, 96)
    alpha[..., :48] = 1
    light, disparity = torch.full((1, 3, 96, 96), 0.5), torch.full((1, 1, 96, 96), 0.1)
    out = lens.render(light, disparity, 0.9, 20, aperture=Aperture(fringing=0.2), alpha=alpha)
    assert out.shape == (1, 4, 96, 96)
    assert out[0, 3, 48, 10] == pytest.approx(1, abs=1e-3) and 0.4 < out[0, 3, 48, 47] < 0.6 and out[0, 3, 48, 90] < 1e-3
    assert (out[0, :3, :, :48] - 0.5).abs().max() < 0.1


@pytest.mark.long
def test_swirl_presses_the_discs_in_the_corners_along_the_direction_to_the_centre():
    size, at = (256, 256), (32, 224)
    disc = lamp(Aperture(swirl=1), -14, at=at, size=size)[1]
    mass = disc / disc.sum()
    y = torch.arange(256.0)[:, None] - at[0]
    x = torch.arange(256.0)[None] - at[1]
    radial, tangential = (x - y) / math.sqrt(2), (x + y) / math.sqrt(2)
    spread = [float((mass * axis**2).sum().sqrt()) for axis in (radial, tangential)]
    assert spread[1] == pytest.approx(7, rel=0.05)  # half the radius, as of any disc
    assert spread[0] == pytest.approx(7 * (1 - 0.75 * 2 * (96 / (128 * math.sqrt(2))) ** 2), rel=0.1)
    middle = lamp(Aperture(swirl=1), -14, at=(128, 128), size=size)[1]
    assert (middle - middle.T).abs().max() < 0.05 * middle.max()


def test_an_oval_lies_down_below_a_squeeze_of_1():
    disc = lamp(Aperture(squeeze=0.5), -20)[1]
    across, down = (float((disc.sum(axis) * (torch.arange(96) - 48) ** 2).sum() / disc.sum()) ** 0.5 for axis in (0, 1))
    assert across == pytest.approx(10, rel=0.02) and down == pytest.approx(5, rel=0.04)  # half the radius, as of any disc


def test_a_picture_may_be_of_any_size_and_shape():
    tall = torch.zeros(1, 900, 300)
    tall[:, 100:800, 50:250] = 1
    picture = IrisPicture(tall)
    points, light = picture.points(10**6)
    assert len(points) < 256 * 256 and light.shape == (1, len(points))
    assert points[:, 1].abs().max() == pytest.approx(0.78, abs=0.02) and points[:, 0].abs().max() == pytest.approx(
        0.22, abs=0.02
    )
    assert picture.extent == pytest.approx(math.hypot(0.78, 0.22), abs=0.02)
    assert IrisPicture(torch.ones(1, 1, 1)).points(100)[0].tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(
    "options",
    [{"star": 1.0, "blades": 5}, {"star": 0.5}, {"ring": 1.0}, {"spherical": -1.1}, {"swirl": 2.0}, {"fringing": float("nan")}],
)
def test_what_is_no_aperture_is_refused_by_name(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Aperture(**options)


def test_a_black_iris_is_refused():
    with pytest.raises(ValueError, match="iris is black"):
        IrisPicture(torch.zeros(3, 8, 8))


def test_a_lens_counts_where_nothing_else_is_set():
    assert aperture_of() == Aperture() and aperture_of("ideal", blades=6, cat_eye=0.2) == Aperture(6, cat_eye=0.2)
    assert aperture_of("mirror") == Aperture(ring=0.5) and aperture_of("mirror", ring=0.3, blades=0) == Aperture(ring=0.3)
    with pytest.raises(ValueError, match="lens is 'tele'.*soap bubble"):
        aperture_of("tele")


@pytest.mark.long
def test_each_lens_has_its_own_look():
    discs = {name: lamp(aperture_of(name), -12, at=(24, 100), size=(128, 128)) for name in LENSES}
    for name, disc in discs.items():
        for other in set(LENSES) - {name}:
            assert float((disc - discs[other]).abs().sum()) > 0.05 * float(disc.sum()), (name, other)


@pytest.mark.long
def test_frames_and_blocks_do_not_change_a_picture(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    photo = torch.rand(1, 3, 160, 240, generator=generator)
    disparity = F.interpolate(torch.rand(1, 1, 6, 8, generator=generator), (160, 240), mode="bilinear")
    aperture = Aperture(picture=arrow(3), fringing=0.1)
    whole = lens.render(photo, disparity, 0.5, 16, aperture=aperture)
    monkeypatch.setattr("magicbokeh_ops.lens.tiles.TILE", 112)
    in_blocks = lens.render(photo, disparity, 0.5, 16, aperture=aperture, block=1)
    assert (whole - in_blocks).abs().max() < 1e-3


@pytest.mark.long
@pytest.mark.parametrize("cat_eye", [0.5, 1.0])
@pytest.mark.parametrize("blades", [0, 5])
def test_the_barrel_never_cuts_all_of_a_ring(cat_eye, blades):
    aperture = Aperture(ring=0.95, cat_eye=cat_eye, blades=blades)
    for field in ((0.0, 0.0), (0.7, 0.7), (-1.0, 0.0), (0.0, 1.0)):
        assert len(aperture.samples(1024, field)) > 50
    out = lens.render(
        torch.full((1, 3, 48, 80), 0.4), torch.linspace(0, 1, 80).expand(1, 1, 48, 80), 0.5, 24, aperture=aperture
    )
    assert torch.allclose(out, torch.full_like(out, 0.4), atol=1e-3)
