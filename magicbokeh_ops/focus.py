"""Where the focus lies: the disparity in focus from a point, a mask, a box, or the nearest subject; the plane through three points.

It is one for a whole batch, so that the frames of a video do not flicker. Disparity is (B, 1, H, W) in [0, 1], 1 = nearest.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from .clips import lower_median
from .focal_plane import plane_through
from .planes import check_map, check_range, check_same_shape, match_batch, resize

THREE_POINTS = "three points"
MODES = ["point", "mask", "value", "box", "nearest subject"]
SUBJECT_SIDE = 256  # pixels of the map in which the nearest subject is looked for


def choose_focus(
    disparity: Tensor,
    mode: str,
    *,
    value: float = 0.5,
    point: tuple[float, float] = (0.5, 0.5),
    mask: Tensor | None = None,
    box: tuple[float, float, float, float] | None = None,
    size: Sequence[int] | None = None,
    released: bool = False,
) -> float:
    """Disparity in focus by one of the `MODES`, each with what it needs of the rest.

    box: left, top, right and bottom in 0..1. size: as for `focus_from_mask`. released: a mask counts as in the released front end.
    Raises ValueError for another mode, a mask that is not there, and as the mode's own function does.
    """
    if mode == "value":
        return value
    if mode == "point":
        return focus_from_point(disparity, *point, size)
    if mode == "mask":
        if mask is None:
            raise ValueError("focus_mask is not connected; connect a mask, or set focus_mode to point.")
        return released_focus(disparity, mask) if released else focus_from_mask(disparity, mask, size)
    if mode == "box":
        if box is None:
            raise ValueError("focus_box is not connected; connect a detector, or set focus_mode to point.")
        return focus_from_box(disparity, *box, size)
    if mode == "nearest subject":
        return focus_on_nearest(disparity, size)
    raise ValueError(f"focus_mode is {mode!r}; choose one of: {', '.join(MODES)}.")


def focus_from_mask(disparity: Tensor, mask: Tensor, size: Sequence[int] | None = None) -> float:
    """Disparity in focus: the lower median over the pixels where `mask` (B or 1, 1, h, w) exceeds one half.

    size: (height, width) that disparity is brought to first, frame by frame; by default it keeps its own.
    Raises ValueError if the mask is empty, and if it is of another shape than the disparity.
    """
    size = size or disparity.shape[-2:]
    check_map(mask, "focus_mask")
    check_range(mask, "focus_mask")
    check_same_shape(mask, size, "focus_mask", "the disparity")
    # Shrinking the mask could wash out a thin stroke.
    larger = [max(a, b) for a, b in zip(mask.shape[-2:], size)]
    if len(mask) == 1:  # not anew for every frame
        mask = resize(mask, larger)
    masks = match_batch(mask, len(disparity), "focus_mask")

    def selected() -> Iterator[Tensor]:
        for frame, inside in zip(disparity.split(1), masks.split(1)):
            yield resize(resize(frame, size), larger)[resize(inside, larger) > 0.5]

    focus = lower_median(selected)
    if focus is None:
        raise ValueError(
            "focus_mask is empty (no pixel above one half); paint or select what should be sharp, or focus by a point instead."
        )
    return focus


def focus_from_point(disparity: Tensor, x: float, y: float, size: Sequence[int] | None = None) -> float:
    """Disparity in focus: the lower median over a disc around a point, robust to noise and to a click beside an edge.

    x, y: 0..1 from the left and the top. The disc's radius is 1 % of the shorter side, 1 pixel at least; a pixel
    belongs to it if its centre does, and the pixel under the point always does.
    size: as for `focus_from_mask`.
    """
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise ValueError(
            f"focus point (focus_x, focus_y) is ({x:g}, {y:g}); both go from 0 to 1, left to right and top to bottom."
        )
    height, width = size = size or disparity.shape[-2:]
    column, row = min(int(x * width), width - 1), min(int(y * height), height - 1)
    radius = max(1.0, 0.01 * min(height, width))
    reach = int(radius) + 1
    rows = slice(max(row - reach, 0), row + reach + 1)
    columns = slice(max(column - reach, 0), column + reach + 1)
    dy = torch.arange(height, device=disparity.device)[rows] + 0.5 - y * height
    dx = torch.arange(width, device=disparity.device)[columns] + 0.5 - x * width
    inside = dy[:, None] ** 2 + dx**2 <= radius**2
    inside[row - rows.start, column - columns.start] = True
    return float(
        torch.cat([resize(frame, size)[..., rows, columns][..., inside].float() for frame in disparity.split(1)]).median()
    )


def focus_on_three(
    disparity: Tensor, points: Sequence[tuple[float, float]], size: Sequence[int] | None = None
) -> tuple[float, float, float]:
    """Disparity in focus in the middle of the picture, tilt and direction of the plane of focus through three points, 0..1 from left and top.

    size: as for `focus_from_mask`. Raises ValueError if the points lie on a line.
    """
    size = size or disparity.shape[-2:]
    return plane_through([(x, y, focus_from_point(disparity, x, y, size)) for x, y in points], size)


def focus_from_box(
    disparity: Tensor, left: float, top: float, right: float, bottom: float, size: Sequence[int] | None = None
) -> float:
    """Disparity in focus: the lower median over the ellipse that fits into a box, whose corners are background.

    Edges of the box: 0..1 from the left and the top. size: as for `focus_from_mask`.
    Raises ValueError if no pixel lies in it.
    """
    height, width = size = size or disparity.shape[-2:]
    # A box of less than a pixel still means the pixel that it lies in.
    half_width, half_height = (max(size, 1.5) / 2 for size in ((right - left) * width, (bottom - top) * height))
    dy = (torch.arange(height, device=disparity.device) + 0.5 - (top + bottom) / 2 * height) / half_height
    dx = (torch.arange(width, device=disparity.device) + 0.5 - (left + right) / 2 * width) / half_width
    inside = dy[:, None] ** 2 + dx**2 <= 1
    focus = lower_median(lambda: (resize(frame, size)[..., inside] for frame in disparity.split(1)))
    if focus is None:
        raise ValueError(
            f"focus_box goes from ({left:.3g}, {top:.3g}) to ({right:.3g}, {bottom:.3g}), with 0..1 being the photo, so "
            "nothing of it lies in the photo; connect the picture that it was found in."
        )
    return focus


def focus_on_nearest(disparity: Tensor, size: Sequence[int] | None = None) -> float:
    """Disparity in focus when nothing says what the subject is: the lower median over the largest near region.

    Near is what lies on the near side of the split that keeps both sides most alike (Otsu 1979), in the first frame, which is
    looked at with at most 256 pixels on its longer side.
    size: as for `focus_from_mask`.
    """
    from scipy import ndimage

    check_map(disparity, "disparity")
    frame = resize(disparity[:1], size or disparity.shape[-2:])
    longer = max(frame.shape[-2:])
    if longer > SUBJECT_SIDE:
        frame = resize(frame, [max(1, round(n * SUBJECT_SIDE / longer)) for n in frame.shape[-2:]])
    values = frame[0, 0].float().cpu().numpy()
    if values.size == 1:
        return values.item()
    ordered = np.sort(values, axis=None).astype(np.float64)
    count = np.arange(1, ordered.size)
    below = ordered.cumsum()[:-1]
    far, near = below / count, (ordered.sum() - below) / (ordered.size - count)
    split = ordered[np.argmax(count * (ordered.size - count) * (near - far) ** 2)]
    islands, _ = ndimage.label(values > split)
    sizes = np.bincount(islands.ravel())
    sizes[0] = 0
    return float(torch.from_numpy(values[islands == sizes.argmax()]).median())


def released_focus(disparity: Tensor, mask: Tensor) -> float:
    """Disparity in focus as the released front end finds it: the lower median where a mask of the same size is 1/255 or more.

    Raises ValueError if the mask is empty or of another size.
    """
    if mask.shape != disparity.shape:
        raise ValueError(
            f"focus_mask is {mask.shape[-1]} x {mask.shape[-2]} pixels, disparity {disparity.shape[-1]} x {disparity.shape[-2]}; make them "
            "one size."
        )
    inside = mask > 0.5 / 255
    if not inside.any():
        raise ValueError("focus_mask is empty; paint or select what should be sharp.")
    return float(disparity[inside].median())
