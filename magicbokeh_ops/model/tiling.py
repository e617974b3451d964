"""Where tiles lie and how they are put together. Pure geometry: no model, no device."""

import math
from collections.abc import Callable, Iterable, Sequence

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


def even_starts(length: int, tile: int, overlap: int) -> tuple[list[int], int]:
    """First cells of the fewest tiles along one axis, and their common length.

    Tiles are at most `tile` long, overlap by at least `overlap` and are no longer than that needs; one tile takes an axis
    that fits into it.
    """
    count = max(1, math.ceil((length - overlap) / (tile - overlap)))
    size = math.ceil((length + (count - 1) * overlap) / count)
    return [round(i * (length - size) / max(count - 1, 1)) for i in range(count)], size


def even_tiles(size: Sequence[int], tile: int, overlap: int) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """(top, left) of `even_starts` along both axes, row by row, and the (height, width) of every tile."""
    (tops, height), (lefts, width) = (even_starts(length, tile, overlap) for length in size)
    return [(top, left) for top in tops for left in lefts], (height, width)


# Weight along one axis of a tile: ramp(start, length of the axis, length of the tile, overlap).
Ramp = Callable[[int, int, int, int], Tensor]


def released_ramp(start: int, length: int, tile: int, overlap: int) -> Tensor:
    """Linear from 0 to 1 over the overlap, except at the image's borders."""
    weight = torch.ones(tile)
    if start + tile < length:
        weight[-overlap:] = torch.linspace(1, 0, overlap)
    if start > 0:
        weight[:overlap] = torch.linspace(0, 1, overlap)
    return weight


def smooth_ramp(start: int, length: int, tile: int, overlap: int) -> Tensor:
    """Sine squared over the overlap, so that neither values nor slopes jump and two tiles add up to 1."""
    rise = torch.sin((torch.arange(overlap) + 0.5) / overlap * (math.pi / 2)) ** 2
    weight = torch.ones(tile)
    if start + tile < length:
        weight[-overlap:] *= rise.flip(0)
    if start > 0:
        weight[:overlap] *= rise
    return weight


def blend(
    tiles: Iterable[Tensor],
    positions: Sequence[tuple[int, int]],
    size: Sequence[int],
    overlap: int,
    ramp: Ramp = released_ramp,
) -> Tensor:
    """Weighted mean (B, C, H, W) of overlapping tiles (B, C, h, w), taken one after the other."""
    for i, (tile, (top, left)) in enumerate(zip(tiles, positions, strict=True)):
        height, width = tile.shape[-2:]
        if i == 0:
            total, weights = tile.new_zeros(*tile.shape[:2], *size), tile.new_zeros(*size)
        weight = (ramp(top, size[0], height, overlap)[:, None] * ramp(left, size[1], width, overlap)).to(tile)
        total[..., top : top + height, left : left + width] += tile * weight
        weights[top : top + height, left : left + width] += weight
    return total / weights


def mirrored(length: int, wanted: int) -> Tensor:
    """Indices (wanted,) that continue an axis by mirroring it at its ends, as often as it takes."""
    period = max(2 * (length - 1), 1)
    index = torch.arange(wanted) % period
    return torch.minimum(index, period - index) if length > 1 else torch.zeros_like(index)
