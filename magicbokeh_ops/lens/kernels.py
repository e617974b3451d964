"""Blur kernels of an aperture.

Up to a radius of 5 pixels the pixels are large beside the blur, and points shared among four pixels would blur once more. In such kernels
what the aperture passes is met for every frequency up to 0.4 cycles per pixel, as far as kernels that are short and hardly negative
can; what is beyond is free for that. With a round aperture a surface keeps the contrast of the ideal disc within 0.02; with blades,
`squeeze` and `cat_eye` within 0.03 to 0.1, a fifth of what sharing costs. Light above white, around which any undershoot shows, is
blurred by kernels without, in focus too. Wider kernels are the aperture's sample points, each shared among four pixels; the ray
tracer uses the same points as rays.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from ..aperture import Aperture, splatted

# Radii of small blurs, in pixels. Between two neighbours the mix of both stays within 0.01 of the contrast of the disc
# itself up to 0.4 cycles per pixel; the first two, with no blur at all, serve all radii below the second (see `bins`).
SMALL = (0.98, 1.4, 1.61, 1.83, 2.08, 2.38, 2.75, 3.2, 3.7, 4.3, 5.0)
PASSED = 0.41  # cycles per pixel up to which a small kernel passes what the aperture passes
# Of its peak that a small kernel may fall below 0, and pixels that it reaches beyond its radius. Only the first needs either.
UNDERSHOOT, SPREAD = (0.014, *(0.0,) * 10), (2, *(1,) * 10)
ROUNDS = 160  # in which it is fitted
SIDE = 32  # of the grid for it


def kernel(aperture: Aperture, radius: float, level: int, field: tuple[float, float], positive: bool = False) -> Tensor:
    """Square kernels (C, n, n) with sum 1 for a blur of `radius` full-resolution pixels, to be used at `level`.

    C is 3, for red, green and blue, if the aperture is `colored`, else 1.
    radius: positive in front of the focal plane, where the aperture's picture is upside down. level: times that the
    resolution is halved. field: place in the picture, as for `Aperture.rays`. positive: nowhere below 0, if softer.
    """
    size = abs(radius)
    fitted = level == 0 and size in SMALL and not positive
    differs = radius > 0 and aperture.sided
    made = _small(aperture, field, differs)[SMALL.index(size)] if fitted else _splatted(aperture, size, level, field, differs)
    return made.flip(1, 2) if radius > 0 else made


@lru_cache(maxsize=256)
def _small(aperture: Aperture, field: tuple[float, float], in_front: bool) -> list[Tensor]:
    """Kernels for the radii `SMALL`, whose pixels are large beside the blur.

    What the aperture passes is known for each frequency. Beyond `PASSED` a kernel is free, and uses that to be short and
    hardly negative: it is brought to either in turn (Gerchberg and Saxton's alternating projections).
    """
    radii, undershoot, spread = (torch.tensor(values)[:, None, None] for values in (SMALL, UNDERSHOOT, SPREAD))
    points, weights = aperture.rays(1024, field, in_front)
    frequency = torch.fft.fftfreq(SIDE)
    waves = [torch.exp(-2j * math.pi * radii * frequency[:, None] * points[:, None, None, :, i]) for i in (1, 0)]
    wanted = (waves[0] * weights[:, None, None]) @ waves[1].mT / weights.sum(1)[:, None, None, None]
    known = torch.hypot(frequency[:, None], frequency) <= PASSED
    place = SIDE * frequency.abs()
    inside = (place[:, None].maximum(place) <= (radii * aperture.extent).ceil() + spread).float()
    box = torch.sinc(frequency)

    def in_bounds(kernels: Tensor) -> Tensor:
        return kernels.maximum(-undershoot * kernels.amax((2, 3), keepdim=True)) * inside

    kernels = torch.fft.ifft2(wanted * box[:, None] * box).real
    for _ in range(ROUNDS):
        spectrum = torch.where(known, wanted, torch.fft.fft2(in_bounds(kernels)))
        kernels = torch.fft.ifft2(spectrum).real
    kernels = in_bounds(kernels)
    kernels = torch.fft.fftshift(kernels / kernels.sum((2, 3), keepdim=True), (2, 3))
    reaches = [math.ceil(radius * aperture.extent) + more for radius, more in zip(SMALL, SPREAD)]
    parts = [slice(SIDE // 2 - n, SIDE // 2 + n + 1) for n in reaches]
    return [kernels[:, i, part, part] for i, part in enumerate(parts)]


@lru_cache(maxsize=2048)
def _splatted(aperture: Aperture, radius: float, level: int, field: tuple[float, float], in_front: bool) -> Tensor:
    """The aperture's points, scaled and shared among the four pixels around each."""
    scale = radius / 2**level
    if level:
        # Going to low resolution and back blurs too (box 1/12, two tents 1/6 each): take it from the disc's 1/4 r^2.
        own = (1 / 12 + 2 / 6) * (1 - 4.0**-level)
        scale = math.sqrt(max(scale**2 - 4 * own, 0))
    points, weights = aperture.rays(max(256, round(40 * scale**2)), field, in_front)
    made = splatted(points * scale, math.ceil(scale * aperture.extent) + 1, weights)
    return made / made.sum((1, 2), keepdim=True)
