"""Matting by a given matte: both surfaces of every pixel around the outline of a subject, whose coverage is known.

1. Disparity of either side, from its pixels well inside: at the outline that of a network is a ramp, which need not lie where the
   outline is. Pixels beside it keep their disparity if it is like that of their side.
2. Colours of either side, continued into mixed pixels by a push-pull pyramid (Gortler et al. 1996), and then moved such that the mix
   is the photo. With a clean plate, the farther colours are the plate's.

What is coarse is known for the whole picture in cells, from a survey; what is fine is found for each part.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..windows import widen
from .edges import EDGE, EDGE_REACH, Split
from .pyramid import halve, levels_of, pull

CONTEXT = (
    48  # pixels around one that its sides depend on, besides what is known of the whole picture: three of the coarsest cells
)
FAINTEST = 1 / 256  # coverage that is none, as that of the tails of a blur
SURE = 0.98  # coverage of a pixel that shows one surface
SMALLEST_CELL, LARGEST_CELL, CELLS = (
    4,
    16,
    256,
)  # pixels per side of a cell, such that there are about so many along the picture
DEEP = 2  # cells from the outline beyond which the disparity is that of one surface
SHALLOW = 1e-3  # weight of other pixels, beside 1 for those deep inside
SOFT = 0.1
DEBUG = 0
LEAST_STEP, SAME_COLOR, AGAINST = 0.02, 0.1, -0.1
LIKE = 0.25  # of the step between both sides, by which the disparity of a pixel may differ from that of its side


@dataclass(frozen=True)
class Sides:
    """Both surfaces of the pixels in a part of the picture (C, H, W): linear light and disparity."""

    near_color: Tensor
    near_disparity: Tensor
    far_color: Tensor
    far_disparity: Tensor


class Matte:
    """A matte, and what is known of its two sides for the whole picture.

    alpha: (1, H, W), coverage of the nearer side.
    """

    def __init__(self, alpha: Tensor, channels: int, device: torch.device):
        self.alpha, self.channels, self.device = alpha, channels, device
        size = alpha.shape[-2:]
        self.cell = SMALLEST_CELL
        while self.cell < LARGEST_CELL and max(size) > CELLS * self.cell:
            self.cell *= 2
        cells = [-(-length // self.cell) for length in size]
        # Of both sides: light, disparity and weight of the sure pixels in each cell.
        self.sums = torch.zeros(2, channels + 2, *cells, device=device)
        self.reaches = [1]
        while self.reaches[-1] < 4 * self.cell:
            self.reaches.append(2 * self.reaches[-1])
        self.missed = torch.zeros(2, len(self.reaches))

    def part(self, rows: slice, cols: slice = slice(None)) -> Tensor:
        alpha = self.alpha[..., rows, cols].to(self.device, torch.float32)
        return torch.where(alpha < FAINTEST, 0.0, torch.where(alpha > 1 - FAINTEST, 1.0, alpha))

    def survey(self, light: Tensor, disparity: Tensor, rows: slice) -> None:
        """Note what is needed of some rows of the picture: light (C, h, W) and disparity (1, h, W)."""
        alpha = self.part(rows)
        cells = slice(rows.start // self.cell, -(-rows.stop // self.cell))
        for side, sure in enumerate((alpha >= SURE, alpha <= 1 - SURE)):
            planes = torch.cat([torch.cat([light, disparity]) * sure, sure.to(light)])
            self.sums[side, :, cells] = F.avg_pool2d(planes[None], self.cell, ceil_mode=True)[0]

    def finish(self) -> None:
        """Conclude the survey: colours and disparity of both sides in every cell."""
        self.near_color, self.far_color = (pull(levels_of(side[None, [*range(self.channels), -1]])) for side in self.sums)
        self._continue_disparity(DEEP)

    def _continue_disparity(self, deep: int) -> None:
        """From cells that are at least some cells from the other side."""
        weight = self.sums[:, -1:]
        inside = -widen(-weight, deep) if deep else weight
        planes = torch.cat([self.sums[:, -2:-1], weight], 1) * ((inside >= 1).to(weight) + SHALLOW if deep else 1.0)
        near = pull(levels_of(planes[:1]))
        mean = planes[1:, :1] / planes[1:, 1:].clamp(min=1e-12)
        # What stands in front of the subject is not behind it.
        far = pull(levels_of(planes[1:] * torch.where(mean < near, 1.0, SHALLOW)))
        self.near_disparity, self.far_disparity = near, far.minimum(near)

    def look_closer(self, disparity: Tensor, around: slice, inside: slice) -> None:
        """Note how far from the outline the disparity (1, h, W) of some rows is not that of the subject."""
        alpha = self.part(around)
        cols = slice(0, alpha.shape[-1])
        near, far = (self._enlarged(coarse, around, cols) for coarse in (self.near_disparity, self.far_disparity))
        miss = ((near - disparity) / (near - far).clamp(min=1e-6)).clamp(0, 1) * (near - far > 0.02)
        here = alpha >= SURE
        for i, reach in enumerate(self.reaches):
            inner = here & (-widen(-alpha[None], reach)[0] >= SURE)
            ring = (here & ~inner)[:, inside]
            self.missed[:, i] += torch.stack([(miss[:, inside] * ring).sum(), ring.sum()]).to(self.missed)
            here = inner

    def conclude(self) -> None:
        missed = (self.missed[0] / self.missed[1].clamp(min=1)).tolist()
        soft = [reach for reach, share in zip(self.reaches, missed) if share > SOFT]
        self.softness = 2 * soft[-1] if soft else 0
        self._continue_disparity(-(-self.softness // self.cell))
        print("soft", [round(m, 2) for m in missed], self.softness) if DEBUG else 0

    def near(self, rows: slice, cols: slice) -> Tensor:
        """Disparity (1, h, w) of the subject, continued, in a part of the picture that begins at multiples of 16 pixels."""
        return self._enlarged(self.near_disparity, rows, cols)

    def far(self, rows: slice, cols: slice) -> Tensor:
        """Disparity (1, h, w) of what is behind the subject in a part of the picture that begins at multiples of 16 pixels."""
        return self._enlarged(self.far_disparity, rows, cols)

    def sides(self, light: Tensor, disparity: Tensor, alpha: Tensor, rows: slice, cols: slice) -> Sides:
        """Both sides in a part of the picture that begins at multiples of 16 pixels: light (C, h, w), disparity and alpha (1, h, w)."""

        def continued(planes: Tensor, known: Tensor, coarse: Tensor) -> Tensor:
            levels = [torch.cat([planes * known, known.to(planes)])[None]]
            while 2 ** len(levels) < self.cell:
                levels.append(halve(levels[-1]))
            return pull(levels, self._of_part(coarse, rows, cols))[0]

        is_near, is_far = alpha >= SURE, alpha <= 1 - SURE
        near, far = (self._enlarged(coarse, rows, cols) for coarse in (self.near_disparity, self.far_disparity))
        step = LIKE * (near - far)
        # Where the matte and the disparity say the opposite.
        is_nearer = disparity > (near + far) / 2
        doubtful = (near - far > LEAST_STEP) & (is_near & ~is_nearer | is_far & is_nearer & (disparity < near + step))
        near_color = continued(light, is_near & ~doubtful, self.near_color)
        far_color = continued(light, is_far & ~doubtful, self.far_color)
        trusted = self._trusted(light, near_color, far_color, is_near, doubtful)
        beside = torch.zeros_like(trusted)
        if self.softness:
            beside = (widen(alpha[None], self.softness) + widen(-alpha[None], self.softness))[0] > 0
            beside &= trusted
        own_near = is_near & ~(beside & (disparity < near - step))
        own_far = is_far & ~(beside & (disparity > far + step) & (disparity < near + step))
        near = torch.where(own_near, disparity, continued(disparity, own_near, self.near_disparity))
        behind = continued(disparity, own_far & (disparity < near), self.far_disparity)
        far = torch.where(own_far, disparity, behind.minimum(near))
        near, far = torch.where(trusted, near, disparity), torch.where(trusted, far, disparity)
        return Sides(near_color, near, far_color, far)

    def _trusted(self, light: Tensor, near: Tensor, far: Tensor, is_near: Tensor, doubtful: Tensor) -> Tensor:
        """Whether colours speak for the matte and not for the disparity where these differ."""
        across = ((near - far) ** 2).sum(0, keepdim=True) + SAME_COLOR**2
        vote = (((light - far) ** 2 - (light - near) ** 2).sum(0, keepdim=True) / across).clamp(-1, 1)
        votes = torch.where(is_near, vote, -vote) * doubtful
        around = 2 * self.cell
        total = F.avg_pool2d(torch.stack([votes, doubtful.to(votes)]), 2 * around + 1, 1, around)
        return total[0] >= AGAINST * total[1]

    def _of_part(self, planes: Tensor, rows: slice, cols: slice) -> Tensor:
        top, bottom, left, right = (
            end // self.cell for end in (rows.start, rows.stop + self.cell - 1, cols.start, cols.stop + self.cell - 1)
        )
        return planes[..., top:bottom, left:right]

    def _enlarged(self, coarse: Tensor, rows: slice, cols: slice) -> Tensor:
        planes = F.interpolate(self._of_part(coarse, rows, cols), scale_factor=self.cell, mode="bilinear")[0]
        return planes[:, : rows.stop - rows.start, : cols.stop - cols.start]


def unmix(light: Tensor, alpha: Tensor, near: Tensor, far: Tensor, far_is_known: bool = False) -> tuple[Tensor, Tensor]:
    """Colours (C, h, w) of both sides, moved such that their mix is the light of every pixel."""
    share = 1 - alpha
    import os

    N = int(os.environ.get("N", "10"))
    S = float(os.environ.get("S", "1e-3"))
    E = float(os.environ.get("E", "0.05"))

    def around(planes, weights):
        p = F.pad(planes[None], (1, 1, 1, 1), mode="replicate")[0]
        sides = [p[:, :-2, 1:-1], p[:, 2:, 1:-1], p[:, 1:-1, :-2], p[:, 1:-1, 2:]]
        return sum(w * q for w, q in zip(weights, sides)) / sum(weights)

    ap = F.pad(alpha[None], (1, 1, 1, 1), mode="replicate")[0]
    ws = [E + (q - alpha).abs() for q in (ap[:, :-2, 1:-1], ap[:, 2:, 1:-1], ap[:, 1:-1, :-2], ap[:, 1:-1, 2:])]
    for _ in range(N):
        near, old = around(near, ws), far
        if not far_is_known:
            far = around(far, ws)
        miss = (light - alpha * near - share * far) / (S + alpha**2 + (0 if far_is_known else share**2))
        near = (near + alpha * miss).clamp(min=0)
        if not far_is_known:
            far = (far + share * miss).clamp(min=0)
    if not far_is_known:
        far = (far + share * (light - alpha * near - share * far) / (alpha**2 + share**2)).clamp(min=0)
    # Neither side is darker than black, nor the nearer one a light that the photo does not show.
    some = alpha.clamp(min=1e-6)
    brightest = torch.maximum(near, light).clamp(min=1).minimum(light / some)
    near = torch.where(alpha > 0, ((light - share * far) / some).clamp(min=0).minimum(brightest), near)
    return near, torch.where(share > 0, (light - alpha * near) / share.clamp(min=1e-6), far)


def with_matte(split: Split, alpha: Tensor, colors: tuple[Tensor, Tensor], radii: tuple[Tensor, Tensor]) -> Split:
    """A split in which the pixels around the outline of a matte are mixed as it says, where its two sides differ by an edge."""
    outline = (widen(alpha[None], EDGE_REACH) + widen(-alpha[None], EDGE_REACH))[0] > 0
    here = outline & (radii[0] - radii[1] >= EDGE)
    return Split(
        torch.where(here, colors[0], split.near_color),
        torch.where(here, alpha, split.near_weight),
        torch.where(here, radii[0], split.near_radius),
        torch.where(here, colors[1], split.far_color),
        torch.where(here, radii[1], split.far_radius),
    )
