"""Matting by a given matte: both surfaces of every pixel around the outline of a subject, whose coverage is known.

1. Disparity of either side, from its pixels well inside: at the outline that of a network is a ramp, which need not lie where the
   outline is. How far it is soft is measured on the subject. Pixels beyond that, and all of a sharp map, keep their disparity.
2. Colours of either side, continued into mixed pixels by a push-pull pyramid (Gortler et al. 1996), then evened among neighbours
   and moved such that the mix is the photo, in turns (after Germer et al. 2020). With a clean plate, the farther ones are the plate's.
3. Where matte and disparity say the opposite, colours decide; where they speak against the matte, it is not there.

What is coarse is known for the whole picture in cells, from a survey; what is fine is found for each part.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..windows import widen
from .edges import EDGE, EDGE_REACH, Split
from .pyramid import halve, levels_of, pull

FAINTEST = 1 / 256  # coverage that is none, as that of the tails of a blur
SURE = 0.98  # coverage of a pixel that shows one surface
SMALLEST_CELL, LARGEST_CELL = 4, 16  # pixels per side
CELLS = 256  # along the picture, about
DEEP = 2  # cells from the outline beyond which the disparity is that of one surface, until it is known how soft it is
SHALLOW = 1e-3  # weight of other cells, beside 1
LEAST_STEP = 0.02  # of disparity between both sides, below which there is nothing to decide
LIKE = 0.25  # share of that step, by which disparity may differ from that of the subject and still be like it
SOFT = 0.1  # mean of that share in a ring along the outline, above which the disparity is soft there
VOTERS = 4  # cells around one whose colours decide
AGAINST, AGAINST_SHARP = (
    0.4,
    0.6,
)  # mean vote below which they speak against the matte; 1 is for it, -1 for a soft or a sharp disparity
SAME_COLOR = 0.1  # difference of linear light that says little
IN_FRONT = 4  # pixels around what stands in front of the subject that are left to the disparity
ROUNDS = 10  # in which colours are evened
FLAT = 0.01  # weight of a neighbour of the same coverage, beside the difference of coverage
CONTEXT = 96  # pixels around one that its sides depend on, besides what is known of the whole picture


@dataclass(frozen=True)
class Sides:
    """Both surfaces of the pixels in a part of the picture (C, H, W): linear light and disparity.

    alpha: coverage of the near one, that of the matte where it `counts`.
    """

    near_color: Tensor
    near_disparity: Tensor
    far_color: Tensor
    far_disparity: Tensor
    alpha: Tensor
    counts: Tensor


class Matte:
    """A matte, and what is known of its two sides for the whole picture.

    alpha: (1, H, W), coverage of the nearer side. channels: of light.
    """

    def __init__(self, alpha: Tensor, channels: int, device: torch.device):
        self.alpha, self.channels, self.device = alpha, channels, device
        size = alpha.shape[-2:]
        self.cell = SMALLEST_CELL
        while self.cell < LARGEST_CELL and max(size) > CELLS * self.cell:
            self.cell *= 2
        # Of both sides: light, disparity and weight of the sure pixels in each cell.
        self.sums = torch.zeros(2, channels + 2, *(-(-length // self.cell) for length in size), device=device)
        self.rings = [1]
        while self.rings[-1] < 4 * self.cell:
            self.rings.append(2 * self.rings[-1])
        self.missed = torch.zeros(2, len(self.rings), device=device)
        self.softness = 0

    def part(self, rows: slice, cols: slice = slice(None)) -> Tensor:
        """Coverage (1, h, w) in a part of the picture."""
        alpha = self.alpha[..., rows, cols].to(self.device, torch.float32)
        return torch.where(alpha < FAINTEST, 0.0, torch.where(alpha > 1 - FAINTEST, 1.0, alpha))

    def survey(self, light: Tensor, disparity: Tensor, rows: slice) -> None:
        """Note what is needed of some rows of the picture: light (C, h, W) and disparity (1, h, W)."""
        alpha = self.part(rows)
        cells = slice(rows.start // self.cell, -(-rows.stop // self.cell))
        for side, sure in enumerate((alpha >= SURE, alpha <= 1 - SURE)):
            planes = torch.cat([torch.cat([light, disparity]) * sure, sure.to(light)])
            self.sums[side, :, cells] = F.avg_pool2d(planes[None], self.cell, ceil_mode=True)[0]

    def look_closer(self, disparity: Tensor, rows: slice, inside: slice) -> None:
        """Note how far from the outline the disparity (1, h, W) of some rows is not that of the subject. inside: of these, the rows to note."""
        alpha, cols = self.part(rows), slice(0, self.alpha.shape[-1])
        near, far = self.near(rows, cols), self.far(rows, cols)
        miss = ((near - disparity) / (near - far).clamp(min=LEAST_STEP)).clamp(0, 1) * (near - far > LEAST_STEP)
        here = alpha >= SURE
        for i, reach in enumerate(self.rings):
            inner = -widen(-alpha[None], reach)[0] >= SURE
            ring = (here & ~inner)[:, inside]
            self.missed[:, i] += torch.stack([(miss[:, inside] * ring).sum(), ring.sum()])
            here = inner

    def finish(self) -> None:
        """Conclude the survey: colours and disparity of both sides in every cell."""
        self.near_color, self.far_color = (pull(levels_of(side[None, [*range(self.channels), -1]])) for side in self.sums)
        self._continue_disparity(DEEP)

    def conclude(self) -> None:
        """Conclude the closer look."""
        missed = (self.missed[0] / self.missed[1].clamp(min=1)).tolist()
        soft = [reach for reach, share in zip(self.rings, missed) if share > SOFT]
        self.softness = 2 * soft[-1] if soft else 0
        self._continue_disparity(-(-self.softness // self.cell))

    def near(self, rows: slice, cols: slice) -> Tensor:
        """Disparity (1, h, w) of the subject, continued, in a part of the picture that begins at multiples of 16 pixels."""
        return self._enlarged(self.near_disparity, rows, cols)

    def far(self, rows: slice, cols: slice) -> Tensor:
        """Disparity (1, h, w) of what is behind the subject in a part of the picture that begins at multiples of 16 pixels."""
        return self._enlarged(self.far_disparity, rows, cols)

    def sides(self, light: Tensor, disparity: Tensor, rows: slice, cols: slice) -> Sides:
        """Both sides in a part of the picture that begins at multiples of 16 pixels: light (C, h, w), disparity (1, h, w)."""

        def continued(planes: Tensor, known: Tensor, coarse: Tensor) -> Tensor:
            levels = [halve(torch.cat([planes * known, known.to(planes)])[None])]
            while 2 ** (len(levels) + 1) < self.cell:
                levels.append(halve(levels[-1]))
            filled = F.interpolate(pull(levels, self._of_part(coarse, rows, cols)), scale_factor=2, mode="bilinear")[0]
            return filled[:, : light.shape[-2], : light.shape[-1]]

        alpha = self.part(rows, cols)
        is_near, is_far = alpha >= SURE, alpha <= 1 - SURE
        near, far = self.near(rows, cols), self.far(rows, cols)
        step, is_nearer = LIKE * (near - far), disparity > (near + far) / 2
        steps = near - far > LEAST_STEP
        agreed = [is_near & (is_nearer | ~steps), is_far & (~is_nearer | ~steps | (disparity > near + step))]
        near_color, far_color = continued(light, agreed[0], self.near_color), continued(light, agreed[1], self.far_color)
        like_one = ((disparity - near).abs() <= step) | (disparity <= far + step)
        on_ramp = _range(alpha, self.softness) > 0
        opposite = steps & ((alpha - is_nearer.to(alpha)).abs() > 0.5) & (like_one | on_ramp)
        counts = self._counts(light, near_color, far_color, alpha, is_nearer.to(alpha), opposite)
        alpha = torch.where(counts, alpha, is_nearer.to(alpha))
        in_front = steps & ~is_near & (disparity > near + step)
        counts &= widen(in_front.to(light)[None], IN_FRONT)[0] == 0
        if self.softness:
            beside = counts & (_range(alpha, self.softness) > 0)
            agreed = [disparity >= near, (disparity <= near - step) | (disparity >= near + step)]
            own_near, own_far = (side & (own | ~beside) for side, own in zip((is_near, is_far), agreed))
        else:
            own_near, own_far = is_near, is_far
        near = torch.where(own_near | ~counts, disparity, continued(disparity, own_near, self.near_disparity))
        behind = continued(disparity, own_far & (disparity < near), self.far_disparity).minimum(near)
        far = torch.where(own_far | ~counts, disparity, behind)
        return Sides(near_color, near, far_color, far, alpha, counts)

    def _counts(self, light: Tensor, near: Tensor, far: Tensor, alpha: Tensor, other: Tensor, opposite: Tensor) -> Tensor:
        """Where colours speak for the matte, and not for the disparity's `other`, if these differ, (1, h, w)."""
        across = ((near - far) ** 2).sum(0, keepdim=True) + SAME_COLOR**2
        misses = [((light - share * near - (1 - share) * far) ** 2).sum(0, keepdim=True) for share in (alpha, other)]
        votes = ((misses[1] - misses[0]) / across).clamp(-1, 1) * opposite
        cells = F.avg_pool2d(torch.stack([votes, (alpha - other) ** 2 * opposite]), self.cell, ceil_mode=True)
        total = F.avg_pool2d(cells, 2 * VOTERS + 1, 1, VOTERS)
        against = (total[0] < (AGAINST if self.softness else AGAINST_SHARP) * total[1])[:, :, None, :, None].expand(
            -1, -1, self.cell, -1, self.cell
        )
        return ~against.flatten(3).flatten(1, 2)[:, : alpha.shape[-2], : alpha.shape[-1]]

    def _continue_disparity(self, deep: int) -> None:
        """From cells that are at least some cells from the other side."""
        weight = self.sums[:, -1:]
        trust = (-widen(-weight, deep) >= 1).to(weight) + SHALLOW if deep else torch.ones_like(weight)
        planes = torch.cat([self.sums[:, -2:-1], weight], 1) * trust
        near = pull(levels_of(planes[:1]))
        mean = planes[1:, :1] / planes[1:, 1:].clamp(min=1e-12)
        # What stands in front of the subject is not behind it.
        far = pull(levels_of(planes[1:] * torch.where(mean < near, 1.0, SHALLOW)))
        self.near_disparity, self.far_disparity = near, far.minimum(near)

    def _of_part(self, planes: Tensor, rows: slice, cols: slice) -> Tensor:
        top, bottom, left, right = (
            end // self.cell for end in (rows.start, rows.stop + self.cell - 1, cols.start, cols.stop + self.cell - 1)
        )
        return planes[..., top:bottom, left:right]

    def _enlarged(self, coarse: Tensor, rows: slice, cols: slice) -> Tensor:
        planes = F.interpolate(self._of_part(coarse, rows, cols), scale_factor=self.cell, mode="bilinear")[0]
        return planes[:, : rows.stop - rows.start, : cols.stop - cols.start]


