"""Clips whose truth is known: two subjects that move, turn, come nearer and cross before a background that pans.

Every surface is drawn once and moved by a similarity: pixel q of the drawing lies at c + s R (q - pivot) in a frame, with a place c, an
angle and a scale s for each. So flow, disparity and what hides what follow exactly, and each frame goes through the ray tracer.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..color import srgb_to_linear
from ..focus import focus_from_point
from .raytrace import Layer, flatten, rays_for, trace
from .scenes import blob, dead_leaves


@dataclass(frozen=True)
class Place:
    """Where the pivot of a surface lies in a frame, in pixels with the margin; the angle in radians, and the disparity of the pivot."""

    x: float
    y: float
    angle: float
    scale: float
    disparity: float


@dataclass(frozen=True)
class Surface:
    """One drawing: color (3, h, w) in linear light, alpha (1, h, w), slope of disparity per pixel of it, and its place in each frame."""

    color: Tensor
    alpha: Tensor
    slope: tuple[float, float]
    pivot: tuple[float, float]
    places: list[Place]

    def layer(self, frame: int, side: int) -> Layer:
        """The surface in a frame `side` pixels square."""
        place = self.places[frame]
        turn, (along, down) = _turn(place), self.slope
        y, x = torch.meshgrid(torch.arange(side).float() - place.y, torch.arange(side).float() - place.x, indexing="ij")
        from_x = (turn[0] * x + turn[1] * y) / place.scale + self.pivot[0]
        from_y = (turn[0] * y - turn[1] * x) / place.scale + self.pivot[1]
        height, width = self.alpha.shape[-2:]
        grid = torch.stack([2 * from_x / (width - 1) - 1, 2 * from_y / (height - 1) - 1], -1)[None]
        color = F.grid_sample(self.color[None], grid, mode="bicubic", padding_mode="border", align_corners=True)[0]
        alpha = F.grid_sample(self.alpha[None], grid, align_corners=True)[0]
        slope_x = (turn[0] * along - turn[1] * down) / place.scale
        slope_y = (turn[1] * along + turn[0] * down) / place.scale
        at_origin = place.disparity - slope_x * place.x - slope_y * place.y
        return Layer(color.clamp(min=0), alpha, (at_origin, slope_x, slope_y))

    def moved(self, frame: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Where what is at x, y in a frame lies in the next one."""
        before, after = self.places[frame], self.places[frame + 1]
        scale = after.scale / before.scale
        cos, sin = math.cos(after.angle - before.angle), math.sin(after.angle - before.angle)
        x, y = x - before.x, y - before.y
        return after.x + scale * (cos * x - sin * y), after.y + scale * (sin * x + cos * y)


def _turn(place: Place) -> tuple[float, float]:
    return math.cos(place.angle), math.sin(place.angle)


@dataclass(frozen=True)
class Clip:
    """Surfaces near to far, the last one the background; frames are `size` pixels square, with `margin` around them for the lens."""

    surfaces: list[Surface]
    size: int
    margin: int

    @property
    def frames(self) -> int:
        return len(self.surfaces[0].places)

    def layers(self, frame: int) -> list[Layer]:
        """With the margin."""
        return [surface.layer(frame, self.size + 2 * self.margin) for surface in self.surfaces]

    def crop(self, planes: Tensor) -> Tensor:
        """(..., H, W) without the margin."""
        inside = slice(self.margin, self.margin + self.size)
        return planes[..., inside, inside]

    def photo(self, frame: int) -> tuple[Tensor, Tensor]:
        """What a pinhole camera sees: linear light (3, S, S) and disparity (1, S, S)."""
        light, disparity = flatten(self.layers(frame))
        return self.crop(light), self.crop(disparity)

    def disparity_at(self, frame: int, point: tuple[float, float]) -> float:
        """What lies at a point, 0..1 from the left and the top."""
        return focus_from_point(self.photo(frame)[1][None], *point)

    def masks(self, frame: int) -> Tensor:
        """Where each subject is seen, (subjects, S, S) of 0 and 1."""
        seen = self.crop(_seen(self.layers(frame)))
        return torch.stack([(seen == i).float() for i in range(len(self.surfaces) - 1)])

    def flow(self, frame: int) -> tuple[Tensor, Tensor]:
        """Where each pixel goes until the next frame in pixels, (2, S, S) to the right and down, and 1 where it is then hidden or outside."""
        seen, later = (_seen(self.layers(i)) for i in (frame, frame + 1))
        side = len(seen)
        y, x = torch.meshgrid(torch.arange(side).float(), torch.arange(side).float(), indexing="ij")
        to_x, to_y = x.clone(), y.clone()
        for i, surface in enumerate(self.surfaces):
            moved_x, moved_y = surface.moved(frame, x, y)
            to_x, to_y = torch.where(seen == i, moved_x, to_x), torch.where(seen == i, moved_y, to_y)
        row, column = to_y.round().long(), to_x.round().long()
        low, high = self.margin, self.margin + self.size - 1
        inside = (row >= low) & (row <= high) & (column >= low) & (column <= high)
        there = later[row.clamp(low, high), column.clamp(low, high)]
        hidden = (there < seen) | ~inside
        return self.crop(torch.stack([to_x - x, to_y - y])), self.crop(hidden.float()[None])

    def path(self, subject: int) -> list[float]:
        """Disparity of a subject's pivot in each frame, hidden or not."""
        return [place.disparity for place in self.surfaces[subject].places]

    def point(self, subject: int, frame: int) -> tuple[float, float]:
        """Where its pivot is, 0..1 from the left and the top."""
        place = self.surfaces[subject].places[frame]
        return (place.x - self.margin + 0.5) / self.size, (place.y - self.margin + 0.5) / self.size

    def box(self, subject: int, frame: int) -> tuple[float, float, float, float] | None:
        """Left, top, right and bottom in 0..1 of what is seen of a subject, None if nothing is."""
        rows, columns = (self.masks(frame)[subject].amax(axis).nonzero() for axis in (1, 0))
        if not len(rows):
            return None
        left, top, right, bottom = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
        return left / self.size, top / self.size, right / self.size, bottom / self.size

    def bokeh(self, frame: int, focus: float, k: float) -> Tensor:
        """The frame through a thin lens, (3, S, S) in linear light."""
        return self.crop(trace(self.layers(frame), focus, k, rays_for(k * max(focus, 1 - focus))))


