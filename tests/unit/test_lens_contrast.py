"""How much contrast the lens leaves on a flat surface, against the ideal disc; and what it does around lights."""

import math

import pytest
import torch

from magicbokeh_ops import lens
from magicbokeh_ops.color import linear_to_srgb, srgb_to_linear

SIDE, MARGIN = 96, 16
FREQUENCIES = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4]  # cycles per pixel


def contrast(radius: float, frequency: float, angle: float) -> float:
    """What is left of a wave on a surface that is `radius` pixels out of focus, behind it where that is negative."""
    step = torch.arange(SIDE, dtype=torch.float32)
    phase = 2 * math.pi * frequency * (math.cos(angle) * step + math.sin(angle) * step[:, None])
    image = linear_to_srgb(0.5 + 0.3 * phase.cos()).expand(1, 3, -1, -1)
    disparity = torch.full((1, 1, SIDE, SIDE), 0.5 + radius / 20)
    light = srgb_to_linear(lens.render(image, disparity, 0.5, 20))[0, 0]
    inner = (slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    waves = torch.stack([phase[inner].cos().flatten(), phase[inner].sin().flatten(), torch.ones((SIDE - 2 * MARGIN) ** 2)], 1)
    found = torch.linalg.lstsq(waves, light[inner].flatten()[:, None]).solution[:, 0]
    return float(found[0]) / 0.3


def of_a_disc(radius: float, frequency: float) -> float:
    x = torch.tensor(2 * math.pi * abs(radius) * frequency)
    return float(2 * torch.special.bessel_j1(x) / x) if x else 1.0


@pytest.mark.long
@pytest.mark.parametrize(
    "radius", [0.1, 0.3, -0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, -1.5, 1.7, 2.0, 2.2, -2.5, 2.9, 3.4, 4.0, 4.6, 5.0]
)
def test_contrast_is_that_of_the_disc(radius):
    for frequency in FREQUENCIES:
        for angle in map(math.radians, (0, 15, 27, 45)):
            assert abs(contrast(radius, frequency, angle) - of_a_disc(radius, frequency)) < 0.02, (frequency, angle)


def test_detail_of_a_face_stays():
    """A face is no plane: at K 24 it lies up to a pixel out of focus, and keeps what a lens would keep of its fine detail."""
    generator = torch.Generator().manual_seed(0)
    light = 0.3 + 0.4 * torch.rand(1, 1, SIDE, SIDE, generator=generator).expand(-1, 3, -1, -1)
    y, x = (torch.linspace(-1, 1, SIDE)[:, None], torch.linspace(-1, 1, SIDE))
    radius = (y**2 + x**2) / 2
    out = srgb_to_linear(lens.render(linear_to_srgb(light), (0.5 + radius / 24)[None, None], 0.5, 24))
    frequency = torch.fft.fftfreq(SIDE)
    distance = torch.hypot(frequency[:, None], frequency)
    fine = (distance > 0.2) & (distance < 0.4)
    power = [torch.fft.fft2(picture[0, 0])[fine].abs().square().mean().sqrt() for picture in (out, light)]
    middle = [of_a_disc(float(r), float(f)) ** 2 for r in radius.flatten()[::97] for f in distance[fine][::199]]
    assert power[0] / power[1] == pytest.approx(math.sqrt(sum(middle) / len(middle)), abs=0.02)


def test_lights_in_focus_have_no_dark_rims():
    image = torch.full((1, 3, 64, 64), 0.3)
    image[..., 30:34, 30:34] = 5.0
    disparity = (0.5 + torch.linspace(0, 1.3, 64) / 24).expand(1, 1, 64, 64)
    out = lens.render(image, disparity, 0.5, 24)
    assert out.min() > 0.3 - 1e-3
