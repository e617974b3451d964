"""The shape of the aperture, as weighted sample points: the lens renderer's kernels and the ray tracer's rays are the same points."""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from .color import srgb_to_linear
from .planes import check_map

GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
PICTURE_SIDE = 256  # pixels that are kept of a picture of the opening: its blur discs show no more
# Lowest and highest value of an option, and what they mean.
LIMITS = {
    "roundness": (0, "straight blades", 1, "a circle"),
    "cat_eye": (0, "none", 1, "strong"),
    "star": (0, "a polygon", 0.95, "rays"),
    "ring": (0, "a disc", 0.95, "a thin ring"),
    "spherical": (-1, "creamy", 1, "soap bubbles"),
    "swirl": (0, "none", 1, "strong"),
    "fringing": (0, "none", 0.5, "strong"),
}
FRINGES = (1.0, 0.0, 0.5)  # share of `fringing` that red, green and blue get
SWIRL = 0.75  # of its width that a disc in the corner loses to a `swirl` of 1


class IrisPicture:
    """A picture of the opening: how much light each point lets through, per colour.

    light: (C, H, W), C = 1 or 3, linear, of at least 0. The longer side is as wide as the blur disc.
    Each colour is brought to the same sum, since an opening that tints the blur only is none; one that is black everywhere lets
    through what the others do. Raises ValueError if all are black.
    """

    def __init__(self, light: Tensor):
        check_map(light[:, None], "iris")
        light = light.detach().cpu().float().clamp(min=0)
        scale = PICTURE_SIDE / max(light.shape[-2:])
        if scale < 1:
            light = F.interpolate(light[None], [max(1, round(side * scale)) for side in light.shape[-2:]], mode="area")[0]
        total = light.sum((1, 2), keepdim=True)
        if not total.any():
            raise ValueError("iris is black everywhere, so that no light comes through; make the opening white.")
        light = torch.where(total > 0, light, light.mean(0))
        self.light = light / light.mean((1, 2), keepdim=True)
        self.extent = float(torch.linalg.vector_norm(self.points(PICTURE_SIDE**2)[0], dim=1).max())

    @classmethod
    def of_photo(cls, colors: Tensor, alpha: Tensor | None = None) -> "IrisPicture":
        """Of an sRGB picture (3, H, W), whose transparent parts by alpha (1, H, W) are closed."""
        light = srgb_to_linear(colors.float().clamp(min=0))
        if alpha is not None:
            light = light * alpha.float()
        return cls(light if (light != light[:1]).any() else light[:1])

    def points(self, n: int) -> tuple[Tensor, Tensor]:
        """At most about n points (m, 2) that let light through, x right and y down in -1..1, and their light (C, m)."""
        light, scale = self.light, math.sqrt(n / self.light[0].numel())
        if scale < 1:
            light = F.interpolate(light[None], [max(1, round(side * scale)) for side in light.shape[-2:]], mode="area")[0]
        height, width = light.shape[-2:]
        y, x = ((2 * torch.arange(side, dtype=torch.float64) + 1 - side) / max(height, width) for side in (height, width))
        lit = light.amax(0) > 0
        points = torch.stack([x.expand(height, width)[lit], y[:, None].expand(height, width)[lit]], 1)
        return points, light[:, lit].double()


