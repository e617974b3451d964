"""Soft or shifted edges of a disparity map, moved to where the photo has them.

Depth networks see a small version of the photo, so their edges are ramps a few pixels wide that lie beside the edges of
the photo; a lens renders them as halos.

Every pixel on a ramp becomes part of the nearer or of the farther surface around it. Three things speak for either: its colour,
against pixels of both that are surely not on a ramp (250 of them on a spiral, near ones count more); its neighbours of similar
colour; and the map itself, for the new map, softened as the network softens, must be the old one again. The last is fed back for
some rounds, and gives thin things their width. A map that was exact loses by this (docs/results.md).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ..planes import check_image, check_map, check_same_shape, match_batch, resize
from ..windows import box_mean, pieces, widen, within

STEP = 0.04  # smallest change of disparity that counts as an edge
VOTERS, VOTING_RADIUS = 250, 16  # around a pixel; the radius in units of the reach
SAME_COLOR, SAME_SURFACE = 0.04, 0.08  # spread of sRGB values within a voter's surface, between neighbours
PRIOR, FEEDBACK, ROUNDS = 3.0, 1.5, 14

VOTING_SIDE, SETTLING_SIDE = 1024, 2048  # pixels of the parts that are worked on at once, without what is around them
PIXELS_AT_ONCE, VOTERS_AT_ONCE = 16384, 25
STEPS, VOTING_SHARE = 1000, 0.6  # of the progress for one picture; the share of the votes in its time


def refine_edges(
    image: Tensor,
    disparity: Tensor,
    reach: int = 3,
    progress: Callable[[int, int], None] | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Disparity whose edges follow the photo, (B, 1, H, W).

    Every pixel near an edge becomes part of the nearer or of the farther surface: by its colour, as seen on pixels around
    that are surely on one of them, by its neighbours, and so that the new map, softened, is the old one again. Pixels far
    from edges keep their value. A map that already follows the photo loses some of its detail: leave that as it is.

    image: (B, 3, H, W) in [0, 1]. disparity: (1 or B, 1, h, w) in [0, 1].
    reach: half the width of the map's soft edges, in pixels of the photo; they may lie about half as far beside the photo's.
    progress: called with (steps done, steps in all), many times a second; may raise to stop.
    device: where to work, one part of the picture after the other; None is where the image lies, as the result always does.
    Raises ValueError for a reach below 1, values that are not finite, a map of another shape, and counts of frames that don't match.
    """
    if reach < 1:
        raise ValueError(f"reach (refine) is {reach}; to refine edges it is 1 pixel or more.")
    check_image(image)
    check_map(disparity, "disparity")
    check_same_shape(disparity, image.shape[-2:], "disparity")
    disparity = match_batch(disparity, len(image), "disparity")
    out = torch.empty(len(image), 1, *image.shape[-2:], device=image.device)
    for i, photo in enumerate(image):

        def report(share: float, before: int = i) -> None:
            if progress is not None:
                progress(int(STEPS * (before + share)), STEPS * len(image))

        report(0)
        out[i] = _refine(photo, resize(disparity[i : i + 1], image.shape[-2:])[0], reach, device or image.device, report)
        report(1)
    return out


def memory_needed(size: Sequence[int], reach: int) -> int:
    """Upper bound in bytes of what `refine_edges` takes on a device for pictures of `size` (height, width), by measurement."""
    rows, cols = (min(length, SETTLING_SIDE + 2 * (2 * ROUNDS + 1) * reach) for length in size)
    return 160 * rows * cols + 2**27


