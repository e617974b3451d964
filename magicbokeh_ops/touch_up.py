"""Disparity changed by hand under a mask.

A mask is painted or comes from a segmenter, so its rim rarely lies where the photo has the thing's edge, and the soft edge of a depth
network's map lies across it. With the photo given, both are mended in a band around the rim. The mask is fitted to the photo's colours
there (guided filter, He et al. 2013, for some rounds, each sharpened so that it ends as hard as it was). The disparity of the thing is
continued from its inside outwards, and that of its surroundings inwards, so that none of the old edge is left.

A plane in space is linear in disparity across the picture. It is found among outliers, such as what stands before a wall, as the one
with the least median of residuals (Rousseeuw 1984) and then by least squares over what lies near that one.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .focus import focus_from_point
from .planes import check_image, check_range, fill_unknown, fit, match_batch
from .windows import sliding, widen

SET, ADD, POINT, PLANE, PLANE_AROUND, SMOOTH, IN_FRONT, BEHIND = OPERATIONS = (
    "set to value",
    "add amount",
    "value of a point",
    "plane through it",
    "plane of its surroundings",
    "smooth",
    "in front of its surroundings",
    "behind its surroundings",
)

ROUNDS = 6  # of fitting a mask to the photo
NOISE = 1e-3  # variance of colours that a photo has within one surface
STEP = 0.03  # of disparity, that a surface does not make within the rim
FINE = 4  # cells within the reach, in which colours are looked at
STRIP = 512  # rows of cells that are worked on at once
MARGIN, RING = 0.005, 0.05  # of the shorter side: the soft edge of a thing, and the width of its surroundings
MOST_POINTS, TRIPLES = 20000, 300  # that a plane is fitted to; of points that planes are tried through
SHARE = 0.95  # of a thing that is brought in front of its surroundings, or behind them


def touch_up(
    disparity: Tensor,
    mask: Tensor,
    operation: str,
    *,
    image: Tensor | None = None,
    value: float = 0.5,
    amount: float = 0.1,
    point: tuple[float, float] = (0.5, 0.5),
    radius: int = 8,
    edge: int = 6,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Disparity (B, 1, H, W) in [0, 1], changed where `mask` is white and blended where it is grey, by one of the `OPERATIONS`.

    disparity: (1 or B, 1, h, w). mask: (1 or B, 1, h', w') in [0, 1], of any size. image: (1 or B, 3, H, W) in [0, 1], the photo, whose
    size the result then has.
    value: for "set to value". amount: disparity that is added (may be negative), or that lies between a thing and its surroundings. point: x and y in
    0..1 from left and top, whose disparity is taken, one for all frames. radius: of "smooth", in pixels of the result.
    edge: pixels of the photo within which the rim is fitted to it; 0 takes the mask as it is, as without a photo.
    progress: called with (frames done, frames in all).
    Raises ValueError for another operation, numbers and sizes that are none, a mask without a pixel above one half, a point beside the
    picture, counts of frames that don't match, and a mask that leaves no surroundings where they count.
    """
    _check_numbers(operation, value, amount, radius, edge)
    check_range(disparity, "disparity")
    check_range(mask, "mask")
    if not (mask > 0.5).any():
        raise ValueError("mask is empty (no pixel above one half); paint or select what should change.")
    frames, size = max(len(disparity), len(mask)), disparity.shape[-2:]
    if image is not None:
        check_image(image)
        frames, size = max(frames, len(image)), image.shape[-2:]
        image = match_batch(image, frames, "image")
    of = "the disparity" if image is None else "the photo"
    if operation == POINT:
        try:
            value = focus_from_point(disparity, *point, size)
        except ValueError:
            raise ValueError(
                f"the point (point_x, point_y) is ({point[0]:g}, {point[1]:g}); both go from 0 to 1, left to right and top to bottom."
            ) from None
    disparity, mask = match_batch(disparity, frames, "disparity"), match_batch(mask, frames, "mask")
    out = torch.empty(frames, 1, *size, device=disparity.device)
    for i in range(frames):
        if progress is not None:
            progress(i, frames)
        near = fit(disparity[i : i + 1].float(), size, "disparity")
        where = fit(mask[i : i + 1].float(), size, "mask", of).to(near.device).clamp(0, 1)
        around = near
        if image is not None and edge:
            where = follow_photo(where, image[i : i + 1].to(near.device), edge)
            inside = (where > 0.5).float()
            around = _without_old_edges(near, widen(inside, edge) == 0)
            near = _without_old_edges(near, widen(1 - inside, edge) == 0)
        changed = _changed(near, where, operation, value, amount, radius, around)
        out[i] = torch.lerp(around, changed, where)[0].clamp(0, 1)
    return out