def _range(alpha: Tensor, reach: int) -> Tensor:
    return (widen(alpha[None], reach) + widen(-alpha[None], reach))[0]


def unmix(light: Tensor, alpha: Tensor, near: Tensor, far: Tensor, far_is_known: bool = False) -> tuple[Tensor, Tensor]:
    """Colours (C, h, w) of both sides, moved in mixed pixels such that their mix is the light; elsewhere a side that is seen is the light."""
    mixed = ((alpha > 0) & (alpha < 1)).flatten().nonzero()[:, 0]
    some, own = alpha.flatten()[mixed], light.flatten(1)[:, mixed]
    fronts, backs = near.flatten(1)[:, mixed], far.flatten(1)[:, mixed]
    even_front, even_back = _evened(light, alpha, mixed)
    for _ in range(0 if far_is_known else ROUNDS):
        fronts, backs = even_front(fronts), even_back(backs)
        miss = (own - some * fronts - (1 - some) * backs) / (some**2 + (1 - some) ** 2)
        fronts, backs = (fronts + some * miss).clamp(min=0), (backs + (1 - some) * miss).clamp(min=0)
    # Neither side is darker than black, nor the nearer one a light that the photo does not show.
    brightest = torch.maximum(fronts, own).clamp(min=1).minimum(own / some)
    fronts = ((own - (1 - some) * backs) / some).clamp(min=0).minimum(brightest)
    # Contiguous, since pixels are written by their number.
    near, far = torch.where(alpha > 0, light, near).contiguous(), torch.where(alpha < 1, light, far).contiguous()
    near.flatten(1)[:, mixed] = fronts
    far.flatten(1)[:, mixed] = (own - some * fronts) / (1 - some)
    return near, far


