"""Fragments sorted by their blur radius, and the radii that blurs are made for.

A fragment is a mix of blurs of the two radii around its own, 15 to 20 % apart, or of the three below 1.4 pixels, such that the mix is
as wide as its own blur (a blur's variance goes with the square of its radius). A blur is made only where it has content, above 16
pixels at half the resolution, above 32 at a quarter and so on; that is why time hardly depends on k. Discs that show more than an
even surface (rings, stars, pictures ...) and those of lamps would show that too: for them radii are 5 % apart, which puts the edge of
a disc within half a pixel, and resolution lasts four times as long.
"""

import math
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from .kernels import SMALL

# Radius up to which a blur is made at full resolution (every doubling halves it once more), and growth of radius from one blur to the
# next, once that is more than between small ones.
FULL_RESOLUTION, GROWTH = 16.0, 0.2
FINE_FULL_RESOLUTION, FINE_GROWTH = 64.0, 0.05
BRIGHT = 64.0  # light above which the rounding of a transform in single precision would be seen around it
# First radii of what is seen, and of what is continued behind at half resolution (going there and back blurs by 2.2).
SEEN, BEHIND = (*SMALL[1:], 6.0), (0.0, 2.2, 3.2, 4.2, 5.0, 6.0)

# (colour (C, H, W), radius (1, H, W), weight (1, H, W))
Surface = tuple[Tensor, Tensor, Tensor]
# First row and column of a part of a tile, at some resolution, and its planes (C + 1, h, w): premultiplied colour and weight.
Patch = tuple[int, int, Tensor]


def level_of(radius: float, full_resolution: float = FULL_RESOLUTION) -> int:
    """Times that the resolution is halved for a blur of this radius."""
    return max(0, math.ceil(math.log2(max(abs(radius), 1e-6) / full_resolution)))


@dataclass(frozen=True)
class Layer:
    """What is added at once: blurs of one or a few radii at one resolution."""

    radii: tuple[float, ...]
    level: int


class Bins:
    """Radii that blurs are made for, from near (positive) to far, in the layers that they form.

    intervals: between neighbouring radii; a fragment of the interval is a mix of its blurs. The weights make the mix as wide
    as the fragment's own blur (a blur's variance goes with the square of its radius): two for radii that are close, three up
    to 1.4 pixels, where a picture of two would be too soft. Surfaces in there differ by less than an edge, so that they form
    one layer.
    """

    def __init__(self, intervals: list[tuple[float, ...]], layers: list[Layer]):
        self.intervals, self.layers = intervals, layers
        self.reach = max(abs(radius) for interval in intervals for radius in interval)
        # Of each radius in its layer: (interval, position in it) that adds to it.
        self.parts: dict[tuple[Layer, float], list[tuple[int, int]]] = {}
        for layer in layers:
            others = {other.radii for other in layers if other != layer}
            for radius in layer.radii:
                self.parts[layer, radius] = [
                    (i, interval.index(radius))
                    for i, interval in enumerate(intervals)
                    if radius in interval and interval not in others
                ]

    @classmethod
    def spanning(cls, lowest: float, highest: float, fine: bool = False) -> "Bins":
        """For what is seen. fine: where discs show, of lamps or of an aperture with more than an even surface."""
        core = SMALL[1::-1]
        growth, full_resolution = (FINE_GROWTH, FINE_FULL_RESOLUTION) if fine else (GROWTH, FULL_RESOLUTION)
        near = _outwards(highest, SEEN, growth)[::-1]
        far = [-radius for radius in _outwards(-lowest, SEEN, growth)]
        middle = [(*core, 0.0)] if highest > 0 or lowest == highest else []
        middle += [(0.0, *(-radius for radius in reversed(core)))] if lowest < 0 else []
        intervals = [*zip(near, near[1:]), *middle, *zip(far, far[1:])]
        layers = [Layer((radius,), level_of(radius, full_resolution)) for radius in near[:-1]]
        layers += [Layer(radii, 0) for radii in middle]
        layers += [Layer((radius,), level_of(radius, full_resolution)) for radius in far[1:]]
        return cls(intervals, layers)

    @classmethod
    def behind(cls, lowest: float, highest: float) -> "Bins":
        """For what is continued behind, at half resolution and less."""
        near = _outwards(highest, BEHIND, GROWTH)[::-1]
        far = [-radius for radius in _outwards(-lowest, BEHIND, GROWTH)]
        radii = [*near[:-1], 0.0, *far[1:]]
        return cls(list(zip(radii, radii[1:])), [Layer((radius,), max(1, level_of(radius))) for radius in radii])

    def groups(self) -> list[tuple[int, list[Layer]]]:
        """(level, layers) of consecutive layers of one resolution, coarse to fine in front and fine to coarse behind."""
        found = groupby(self.layers, key=lambda layer: (layer.level > 0 and layer.radii[0] < 0, layer.level))
        return [(key[1], list(layers)) for key, layers in found]


