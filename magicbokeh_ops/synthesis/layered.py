"""Random batches of layered scenes (paper, supplement B), and their bokeh by one convolution per depth.

Where layers are flat, blurring each by the aperture and stacking the results equals tracing rays, but for rays that
pass two soft edges at once; a slanted layer is blurred at a few depths, which are mixed pixel by pixel.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..aperture import Aperture, splatted
from ..color import srgb_to_linear
from .convolution import convolve
from .raytrace import Layer, rays_for
from .sources import Source, integer, uniform

FARTHEST, NEAREST = 0.02, 0.98  # disparities in a scene
GAP = 0.1  # of disparity between layers
STEEPEST = 0.15  # change of disparity from the middle of the background to a corner, at most
STEEPEST_CUTOUT = 0.04  # the same for cut-outs
SHARP_SHARE = 0.1  # of the scenes have K = 0
LIGHTS_SHARE = 0.25  # of the scenes have point lights


@dataclass(frozen=True)
class Scenes:
    """A batch of scenes.

    layers: near to far, each with a margin around the picture that blurs may reach into.
    focus: disparity in focus, (B,). k: blur radius in pixels at a disparity difference of 1, (B,).
    margin: pixels on each side.
    """

    layers: list[Layer]
    focus: Tensor
    k: Tensor
    margin: int

    def crop(self, planes: Tensor) -> Tensor:
        """Planes without the margin."""
        return planes[..., self.margin : -self.margin, self.margin : -self.margin]


def random_scenes(
    source: Source,
    size: int,
    batch: int,
    k_limit: float,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Scenes:
    """Two cut-outs before a background, at random disparities, most of them slanted; focus on a random layer.

    Disparities lie in 0.02..0.98, at least 0.1 apart. K is uniform in 0..k_limit, or 0 for one scene in ten.
    """
    k = k_limit * torch.rand(batch, generator=generator)
    k = torch.where(torch.rand(batch, generator=generator) < SHARP_SHARE, 0, k)
    middle, slope = _random_planes(batch, size, generator)
    in_focus = torch.randint(3, (batch,), generator=generator), torch.arange(batch)
    point = (torch.rand(batch, 2, generator=generator) - 0.5) * size
    focus = middle[in_focus] + (slope[in_focus] * point).sum(-1)
    reach = k * ((middle - focus).abs() + slope.abs().sum(-1) * size / 2) / (1 - k * slope.norm(dim=-1))
    margin = math.ceil(float(reach.max())) + 1
    side = size + 2 * margin
    cutouts = torch.stack([source.cutout(side, generator) for _ in range(2 * batch)]).to(device)
    background = srgb_to_linear(torch.stack([source.image(side, generator) for _ in range(batch)]).to(device))
    for i in range(batch):
        if uniform(generator) < LIGHTS_SHARE:
            _add_lights(background[i], generator)
    colors = [*srgb_to_linear(cutouts[:, :3]).chunk(2), background]
    alphas = [*cutouts[:, 3:].chunk(2), torch.ones_like(background[:, :1])]
    origin = middle - slope.sum(-1) * (side - 1) / 2
    planes = torch.stack([origin, *slope.unbind(-1)], 1)[..., None, None].to(device)
    layers = [Layer(color, alpha, (p[0], p[1], p[2])) for color, alpha, p in zip(colors, alphas, planes)]
    return Scenes(layers, focus.to(device), k.to(device), margin)


def _random_planes(batch: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Disparity in the middle (3, B) and slope per pixel (3, B, 2) of two cut-outs and a background, near to far.

    In the picture they cross nowhere.
    """

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    room = NEAREST - FARTHEST - STEEPEST_CUTOUT - 3 * GAP
    far, wall, middle, near = (FARTHEST + rand(4, batch).sort(0).values * room + GAP * torch.arange(4)[:, None]).unbind()
    cutouts = STEEPEST_CUTOUT * rand(2, batch) * (rand(2, batch) < 0.5)
    background = ((wall - far) / 2).clamp(max=STEEPEST) * rand(batch) * (rand(batch) < 0.8)
    change = torch.cat([cutouts, background[None]])
    angle = math.tau * rand(3, batch)
    direction = torch.stack([angle.cos(), angle.sin()], -1)
    slope = 2 / size * change[..., None] * direction / direction.abs().sum(-1, keepdim=True)
    return torch.stack([near, middle, (far + wall) / 2]), slope