def _seen(layers: list[Layer]) -> Tensor:
    """Number of the layer that each pixel shows, (H, W)."""
    opaque = torch.stack([layer.alpha[0] > 0.5 for layer in layers[:-1]] + [torch.ones_like(layers[0].alpha[0]) > 0])
    return opaque.int().argmax(0)


def crossing(size: int, frames: int, seed: int, margin: int = 32) -> Clip:
    """A clip of two subjects that change sides, so that the nearer one hides a part or all of the other on its way.

    Their disparities go slowly from one value to another, 0.62..0.9 for the nearer and 0.3..0.48 for the farther one; the background is
    near 0.12. A subject grows and shrinks with its disparity. Needs 2 frames or more.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    side, meeting = size + 2 * margin, uniform(0.4, 0.6)
    times = [i / (frames - 1) for i in range(frames)]
    surfaces = []
    for number, (low, high) in enumerate(((0.62, 0.9), (0.3, 0.48))):
        radius = size * uniform(0.12, 0.17)
        alpha = blob((side, side), radius, generator, hairs=4)
        color = srgb_to_linear(dead_leaves((side, side), 150, generator))
        rows, columns = torch.arange(side)[:, None], torch.arange(side)
        pivot = (float((alpha[0] * columns).sum() / alpha.sum()), float((alpha[0] * rows).sum() / alpha.sum()))
        direction, height, wave = 1 - 2 * number, uniform(0.44, 0.56), uniform(0, math.tau)
        start, end = uniform(low, high), uniform(low, high)
        turn, reach = uniform(0.2, 0.8) * (1 if uniform(-1, 1) > 0 else -1), uniform(0.22, 0.3)
        places = []
        for t in times:
            disparity = start + (end - start) * (1 - math.cos(math.pi * t)) / 2
            across = 0.5 + direction * 2 * reach * (t - meeting)
            down = height + 0.04 * math.sin(wave + 5 * t)
            x, y = margin + size * across, margin + size * down
            places.append(Place(x, y, turn * t, 1 + disparity - start, disparity))
        slope = (uniform(-0.03, 0.03) / size, uniform(-0.03, 0.03) / size)
        surfaces.append(Surface(color, alpha, slope, pivot, places))
    pan = (uniform(-0.1, 0.1) * size, uniform(-0.1, 0.1) * size)
    wide = side + 2 * math.ceil(0.1 * size)
    color = srgb_to_linear(dead_leaves((wide, wide), 400, generator))
    middle = (side - 1) / 2
    places = [Place(middle + pan[0] * (t - 0.5), middle + pan[1] * (t - 0.5), 0.0, 1.0, 0.12) for t in times]
    slope = (uniform(-0.08, 0.08) / size, uniform(-0.08, 0.08) / size)
    surfaces.append(Surface(color, torch.ones(1, wide, wide), slope, ((wide - 1) / 2, (wide - 1) / 2), places))
    return Clip(surfaces, size, margin)