def follow_photo(mask: Tensor, image: Tensor, reach: int) -> Tensor:
    """A mask (1, 1, H, W) in [0, 1] whose rim has moved to edges of the photo (1, 3, H, W) within `reach` pixels.

    Where it is softer than that, and far from its rim, it stays as it is.
    """
    contrast = widen(mask, reach) + widen(-mask, reach)
    near_rim = contrast[0, 0] > 0.5
    if not near_rim.any():
        return mask
    cell = max(1, reach // FINE)
    halo = 2 * ROUNDS * cell * -(-reach // cell)
    (first, bottom), (left, right) = (_ends(near_rim.any(axis), cell) for axis in (1, 0))
    cols = slice(max(left - halo, 0), right + halo)
    out = mask.clone()
    for top in range(first, bottom, STRIP * cell):
        end = min(top + STRIP * cell, bottom)
        start = max(top - halo, 0)
        rows = slice(start, end + halo)
        found = _fitted(mask[:, :, rows, cols], image[:, :, rows, cols].float().clamp(0, 1), reach, cell)
        is_hard = (2 * contrast[:, :, top:end, cols] - 1).clamp(0, 1)
        out[:, :, top:end, cols].lerp_(found[:, :, top - start : end - start], is_hard)
    return out


def _ends(flags: Tensor, cell: int) -> tuple[int, int]:
    """The first place that is set, or the cell's that it lies in, and the one after the last."""
    places = flags.nonzero()
    return int(places[0]) // cell * cell, int(places[-1]) + 1


def _fitted(mask: Tensor, photo: Tensor, reach: int, cell: int) -> Tensor:
    """The mask as it depends linearly on the photo's colours within windows, made hard again, for some rounds.

    What the colours mean is found on means of `cell` x `cell` pixels, and applied to the pixels themselves (He and Sun 2015).
    """
    height, width = mask.shape[-2:]
    full, reach = photo, -(-reach // cell)
    mask, photo = (F.avg_pool2d(values, cell, ceil_mode=True) for values in (mask, photo))
    count = _box(torch.ones_like(mask), reach)

    def mean(values: Tensor) -> Tensor:
        return _box(values, reach) / count

    level = mean(photo)
    rr, gg, bb = (mean(c * c) - m * m + NOISE for c, m in zip(photo.split(1, 1), level.split(1, 1)))
    pairs = ((0, 1), (0, 2), (1, 2))
    rg, rb, gb = (mean(photo[:, a : a + 1] * photo[:, b : b + 1]) - level[:, a : a + 1] * level[:, b : b + 1] for a, b in pairs)
    # The inverse of the colours' covariance, by its minors.
    minors = [gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg, rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg]
    scale = rr * minors[0] + rg * minors[1] + rb * minors[2]
    for _ in range(ROUNDS):
        share = mean(mask)
        r, g, b = (mean(photo * mask) - level * share).split(1, 1)
        slope = torch.cat(
            [
                minors[0] * r + minors[1] * g + minors[2] * b,
                minors[1] * r + minors[3] * g + minors[4] * b,
                minors[2] * r + minors[4] * g + minors[5] * b,
            ],
            1,
        )
        slope = slope / scale
        rule = torch.cat([mean(slope), mean(share - (slope * level).sum(1, keepdim=True))], 1)
        mask = _applied(rule, photo)
    if cell > 1:
        rule = F.interpolate(rule, scale_factor=float(cell), mode="bilinear")[:, :, :height, :width]
    return _applied(rule, full)


def _applied(rule: Tensor, photo: Tensor) -> Tensor:
    """What slope and offset (1, 4, H, W) make of the photo's colours, hardened to a mask."""
    found = (rule[:, :3] * photo).sum(1, keepdim=True) + rule[:, 3:]
    return (2 * found - 0.5).clamp(0, 1)


def _box(values: Tensor, radius: int) -> Tensor:
    """Sums over the windows of 2 radius + 1 pixels around each, without what lies outside of the picture."""
    values = F.pad(values, (radius,) * 4)
    for axis in (-2, -1):
        values = sliding(values, 2 * radius + 1, axis, torch.add)
    return values


def _without_old_edges(near: Tensor, surely: Tensor) -> Tensor:
    """Disparity continued from where it surely belongs to one surface, but for what is close to that already."""
    continued = _filled(near, surely)
    return torch.lerp(near, continued, ((continued - near).abs() / STEP - 0.5).clamp(0, 1))


def _filled(near: Tensor, known: Tensor) -> Tensor:
    """Disparity (1, 1, H, W) continued from where it is known; as it is if that is nowhere."""
    return fill_unknown(near.where(known, torch.full_like(near, torch.nan)), "disparity") if known.any() else near


def _changed(near: Tensor, mask: Tensor, operation: str, value: float, amount: float, radius: int, around: Tensor) -> Tensor:
    """What disparity (1, 1, H, W) becomes where the mask is white. around: its surroundings, as far as they are known better."""
    inside = mask > 0.5
    if operation in (SET, POINT):
        return torch.full_like(near, value)
    if operation == ADD:
        return near + amount
    if operation == SMOOTH:
        return _smoothed(near, mask, radius)
    if not inside.any():  # a frame in which the thing can't be seen
        return near
    if operation == PLANE:
        return _fitted_plane(near, inside)
    shorter = min(near.shape[-2:])
    margin, width = max(2, round(MARGIN * shorter)), max(4, round(RING * shorter))
    outside = widen(inside.float(), margin) == 0
    if not outside.any():
        raise ValueError(f"mask covers the picture, so that nothing surrounds it; {operation!r} needs a smaller one.")
    if operation == PLANE_AROUND:
        return _fitted_plane(around, outside & (widen(inside.float(), margin + width) > 0))
    away = (near - _filled(around, outside))[inside]
    if operation == IN_FRONT:
        return near + (amount - _ranked(away, 1 - SHARE)).clamp(min=0)
    return near - (amount + _ranked(away, SHARE)).clamp(min=0)


def _ranked(values: Tensor, share: float) -> Tensor:
    """The value below which this share of all lies, as it occurs."""
    return values.sort().values[round(share * (values.numel() - 1))]


def _smoothed(near: Tensor, mask: Tensor, radius: int) -> Tensor:
    """Means over what is masked, by three windows in a row, which come close to a bell."""
    total, weight = near * mask, mask
    for _ in range(3):
        scale = (2 * radius + 1) ** 2
        total, weight = _box(total, radius) / scale, _box(weight, radius) / scale
    return (total / weight.clamp(min=1e-6)).where(mask > 0, near)


def _fitted_plane(near: Tensor, inside: Tensor) -> Tensor:
    """The plane through disparity (1, 1, H, W) where `inside` (bool) says, over the whole picture. Less than half of it may be outliers."""
    height, width = near.shape[-2:]
    rows, cols = inside[0, 0].nonzero().T.cpu()
    step = -(-len(rows) // MOST_POINTS)
    rows, cols = rows[::step], cols[::step]
    values = near[0, 0].cpu()[rows, cols].double()
    middle = rows.double().mean(), cols.double().mean()
    points = torch.stack([rows - middle[0], cols - middle[1], torch.ones_like(values)], 1)
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randint(len(points), (TRIPLES, 3), generator=generator)
    tried = _least_squares(points[chosen], values[chosen])
    some = slice(None, None, max(1, len(points) // 2000))
    errors = (points[some] @ tried.T - values[some, None]).abs().median(0).values
    found, spread = tried[errors.argmin()], 1.4826 * float(errors.amin())
    for _ in range(3):
        kept = (points @ found - values).abs() <= 2.5 * spread + 1e-6
        found = _least_squares(points[kept], values[kept])
    down, right, level = found.tolist()
    y = torch.arange(height, dtype=torch.float32, device=near.device) - float(middle[0])
    x = torch.arange(width, dtype=torch.float32, device=near.device) - float(middle[1])
    return (level + down * y[:, None] + right * x).expand_as(near)


def _least_squares(points: Tensor, values: Tensor) -> Tensor:
    """Level where the points leave it open, as those on a line do."""
    return torch.linalg.lstsq(points, values[..., None], driver="gelsd").solution[..., 0]


def _check_numbers(operation: str, value: float, amount: float, radius: int, edge: int) -> None:
    if operation not in OPERATIONS:
        raise ValueError(f"operation is {operation!r}; choose one of: {', '.join(OPERATIONS)}.")
    if not 0 <= value <= 1:
        raise ValueError(f"value is {value:g}; it is a disparity, 0 (farthest) to 1 (nearest).")
    if not -1 <= amount <= 1:
        raise ValueError(f"amount is {amount:g}; it is a difference of disparity, -1 to 1.")
    for name, pixels in (("radius", radius), ("edge", edge)):
        if pixels < 0:
            raise ValueError(f"{name} is {pixels}; it is 0 pixels or more.")