def _evened(light: Tensor, alpha: Tensor, mixed: Tensor) -> list[Callable[[Tensor], Tensor]]:
    """What makes the colours (C, N) of mixed pixels, on the near and on the far side, those of their neighbours of another coverage."""
    height, width = alpha.shape[-2:]
    row, col = mixed // width, mixed % width
    slot = torch.zeros(height * width, dtype=torch.long, device=alpha.device)
    slot[mixed] = torch.arange(len(mixed), device=alpha.device)
    alpha, light = alpha.flatten(), light.flatten(1)
    sides: list[Callable[[Tensor], Tensor]] = []
    beside = [
        (row + down).clamp(0, height - 1) * width + (col + right).clamp(0, width - 1)
        for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1))
    ]
    weights = [FLAT + (alpha[other] - alpha[mixed]).abs() for other in beside]
    is_mixed = [(alpha[other] > 0) & (alpha[other] < 1) for other in beside]
    shares = [weight * more for weight, more in zip(weights, is_mixed)]
    slots = [slot[other] for other in beside]
    for full in (1, 0):
        known = sum(light[:, other] * (weight * (alpha[other] == full)) for other, weight in zip(beside, weights))
        sums = sum(weight * ((alpha[other] == full) | more) for other, weight, more in zip(beside, weights, is_mixed))

        def even(colors: Tensor, known=known, sums=sums) -> Tensor:
            total = known + sum(colors[:, place] * share for place, share in zip(slots, shares))
            return torch.where(sums > 0, total / sums.clamp(min=1e-9), colors)

        sides.append(even)
    return sides


def softened(sides: Sides, split: Split) -> Sides:
    """The same sides; where the matte's outline is hard, coverage is that which the photo's colours tell."""
    hard = (_range(sides.alpha, EDGE_REACH) == 1) & ~_near_mixed(sides.alpha)
    return replace(sides, alpha=torch.where(hard & (split.near_radius > split.far_radius), split.near_weight, sides.alpha))


def _near_mixed(alpha: Tensor) -> Tensor:
    mixed = (alpha > 0) & (alpha < 1)
    return widen(mixed.to(alpha)[None], EDGE_REACH)[0] > 0


def with_matte(split: Split, sides: Sides, colors: tuple[Tensor, Tensor], radii: tuple[Tensor, Tensor]) -> Split:
    """A split in which the pixels around the outline of a matte are mixed as it says, where it counts and its sides differ by an edge."""
    here = sides.counts & _near_mixed(sides.alpha) & (radii[0] - radii[1] >= EDGE)
    return Split(
        torch.where(here, colors[0], split.near_color),
        torch.where(here, sides.alpha, split.near_weight),
        torch.where(here, radii[0], split.near_radius),
        torch.where(here, colors[1], split.far_color),
        torch.where(here, radii[1], split.far_radius),
    )
