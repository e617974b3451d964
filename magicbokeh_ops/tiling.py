"""Where tiles lie and how they are put together. Pure geometry: no model, no device."""

from collections.abc import Sequence

import torch
from torch import Tensor


def released_starts(length: int, tile: int, stride: int) -> list[int]:
    """First pixels of the released tiles along one axis: a regular grid, and one more flush with the far border.

    Raises ValueError if the axis is shorter than a tile.
    """
    if length < tile:
        raise ValueError(f"an axis of {length} is shorter than a tile of {tile}; pad it first.")
    starts = list(range(0, length - tile + 1, stride))
    return starts if length % stride == 0 else [*starts, length - tile]


def released_positions(size: Sequence[int], tile: int, stride: int) -> list[tuple[int, int]]:
    """(top, left) of the released tiles in the released order: the grid row by row, bottom row, right column, corner."""
    rows, cols = (released_starts(length, tile, stride) for length in size)
    grid_rows, grid_cols = (
        starts[:-1] if length % stride else starts for length, starts in zip(size, (rows, cols), strict=True)
    )
    extra_rows, extra_cols = rows[len(grid_rows) :], cols[len(grid_cols) :]
    order = [(grid_rows, grid_cols), (extra_rows, grid_cols), (grid_rows, extra_cols), (extra_rows, extra_cols)]
    return [(top, left) for some_rows, some_cols in order for top in some_rows for left in some_cols]


def released_ramp(start: int, length: int, tile: int, overlap: int) -> Tensor:
    """Weight along one axis of a released tile: linear from 0 to 1 over the overlap, except at the image's borders."""
    weight = torch.ones(tile)
    if start + tile < length:
        weight[-overlap:] = torch.linspace(1, 0, overlap)
    if start > 0:
        weight[:overlap] = torch.linspace(0, 1, overlap)
    return weight


def blend(tiles: Sequence[Tensor], positions: Sequence[tuple[int, int]], size: Sequence[int], overlap: int) -> Tensor:
    """Weighted mean (B, C, H, W) of overlapping tiles (B, C, h, w) with the released weights."""
    total = tiles[0].new_zeros(*tiles[0].shape[:2], *size)
    weights = tiles[0].new_zeros(*size)
    for tile, (top, left) in zip(tiles, positions, strict=True):
        height, width = tile.shape[-2:]
        weight = released_ramp(top, size[0], height, overlap)[:, None] * released_ramp(left, size[1], width, overlap)
        weight = weight.to(tile)
        total[..., top : top + height, left : left + width] += tile * weight
        weights[top : top + height, left : left + width] += weight
    return total / weights
