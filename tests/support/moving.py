"""Layered scenes that move, with known disparity, motion and occlusion, and what is judged along that motion."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from magicbokeh_ops.color import linear_to_srgb
from magicbokeh_ops.synthesis.raytrace import Layer, flatten
from magicbokeh_ops.synthesis.scenes import three_layers
from magicbokeh_ops.windows import widen


@dataclass
class Moment:
    """A frame. layers: as the camera has them. photo: (1, 3, H, W) sRGB, lights above 1. disparity: (1, 1, H, W).

    flow: (1, 2, H, W), where each pixel is in the next frame, in pixels right and down of here; seen: (1, 1, H, W), whether it is
    seen there. Both are None in the last frame.
    """

    layers: list[Layer]
    photo: Tensor
    disparity: Tensor
    flow: Tensor | None = None
    seen: Tensor | None = None


class Motion:
    """Turn and shift of a layer about the middle of the picture, at even speed; at the middle of the clip it is where it was drawn."""

    def __init__(self, speed: tuple[float, float], turn: float, approach: float, frames: int):
        self.speed, self.turn, self.approach, self.middle = speed, turn, approach, (frames - 1) / 2

    def drawn_at(self, points: Tensor, frame: int, center: tuple[float, float]) -> Tensor:
        """Where (..., 2) points (x, y) of a frame lie in the layer as it was drawn."""
        moved = points - torch.tensor(center) - torch.tensor(self.speed) * (frame - self.middle)
        return moved @ self._rotation(frame) + torch.tensor(center)

    def seen_at(self, points: Tensor, frame: int, center: tuple[float, float]) -> Tensor:
        """The inverse."""
        turned = (points - torch.tensor(center)) @ self._rotation(frame).T
        return turned + torch.tensor(center) + torch.tensor(self.speed) * (frame - self.middle)

    def _rotation(self, frame: int) -> Tensor:
        angle = self.turn * (frame - self.middle)
        return torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def moving_scene(seed: int, frames: int, size: int, margin: int, approach: float = 0.002) -> list[Moment]:
    """Two cut-outs that cross and turn before a background that pans, `size` pixels square plus `margin` on each side.

    approach: disparity that the nearest layer gains each frame.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    layers = three_layers(size, margin, seed)
    heading = uniform(0, math.tau)
    motions = []
    for speed, approaching in ((uniform(1.5, 3.5), approach), (-uniform(1, 2.5), 0.0), (uniform(-1.5, 1.5), 0.0)):
        way = heading + uniform(-0.4, 0.4)
        turn = uniform(-0.02, 0.02) if len(motions) < 2 else uniform(-0.003, 0.003)
        motions.append(Motion((speed * math.cos(way), speed * math.sin(way)), turn, approaching, frames))
    moments = [_moment([_placed(layer, motion, i) for layer, motion in zip(layers, motions)]) for i in range(frames)]
    for i, (now, after) in enumerate(zip(moments, moments[1:])):
        now.flow, now.seen = _flow(now, after, motions, i)
    return moments


def _grid(height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    return torch.stack([x, y], -1)


def _sample(values: Tensor, points: Tensor, mode: str = "bilinear", padding: str = "border") -> Tensor:
    """Values (1, C, H, W) at points (H, W, 2) in pixels."""
    height, width = values.shape[-2:]
    unit = points * 2 / torch.tensor([width - 1, height - 1]) - 1
    return F.grid_sample(values, unit[None], mode=mode, padding_mode=padding, align_corners=True)


def _placed(layer: Layer, motion: Motion, frame: int) -> Layer:
    height, width = layer.alpha.shape[-2:]
    center = ((width - 1) / 2, (height - 1) / 2)
    points = motion.drawn_at(_grid(height, width), frame, center)
    color = _sample(layer.color[None], points, "bicubic", "reflection")[0].clamp(min=0)
    is_background = bool((layer.alpha == 1).all())
    alpha = layer.alpha if is_background else _sample(layer.alpha[None], points, padding="zeros")[0]
    # The plane goes with the layer: its value at three corners says what it is in this frame.
    at = motion.drawn_at(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), frame, center)
    origin, right, down = (layer.plane[0] + at @ torch.tensor(layer.plane[1:])).tolist()
    nearer = motion.approach * (frame - motion.middle)
    return Layer(color, alpha, (origin + nearer, right - origin, down - origin))


def _moment(layers: list[Layer]) -> Moment:
    light, disparity = flatten(layers)
    return Moment(layers, linear_to_srgb(light)[None], disparity[None].clamp(0, 1))


def _owner(layers: list[Layer]) -> Tensor:
    """Which layer is seen, (1, H, W)."""
    owner = torch.full_like(layers[0].alpha, len(layers) - 1)
    for i in reversed(range(len(layers))):
        owner = torch.where(layers[i].alpha > 0.5, i, owner)
    return owner


def _flow(now: Moment, after: Moment, motions: list[Motion], frame: int) -> tuple[Tensor, Tensor]:
    height, width = now.disparity.shape[-2:]
    center, grid, owner = ((width - 1) / 2, (height - 1) / 2), _grid(height, width), _owner(now.layers)[0]
    target = grid.clone()
    for i, motion in enumerate(motions):
        moved = motion.seen_at(motion.drawn_at(grid, frame, center), frame + 1, center)
        target = torch.where((owner == i)[..., None], moved, target)
    there = _owner(after.layers)[None].float()
    same = (_sample(there, target) - owner).abs()[0, 0] < 1e-3
    inside = (target >= 0).all(-1) & (target <= torch.tensor([width - 1, height - 1])).all(-1)
    return (target - grid).movedim(-1, 0)[None], (same & inside)[None, None]


def flicker(values: list[Tensor], moments: list[Moment], margin: int) -> float:
    """Mean change of maps or pictures (1, C, H, W) along the true motion from each frame to the next, where both show the same."""
    inner = (..., slice(margin, -margin), slice(margin, -margin))
    changes = []
    for now, after, moment in zip(values, values[1:], moments):
        there = _sample(after, _grid(*now.shape[-2:]) + moment.flow[0].movedim(0, -1))
        changes.append((there - now).abs().mean(1, keepdim=True)[inner][moment.seen[inner]])
    return float(torch.cat(changes).mean())


def steepness(values: list[Tensor], moments: list[Moment], margin: int) -> float:
    """Mean over the pixels at true edges of the steepest gradient within 4 pixels."""
    inner = (..., slice(margin, -margin), slice(margin, -margin))
    found = []
    for value, moment in zip(values, moments):
        edges = (widen(moment.disparity, 1) + widen(-moment.disparity, 1) > 0.1)[inner]
        right = value[..., :-1, 1:] - value[..., :-1, :-1]
        down = value[..., 1:, :-1] - value[..., :-1, :-1]
        steep = widen(F.pad(torch.hypot(right, down), (0, 1, 0, 1)), 4)[inner]
        found.append(steep[edges])
    return float(torch.cat(found).mean())
