"""The shape of the aperture, as sample points: the lens renderer's kernels and the ray tracer's rays are the same points."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


@dataclass(frozen=True)
class Aperture:
    """Opening of the lens, seen by a point light behind the focal plane (in front of it the picture is upside down).

    blades: straight edges of the iris, 3 or more; 0 is a round opening.
    rotation: degrees, counter-clockwise.
    roundness: 0 = straight blades, 1 = blades bent to a circle.
    squeeze: anamorphic factor >= 1; the opening is that much narrower than high.
    cat_eye: 0..1, how far the barrel cuts the opening at the corners of the picture (nothing in the centre).

    Raises ValueError for values outside these ranges.
    """

    blades: int = 0
    rotation: float = 0.0
    roundness: float = 0.0
    squeeze: float = 1.0
    cat_eye: float = 0.0

    def __post_init__(self):
        if self.blades < 0 or self.blades in (1, 2):
            raise ValueError(f"blades is {self.blades}; use 0 for a round aperture, or 3 and more.")
        if not 0 <= self.roundness <= 1:
            raise ValueError(f"roundness is {self.roundness}; it goes from 0 (straight blades) to 1 (a circle).")
        if not math.isfinite(self.rotation):
            raise ValueError(f"rotation is {self.rotation}; it is a number of degrees.")
        if not 1 <= self.squeeze < math.inf:
            raise ValueError(f"squeeze is {self.squeeze}; it starts at 1 (spherical lens), 2 is a common anamorphic lens.")
        if not 0 <= self.cat_eye <= 1:
            raise ValueError(f"cat_eye is {self.cat_eye}; it goes from 0 (none) to 1 (strong).")

    def samples(self, n: int, field: tuple[float, float] = (0.0, 0.0)) -> Tensor:
        """About n points (m, 2), x right and y down, spread evenly over the opening inside the unit circle.

        Points lie on Vogel's sunflower spiral, the least noisy set for blur discs of those that were tried.
        field: place in the picture, (0, 0) in the centre and of length 1 in the corners, where `cat_eye` cuts.
        """
        half = math.pi / self.blades if self.blades else 0.0
        area = 1.0
        if self.blades:
            area = (1 - self.roundness) * math.sin(half) * math.cos(half) / half + self.roundness
        i = torch.arange(round(n / area), dtype=torch.float64)
        radius = torch.sqrt((i + 0.5) / len(i))
        angle = i * GOLDEN_ANGLE
        if self.blades:
            edge = math.cos(half) / torch.cos(torch.remainder(angle, 2 * half) - half)
            inside = radius <= edge + (1 - edge) * self.roundness
            radius, angle = radius[inside], angle[inside]
        angle = angle - math.radians(self.rotation)
        x, y = radius * torch.cos(angle) / self.squeeze, radius * torch.sin(angle)
        cut = self.cat_eye * torch.tensor(field, dtype=torch.float64) / 2
        inside = torch.ones_like(x, dtype=torch.bool)
        for sign in (-1, 1):
            inside &= (x + sign * cut[0]) ** 2 + (y + sign * cut[1]) ** 2 <= 1
        return torch.stack([x[inside], y[inside]], 1).float()


def splatted(points: Tensor, reach: int) -> Tensor:
    """Kernels (N, n, n), n = 2 reach + 1, of points (N, P, 2) around their middle, each shared among the four pixels around it."""
    side = 2 * reach + 1
    corner = points.floor()
    part = points - corner
    cell = ((corner[..., 1] + reach) * side + corner[..., 0] + reach).long()
    kernels = points.new_zeros(len(points), side * side)
    for right in (0, 1):
        for down in (0, 1):
            share = (part[..., 0] - 1 + right).abs() * (part[..., 1] - 1 + down).abs()
            kernels.scatter_add_(1, cell + down * side + right, share)
    return kernels.view(-1, side, side)
