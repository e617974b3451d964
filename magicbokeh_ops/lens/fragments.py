"""Fragments of a tile, sorted by their kind (`bins`), and where each kind lies.

How many there are and where decides how large blurs are, which a device would be asked for with every blur. So all tiles are counted
first, in cells, and the device is asked once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .bins import Bins, Layer, Share
from .convolve import Content
from .tiles import Block, box_of

CELL = 16  # pixels per side of the cells in which fragments are counted
BRIGHT = 64.0  # light above which the rounding of a transform in single precision would be seen around it


class Surface:
    """Colour (C, H, W), radius and weight (1, H, W) of a block's pixels, and their kinds (H, W) in its bins."""

    def __init__(self, color: Tensor, radius: Tensor, weight: Tensor, bins: Bins):
        self.color, self.radius, self.weight, self.bins = color, radius, weight, bins
        self.kinds = bins.kinds_of(color, radius, weight)


@dataclass(frozen=True)
class Found:
    """Of a surface in a tile: how many fragments there are of each kind, and in which cells (kinds, rows, columns)."""

    counts: np.ndarray
    cells: np.ndarray


def survey(surfaces: Sequence[Surface], block: Block) -> tuple[list[list[Found]], bool]:
    """What is found of every surface in every tile of a block, and whether any is bright. The device is asked once."""
    device = surfaces[0].kinds.device
    shapes, counted = [], [torch.stack([one.color.amax() > BRIGHT for one in surfaces]).int()]
    for tile in block.tiles:
        rows, cols = block.place(tile, device)
        shape = (-(-len(rows) // CELL), -(-len(cols) // CELL))
        row, col = (torch.arange(length, device=device) // CELL for length in tile.size)
        cell = row[:, None] * shape[1] + col
        for one in surfaces:
            place = (one.kinds[rows[:, None], cols].long() * (shape[0] * shape[1]) + cell).flatten()
            count = torch.zeros((one.bins.kinds + 1) * shape[0] * shape[1], dtype=torch.int32, device=device)
            counted.append(count.scatter_add_(0, place, torch.ones_like(count[:1]).expand(len(place))))
            shapes.append((one.bins.kinds + 1, *shape))
    bright, *cells = np.split(torch.cat(counted).cpu().numpy(), np.cumsum([len(part) for part in counted[:-1]]))
    parts = [part.reshape(shape)[:-1] for part, shape in zip(cells, shapes)]
    found = [Found(part.sum((1, 2)), part > 0) for part in parts]
    return [found[i : i + len(surfaces)] for i in range(0, len(found), len(surfaces))], bool(bright.any())


class Fragments:
    """Of a surface in a tile: premultiplied colour and weight (N, C + 1), squared radius, row and column, sorted by kind.

    rows, cols: of the block, that the tile is computed from.
    """

    def __init__(self, surface: Surface, found: Found, rows: Tensor, cols: Tensor):
        self.bins, self.cells, self.size = surface.bins, found.cells, (len(rows), len(cols))
        self.ends = [0, *found.counts.cumsum().tolist()]
        order = surface.kinds[rows[:, None], cols].flatten().argsort(stable=True)[: self.ends[-1]]
        self.row, self.col = order // len(cols), order % len(cols)
        source = (rows[:, None] * surface.kinds.shape[1] + cols).flatten()[order]
        weight = surface.weight.flatten()[source]
        planes = torch.cat([surface.color.flatten(1).index_select(1, source) * weight, weight[None]])
        self.planes = planes.T.contiguous()
        self.square = surface.radius.flatten()[source] ** 2

    def box(self, shares: Sequence[Share]) -> tuple[slice, slice] | None:
        """Rows and columns of the tile in which these are; None if there are none."""
        return box_of(np.asarray(self.cells[[share.kind for share in shares]].any(0)), CELL, self.size)

    def contents(self, layer: Layer, radius: float) -> list[Content]:
        """What is blurred by a radius."""
        found = []
        for share in self.bins.shares[layer, radius]:
            span = slice(self.ends[share.kind], self.ends[share.kind + 1])
            if span.start == span.stop:
                continue
            planes = self.planes[span]
            if share.kind == self.bins.lit.get(layer):
                planes = planes.minimum(planes[:, -1:])
            scale = 0.25**layer.level
            if share.position is not None:
                weight = _weight(self.square[span], share.interval, share.position)
                planes = planes * (weight * scale)[:, None]
            found.append((planes, self.row[span] >> layer.level, self.col[span] >> layer.level))
        return found

    def lights(self, layer: Layer) -> tuple[Content, Content] | None:
        """What is above white in a layer of several blurs: the share of it that is not blurred, and that of the widest blur.

        Lamps are a few pixels wide and end within one: a small kernel that keeps detail finds too much of it there.
        """
        kind = self.bins.lit.get(layer)
        if kind is None or not self.ends[kind + 1] - self.ends[kind]:
            return None
        span = slice(self.ends[kind], self.ends[kind + 1])
        above = self.planes[span] - self.planes[span].minimum(self.planes[span, -1:])
        blurred = (self.square[span].sqrt() / max(map(abs, layer.radii)))[:, None]
        place = self.row[span], self.col[span]
        return (above * (1 - blurred), *place), (above * blurred, *place)


def _weight(square: Tensor, interval: tuple[float, ...], position: int) -> Tensor:
    """Share of one of an interval's blurs in fragments of a squared radius: Lagrange's polynomial."""
    own = interval[position] ** 2
    weight = torch.ones_like(square)
    for i, other in enumerate(interval):
        if i != position:
            weight = weight * ((square - other**2) / (own - other**2))
    return weight.clamp(0, 1) if len(interval) == 2 else weight
