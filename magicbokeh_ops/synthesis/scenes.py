"""Random layered scenes: two cut-outs with soft edges and hairs in front of a background with bright lights."""

import math

import torch
from torch import Tensor

from ..color import srgb_to_linear
from .raytrace import Layer


def dead_leaves(
    size: tuple[int, int], leaves: int, generator: torch.Generator, smallest: float = 2.0, scale: int = 1
) -> Tensor:
    """Ellipses that hide one another, radii by a power law (exponent 3) as in natural images; sRGB (3, H, W).

    scale: pixels per unit of length, with `size` in pixels: the same picture, drawn finer.
    """

    def uniform(low=0.0, high=1.0) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    height, width = size
    largest = max(size) / 3
    y = torch.arange(height, dtype=torch.float32)[:, None]
    x = torch.arange(width, dtype=torch.float32)[None]
    image = torch.rand(3, 1, 1, generator=generator).expand(3, height, width).clone()
    bare = torch.ones(height, width, dtype=torch.bool)
    for i in range(leaves):
        if i < 9:
            radius = largest / 2
        else:
            radius = ((scale * smallest) ** -2 + uniform() * (largest**-2 - (scale * smallest) ** -2)) ** -0.5
        center_x, center_y, angle, flat = uniform(0, width), uniform(0, height), uniform(0, math.tau), uniform(0.4, 1)
        along = (x - center_x) * math.cos(angle) + (y - center_y) * math.sin(angle)
        across = (y - center_y) * math.cos(angle) - (x - center_x) * math.sin(angle)
        leaf = ((along / radius) ** 2 + (across / (radius * flat)) ** 2 < 1) & bare
        color = torch.rand(3, 1, 1, generator=generator)
        if radius > 6 * scale:
            color = (color + uniform(0, 0.25) * torch.sin(uniform(0.15, 1.35) * along / scale)).clamp(0, 1)
        image = torch.where(leaf, color, image)
        bare &= ~leaf
    return image


def blob(size: tuple[int, int], radius: float, generator: torch.Generator, hairs: int = 10, scale: int = 1) -> Tensor:
    """Alpha (1, H, W) of a wavy shape somewhere near the middle, with hairs one to three units thick (`scale` pixels each)."""

    def uniform(low=0.0, high=1.0) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    height, width = size
    y = torch.arange(height, dtype=torch.float32)[:, None]
    x = torch.arange(width, dtype=torch.float32)[None]
    center_y, center_x = uniform(0.3, 0.7) * height, uniform(0.3, 0.7) * width
    angle = torch.atan2(y - center_y, x - center_x)
    outline = torch.full_like(angle, radius)
    for wave in range(2, 7):
        outline += radius * 0.5 / wave * uniform() * torch.cos(wave * angle + uniform(0, math.tau))
    alpha = torch.sigmoid(2 / scale * (outline - torch.hypot(y - center_y, x - center_x)))
    for _ in range(hairs):
        direction, length, thickness = uniform(0, math.tau), radius * uniform(0.5, 1.3), scale * uniform(0.7, 1.7)
        root_y, root_x = center_y + 0.8 * radius * math.sin(direction), center_x + 0.8 * radius * math.cos(direction)
        direction += uniform(-0.3, 0.3)
        along = (x - root_x) * math.cos(direction) + (y - root_y) * math.sin(direction)
        across = (y - root_y) * math.cos(direction) - (x - root_x) * math.sin(direction)
        steep = 3 / scale
        hair = (
            torch.sigmoid(steep * (thickness - across.abs()))
            * torch.sigmoid(steep * along)
            * torch.sigmoid(steep * (length - along))
        )
        alpha = alpha.maximum(hair)
    return alpha[None]


def three_layers(size: int, margin: int, seed: int, scale: int = 1) -> list[Layer]:
    """A scene `size` pixels square plus `margin` on each side, near to far, all surfaces slightly slanted.

    scale: how many times as fine it is drawn, so that a camera's pixel is the mean of `scale` x `scale` of these.
    Disparities are 0.35..0.95 for the two cut-outs, at least 0.15 apart where there is room, and 0.15 for the
    background, whose lights go up to 8 times white.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low=0.0, high=1.0) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    size, margin = scale * size, scale * margin
    side = size + 2 * margin

    def plane(disparity: float, change: float) -> tuple[float, float, float]:
        slope_x, slope_y = (uniform(-change, change) / size for _ in range(2))
        return disparity - (slope_x + slope_y) * side / 2, slope_x, slope_y

    near, far = sorted((uniform(0.45, 0.95), uniform(0.45, 0.95)), reverse=True)
    if near - far < 0.15:
        far = max(0.35, near - 0.2)
    layers = []
    for disparity, radius in ((near, 0.16 * size), (far, 0.24 * size)):
        color = srgb_to_linear(dead_leaves((side, side), 350, generator, scale=scale))
        layers.append(Layer(color, blob((side, side), radius, generator, scale=scale), plane(disparity, 0.06)))
    color = srgb_to_linear(dead_leaves((side, side), 900, generator, scale=scale))
    for _ in range(14):
        row, column = (scale * int(uniform(margin, side - margin - 2 * scale) / scale) for _ in range(2))
        color[:, row : row + 2 * scale, column : column + 2 * scale] = 2 + 6 * torch.rand(3, 1, 1, generator=generator)
    layers.append(Layer(color, torch.ones(1, side, side), plane(0.15, 0.15)))
    return layers
