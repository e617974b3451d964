"""Questions about all values of a clip, answered with memory for a part of one frame.

Frames come from a function, so that they can be made one at a time and as often as they are asked for.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

PART = 2**20  # values looked at together
Frames = Callable[[], Iterable[Tensor]]


def is_finite(values: Tensor) -> bool:
    """Whether no value of a batch (B, C, H, W) is NaN or infinite."""
    return bool(torch.stack([torch.isfinite(part).all() for part in _parts(values)]).all())


def extremes(frames: Frames) -> tuple[Tensor, Tensor]:
    """Lowest and highest value."""
    rest = iter(frames())
    first = next(rest)
    low, high = first.amin(), first.amax()
    for frame in rest:
        # Kept for each frame, they would lie between the frames in memory, which then could not be used again.
        low, high = low.minimum(frame.amin()), high.maximum(frame.amax())
    return low, high


def percentiles(frames: Frames, *shares: float) -> list[float]:
    """The values below which these shares (0..1) of all values lie, as they occur."""
    return _ranked(frames, lambda count: [round(share * (count - 1)) for share in shares])


def lower_median(frames: Frames) -> float | None:
    """The lower of the two middle values; None if there are no values."""
    found = _ranked(frames, lambda count: [(count - 1) // 2] if count else [])
    return found[0] if found else None


def _ranked(frames: Frames, places: Callable[[int], list[int]]) -> list[float]:
    """The float32 values at some places of all values in order. places: of their count.

    Found without sorting: the upper 16 bits by counting all values, the lower ones by counting those that share the upper ones.
    """
    upper = torch.zeros(2**16, dtype=torch.int64)
    for part in _parts(frames()):
        upper += torch.bincount((_ordinals(part) >> 16) + 2**15, minlength=2**16)
    reached = upper.cumsum(0)
    found = []
    for place in places(int(reached[-1])):
        high = int(torch.searchsorted(reached, place, right=True))
        lower = torch.zeros(2**16, dtype=torch.int64)
        for part in _parts(frames()):
            ordinals = _ordinals(part)
            lower += torch.bincount(ordinals[(ordinals >> 16) + 2**15 == high] & 0xFFFF, minlength=2**16)
        low = int(torch.searchsorted(lower.cumsum(0), place - int(reached[high] - upper[high]), right=True))
        found.append(float(_exchange(torch.tensor([(high - 2**15) * 2**16 + low], dtype=torch.int32)).view(torch.float32)))
    return found


def _ordinals(values: Tensor) -> Tensor:
    """Integers in the same order as float32 values."""
    return _exchange(values.float().cpu().view(torch.int32))


def _exchange(bits: Tensor) -> Tensor:
    """Of the bits of a float32, an integer in the same order; and back."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def _parts(frames: Iterable[Tensor]) -> Iterator[Tensor]:
    for frame in frames:
        yield from frame.flatten().split(PART)