def _refine(
    photo: Tensor, disparity: Tensor, reach: int, device: torch.device | str, report: Callable[[float], None]
) -> Tensor:
    """One picture (3, H, W), in parts that are equal to the whole to rounding since each sees all that it depends on."""
    size = photo.shape[-2:]

    def seen(planes: Tensor, rows: slice, cols: slice) -> Tensor:
        return planes[:, rows, cols].to(device).float()

    votes = torch.empty(3, *size, device=photo.device)
    parts = list(pieces(size, VOTING_SIDE, (VOTING_RADIUS + 1) * reach))
    for i, (rows, cols, *place) in enumerate(parts):

        def report_votes(share: float, before: int = i) -> None:
            report(VOTING_SHARE * (before + share) / len(parts))

        inner = within(rows, place[0]), within(cols, place[1])
        votes[:, rows, cols] = _vote(seen(photo, *place).clamp(0, 1), seen(disparity, *place), inner, reach, report_votes)
    out = torch.empty(1, *size, device=photo.device)
    # What a round changes depends on what lies twice the reach around.
    parts = list(pieces(size, SETTLING_SIDE, (2 * ROUNDS + 1) * reach))
    for i, (rows, cols, *place) in enumerate(parts):

        def report_rounds(share: float, before: int = i) -> None:
            report(VOTING_SHARE + (1 - VOTING_SHARE) * (before + share) / len(parts))

        settled = _settle(seen(photo, *place).clamp(0, 1), seen(disparity, *place), seen(votes, *place), reach, report_rounds)
        out[:, rows, cols] = settled[:, within(rows, place[0]), within(cols, place[1])]
    return out


def _vote(photo: Tensor, disparity: Tensor, part: tuple[slice, slice], reach: int, report: Callable[[float], None]) -> Tensor:
    """Disparity of the nearer and the farther surface, and how much more speaks for the nearer, (3, rows, cols) of a part.

    photo: (3, h, w), disparity: (1, h, w), of the part and what is around it. 0 where nothing is uncertain.
    """
    rows, cols = part
    highest, lowest = (sign * widen(sign * disparity, reach) for sign in (1, -1))
    certain = highest - lowest <= STEP
    out = torch.zeros(3, rows.stop - rows.start, cols.stop - cols.start, device=photo.device)
    y, x = (~certain[0, rows, cols]).nonzero().unbind(1)
    if not len(y):
        return out
    margin = VOTING_RADIUS * reach
    around = [
        torch.arange(span.start - margin, span.stop + margin, device=photo.device).clamp(0, length - 1)
        for span, length in zip(part, disparity.shape[-2:])
    ]
    planes = torch.cat([photo, disparity, certain.float()])[:, around[0]][..., around[1]].flatten(1)
    extremes = torch.cat([highest, lowest])[:, rows, cols][:, y, x]
    width = len(around[1])
    places = (y + margin) * width + x + margin
    voters = _Voters(margin, width, reach, photo.device)
    found = []
    for number, (place, extreme) in enumerate(zip(places.split(PIXELS_AT_ONCE), extremes.split(PIXELS_AT_ONCE, 1))):
        value = planes[3, place]
        sides = voters.count(planes, place, partial(report, number * PIXELS_AT_ONCE / len(places)))
        known = sides[:, 1] > 0
        near, far = torch.where(known, sides[:, 2] / sides[:, 1].clamp(min=1e-30), extreme)
        near, far = near.maximum(value), far.minimum(value)
        evidence = ((sides[0, 0] + 1e-5).log() - (sides[1, 0] + 1e-5).log()).clamp(-5, 5) * known.all(0)
        evidence += PRIOR * (2 * (value - far) / _gap(near, far) - 1)
        found.append(torch.stack([near, far, evidence]))
    out[:, y, x] = torch.cat(found, 1)
    return out


