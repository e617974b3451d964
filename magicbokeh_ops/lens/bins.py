"""The radii that blurs are made for.

A fragment is a mix of blurs of the two radii around its own, 15 to 20 % apart, or of the three below 1.4 pixels, such that the mix is
as wide as its own blur (a blur's variance goes with the square of its radius). A blur is made only where it has content, above 16
pixels at half the resolution, above 32 at a quarter and so on; that is why time hardly depends on k. Discs that show more than an
even surface (rings, stars, pictures ...) and those of lamps would show that too: for them radii are 5 % apart, which puts the edge of
a disc within half a pixel, and resolution lasts four times as long.
"""

import math
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from .kernels import SMALL

# Radius up to which a blur is made at full resolution (every doubling halves it once more), and growth of radius from one blur to the
# next, once that is more than between small ones.
FULL_RESOLUTION, GROWTH = 16.0, 0.2
FINE_FULL_RESOLUTION, FINE_GROWTH = 64.0, 0.05
# First radii of what is seen, and of what is continued behind at half resolution (going there and back blurs by 2.2).
SEEN, BEHIND = (*SMALL[1:], 6.0), (0.0, 2.2, 3.2, 4.2, 5.0, 6.0)


def level_of(radius: float, full_resolution: float = FULL_RESOLUTION) -> int:
    """Times that the resolution is halved for a blur of this radius."""
    return max(0, math.ceil(math.log2(max(abs(radius), 1e-6) / full_resolution)))


@dataclass(frozen=True)
class Layer:
    """What is added at once: blurs of one or a few radii at one resolution."""

    radii: tuple[float, ...]
    level: int


class Share(NamedTuple):
    """What a kind of fragments adds to a blur: by the weight of its interval's radius at this position, or all where that is None."""

    kind: int
    interval: tuple[float, ...]
    position: int | None


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
        # Kinds of fragments: those of each interval, what is in focus, what is above white in layers of several blurs.
        self.in_focus = len(intervals)
        self.lit = {layer: self.in_focus + 1 + i for i, layer in enumerate(layer for layer in layers if len(layer.radii) > 1)}
        self.kinds = self.in_focus + 1 + len(self.lit)
        self.shares: dict[tuple[Layer, float], list[Share]] = {}
        for layer in layers:
            others = {other.radii for other in layers if other != layer}
            for radius in layer.radii:
                self.shares[layer, radius] = [
                    Share(kind, interval, interval.index(radius))
                    for i, interval in enumerate(intervals)
                    if radius in interval and interval not in others
                    for kind in ([i, self.lit[layer]] if interval == layer.radii and layer in self.lit else [i])
                ]
        focus = next((layer for layer in layers if 0.0 in layer.radii), None)
        if focus is not None:
            self.shares[focus, 0.0].append(Share(self.in_focus, (0.0,), None))

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

    def kinds_of(self, color: Tensor, radius: Tensor, weight: Tensor) -> Tensor:
        """The kind of every pixel (H, W) of a surface: colour (C, H, W), radius and weight (1, H, W); `kinds` where there is none."""
        ends = torch.tensor([-interval[-1] for interval in self.intervals[:-1]], device=radius.device)
        kinds = torch.bucketize(-radius, ends, out_int32=True).short()
        for layer, kind in self.lit.items():
            own = self.intervals.index(layer.radii)
            kinds = torch.where((kinds == own) & (color.amax(0, keepdim=True) > 1), kind, kinds)
        kinds = torch.where(radius == 0, self.in_focus, kinds)
        return torch.where(weight > 0, kinds, self.kinds)[0]

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
