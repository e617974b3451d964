"""Compositing: a tile of the picture, put together from its blurred fragments, front to back.

Each bin adds its coverage until a pixel is full. Visible surfaces of one photo are complementary, so coverages add; the usual
multiplication of transmittances leaks the background through every slanted surface. What stays open is filled from behind.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..windows import widen
from .behind import Hidden
from .bins import Bins, Layer, Share
from .convolve import Blurs, Content, Placed
from .edges import Split
from .fragments import Fragments, Surface, survey
from .tiles import Block, Tile

DARKEST_REACH = 2  # pixels around one that a blur of the innermost layer mixes
Report = Callable[[], None]


class Composer:
    """What the tiles of a block of a photo share.

    bins: for what is seen. behind: for what is continued behind, None where nothing can be uncovered. pictures: the photo, or what is in
    front of a clean plate, and that: what is seen in the block and what is behind it.
    """

    def __init__(
        self,
        blurs: Blurs,
        bins: Bins,
        behind: Bins | None,
        block: Block,
        pictures: list[tuple[Split, Hidden | None]],
        report: Report,
    ):
        self.blurs, self.bins, self.block, self.pictures, self.report = blurs, bins, block, pictures, report
        self.surfaces = [_surfaces(split, hidden, bins, behind) for split, hidden in pictures]
        self.found, self.bright = survey([one for some in self.surfaces for one in some], block)

    def tile(self, index: int) -> Tensor:
        """Linear light (C, rows, cols) of one of the block's tiles."""
        tile, found = self.block.tiles[index], iter(self.found[index])
        rows, cols = self.block.place(tile, self.surfaces[0][0].kinds.device)
        lights = []
        for surfaces, (split, _) in zip(self.surfaces, self.pictures):
            fragments = [Fragments(one, next(found), rows, cols) for one in surfaces]
            lights.append(self._picture(fragments, split, tile, rows, cols))
        light = lights[-1]
        if len(lights) > 1:
            front, plate = (split.within[:, rows[:, None], cols] for split, _ in self.pictures if split.within is not None)
            color, coverage = (lights[0] * front).tensor_split([len(light)])
            light = torch.where(plate, color + (1 - coverage) * light, color / coverage.clamp(min=0.5))
        inner = slice(tile.margin, tile.margin + tile.rows.stop - tile.rows.start)
        return light[:, inner, tile.margin : tile.margin + tile.cols.stop - tile.cols.start]

    def _picture(self, fragments: list[Fragments], split: Split, tile: Tile, rows: Tensor, cols: Tensor) -> Tensor:
        """Light (C, H, W) of a tile with its margin."""

        def darkest(some_rows: slice, some_cols: slice) -> Tensor:
            """Light (C, h, w) that no pixel around is below."""
            top, left = (max(span.start - DARKEST_REACH, 0) for span in (some_rows, some_cols))
            y, x = rows[top : some_rows.stop + DARKEST_REACH, None], cols[left : some_cols.stop + DARKEST_REACH]
            lowest = -widen(-split.near_color[:, y, x].minimum(split.far_color[:, y, x])[None], DARKEST_REACH)[0]
            return lowest[:, some_rows.start - top : some_rows.stop - top, some_cols.start - left : some_cols.stop - left]

        self.report()
        light, gap = self._seen(fragments[:2], darkest, tile)
        # Where nothing is known to lie behind, what is seen fills the rest.
        behind = 1e-3 * torch.cat([light, 1 - gap])
        if len(fragments) > 2:
            self._add_hidden(behind, fragments[2:], tile)
        colors = len(light)
        return light + gap * behind[:colors] / behind[colors:].clamp(min=1e-6)

    def _seen(self, fragments: list[Fragments], darkest: Callable[[slice, slice], Tensor], tile: Tile) -> tuple[Tensor, Tensor]:
        """Light (C, H, W) of what is seen, front to back, and the gap (G, H, W) that it leaves."""
        planes, colors = fragments[0].planes, fragments[0].planes.shape[1] - 1

        def nothing(level: int) -> tuple[Tensor, Tensor]:
            shrunk = _shrink(tile.size, level)
            return planes.new_zeros(colors, *shrunk), planes.new_ones(self.blurs.coverages(colors), *shrunk)

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
                placed = self._blurred(fragments, layer, tile)
                if placed is not None:
                    rows, cols, planes = placed
                    color, coverage = planes[:colors], planes[colors:].clamp(min=0)
                    if len(layer.radii) > 1:
                        # No blur makes anything darker than all that it mixes: no dark rims around lights.
                        color = color.maximum(darkest(rows, cols) * coverage)
                    _add_behind(group_light[:, rows, cols], group_gap[:, rows, cols], color, coverage)
            if beyond:
                _add_behind(light, gap, _enlarge(group_light, group_level), 1 - _enlarge(group_gap, group_level))
            else:
                light, gap, level = group_light, group_gap, group_level
        return _enlarge(light, level), _enlarge(gap, level)

    def _add_hidden(self, total: Tensor, fragments: list[Fragments], tile: Tile) -> None:
        for level, layers in fragments[0].bins.groups():
            group = total.new_zeros(len(total), *_shrink(tile.size, level))
            for layer in layers:
                placed = self._blurred(fragments, layer, tile)
                if placed is not None:
                    rows, cols, planes = placed
                    group[:, rows, cols] += planes
            total += _enlarge(group, level)

    def _blurred(self, fragments: list[Fragments], layer: Layer, tile: Tile) -> Placed | None:
        """One layer blurred; None if it is empty."""
        size, bins, placed = _shrink(tile.size, layer.level), fragments[0].bins, []

        def blur(contents: list[Content], shares: Sequence[Share], radius: float, positive: bool = False) -> None:
            if contents:
                box = _box(fragments, shares, layer.level)
                placed.append(self.blurs.blurred(contents, radius, layer.level, tile.field, box, size, positive, self.bright))

        for radius in layer.radii:
            self.report()
            contents = [content for one in fragments for content in one.contents(layer, radius)]
            blur(contents, bins.shares[layer, radius], radius)
        if layer in bins.lit:
            lights = [found for one in fragments if (found := one.lights(layer)) is not None]
            shares = [Share(bins.lit[layer], layer.radii, None)]
            blur([sharp for sharp, _ in lights], shares, 0.0)
            blur([wide for _, wide in lights], shares, max(layer.radii, key=abs), positive=True)
        return _sum(placed) if len(placed) > 1 else next(iter(placed), None)


def _surfaces(split: Split, hidden: Hidden | None, bins: Bins, behind: Bins | None) -> list[Surface]:
    """Both surfaces of what is seen, and what is behind them if that is known."""
    weights = [split.near_weight, 1 - split.near_weight]
    if split.shown is not None:
        weights = [weight * shown for weight, shown in zip(weights, split.shown)]
    found = [
        Surface(split.near_color, split.near_radius, weights[0], bins),
        Surface(split.far_color, split.far_radius, weights[1], bins),
    ]
    if hidden is not None and behind is not None:
        found.append(Surface(hidden.color, hidden.radius, hidden.weight, behind))
    return found


def _box(fragments: list[Fragments], shares: Sequence[Share], level: int) -> tuple[slice, slice]:
    """Rows and columns of a tile at a level in which these are."""
    boxes = [box for one in fragments if (box := one.box(shares)) is not None]
    rows, cols = (
        slice(min(span.start for span in spans) >> level, (max(span.stop for span in spans) - 1 >> level) + 1)
        for spans in zip(*boxes)
    )
    return rows, cols


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