def _add_lights(light: Tensor, generator: torch.Generator) -> None:
    """Lamps of 2 to 32 times white on a linear picture (3, H, W), in place: they become discs when out of focus."""
    tint = torch.rand(3, 1, 1, generator=generator)
    for _ in range(3 + integer(generator, 30)):
        thickness = 1 + integer(generator, 4)
        row, col = (integer(generator, n - thickness) for n in light.shape[-2:])
        color = 2 ** uniform(generator, 1, 5) * (tint + torch.rand(3, 1, 1, generator=generator)) / 2
        light[:, row : row + thickness, col : col + thickness] = color.to(light)


def render(scenes: Scenes, aperture: Aperture = Aperture()) -> Tensor:
    """The scenes through a thin lens, (B, 3, H, W) in linear light and without their margin.

    Equals `raytrace.trace` for flat layers up to soft edges before one another, where the mean of a product of
    transmittances is taken as the product of their means.
    """
    focus, k = scenes.focus.view(-1, 1, 1, 1), scenes.k.view(-1, 1, 1, 1)
    light, transmittance = torch.zeros_like(k), torch.ones_like(k)
    for layer in scenes.layers:
        radius = scenes.crop(k * (layer.disparity() - focus))
        slope = torch.cat([torch.as_tensor(s).to(k).expand(len(k), 1, 1) for s in layer.plane[1:]], -1)
        planes = layer.color * layer.alpha
        if layer is not scenes.layers[-1]:
            planes = torch.cat([planes, layer.alpha], 1)
        blurred = _blur(planes, radius, scenes.k[:, None, None] * slope, aperture, scenes.margin)
        light = light + transmittance * blurred[:, :3]
        if layer is not scenes.layers[-1]:
            transmittance = transmittance * (1 - blurred[:, 3:])
    return light


def _blur(planes: Tensor, radius: Tensor, tilt: Tensor, aperture: Aperture, margin: int) -> Tensor:
    """Planes (B, C, H, W) blurred by a signed radius (B, 1, h, w) that varies linearly; tilt: (B, 1, 2), k times slope."""
    ends = torch.stack([radius.amin((1, 2, 3)), radius.amax((1, 2, 3))], 1).tolist()
    depths = [_depths(low, high) for low, high in ends]

    def column(rows: list[list[float]]) -> Tensor:
        return torch.tensor([value for row in rows for value in row], device=planes.device)[:, None, None, None]

    here = column(depths)
    before = column([[row[0] - 1, *row[:-1]] for row in depths])
    after = column([[*row[1:], row[-1] + 1] for row in depths])
    which = torch.tensor([i for i, row in enumerate(depths) for _ in row], device=planes.device)
    largest = max(max(-low, high) for low, high in ends)
    points = aperture.samples(rays_for(largest)).to(planes)
    blurred = convolve(planes, _kernels(here[:, 0], tilt[which], points, margin), which)
    radius = radius[which]
    weight = torch.minimum((radius - before) / (here - before), (after - radius) / (after - here)).clamp(0, 1)
    return torch.zeros_like(blurred[: len(planes)]).index_add_(0, which, blurred * weight)


def _depths(low: float, high: float) -> list[float]:
    """Radii to blur at, from `low` to `high`: a pixel apart near the focus, 20 % apart far from it."""
    if high - low < 1e-3:
        return [(low + high) / 2]
    first, last = (5 * math.asinh(radius / 5) for radius in (low, high))
    between = [5 * math.sinh(i / 5) for i in range(math.floor(first) + 1, math.ceil(last))]
    return [low, *(radius for radius in between if low + 1e-3 < radius < high - 1e-3), high]


def _kernels(radius: Tensor, tilt: Tensor, points: Tensor, reach: int) -> Tensor:
    """The aperture's points where the ray tracer's rays meet a surface, each shared among the four pixels around it.

    radius: (N, 1, 1). tilt: (N, 1, 2). points: (P, 2). Returns (N, n, n), n = 2 reach + 1, each with sum 1.
    """
    # A ray gathers from p + at, which is convolution with a kernel at -at.
    at = -points * radius / (1 - (tilt * points).sum(-1, keepdim=True))
    return splatted(at, reach) / len(points)
