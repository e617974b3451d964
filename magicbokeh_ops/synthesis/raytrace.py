"""Brute-force thin-lens ray tracing of layered scenes: the truth that the lens renderer is judged by."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..aperture import Aperture

IN_FOCUS = 0.1  # pixels of blur radius up to which it does not matter on which side of the focal plane a layer is


@dataclass(frozen=True)
class Layer:
    """One surface of a scene, or of a batch of scenes.

    color: (3, H, W) or (B, 3, H, W) linear light, may exceed 1.
    alpha: (1, H, W) or (B, 1, H, W) in [0, 1].
    plane: disparity at pixel (0, 0) and its slope per pixel along x and y; disparity is in [0, 1], 1 = nearest.
        For a batch each is a (B, 1, 1) tensor.
    """

    color: Tensor
    alpha: Tensor
    plane: tuple[float, float, float] | tuple[Tensor, Tensor, Tensor]

    def disparity(self) -> Tensor:
        """Disparity of the surface at every pixel, (1, H, W) or (B, 1, H, W)."""
        height, width = self.alpha.shape[-2:]
        at_origin, slope_x, slope_y = self.plane
        y = torch.arange(height, dtype=torch.float32, device=self.alpha.device)[:, None]
        x = torch.arange(width, dtype=torch.float32, device=self.alpha.device)[None]
        return (at_origin + slope_x * x + slope_y * y).unsqueeze(-3)


def flatten(layers: list[Layer]) -> tuple[Tensor, Tensor]:
    """What a pinhole camera sees: linear light (3, H, W) and disparity (1, H, W), or batches of them.

    layers are ordered near to far. Disparity is that of the nearest layer with alpha above one half; mixing it
    through soft alpha would invent depths between the layers.
    """
    color = torch.zeros_like(layers[0].color)
    disparity = torch.zeros_like(layers[0].alpha)
    for layer in reversed(layers):
        color = color * (1 - layer.alpha) + layer.color * layer.alpha
        disparity = torch.where(layer.alpha > 0.5, layer.disparity(), disparity)
    return color, disparity


def rays_for(radius: float) -> int:
    """Rays per pixel that keep the error of a blur of `radius` pixels near 60 dB: one per covered pixel, at least 1024."""
    return max(1024, round(torch.pi * (radius + 2) ** 2))


def trace(
    layers: list[Layer], focus: float, k: float, rays: int, aperture: Aperture = Aperture(), rays_at_once: int = 8
) -> Tensor:
    """Image of a layered scene through a thin lens, (3, H, W) in linear light.

    A ray through pixel p of the focal plane and aperture point u meets a layer with disparity d(p) and slope g at
    p + u K (d(p) - d_f) / (1 - K g.u). The first surface along the ray is weighted by its alpha, the next by what is
    left. Planes must not cross, and K |g| < 1. The scene is repeated beyond its border, so leave a margin of the
    largest radius and crop it off.

    layers: near to far. focus: disparity d_f in focus. k: blur radius in pixels at |d - d_f| = 1 (paper Eq. 1).
    Where an aperture differs between in front of the focal plane and behind it, a layer is seen through that of the side on which its
    middle lies; one in focus through that of the first layer which is not.
    """
    height, width = layers[0].alpha.shape[-2:]
    radii = [k * (layer.disparity()[0] - focus) for layer in layers]
    middles = [float(radius[height // 2, width // 2]) for radius in radii]
    blurred = next((middle for middle in middles if abs(middle) > IN_FOCUS), 0.0)
    sides = [(middle if abs(middle) > IN_FOCUS else blurred) > 0 for middle in middles]
    points, weights = (torch.stack(of_layers) for of_layers in zip(*(aperture.rays(rays, in_front=side) for side in sides)))
    traced = [
        _traced(layers, radii, k, own_points, own_weights / own_weights.mean(-1, keepdim=True), rays_at_once)
        for own_points, own_weights in zip(points.unbind(1), weights.unbind(1))
    ]
    return traced[0] if len(traced) == 1 else torch.stack([light[i] for i, light in enumerate(traced)])


def _traced(layers: list[Layer], radii: list[Tensor], k: float, points: Tensor, weights: Tensor, rays_at_once: int) -> Tensor:
    """`trace` with the points (L, P, 2) through which each layer is seen, and their weights (L, P) of mean 1."""
    height, width = layers[0].alpha.shape[-2:]
    y = torch.arange(height, dtype=torch.float32)[:, None]
    x = torch.arange(width, dtype=torch.float32)[None]
    premultiplied = [torch.cat([layer.color * layer.alpha, layer.alpha])[None] for layer in layers]
    light = torch.zeros(3, height, width)
    for chunk, share in zip(points.split(rays_at_once, 1), weights.split(rays_at_once, 1)):
        transmittance = torch.ones(())
        for i, (layer, surface, radius) in enumerate(zip(layers, premultiplied, radii)):
            u, v, weight = chunk[i, :, 0, None, None], chunk[i, :, 1, None, None], share[i, :, None, None, None]
            radius = radius / (1 - k * (layer.plane[1] * u + layer.plane[2] * v))
            grid = torch.stack([(x + radius * u) * (2 / (width - 1)) - 1, (y + radius * v) * (2 / (height - 1)) - 1], -1)
            seen = F.grid_sample(surface.expand(chunk.shape[1], -1, -1, -1), grid, align_corners=True, padding_mode="border")
            light += (seen[:, :3] * transmittance * weight).sum(0)
            transmittance = transmittance * (1 - seen[:, 3:])
    return light / points.shape[1]
