"""Disparity from a few lines drawn on a photo: for what no depth network understands, as products, paintings and miniatures.

A plane in space is linear in disparity across the picture, and 0 on its vanishing line. The ground vanishes at the horizon, a wall beside
the camera in an upright line through the vanishing point, and a wall that faces the camera has one disparity. Who stands in a convex room
sees the nearest of its planes in every direction, so its disparity is the largest of theirs; nothing is the sky, 0.

Things stand upright where they touch the ground: each has the disparity of the room at its lowest pixel.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from .planes import check_range, fit

MOST_ISLANDS = 200  # of a mask, that are things of their own


def room(
    size: Sequence[int],
    horizon: float = 0.4,
    near_end: float = 1.0,
    *,
    tilt: float = 0.0,
    vanishing_x: float = 0.5,
    back_wall: float = 0.0,
    left_wall: float = 0.0,
    right_wall: float = 0.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Disparity (1, 1, H, W) in [0, 1] of ground, walls and sky in a picture of `size` (height, width).

    horizon, near_end: heights in the middle of the picture where the ground vanishes, with disparity 0, and where it has come as near as
    1; 0 = upper edge, 1 = lower edge, and they may lie beyond these. tilt: of the horizon, in degrees counter-clockwise.
    back_wall: disparity of a wall across the picture, which meets the ground where that is as near; 0 = none. left_wall, right_wall: of
    the walls beside the camera where the horizon meets the edges of the picture; 0 = none.
    vanishing_x: where they vanish on the horizon, 0 = left edge, 1 = right edge.
    Raises ValueError for numbers that are none, a near end that is not below the horizon, a vanishing point at an edge, and a wall below 0.
    """
    _check(horizon, near_end, tilt, vanishing_x, back_wall, left_wall, right_wall)
    height, width = size
    angle = math.radians(tilt)
    down = (torch.arange(height, dtype=torch.float32, device=device) + 0.5)[:, None] - horizon * height
    across = torch.arange(width, dtype=torch.float32, device=device) + 0.5 - width / 2
    # Pixels below the horizon, and along it.
    below = down * math.cos(angle) + across * math.sin(angle)
    along = across * math.cos(angle) - down * math.sin(angle)
    ground = below / ((near_end - horizon) * height * math.cos(angle))
    found = ground.clamp(min=back_wall)
    vanishing = (vanishing_x - 0.5) * width / math.cos(angle)
    half = width / 2 / math.cos(angle)
    for wall, edge in ((left_wall, -half), (right_wall, half)):
        if wall:
            found = found.maximum(wall * (along - vanishing) / (edge - vanishing))
    return found.clamp(max=1)[None, None]


def stand(disparity: Tensor, things: Mapping[str, Tensor], tilt: float = 0.0, split: bool = False) -> Tensor:
    """A room's disparity (1, 1, H, W) with things standing in it, nearer ones before those farther away.

    things: by the names that errors call them, masks (N, 1, h, w) in [0, 1], each of one thing, of any size; black ones are none.
    tilt: of the horizon, as for `room`. split: each island of a mask is a thing.
    Raises ValueError for masks of another shape than the picture.
    """
    angle = math.radians(tilt)
    standing = []
    for mask, (top, left) in _single(things, disparity.shape[-2:], split):
        rows, cols = (mask > 0.5).nonzero().to(disparity.device).T
        depth = rows * math.cos(angle) + cols * math.sin(angle)
        foot = depth > depth.amax() - 0.5
        standing.append((float(disparity[0, 0, top + rows[foot], left + cols[foot]].amax()), mask, top, left))
    out = disparity.clone()
    for level, mask, top, left in sorted(standing, key=lambda thing: thing[0]):
        part = out[0, 0, top : top + mask.shape[0], left : left + mask.shape[1]]
        part.lerp_(torch.full_like(part, level), mask.to(out.device))
    return out


def _single(things: Mapping[str, Tensor], size: Sequence[int], split: bool) -> Iterator[tuple[Tensor, tuple[int, int]]]:
    """Masks (h, w) of one thing each, and their row and column in a picture of `size` (height, width)."""
    from scipy import ndimage

    for name, masks in things.items():
        check_range(masks, name)
        for whole in masks.split(1):
            mask = fit(whole.float(), size, name)[0, 0].clamp(0, 1)
            if not (mask > 0.5).any():
                continue
            if not split:
                yield mask, (0, 0)
                continue
            islands, _ = ndimage.label(mask.cpu().numpy() > 0.5)
            largest = np.argsort(np.bincount(islands.ravel())[1:])[::-1][:MOST_ISLANDS] + 1
            # What is grey belongs to the nearest island, as small ones do where there are very many.
            nearest = ndimage.distance_transform_edt(~np.isin(islands, largest), return_distances=False, return_indices=True)
            owner = islands[tuple(nearest)]
            for island, place in enumerate(ndimage.find_objects(owner), 1):
                if place is not None:
                    rows, cols = place
                    mine = torch.from_numpy(owner[place] == island).to(mask.device)
                    yield mask[rows, cols] * mine, (rows.start, cols.start)


def _check(
    horizon: float, near_end: float, tilt: float, vanishing_x: float, back_wall: float, left_wall: float, right_wall: float
) -> None:
    for name, value in (("horizon", horizon), ("near_end", near_end)):
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}; it is a height in the picture, 0 = upper edge, 1 = lower edge.")
    if near_end < horizon + 0.01:
        raise ValueError(f"near_end is {near_end:g}; it lies below the horizon, which is {horizon:g}, by 0.01 or more.")
    if not -80 <= tilt <= 80:
        raise ValueError(f"horizon_tilt is {tilt:g}; it is an angle of -80 to 80 degrees.")
    if not 0.01 <= vanishing_x <= 0.99:
        raise ValueError(f"vanishing_x is {vanishing_x:g}; it lies within the picture, 0.01 to 0.99.")
    for name, value in (("back_wall", back_wall), ("left_wall", left_wall), ("right_wall", right_wall)):
        if not 0 <= value <= 100:
            raise ValueError(f"{name} is {value:g}; it is a disparity, 0 (no wall) to 100.")
