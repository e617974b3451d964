"""Where tiles of a picture lie, and the blocks of them that are worked on at once."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..aperture import Aperture
from .bins import level_of

TILE = 1024  # padded side of a tile in pixels, unless the blur asks for more
BAND = 2**20  # pixels that are surveyed at once
FIELD_CELLS = 8  # along the longer side, at least; the aperture's shape is interpolated between their centres
FIELD_CELL_SIDE = 512  # pixels, of the largest cell
ALIGNED = 16  # rows and columns that blocks start at multiples of: the coarsest cell that is looked at within one


@dataclass(frozen=True)
class Tile:
    """Part of the picture: where it lies, the pixels it is computed from, and the weights of its rows and columns in the sum of tiles."""

    rows: slice
    cols: slice
    from_rows: Tensor
    from_cols: Tensor
    margin: int
    weights: tuple[Tensor, Tensor]
    field: tuple[float, float]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what it is computed from."""
        return len(self.from_rows), len(self.from_cols)


@dataclass(frozen=True)
class Block:
    """Tiles, and the rows and columns of the picture that they are computed from."""

    tiles: list[Tile]
    rows: slice
    cols: slice

    @property
    def pixels(self) -> int:
        return (self.rows.stop - self.rows.start) * (self.cols.stop - self.cols.start)

    def place(self, tile: Tile, device: torch.device) -> tuple[Tensor, Tensor]:
        """Rows and columns of the block that one of its tiles is computed from."""
        return (tile.from_rows - self.rows.start).to(device), (tile.from_cols - self.cols.start).to(device)


def tile_rows(size: Sequence[int], reach: float, aperture: Aperture) -> list[list[Tile]]:
    """Rows of tiles whose weights sum to 1 everywhere.

    A tile is computed with a margin of the largest blur, mirrored at the border of the picture, on a grid that low
    resolutions share: neighbours agree to rounding, so no blending is needed. Only with cat-eye and swirl, whose aperture
    differs from tile to tile, do tiles overlap and fade into each other.
    """
    step = 2 ** (level_of(reach) + 1)
    margin = round_up(math.ceil(reach * aperture.extent) + 2 * step, step)
    if aperture.varies:
        cell = round_up(min(math.ceil(max(size) / FIELD_CELLS), max(FIELD_CELL_SIDE, 2 * margin)), step)
        rows, cols = (_fading_spans(length, cell) for length in size)
    else:
        rows, cols = (_plain_spans(length, max(TILE, 4 * margin) - 2 * margin, step) for length in size)
    half_diagonal = math.hypot(*size) / 2

    def source(start: int, end: int, length: int) -> Tensor:
        return _mirror(torch.arange(start - margin, start + round_up(end - start, step) + margin), length)

    return [
        [
            Tile(
                rows=slice(top, bottom),
                cols=slice(left, right),
                from_rows=source(top, bottom, size[0]),
                from_cols=source(left, right, size[1]),
                margin=margin,
                weights=(weight_y, weight_x),
                field=((left + right - size[1]) / 2 / half_diagonal, (top + bottom - size[0]) / 2 / half_diagonal)
                if aperture.varies
                else (0.0, 0.0),
            )
            for left, right, weight_x in cols
        ]
        for top, bottom, weight_y in rows
    ]


def blocks(rows: list[list[Tile]], size: Sequence[int], most: int, context: int) -> list[Block]:
    """All tiles in as few blocks of at most `most` pixels as their grid allows, or in blocks of one tile if it must be.

    context: pixels around what its tiles are computed from that a block needs too.
    """
    # Halved along the longer side until they fit.
    waiting, out = [rows], []
    while waiting:
        part = waiting.pop()
        block = _block([tile for row in part for tile in row], size, context)
        height, width = len(part), len(part[0])
        if block.pixels <= most or height * width == 1:
            out.append(block)
        elif height >= width:
            waiting += [part[height // 2 :], part[: height // 2]]
        else:
            waiting += [[row[width // 2 :] for row in part], [row[: width // 2] for row in part]]
    return out


def _block(tiles: list[Tile], size: Sequence[int], context: int) -> Block:
    sources = [[tile.from_rows for tile in tiles], [tile.from_cols for tile in tiles]]
    spans = []
    for source, length in zip(sources, size):
        first, last = min(int(index.min()) for index in source), max(int(index.max()) for index in source)
        start = max(0, first - context) // ALIGNED * ALIGNED
        spans.append(slice(start, min(length, round_up(last + 1 + context, ALIGNED))))
    return Block(tiles, *spans)


def bands(length: int, longest: int, context: int) -> Iterator[tuple[slice, slice]]:
    """Rows in bands of at most `longest`, each as the rows that it is for, and these with `context` around them."""
    step = max(ALIGNED, longest // ALIGNED * ALIGNED)
    for start in range(0, length, step):
        end = min(start + step, length)
        yield slice(start, end), slice(max(0, start - context), min(length, end + context))


def _plain_spans(length: int, longest: int, step: int) -> list[tuple[int, int, Tensor]]:
    """Spans of nearly equal length that do not overlap, with weights of 1."""
    span = round_up(math.ceil(length / math.ceil(length / longest)), step)
    ends = [(start, min(start + span, length)) for start in range(0, length, span)]
    return [(start, end, torch.ones(end - start)) for start, end in ends]


def _fading_spans(length: int, cell: int) -> list[tuple[int, int, Tensor]]:
    """Spans two cells long, one cell apart, with triangular weights that sum to 1."""
    count = max(1, math.ceil(length / cell) - 1)
    spans = []
    for i in range(count):
        start, end = i * cell, length if i == count - 1 else (i + 2) * cell
        weight = torch.ones(end - start)
        if i > 0:
            weight[:cell] = (torch.arange(cell) + 0.5) / cell
        if i < count - 1:
            weight[cell:] = 1 - (torch.arange(cell) + 0.5) / cell
        spans.append((start, end, weight))
    return spans


def box_of(cells: np.ndarray, side: int, size: Sequence[int], around: int = 0) -> tuple[slice, slice] | None:
    """Rows and columns of a picture of `size` that marked cells of so many pixels lie in, and this far around; None if none is marked."""
    if not cells.any():
        return None
    rows, cols = (
        slice(max(0, side * int(lines[0]) - around), min(length, side * (int(lines[-1]) + 1) + around))
        for lines, length in zip((np.flatnonzero(cells.any(axis)) for axis in (1, 0)), size)
    )
    return rows, cols


def round_up(n: int, step: int) -> int:
    return -(-n // step) * step


def _mirror(index: Tensor, length: int) -> Tensor:
    """Fold positions outside [0, length) back in, as a mirror at each border does."""
    index = index.remainder(2 * length)
    return torch.where(index < length, index, 2 * length - 1 - index)
