"""Soft or shifted edges of a disparity map, moved to where the photo has them.

Depth networks see a small version of the photo, so their edges are ramps a few pixels wide that lie beside the edges of
the photo; a lens renders them as halos.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .defocus import check_image, check_map, fit, match_batch, widen

STEP = 0.04  # smallest change of disparity that counts as an edge
VOTERS, VOTING_RADIUS = 250, 16  # around a pixel; the radius in units of the reach
SAME_COLOR, SAME_SURFACE = 0.04, 0.08  # spread of sRGB values within a voter's surface, between neighbours
PRIOR, FEEDBACK, ROUNDS = 3.0, 1.5, 14


def refine_edges(image: Tensor, disparity: Tensor, reach: int = 3) -> Tensor:
    """Disparity whose edges follow the photo, (B, 1, H, W).

    Every pixel near an edge becomes part of the nearer or of the farther surface: by its colour, as seen on pixels around
    that are surely on one of them, by its neighbours, and so that the new map, softened, is the old one again. Pixels far
    from edges keep their value. A map that already follows the photo loses some of its detail: leave that as it is.

    image: (B, 3, H, W) in [0, 1]. disparity: (1 or B, 1, h, w) in [0, 1].
    reach: half the width of the map's soft edges, in pixels of the photo; they may lie about half as far beside the photo's.
    Raises ValueError for a reach below 1, values that are not finite, a map of another shape, and counts of frames that don't match.
    """
    if reach < 1:
        raise ValueError(f"reach is {reach}; to refine edges it is 1 pixel or more.")
    check_image(image)
    check_map(disparity, "disparity")
    disparity = match_batch(fit(disparity, image.shape[-2:], "disparity"), len(image), "disparity")
    return torch.cat([_snap(image[i : i + 1].clamp(0, 1), disparity[i : i + 1].float(), reach) for i in range(len(image))])


def _snap(image: Tensor, disparity: Tensor, reach: int) -> Tensor:
    highest, lowest = (sign * widen(sign * disparity, reach)[0, 0] for sign in (1, -1))
    uncertain = highest - lowest > STEP
    y, x = uncertain.nonzero().unbind(1)
    color, value = image[0, :, y, x], disparity[0, 0, y, x]

    margin = VOTING_RADIUS * reach
    padded = _pad(torch.cat([image, disparity, ~uncertain[None, None]], 1), margin)[0]
    # Of each side: votes by colour and distance; the same with a floor, so that there is a value wherever there is a voter;
    # and the sum of the voters' disparities.
    sides = torch.zeros(2, 3, len(y), device=image.device)
    for dy, dx in _spiral(VOTERS, margin):
        voter = padded[:, y + dy + margin, x + dx + margin]
        distance = math.hypot(dy, dx) / (3.5 * reach)
        similar = torch.exp(-(voter[:3] - color).square().sum(0) / (2 * SAME_COLOR**2))
        vote = voter[4] * similar * math.exp(-(distance**2) / 2)
        floored = vote + voter[4] * 1e-9 * math.exp(-2 * distance)
        # Two surfaces may be as close as one step, and what lies at the far end of a ramp is closer to its surface.
        for side, member in zip(sides, (voter[3] > value + STEP / 4, voter[3] < value - STEP / 8)):
            side += torch.stack([vote, floored, floored * voter[3]]) * member
    known = sides[:, 1] > 0
    near, far = torch.where(known, sides[:, 2] / sides[:, 1].clamp(min=1e-30), torch.stack([highest[y, x], lowest[y, x]]))
    near, far = near.maximum(value), far.minimum(value)
    gap = (near - far).clamp(min=STEP / 2)

    evidence = ((sides[0, 0] + 1e-5).log() - (sides[1, 0] + 1e-5).log()).clamp(-5, 5) * known.all(0)
    evidence += PRIOR * (2 * (value - far) / gap - 1)
    # Neighbours of a colour are likely on one surface.
    beside = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    around = _pad(image, 1)[0]
    ties = [
        torch.exp(-(around[:, y + dy + 1, x + dx + 1] - color).square().sum(0) / (2 * SAME_SURFACE**2)) / math.hypot(dy, dx)
        for dy, dx in beside
    ]
    middle = (near + far) / 2
    refined, score = disparity.clone(), evidence
    for _ in range(ROUNDS):
        refined[0, 0, y, x] = far + (near - far) * torch.sigmoid(2 * score)
        missing = _soften(disparity - _soften(refined, reach), reach)[0, 0, y, x]
        evidence = evidence + FEEDBACK * missing / gap
        padded = _pad(refined, 1)[0, 0]
        opinions = (
            tie * (2 * (padded[y + dy + 1, x + dx + 1] - middle) / gap).clamp(-1, 1) for (dy, dx), tie in zip(beside, ties)
        )
        score = evidence + sum(opinions)
    refined[0, 0, y, x] = torch.where(score > 0, near, far)
    return refined


def _pad(planes: Tensor, margin: int) -> Tensor:
    return F.pad(planes, (margin,) * 4, mode="replicate")


def _soften(planes: Tensor, reach: int) -> Tensor:
    """Box filter as wide as the ramps that the reach stands for."""
    planes = F.avg_pool2d(_pad(planes, reach), (2 * reach + 1, 1), 1)
    return F.avg_pool2d(planes, (1, 2 * reach + 1), 1)


def _spiral(points: int, radius: int) -> list[tuple[int, int]]:
    """Different offsets (y, x) within a disc, denser towards its middle."""
    index = torch.arange(points) + 0.5
    length, angle = radius * index / points, index * torch.pi * (3 - 5**0.5)
    offsets = torch.stack([length * angle.sin(), length * angle.cos()], 1).round().int().unique(dim=0)
    return [(dy, dx) for dy, dx in offsets.tolist() if (dy, dx) != (0, 0)]
