"""What lies around every value of a plane: sums and largest values of windows."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def widen(values: Tensor, radius: int) -> Tensor:
    """Largest value within `radius` pixels on both axes, (..., H, W)."""
    values = F.pad(values, (radius,) * 4, value=-torch.inf)
    for axis in (-2, -1):
        values = sliding(values, 2 * radius + 1, axis, torch.maximum)
    return values


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