class _Voters:
    """Pixels on a spiral around one, which vote for the nearer or the farther surface. width: of the planes that they lie in."""

    def __init__(self, radius: int, width: int, reach: int, device: torch.device):
        spiral = _spiral(VOTERS, radius)
        self.offset = torch.tensor([[dy * width + dx] for dy, dx in spiral], device=device)
        distance = torch.tensor([[math.hypot(dy, dx) / (3.5 * reach)] for dy, dx in spiral], device=device)
        self.closeness, self.floor = -(distance**2) / 2, 1e-9 * torch.exp(-2 * distance)

    def count(self, planes: Tensor, place: Tensor, report: Callable[[], None]) -> Tensor:
        """(2, 3, N) for pixels at places (N,), of the nearer and the farther side: votes by colour and distance; the same with a
        floor, so that there is a value wherever there is a voter; and the sum of the voters' disparities.

        planes: (5, pixels), colour, disparity, and whether it is certain.
        """
        color, value = planes[:3, place], planes[3, place]
        sides = torch.zeros(2, 3, len(place), device=planes.device)
        for first in range(0, len(self.offset), VOTERS_AT_ONCE):
            report()
            some = slice(first, first + VOTERS_AT_ONCE)
            voter = [plane.index_select(0, (place + self.offset[some]).flatten()).view(-1, len(place)) for plane in planes]
            unlike = sum((channel - own).square() for channel, own in zip(voter, color))
            vote = torch.exp(self.closeness[some] - unlike / (2 * SAME_COLOR**2)) * voter[4]
            floored = vote + voter[4] * self.floor[some]
            # Two surfaces may be as close as one step, and what lies at the far end of a ramp is closer to its surface.
            for side, member in zip(sides, (voter[3] > value + STEP / 4, voter[3] < value - STEP / 8)):
                member = member.float()
                side += torch.stack([(share * member).sum(0) for share in (vote, floored, floored * voter[3])])
        return sides


def _gap(near: Tensor, far: Tensor) -> Tensor:
    return (near - far).clamp(min=STEP / 2)


def _settle(photo: Tensor, disparity: Tensor, votes: Tensor, reach: int, report: Callable[[float], None]) -> Tensor:
    """Disparity (1, h, w) in which every uncertain pixel belongs to one of its two surfaces, from the votes of `_vote`."""
    uncertain = widen(disparity, reach) + widen(-disparity, reach) > STEP
    y, x = uncertain[0].nonzero().unbind(1)
    if not len(y):
        return disparity
    near, far, evidence = votes[:, y, x]
    middle, gap = (near + far) / 2, _gap(near, far)
    # Neighbours of a colour are likely on one surface.
    place = (y + 1) * (disparity.shape[-1] + 2) + x + 1
    beside = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]

    def around(planes: Tensor) -> Iterator[Tensor]:
        """Values at each neighbour, (C, pixels)."""
        padded = F.pad(planes[None], (1,) * 4, mode="replicate")[0]
        for dy, dx in beside:
            yield padded.flatten(1).index_select(1, place + dy * padded.shape[-1] + dx)

    color, ties = photo[:, y, x], []
    for (dy, dx), other in zip(beside, around(photo)):
        report(0)
        ties.append(torch.exp(-(other - color).square().sum(0) / (2 * SAME_SURFACE**2)) / math.hypot(dy, dx))
    refined, score = disparity.clone(), evidence
    for done in range(ROUNDS):
        report(done / ROUNDS)
        refined[0, y, x] = far + (near - far) * torch.sigmoid(2 * score)
        softened = box_mean(refined, reach)
        report(done / ROUNDS)
        missing = box_mean(disparity - softened, reach)[0, y, x]
        evidence = evidence + FEEDBACK * missing / gap
        opinions = (tie * (2 * (other[0] - middle) / gap).clamp(-1, 1) for tie, other in zip(ties, around(refined)))
        score = evidence + sum(opinions)
    refined[0, y, x] = torch.where(score > 0, near, far)
    return refined


def _spiral(points: int, radius: int) -> list[tuple[int, int]]:
    """Different offsets (y, x) within a disc, denser towards its middle."""
    index = torch.arange(points) + 0.5
    length, angle = radius * index / points, index * torch.pi * (3 - 5**0.5)
    offsets = torch.stack([length * angle.sin(), length * angle.cos()], 1).round().int().unique(dim=0)
    return [(dy, dx) for dy, dx in offsets.tolist() if (dy, dx) != (0, 0)]
