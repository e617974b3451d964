"""Compositing: a tile of the picture, put together from its blurred fragments, front to back.

Each bin adds its coverage until a pixel is full. Visible surfaces of one photo are complementary, so coverages add; the usual
multiplication of transmittances leaks the background through every slanted surface. What stays open is filled from behind.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..aperture import Aperture
from ..windows import widen
from .behind import Hidden
from .bins import Bins, Fragments, Layer, Surface
from .edges import Split
from .kernels import convolve, kernel
from .tiles import Block, Tile

DARKEST_REACH = 2  # pixels around one that a blur of the innermost layer mixes
Report = Callable[[], None]
# Rows and columns of a tile at some resolution, and planes (C + G, h, w) there: premultiplied colour and its coverage, one for all
# colours, or one for each where the aperture differs between them.
Placed = tuple[slice, slice, Tensor]


class Composer:
    """What all tiles of a photo share.

    bins: for what is seen. behind: for what is continued behind, None where nothing can be uncovered.
    """

    def __init__(self, aperture: Aperture, bins: Bins, behind: Bins | None, report: Report):
        self.aperture, self.bins, self.behind, self.report = aperture, bins, behind, report
        layers = [layer for some in (bins, behind) if some is not None for _, group in some.groups() for layer in group]
        self.reports = 1 + sum(len(layer.radii) + 2 * (len(layer.radii) > 1) for layer in layers)  # of a tile

    def tile(self, tile: Tile, block: Block, pictures: list[tuple[Split, Hidden | None]]) -> Tensor:
        """Linear light (C, rows, cols) of one tile of a block: the photo, or what is in front of a clean plate, and that."""
        rows = (tile.from_rows - block.rows.start).to(pictures[0][0].near_color.device)[:, None]
        cols = (tile.from_cols - block.cols.start).to(rows.device)

        def crop(plane: Tensor) -> Tensor:
            return plane[:, rows, cols]

        light = self._picture(*pictures[-1], crop, tile)
        if len(pictures) > 1:
            front, plate = (split.within for split, _ in pictures)
            assert front is not None and plate is not None
            color, coverage = (self._picture(*pictures[0], crop, tile) * crop(front)).tensor_split([len(light)])
            light = torch.where(crop(plate), color + (1 - coverage) * light, color / coverage.clamp(min=0.5))
        inner = slice(tile.margin, tile.margin + tile.rows.stop - tile.rows.start)
        return light[:, inner, tile.margin : tile.margin + tile.cols.stop - tile.cols.start]

    def _picture(self, split: Split, hidden: Hidden | None, crop: Callable[[Tensor], Tensor], tile: Tile) -> Tensor:
        """Light (C, H, W) of a tile with its margin."""
        surfaces = _surfaces(split, crop)
        size = surfaces[0][1].shape[-2:]
        darkest = -widen(-surfaces[0][0].minimum(surfaces[1][0])[None], DARKEST_REACH)[0]
        fragments = Fragments(surfaces, self.bins)
        del surfaces
        self.report()
        light, gap = self._seen(fragments, darkest, size, tile.field)
        # Where nothing is known to lie behind, what is seen fills the rest.
        behind = 1e-3 * torch.cat([light, 1 - gap])
        if hidden is not None and self.behind is not None:
            fragments = Fragments([(crop(hidden.color), crop(hidden.radius), crop(hidden.weight))], self.behind)
            self._add_hidden(behind, fragments, size, tile.field)
        colors = len(light)
        return light + gap * behind[:colors] / behind[colors:].clamp(min=1e-6)

    def _seen(
        self, fragments: Fragments, darkest: Tensor, size: Sequence[int], field: tuple[float, float]
    ) -> tuple[Tensor, Tensor]:
        """Light (C, H, W) of what is seen, front to back, and the gap (G, H, W) that it leaves.

        darkest: light (C, H, W) that no pixel around is below.
        """

        colors = len(darkest)

        def nothing(level: int) -> tuple[Tensor, Tensor]:
            shrunk = _shrink(size, level)
            return darkest.new_zeros(colors, *shrunk), darkest.new_ones(self._coverages(colors), *shrunk)

        # Levels go from coarse to fine in front of the focus and from fine to coarse behind it. In front, what has been put together
        # is enlarged to the next level and goes on there; behind, each group is put together by itself and then enlarged to full size.
        groups = self.bins.groups()
        level = groups[0][0]
        light, gap = nothing(level)
        for group_level, layers in groups:
            beyond = group_level > 0 and layers[0].radii[0] < 0
            if beyond:
                group_light, group_gap = nothing(group_level)
            else:
                group_light, group_gap = _enlarge(light, level - group_level), _enlarge(gap, level - group_level)
            for layer in layers:
                placed = self._blurred(fragments, layer, size, field)
                if placed is not None:
                    rows, cols, planes = placed
                    color, coverage = planes[:colors], planes[colors:].clamp(min=0)
                    if len(layer.radii) > 1:
                        # No blur makes anything darker than all that it mixes: no dark rims around lights.
                        color = color.maximum(darkest[:, rows, cols] * coverage)
                    _add_behind(group_light[:, rows, cols], group_gap[:, rows, cols], color, coverage)
            if beyond:
                _add_behind(light, gap, _enlarge(group_light, group_level), 1 - _enlarge(group_gap, group_level))
            else:
                light, gap, level = group_light, group_gap, group_level
        return _enlarge(light, level), _enlarge(gap, level)

    def _add_hidden(self, total: Tensor, fragments: Fragments, size: Sequence[int], field: tuple[float, float]) -> None:
        for level, layers in fragments.bins.groups():
            group = total.new_zeros(len(total), *_shrink(size, level))
            for layer in layers:
                placed = self._blurred(fragments, layer, size, field)
                if placed is not None:
                    rows, cols, planes = placed
                    group[:, rows, cols] += planes
            total += _enlarge(group, level)

    def _blurred(self, fragments: Fragments, layer: Layer, size: Sequence[int], field: tuple[float, float]) -> Placed | None:
        """One layer blurred; None if it is empty."""
        parts = [(fragments.content(layer, radius), radius, False) for radius in layer.radii]
        if len(layer.radii) > 1:
            sharp, wide = fragments.lights(layer)
            parts += [(sharp, 0.0, True), (wide, max(layer.radii, key=abs), True)]
        placed = []
        for patch, radius, positive in parts:
            self.report()
            if patch is None:
                continue
            top, left, planes = patch
            if radius:
                blur = kernel(self.aperture, radius, layer.level, field, positive)
                planes = self._convolved(planes, blur, fragments.bright)
                top, left = top - blur.shape[-1] // 2, left - blur.shape[-1] // 2
            elif self.aperture.colored:
                planes = torch.cat([planes[:-1], planes[-1:].expand(len(planes) - 1, -1, -1)])
            height, width = _shrink(size, layer.level)
            rows = slice(max(top, 0), min(top + planes.shape[1], height))
            cols = slice(max(left, 0), min(left + planes.shape[2], width))
            placed.append((rows, cols, planes[:, rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]))
        return _sum(placed) if len(placed) > 1 else next(iter(placed), None)

    def _coverages(self, colors: int) -> int:
        return colors if self.aperture.colored else 1

    def _convolved(self, planes: Tensor, blur: Tensor, precise: bool) -> Tensor:
        """Planes (C + 1, h, w) of colour and weight, blurred to (C + G, ...): by one kernel, or by one for each colour."""
        if not self.aperture.colored:
            return convolve(planes, blur[0], precise)
        weight = planes[-1:]
        # The mean one is for alpha. Twice, if coverage of a clean plate comes after the colours.
        kernels = [*blur] if (len(planes) - 1) % 4 else [*blur, blur.mean(0)]
        parts = [convolve(torch.cat([color[None], weight]), own, precise) for color, own in zip(planes[:-1], 2 * kernels)]
        return torch.cat([torch.stack(planes) for planes in zip(*parts)])


def _surfaces(split: Split, crop: Callable[[Tensor], Tensor]) -> list[Surface]:
    """Both surfaces of a tile's pixels."""
    near_weight = crop(split.near_weight)
    weights = [near_weight, 1 - near_weight]
    if split.shown is not None:
        weights = [weight * crop(shown) for weight, shown in zip(weights, split.shown)]
    return [
        (crop(split.near_color), crop(split.near_radius), weights[0]),
        (crop(split.far_color), crop(split.far_radius), weights[1]),
    ]


