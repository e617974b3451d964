"""How a focus is pulled: what has been measured, made smooth without lag and no faster than a hand turns the ring.

Smoothing is local linear regression with Gaussian weights (Cleveland 1979): within a shot it looks as far ahead as back, so that it
does not lag, and at its ends it follows a move instead of flattening it. Speed is limited by the middle between the lowest path above
and the highest path below the values that are never faster (McShane 1934), which starts a pull early and ends it late by as much.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np


def shots(cuts: Sequence[int], frames: int) -> list[range]:
    """The frames of each shot. cuts: first frames of all shots but the first."""
    return [range(start, end) for start, end in pairwise([0, *cuts, frames])]


def pull(measured: Sequence[float | None], cuts: Sequence[int], smooth: float, speed: float) -> list[float]:
    """A focus for each frame. Where nothing was measured it goes straight from what was known before to what is known after; where
    nothing comes after it in its shot, it holds.

    cuts: as for `shots`; nothing is smoothed over them. smooth: standard deviation of the weights in frames, 0 = none.
    speed: largest change from frame to frame, 0 = any. Raises ValueError if nothing was measured at all.
    """
    known = [value for value in measured if value is not None]
    if not known:
        raise ValueError("nothing is known of the subject in any frame.")
    path: list[float] = []
    for shot in shots(cuts, len(measured)):
        places = {i: value for i in shot if (value := measured[i]) is not None}
        if not places:
            path += [path[-1] if path else known[0]] * len(shot)
            continue
        values = np.interp(shot, list(places), list(places.values()))
        if smooth:
            values = _smoothed(values, smooth)
        if speed:
            values = (_above(values, speed) - _above(-values, speed)) / 2
        path += values.tolist()
    return path


def _smoothed(values: np.ndarray, sigma: float) -> np.ndarray:
    count, reach = len(values), min(int(np.ceil(4 * sigma)), len(values) - 1)
    sums = np.zeros((5, count))
    for offset in range(-reach, reach + 1):
        here = slice(max(0, -offset), count - max(0, offset))
        there = values[max(0, offset) : count + min(0, offset)]
        weight = np.exp(-0.5 * (offset / sigma) ** 2)
        for row, term in enumerate((1, offset, offset**2, there, offset * there)):
            sums[row, here] += weight * term
    w, wx, wxx, wy, wxy = sums
    if count == 1:
        return values
    return (wxx * wy - wx * wxy) / (w * wxx - wx**2)


def _above(values: np.ndarray, speed: float) -> np.ndarray:
    """The lowest path above these values that is never faster."""
    path = values.copy()
    for i in range(1, len(path)):
        path[i] = max(path[i], path[i - 1] - speed)
    for i in range(len(path) - 2, -1, -1):
        path[i] = max(path[i], path[i + 1] - speed)
    return path