def _outwards(largest: float, small: tuple[float, ...], growth: float) -> list[float]:
    """The small radii and growing ones after them, until one reaches `largest`."""
    out = list(small[:1])
    while out[-1] < largest:
        out.append(small[len(out)] if len(out) < len(small) else (1 + growth) * out[-1])
    return out


class Fragments:
    """Fragments of a tile, sorted by interval: premultiplied colour and weight (C + 1, N), radius and place."""

    def __init__(self, surfaces: list[Surface], bins: Bins):
        self.bins, self.width = bins, surfaces[0][1].shape[-1]
        parts = []
        for color, radius, weight in surfaces:
            pixels = weight.flatten().nonzero()[:, 0]
            weight = weight.flatten(1)[:, pixels]
            parts.append((torch.cat([color.flatten(1)[:, pixels] * weight, weight]), radius.flatten()[pixels], pixels))
        planes, radius, pixels = (torch.cat(part, -1) for part in zip(*parts))
        ends = torch.tensor([-interval[-1] for interval in bins.intervals[:-1]], device=radius.device)
        interval = torch.bucketize(-radius, ends, out_int32=True)
        order = interval.argsort(stable=True)
        self.planes, self.radius, self.pixels = planes[:, order], radius[order], pixels[order]
        self.start = [0, *torch.bincount(interval, minlength=len(bins.intervals)).cumsum(0).tolist()]
        bright = [(self.planes[:-1] > self.planes[-1:]).any(), (self.planes > BRIGHT).any()]
        self.lit, self.bright = torch.stack(bright).tolist()

    def content(self, layer: Layer, radius: float) -> Patch | None:
        """What is blurred by a radius, averaged to the layer's level."""
        planes, weights, pixels = [], [], []
        for i, position in self.bins.parts[layer, radius]:
            interval, span = self.bins.intervals[i], slice(*self.start[i : i + 2])
            own = self.planes[:, span]
            planes.append(own.minimum(own[-1:]) if self.lit and interval == layer.radii else own)
            weights.append(_weight(self.radius[span] ** 2, interval, position))
            pixels.append(self.pixels[span])
        return self._averaged(torch.cat(planes, 1), torch.cat(weights), torch.cat(pixels), layer.level)

    def lights(self, layer: Layer) -> tuple[Patch | None, Patch | None]:
        """What is above white in a layer of several blurs: the share of it that is not blurred, and that of the widest blur.

        Lamps are a few pixels wide and end within one: a small kernel that keeps detail finds too much of it there.
        """
        if not self.lit or layer.radii not in self.bins.intervals:
            return None, None
        i = self.bins.intervals.index(layer.radii)
        span = slice(*self.start[i : i + 2])
        own = self.planes[:, span]
        above = own - own.minimum(own[-1:])
        bright = above.amax(0).nonzero()[:, 0]
        above, pixels = above[:, bright], self.pixels[span][bright]
        blurred = self.radius[span][bright].abs() / max(map(abs, layer.radii))
        return self._averaged(above, 1 - blurred, pixels, 0), self._averaged(above, blurred, pixels, 0)

    def _averaged(self, planes: Tensor, weight: Tensor, pixels: Tensor, level: int) -> Patch | None:
        if not weight.any():
            return None
        row, col = pixels // self.width >> level, pixels % self.width >> level
        top, bottom, left, right = torch.stack([*row.aminmax(), *col.aminmax()]).tolist()
        height, width = bottom - top + 1, right - left + 1
        out = planes.new_zeros(len(planes), height * width)
        cell = (row - top) * width + (col - left)
        out.scatter_add_(1, cell.expand(len(planes), -1), planes * (weight / 4**level))
        return top, left, out.view(-1, height, width)


def _weight(square: Tensor, interval: tuple[float, ...], position: int) -> Tensor:
    """Share of one of an interval's blurs in fragments of a squared radius: Lagrange's polynomial."""
    own = interval[position] ** 2
    weight = torch.ones_like(square)
    for i, other in enumerate(interval):
        if i != position:
            weight = weight * ((square - other**2) / (own - other**2))
    return weight.clamp(0, 1) if len(interval) == 2 else weight
