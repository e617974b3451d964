"""A matte of what stands in front, from a photo and its disparity, without a network.

1. How soft the map's edges are: height over slope of its steps. Soft ones are moved to where the photo has them (`depth.refine`).
2. Which surface is near. Without a mask: what is nearer than one disparity, the nearest of those that many steps lead across (a
   histogram of steps by what they lead across; its nearest high peak). With a mask: what is closer in disparity to the inside of it
   than to the outside.
3. How much of a pixel is near, around the outline: the guided filter (He et al. 2013) fits the sharp matte to the colours of the
   photo in a window. As far as they don't explain it, as where both sides are of one colour, the matte stays sharp, and along an
   outline that they don't bear out it is that of the map as it was.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .depth import refine
from .depth.refine import refine_edges
from .lens.pyramid import levels_of, pull
from .planes import check_image, check_map, check_range, check_same_shape, match_batch, resize
from .windows import box_mean, pieces, widen, within

STEP = 0.04  # smallest change of disparity that counts as an edge
RAMP = 12  # pixels around one in which a ramp is looked for, in a picture of up to 1024
LEVELS = 256  # disparities that are tried as that between near and far
MANY = 0.4  # of the height of all steps across the one that the most lead across
PEAK = 8  # levels on both sides that fewer steps, or as many, lead across
TRUSTING, TRUSTED = 8, 0.4  # pixels around one in which colours must explain such a share of an outline for it to be moved
COARSE = 5  # pixels of reach with which edges are refined: a map with more is refined against a smaller photo
FITTED = 2  # pixels from the middle of a window to its side
DOUBT = 1e-4  # variance of sRGB values that tells nothing
EXPLAINED = 0.3  # share of the matte's variance that colours must explain to be followed in full
SIDE = 1024  # pixels of the parts that are worked on at once, without what is around them
CELLS = 256  # along the picture, in which the disparity of both sides of a mask is continued, of 4 pixels at least
ROUGH = 6  # cells by which the outline of a mask may miss that of the subject
STEPS, REFINING = 1000, 0.9  # of the progress for one picture; the share of refined edges in its time


def from_disparity(
    image: Tensor,
    disparity: Tensor,
    mask: Tensor | None = None,
    *,
    step: float = STEP,
    reach: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """How much of every pixel shows what stands in front, (B, 1, H, W) in [0, 1].

    Where surfaces lie one behind the other, a matte can tell apart two sides only. Without a mask near is all that is nearer than one
    disparity, the nearest of those which many steps lead across: the front-most of the things that are large enough to count. What
    stands farther back is 0, with its outline; connect a mask to mean that. A map without a step has nothing in front: 0 everywhere.

    image: (B, 3, H, W) in [0, 1]. disparity: (1 or B, 1, h, w) in [0, 1], 1 = nearest.
    mask: (1 or B, 1, h, w) in [0, 1], roughly the subject. Its outline may miss the subject's by a fortieth of the picture's longer
    side; within that the matte follows the steps of disparity, where there are any, and beyond it the mask.
    step: smallest change of disparity that counts as an edge.
    reach: half the width of the map's soft edges, in pixels of the photo, 0 if they are sharp; None measures it.
    progress: called with (steps done, steps in all), many times a second; may raise to stop.
    device: where to work, one part of the picture after the other; None is where the image lies, as the result always does.
    Raises ValueError for a step that is not above 0, a reach below 0, values that are not finite, a map of another shape, and counts of
    frames that don't match.
    """
    if not 0 < step < 1:
        raise ValueError(f"step is {step}; it is a change of disparity, above 0 and below 1.")
    if reach is not None and reach < 0:
        raise ValueError(f"reach is {reach}; it is 0 pixels or more.")
    check_image(image)
    frames, size = len(image), image.shape[-2:]
    check_map(disparity, "disparity")
    check_same_shape(disparity, size, "disparity")
    disparity = match_batch(disparity, frames, "disparity")
    if mask is not None:
        check_range(mask, "mask")
        check_same_shape(mask, size, "mask")
        mask = match_batch(mask, frames, "mask")
    out = torch.empty(frames, 1, *size, device=image.device)
    for i in range(frames):

        def report(share: float, before: int = i) -> None:
            if progress is not None:
                progress(int(STEPS * (before + share)), STEPS * frames)

        report(0)
        own = resize(disparity[i : i + 1], size).to(image.device).float()
        rough = None if mask is None else resize(mask[i : i + 1], size).to(image.device).float()
        out[i] = _matte(image[i], own, rough, step, reach, device or image.device, report)
        report(1)
    return out


def memory_needed(size: Sequence[int], reach: int | None = None) -> int:
    """Upper bound in bytes of what `from_disparity` takes on a device for pictures of `size` (height, width), by measurement."""
    return refine.memory_needed(size, 2 * COARSE if reach is None else min(max(reach, 1), 2 * COARSE))


def _matte(
    photo: Tensor,
    disparity: Tensor,
    mask: Tensor | None,
    step: float,
    reach: int | None,
    device: torch.device | str,
    report: Callable[[float], None],
) -> Tensor:
    """Matte (1, H, W) of one picture (3, H, W), its disparity (1, 1, H, W), and perhaps a mask of that size."""
    if reach is None:
        reach = _softness(disparity[0], step, device, report) // 2
    given = disparity
    if reach:
        # What is softer holds no more in the photo's own size, and would take much longer.
        coarseness = max(1, reach // COARSE)
        smaller = [-(-length // coarseness) for length in photo.shape[-2:]]
        refined = refine_edges(
            resize(photo[None], smaller),
            resize(disparity, smaller),
            reach // coarseness,
            lambda done, steps: report(REFINING * done / steps),
            device,
        )
        disparity = resize(refined, photo.shape[-2:])
    if mask is None:
        between = _often_crossed(disparity[0], step, device, report)
        is_near, was_near = ((values[0] > between).float() for values in (disparity, given))
    else:
        is_near, was_near = (_like_inside(values, mask, step)[0] for values in (disparity, given))
    out = is_near.clone()
    trusting = max(TRUSTING, FITTED + reach)
    for rows, cols, *around in pieces(photo.shape[-2:], SIDE, trusting + 2 * FITTED + 1):
        report(REFINING)
        near, before, own = (plane[:, around[0], around[1]].to(device) for plane in (is_near, was_near, disparity[0]))
        outline = ((_spread(near, 1) > 0) & (_spread(own, 1) > step)).float()
        if not outline.any():
            continue
        colors = photo[:, around[0], around[1]].to(device).float().clamp(0, 1)
        fitted, explained = _fitted(colors, near)
        found = torch.where(widen(outline, FITTED) > 0, fitted, near)
        if reach:
            # An outline that the colours don't bear out had better not move.
            doubtful = box_mean(explained * outline, trusting) < TRUSTED * box_mean(outline, trusting)
            found = torch.where(doubtful & (widen(outline, FITTED + reach) > 0), before, found)
        out[:, rows, cols] = found[:, within(rows, around[0]), within(cols, around[1])].to(out.device)
    return out


def _spread(values: Tensor, radius: int) -> Tensor:
    """Highest value of a window less the lowest."""
    return widen(values, radius) + widen(-values, radius)


def _ramp(size: Sequence[int]) -> int:
    """Pixels around one in which a ramp is looked for: wider ones are slopes."""
    return max(RAMP, round(RAMP * max(size) / 1024))


def _softness(disparity: Tensor, step: float, device: torch.device | str, report: Callable[[float], None]) -> int:
    """Median width of the ramps in a map (1, H, W), in pixels, 1 for steps: their height over their slope, where they are steepest."""
    radius = _ramp(disparity.shape[-2:])
    margin = radius + 1
    size = [length - 2 * margin for length in disparity.shape[-2:]]
    if min(size) < 1:
        return 1
    counts = torch.zeros(2 * radius)
    inner = (slice(None), slice(margin, -margin), slice(margin, -margin))
    for rows, cols, *_ in pieces(size, SIDE, 0):
        report(0)
        part = disparity[:, rows.start : rows.stop + 2 * margin, cols.start : cols.stop + 2 * margin].to(device)
        slope = torch.zeros_like(part)
        slope[..., :-1] = (part[..., 1:] - part[..., :-1]).abs()
        slope[..., :-1, :] = slope[..., :-1, :].maximum((part[..., 1:, :] - part[..., :-1, :]).abs())
        height, steepest = _spread(part, radius), widen(slope, radius)
        here = ((slope >= steepest) & (height > 2 * step))[inner]
        widths = (height[inner][here] / slope[inner][here]).cpu()
        # Over a window, a slope is as high as it is wide.
        counts += torch.histc(widths[widths < 1.9 * radius], 2 * radius, 0.5, 2 * radius + 0.5)
    return 1 + int((counts.cumsum(0) < counts.sum() / 2).sum())


def _often_crossed(disparity: Tensor, step: float, device: torch.device | str, report: Callable[[float], None]) -> float:
    """The nearest disparity which many steps in a map (1, H, W) lead across, each counted by its height."""
    changes = torch.zeros(LEVELS + 1, dtype=torch.float64)
    for rows, cols, *around in pieces(disparity.shape[-2:], SIDE, 1):
        report(REFINING)
        part = disparity[:, around[0], around[1]].to(device)
        inner = (slice(None), within(rows, around[0]), within(cols, around[1]))
        low, high = (sign * widen(sign * part, 1)[inner].flatten().cpu() for sign in (-1, 1))
        height = high - low
        is_step = height > step
        for ends, sign in ((low + 0.1 * height, 1), (high - 0.1 * height, -1)):
            levels = (ends[is_step] * LEVELS).round().long().clamp(0, LEVELS)
            changes += sign * torch.bincount(levels, height[is_step].double(), LEVELS + 1)
    votes = changes.cumsum(0).tolist()
    if max(votes) <= 0:
        return torch.inf
    many = [i for i, vote in enumerate(votes) if vote >= MANY * max(votes)]
    level = max(i for i in many if votes[i] >= 0.999 * max(votes[max(i - PEAK, 0) : i + PEAK + 1]))
    # Between the nearer and the farther surface any will do; the middle is the safest.
    lowest = highest = level
    while abs(votes[lowest - 1] - votes[level]) < 0.1 * votes[level]:
        lowest -= 1
    while highest < LEVELS and abs(votes[highest + 1] - votes[level]) < 0.1 * votes[level]:
        highest += 1
    return (lowest + highest) / 2 / LEVELS


def _like_inside(disparity: Tensor, mask: Tensor, step: float) -> Tensor:
    """Whether (1, 1, H, W) a pixel is of the subject of a rough mask: around its outline, by the disparity of either side."""
    height, width = disparity.shape[-2:]
    cell = max(4, -(-max(height, width) // CELLS))
    inside = (mask > 0.5).float()
    levels = []
    for side in (inside, 1 - inside):
        share = F.avg_pool2d(side, cell, ceil_mode=True)
        deep = (widen(-share, ROUGH) == -1).float()
        weight = share * (deep + 1e-3)
        mean = F.avg_pool2d(disparity * side, cell, ceil_mode=True)
        levels.append(pull(levels_of(torch.cat([mean * (deep + 1e-3), weight], 1))))
        levels.append(deep)
    subject, is_in, rest, is_out = (
        F.interpolate(plane, scale_factor=cell, mode="bilinear")[..., :height, :width] for plane in levels
    )
    by_disparity = ((disparity - subject).abs() < (disparity - rest).abs()).float()
    return torch.where((is_in + is_out == 0) & ((subject - rest).abs() > step), by_disparity, inside)


def _fitted(colors: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
    """Guided filter: a matte (1, h, w) that is linear in the colours (3, h, w) in every window, and what share they explain of it.

    Where that is little, the matte is as sharp as it was.
    """
    mean, mean_near = box_mean(colors, FITTED), box_mean(near, FITTED)

    def variance(i: int, j: int) -> Tensor:
        product = box_mean((colors[i] * colors[j])[None], FITTED) - mean[i] * mean[j]
        return product + DOUBT if i == j else product

    a, b, c, d, e, f = (variance(i, j) for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)))
    together = box_mean(colors * near, FITTED) - mean * mean_near
    x, y, z = together.split(1)
    # By the adjugate of the symmetric matrix of these variances.
    aa, ab, ac, bb, bc, cc = d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b
    weights = torch.cat([aa * x + ab * y + ac * z, ab * x + bb * y + bc * z, ac * x + bc * y + cc * z])
    weights = weights / (a * aa + b * ab + c * ac).clamp(min=1e-14)
    rest = mean_near - (weights * mean).sum(0, keepdim=True)
    fitted = ((box_mean(weights, FITTED) * colors).sum(0, keepdim=True) + box_mean(rest, FITTED)).clamp(0, 1)
    # Share of the matte's variance that the colours explain.
    spread = (mean_near - mean_near**2).clamp(min=1e-6)
    explained = box_mean(((weights * together).sum(0, keepdim=True) / spread).clamp(0, 1), FITTED)
    return torch.lerp(near, fitted, (explained / EXPLAINED).clamp(max=1)), explained
