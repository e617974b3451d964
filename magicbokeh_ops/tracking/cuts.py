"""Where a clip is cut: frames whose colours, part by part of the picture, have little to do with those of the frame before.

Colours are counted in nine parts of the picture, so that what only moves changes little. A cut stands out from its neighbours; a camera
that swings changes for many frames on end, and a flash changes to and fro.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor

SIDE, PARTS, LEVELS = 96, 3, 4
LEAST = 0.4  # of colours that differ
STANDS_OUT = 2.0  # times as much as from the frame before to the frame after


def find_cuts(photos: Iterable[Tensor]) -> list[int]:
    """First frames of all shots but the first. photos: (1, 3, H, W) each, in 0..1 sRGB."""
    return cuts_between([colors_of(photo) for photo in photos])


def cuts_between(colors: Sequence[np.ndarray]) -> list[int]:
    """`find_cuts` of frames whose `colors_of` are known."""
    changes = [0.0, *(_change(before, after) for before, after in zip(colors, colors[1:])), 0.0]
    cuts = []
    for i in range(1, len(colors)):
        around = max(changes[i - 1], changes[i + 1])
        if changes[i] > LEAST and changes[i] > STANDS_OUT * around:
            cuts.append(i)
    return cuts


def colors_of(photo: Tensor) -> np.ndarray:
    """How often each colour is in each part of a photo (1, 3, H, W) in 0..1 sRGB, (PARTS², LEVELS³)."""
    scale = SIDE / max(photo.shape[-2:])
    size = [max(PARTS, round(scale * length)) for length in photo.shape[-2:]]
    small = F.interpolate(photo.float().cpu(), size=size, mode="area")[0].clamp(0, 1).numpy()
    level = (small * LEVELS).astype(int).clip(0, LEVELS - 1)
    color = level[0] * LEVELS**2 + level[1] * LEVELS + level[2]
    parts = [part for rows in np.array_split(color, PARTS, 0) for part in np.array_split(rows, PARTS, 1)]
    return np.stack([np.bincount(part.ravel(), minlength=LEVELS**3) / part.size for part in parts])


def _change(before: np.ndarray, after: np.ndarray) -> float:
    """0 = the same colours everywhere, 1 = none in common."""
    return float(np.abs(before - after).sum(1).mean() / 2)