@dataclass(frozen=True)
class Aperture:
    """Opening of the lens, seen by a point light behind the focal plane (in front of it the picture is upside down).

    blades: straight edges of the iris, 3 or more; 0 is a round opening.
    rotation: degrees, counter-clockwise.
    roundness: 0 = straight blades, 1 = blades bent to a circle.
    squeeze: anamorphic factor; above 1 the opening is that many times as high as wide, below 1 it is wider than high.
    cat_eye: 0..1, how far the barrel cuts the opening at the corners of the picture (nothing in the centre).
    star: 0..0.95, how far the middles of the blades are pulled to the centre: a star with as many points as blades.
    ring: 0..0.95, inner radius of a ring, which a mirror lens has.
    spherical: -1..1, spherical aberration: above 0 a disc behind the focus has a bright rim and a dark middle (soap bubbles), below 0
        a bright middle and no rim (creamy); in front of the focus it is the other way round.
    swirl: 0..1, how much narrower discs get along the direction to the centre, by the square of the distance from there, so that
        the background seems to turn (Petzval's lens).
    fringing: 0..0.5, longitudinal colour: share by which the disc of red light is wider in front of the focus and narrower
        behind it, half of that for blue, nothing for green: rims are magenta in front and green behind.
    picture: of the opening, instead of blades.

    Raises ValueError for values outside these ranges.
    """

    blades: int = 0
    rotation: float = 0.0
    roundness: float = 0.0
    squeeze: float = 1.0
    cat_eye: float = 0.0
    star: float = 0.0
    ring: float = 0.0
    spherical: float = 0.0
    swirl: float = 0.0
    fringing: float = 0.0
    picture: IrisPicture | None = field(default=None, repr=False)

    def __post_init__(self):
        if self.blades < 0 or self.blades in (1, 2):
            raise ValueError(f"blades is {self.blades}; use 0 for a round aperture, or 3 and more.")
        if not math.isfinite(self.rotation):
            raise ValueError(f"rotation is {self.rotation}; it is a number of degrees.")
        if not 0 < self.squeeze < math.inf:
            raise ValueError(f"squeeze is {self.squeeze}; it is above 0. 1 is a spherical lens, 2 a common anamorphic one.")
        for name, (low, lowest, high, highest) in LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; it goes from {low} ({lowest}) to {high} ({highest}).")
        if self.star and not self.blades and self.picture is None:
            raise ValueError(f"star is {self.star} with a round opening; set blades to the number of its points.")

    @property
    def varies(self) -> bool:
        """Whether the opening differs from place to place in the picture."""
        return self.cat_eye > 0 or self.swirl > 0

    @property
    def colored(self) -> bool:
        """Whether it differs between colours."""
        return self.fringing > 0 or (self.picture is not None and len(self.picture.light) == 3)

    @property
    def sided(self) -> bool:
        """Whether it differs, but for being upside down, between what lies in front of the focal plane and behind it."""
        return self.spherical != 0 or self.fringing > 0

    @property
    def detailed(self) -> bool:
        """Whether a disc shows more than an even surface."""
        return self.sided or self.star > 0 or self.ring > 0 or self.picture is not None

    @property
    def extent(self) -> float:
        """Largest distance of a point from the middle; that of a round opening is 1."""
        return (1.0 if self.picture is None else self.picture.extent) * (1 + self.fringing)

    def samples(self, n: int, field: tuple[float, float] = (0.0, 0.0)) -> Tensor:
        """The points (m, 2) of `rays`, without weights and colours."""
        return self.rays(n, field)[0][0]

    def rays(self, n: int, field: tuple[float, float] = (0.0, 0.0), in_front: bool = False) -> tuple[Tensor, Tensor]:
        """About n points (C, m, 2), x right and y down, spread over the opening, and their weights (C, m); C = 3 if `colored`, else 1.

        Points lie on Vogel's sunflower spiral, the least noisy set for blur discs of those that were tried, or are the pixels of
        the picture. field: place in the picture, (0, 0) in the centre and of length 1 in the corners, where `cat_eye` cuts and
        `swirl` presses. in_front: for what lies in front of the focal plane, as if seen from behind it.
        """
        radius, angle, height, weight = self._polar(n)
        if self.spherical:
            strength = -self.spherical if in_front else self.spherical
            profile = 3 * height**4 if strength > 0 else 2 * (1 - height**2).clamp(min=0)
            weight = weight * (1 + abs(strength) * (profile - 1))
        angle = angle - math.radians(self.rotation)
        x, y = radius * torch.cos(angle) / max(self.squeeze, 1.0), radius * torch.sin(angle) * min(self.squeeze, 1.0)
        place = torch.tensor(field, dtype=torch.float64)
        # The barrel leaves a narrower opening along `field`; a ring of any radius goes on around it.
        inside = height >= self.ring * (1 - self.cat_eye * torch.linalg.vector_norm(place) / 2)
        if self.cat_eye:
            rim = 1.0 if self.picture is None else self.picture.extent
            for sign in (-1, 1):
                cut = sign * rim * self.cat_eye * place / 2
                inside &= (x + cut[0]) ** 2 + (y + cut[1]) ** 2 <= rim**2
        points, weight = torch.stack([x[inside], y[inside]], 1), weight[:, inside].float()
        if self.swirl:
            points = points - SWIRL * self.swirl * (points @ place)[:, None] * place
        if not self.colored:
            return points[None].float(), weight
        wider = self.fringing * torch.tensor(FRINGES, dtype=torch.float64)[:, None, None]
        return (points * (1 + wider if in_front else 1 - wider)).float(), weight.expand(3, -1)

    def drawn(self, side: int = 128) -> Tensor:
        """A disc behind the focus, in the middle of the picture: linear light (3, side, side), brightest at 1."""
        points, weights = self.rays(PICTURE_SIDE**2)
        reach = side // 2 - 1
        disc = splatted(points * ((reach - 1) / self.extent), reach, weights)
        disc = F.pad(disc / disc.sum((1, 2), keepdim=True), (0, 1, 0, 1)).expand(3, -1, -1)
        return disc / disc.max()

    def _polar(self, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """About n points: distance from the middle, angle, distance as a share of that of the rim there, and weight (C, m)."""
        if self.picture is not None:
            points, light = self.picture.points(n)
            radius = torch.linalg.vector_norm(points, dim=1)
            return radius, torch.atan2(points[:, 1], points[:, 0]), radius, light
        half = math.pi / self.blades if self.blades else 0.0
        waist = (1 - self.star) * math.cos(half)  # distance of the middle of a blade
        area = 1.0
        if self.blades:
            area = (1 - self.roundness) * math.sin(half) * waist / half + self.roundness
        i = torch.arange(round(n / area / (1 - self.ring**2)), dtype=torch.float64)
        radius = torch.sqrt((i + 0.5) / len(i))
        angle = i * GOLDEN_ANGLE
        height = radius
        if self.blades:
            turn = torch.remainder(angle, 2 * half)
            edge = math.cos(half) / torch.cos(turn - half)
            if self.star:
                turn = torch.minimum(turn, 2 * half - turn)
                edge = waist * math.sin(half) / (waist * torch.sin(half - turn) + torch.sin(turn))
            edge = edge + (1 - edge) * self.roundness
            inside = radius <= edge
            radius, angle, height = radius[inside], angle[inside], (radius / edge)[inside]
        return radius, angle, height, torch.ones(1, len(radius), dtype=torch.float64)


def splatted(points: Tensor, reach: int, weights: Tensor | None = None) -> Tensor:
    """Kernels (N, n, n), n = 2 reach + 1, of points (N, P, 2) around their middle, each shared among the four pixels around it.

    weights: (N, P), 1 by default.
    """
    side = 2 * reach + 1
    corner = points.floor()
    part = points - corner
    cell = ((corner[..., 1] + reach) * side + corner[..., 0] + reach).long()
    kernels = points.new_zeros(len(points), side * side)
    for right in (0, 1):
        for down in (0, 1):
            share = (part[..., 0] - 1 + right).abs() * (part[..., 1] - 1 + down).abs()
            kernels.scatter_add_(1, cell + down * side + right, share if weights is None else share * weights)
    return kernels.view(-1, side, side)
