"""What a subject's disparity is, frame by frame, where a mask or a box tells roughly where it is.

Masks have holes and spill over, boxes hold what is behind and what passes in front, disparity has holes too. So the values in a region
are first taken apart into layers: peaks of their histogram, with all within `REACH` of them. The subject is one layer of each frame.
Which one, a cheapest path through all frames says (Viterbi 1967): layers are the better the larger and the nearer they are, a step to
another disparity costs its square, and a frame may be left out for a price, so that what passes in front is not followed.
"""

from collections.abc import Sequence

import numpy as np

REACH = 0.04  # disparity to either side of a peak that belongs to its layer
LEAST, SOLID = 0.06, 0.15  # share of a region that makes a layer, and one that counts as nearest
STEP = 0.02  # disparity per frame that costs 1
JUMP, LEFT_OUT = 30.0, 3.0  # cost of the longest step, and of a frame without the subject
BINS = 256

Layer = tuple[float, float]  # disparity and share of the region


def layers_in(values: np.ndarray, weights: np.ndarray) -> list[Layer]:
    """Layers of a region, near to far, of values in 0..1 with their weights, two arrays of one shape. What is not finite is left out."""
    known = np.isfinite(values) & (weights > 0)
    values, weights = values[known].astype(np.float64), weights[known].astype(np.float64)
    if not len(values):
        return []
    whole = weights.sum()
    order = np.argsort(values)
    values, weights = values[order], weights[order]
    width = np.arange(-8, 9)
    kernel = np.exp(-0.5 * (width / 2.5) ** 2)
    found = []
    while len(values):
        counts = np.bincount((values * (BINS - 1)).round().clip(0, BINS - 1).astype(int), weights, BINS)
        peak = np.convolve(counts, kernel, "same").argmax() / (BINS - 1)
        start, end = np.searchsorted(values, (peak - REACH, peak + REACH))
        mass = weights[start:end].cumsum()
        if not len(mass) or mass[-1] < LEAST * whole:
            break
        middle = values[start + np.searchsorted(mass, mass[-1] / 2)]
        found.append((float(middle), float(mass[-1] / whole)))
        values, weights = np.delete(values, slice(start, end)), np.delete(weights, slice(start, end))
    return sorted(found, reverse=True)


def path_through(frames: Sequence[list[Layer]], behind: float) -> list[float | None]:
    """The subject's disparity in each frame, by its layers as of `layers_in`; None where it is hidden.

    behind: how much less a layer counts that has a solid one before it, 0..1: little where the region holds nothing but the subject and
    what is seen past it.
    """
    places, values, costs = [], [], []
    for i, layers in enumerate(frames):
        nearest = next((j for j, (_, share) in enumerate(layers) if share >= SOLID), 0)
        for j, (value, share) in enumerate(layers):
            places.append(i)
            values.append(value)
            costs.append(-np.log(share * (behind if j > nearest else 1)))
    if not places:
        return [None] * len(frames)
    frame, near = np.array(places), np.array(values)
    total, before = np.empty(len(places)), np.full(len(places), -1)
    for n in range(len(places)):
        total[n] = LEFT_OUT * frame[n]
        earlier = np.searchsorted(frame, frame[n])
        if earlier:
            gap = frame[n] - frame[:earlier]
            step = ((near[n] - near[:earlier]) / STEP) ** 2 / gap
            reached = total[:earlier] + np.minimum(step, JUMP) + LEFT_OUT * (gap - 1)
            best = int(reached.argmin())
            if reached[best] < total[n]:
                total[n], before[n] = reached[best], best
        total[n] += costs[n]
    n = int((total + LEFT_OUT * (len(frames) - 1 - frame)).argmin())
    path: list[float | None] = [None] * len(frames)
    while n >= 0:
        path[frame[n]] = float(near[n])
        n = before[n]
    return path


def ellipse(size: Sequence[int], box: tuple[float, float, float, float]) -> np.ndarray:
    """Weights (H, W) of a picture of `size` for a box, left, top, right and bottom in 0..1: most in the middle, none outside of the ellipse that fits into it."""
    (height, width), (left, top, right, bottom) = size, box
    y = ((np.arange(height) + 0.5) / height - (top + bottom) / 2) / max((bottom - top) / 2, 0.75 / height)
    x = ((np.arange(width) + 0.5) / width - (left + right) / 2) / max((right - left) / 2, 0.75 / width)
    return np.maximum(0, 1 - y[:, None] ** 2 - x**2)