def _sum(placed: list[Placed]) -> Placed:
    top, left = min(rows.start for rows, _, _ in placed), min(cols.start for _, cols, _ in placed)
    bottom, right = max(rows.stop for rows, _, _ in placed), max(cols.stop for _, cols, _ in placed)
    total = placed[0][2].new_zeros(len(placed[0][2]), bottom - top, right - left)
    for rows, cols, planes in placed:
        total[:, rows.start - top : rows.stop - top, cols.start - left : cols.stop - left] += planes
    return slice(top, bottom), slice(left, right), total


def _add_behind(light: Tensor, gap: Tensor, color: Tensor, coverage: Tensor) -> None:
    """Add a premultiplied layer to what lies in front of it, in place: it fills the gap that is left and no more.

    Neighbouring surfaces of one photo are complementary (where one ends the next begins), so their coverages add;
    multiplying transmittances instead would let the background leak through every surface that spans two layers.
    """
    share = coverage.clamp(min=0).minimum(gap)
    light.addcmul_(color, share / coverage.clamp(min=1e-6))
    gap -= share


def _shrink(size: Sequence[int], level: int) -> tuple[int, int]:
    return size[0] >> level, size[1] >> level


def _enlarge(planes: Tensor, level: int) -> Tensor:
    if level == 0:
        return planes
    return F.interpolate(planes[None], scale_factor=2**level, mode="bilinear")[0]
