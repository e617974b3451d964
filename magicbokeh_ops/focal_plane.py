"""A tilted focal plane, as of a tilt-shift lens or a view camera (Scheimpflug).

A plane in space is linear in disparity across the picture, so the disparity in focus is a x + b y + c. Blurring by the distance from
such a plane is blurring by the distance from a level one after the disparity has been tilted the other way.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def slopes(size: Sequence[int], tilt: float, direction: float) -> tuple[float, float]:
    """Disparity by which the focal plane rises per pixel to the right and down, in a picture of `size` (height, width).

    tilt: disparity by which it rises over the length of the longer side. direction: where it rises to, in degrees counter-clockwise:
    0 = the lower edge, 90 = the right one. Raises ValueError unless both are numbers.
    """
    for name, value in (("tilt", tilt), ("tilt_direction", direction)):
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}; it is a number.")
    steepness, angle = tilt / max(size), math.radians(direction)
    return steepness * math.sin(angle), steepness * math.cos(angle)


def tilted(
    disparity: Tensor,
    tilt: float,
    direction: float,
    size: Sequence[int] | None = None,
    rows: slice = slice(None),
    cols: slice = slice(None),
) -> Tensor:
    """Disparity (..., h, w) as it is to a focal plane that has been levelled: 0 is added in the middle of the picture.

    size: (height, width) of the picture, of which disparity holds some rows and columns; by default it is the picture.
    tilt, direction: as for `slopes`.
    """
    if tilt == 0:
        return disparity
    size = size or disparity.shape[-2:]
    right, down = slopes(size, tilt, direction)
    y, x = (
        (torch.arange(length, dtype=torch.float32, device=disparity.device) + 0.5 - length / 2)[part]
        for length, part in zip(size, (rows, cols))
    )
    return disparity - (right * x + down * y[:, None])


def plane_through(points: Sequence[tuple[float, float, float]], size: Sequence[int]) -> tuple[float, float, float]:
    """Disparity in the middle, tilt and direction of the plane through three points of a picture of `size` (height, width).

    points: x and y in 0..1 from the left and the top, and the disparity there.
    Raises ValueError if they lie on a line (closer to one than 1 % of the picture), which many planes go through.
    """
    height, width = size
    x, y, disparity = torch.tensor(points, dtype=torch.float64).T
    across, down = (x - 0.5) * width, (y - 0.5) * height
    sides = torch.stack([across, down], 1)
    longest = max(float(torch.dist(sides[i], sides[j])) for i in range(3) for j in range(i))
    area = abs(float(torch.linalg.det(torch.stack([sides[1] - sides[0], sides[2] - sides[0]]))))
    if area <= 0.01 * max(size) * longest:
        places = ", ".join(f"({a:.3g}, {b:.3g})" for a, b, _ in points)
        raise ValueError(f"the three focus points {places} lie on a line; move one of them away from it.")
    slope_x, slope_y, middle = torch.linalg.solve(torch.stack([across, down, torch.ones(3).double()], 1), disparity).tolist()
    return middle, max(size) * math.hypot(slope_x, slope_y), math.degrees(math.atan2(slope_x, slope_y))
