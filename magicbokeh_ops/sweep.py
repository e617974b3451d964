"""Values that move from one setting to another over the frames of a shot."""

import math

_EASINGS = {
    "linear": lambda t: t,
    "ease in and out": lambda t: t * t * (3 - 2 * t),
    "ease in": lambda t: t * t,
    "ease out": lambda t: t * (2 - t),
}
EASINGS = list(_EASINGS)


def eased(t: float, easing: str) -> float:
    """How far a move has come, 0..1, at a share t of its time. Raises ValueError for an unknown easing."""
    if easing not in _EASINGS:
        raise ValueError(f"easing is {easing!r}; choose one of: {', '.join(EASINGS)}.")
    return _EASINGS[easing](t)


def sweep(start: float, end: float, frames: int, easing: str = "linear", by_ratio: bool = False) -> list[float]:
    """`frames` values from `start` to `end`, both included.

    by_ratio: equal ratios instead of equal differences, as an aperture pull is even in stops, not in pixels; where
    one end is 0 there is no ratio and differences are taken.
    Raises ValueError for an unknown easing or fewer than 2 frames.
    """
    if frames < 2:
        raise ValueError(f"frames is {frames}; a sweep needs 2 or more.")
    moves = [eased(i / (frames - 1), easing) for i in range(frames)]
    if by_ratio and start > 0 and end > 0:
        return [math.exp((1 - t) * math.log(start) + t * math.log(end)) for t in moves]
    return [start + (end - start) * t for t in moves]
