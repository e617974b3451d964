"""What lies around every value of a plane: means and largest values of windows, and pieces of a picture with what they need."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def widen(values: Tensor, radius: int) -> Tensor:
    """Largest value within `radius` pixels on both axes, (..., H, W)."""
    values = F.pad(values, (radius,) * 4, value=-torch.inf)
    for axis in (-2, -1):
        values = sliding(values, 2 * radius + 1, axis, torch.maximum)
    return values


def box_mean(planes: Tensor, radius: int) -> Tensor:
    """Mean within `radius` pixels on both axes, (C, H, W); beyond the border lies what is at it."""
    planes, size = F.pad(planes[None], (radius,) * 4, mode="replicate")[0], 2 * radius + 1
    for axis in (-2, -1):
        planes = sliding(planes, size, axis, torch.add) / size
    return planes


def sliding(values: Tensor, count: int, axis: int, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Sum, maximum or the like of `count` neighbours along an axis, which gets shorter by count - 1.

    By doubling: the effort grows with the logarithm of the count, that of pooling with the count.
    """
    length = values.shape[axis] - count + 1
    result, done, span = values.narrow(axis, 0, length), 1, 1
    while done < count:
        if (count - 1) & span:
            result = combine(result, values.narrow(axis, done, length))
            done += span
        if done < count:
            kept = values.shape[axis] - span
            values = combine(values.narrow(axis, 0, kept), values.narrow(axis, span, kept))
            span *= 2
    return result


def pieces(size: Sequence[int], side: int, margin: int) -> Iterator[tuple[slice, slice, slice, slice]]:
    """Rows and columns of pieces about `side` long that make up a picture, and the same with a margin, as far as the picture goes."""

    def spans(length: int) -> list[tuple[slice, slice]]:
        count = math.ceil(length / side)
        ends = [length * i // count for i in range(count + 1)]
        return [(slice(a, b), slice(max(a - margin, 0), min(b + margin, length))) for a, b in zip(ends, ends[1:])]

    for rows, seen_rows in spans(size[0]):
        for cols, seen_cols in spans(size[1]):
            yield rows, cols, seen_rows, seen_cols


def within(piece: slice, seen: slice) -> slice:
    """Where a piece lies in what is seen of the picture."""
    return slice(piece.start - seen.start, piece.stop - seen.start)
