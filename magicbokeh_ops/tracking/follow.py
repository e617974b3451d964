"""A point followed through a shot, without a network.

From frame to frame, a grid of points around it that lie at the subject's disparity goes along with the picture (Lucas and Kanade 1981,
in a pyramid, on all three colours), there and back again; those that do not come back to where they began are dropped (median flow,
Kalal 2010), and so are those that arrive at another disparity, where something has come in front. The rest say how the surface moves,
turns and grows, and the point goes with it. If too few are left the point is lost. Then it is looked for around where it should be, by
the pictures of it that are kept from earlier, turned a little to both sides, wherever the disparity fits (normalised correlation).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 480  # pixels of the pictures in which is looked, on their longer side
LEVELS, WINDOW, STEPS = 4, 4, 5  # of the pyramid; to each side of a point; of an iteration
GRID = 4  # points of the grid to each side
AT_SUBJECT = 0.06  # disparity to either side that still is the subject
THERE_AND_BACK = 1.0  # pixels
FEWEST, LEAST = 5, 0.15  # points of the grid, and their share of those that lay on the subject
ALIKE, ALIKE_ANYWHERE = 0.7, 0.75  # correlation with a kept picture
TURNS = (0.0, -0.15, 0.15, -0.3, 0.3, -0.45, 0.45)  # radians
FOUND_NEAR = 0.12  # disparity by which the subject may have changed while it was hidden


@dataclass(frozen=True)
class Seen:
    """Where the point is, 0..1 from the left and the top, and the disparity of its surface there."""

    x: float
    y: float
    disparity: float


@dataclass(frozen=True)
class _Patch:
    """A picture of what lies around the point, (3, n, n), and where in it the subject is, (n, n)."""

    picture: Tensor
    mask: Tensor


Maker = Callable[[int], Tensor]


class Follower:
    """photo, disparity: make (1, 3, h, w) in 0..1 and (1, 1, h, w) of a frame. Pictures are made again rather than kept."""

    def __init__(self, photo: Maker, disparity: Maker):
        self.photo, self.disparity = photo, disparity
        self.made: dict[int, tuple[list[Tensor], Tensor]] = {}

    def follow(self, shot: range, start: int, x: float, y: float) -> list[Seen | None]:
        """What becomes of a point of a frame in all frames of its shot, None where it is lost. x, y: 0..1 from the left and the top."""
        first = self._first(start, x, y)
        patches = [self._patch(start, first)]
        after = self._along(range(start + 1, shot.stop), start, first, patches)
        before = self._along(range(start - 1, shot.start - 1, -1), start, first, patches)
        return [*before[::-1], first, *after]

    def find(self, shot: range, start: int, seen: Seen) -> list[Seen | None]:
        """The same in a shot that the point was not set in: if it looks there as it does at the start, anywhere in the picture."""
        patch = self._patch(start, seen)
        for frame in shot[::4]:
            height, width = self._coarse(frame)[1].shape
            found = self._search(frame, [patch], (width / 2, height / 2), max(height, width), None)
            if found is not None:
                return self.follow(shot, frame, found.x, found.y)
        return [None] * len(shot)

    def _frame(self, i: int) -> tuple[list[Tensor], Tensor]:
        """Pyramid of the photo, (3, h, w) each, and the disparity (h, w) at the size of its first level."""
        if i not in self.made:
            level, near = small(self.photo(i), self.disparity(i))
            pyramid = [level[0]]
            while len(pyramid) < LEVELS and min(level.shape[-2:]) > 8 * WINDOW:
                level = F.avg_pool2d(level, 2)
                pyramid.append(level[0])
            self.made = {**dict(list(self.made.items())[-1:]), i: (pyramid, near[0, 0])}
        return self.made[i]

    def _radius(self, near: Tensor) -> int:
        """Of what lies closest around the point, in pixels."""
        return max(5, round(0.05 * min(near.shape)))

    def _first(self, frame: int, x: float, y: float) -> Seen:
        near = self._frame(frame)[1]
        height, width = near.shape
        row, column = min(int(y * height), height - 1), min(int(x * width), width - 1)
        reach = max(1, self._radius(near) // 8)
        around = near[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        return Seen(x, y, float(around.median()))

    def _along(self, frames: range, last: int, seen: Seen, kept: list[_Patch]) -> list[Seen | None]:
        """From frame to frame; what has been seen, in the order of the frames."""
        path: list[Seen | None] = []
        patches, motion, missing = kept[:1], (0.0, 0.0), 0
        recent: list[_Patch] = []
        for frame in frames:
            found = self._step(last, frame, seen, motion) if not missing else self._again(frame, seen, motion, missing, patches)
            if found is None:
                missing += 1
            else:
                moved = (found.x - seen.x) / (missing + 1), (found.y - seen.y) / (missing + 1)
                motion = (0.7 * motion[0] + 0.3 * moved[0], 0.7 * motion[1] + 0.3 * moved[1])
                seen, missing = found, 0
                # One from before something came near the point is better than the last one.
                recent = [*recent[-5:], self._patch(frame, seen)]
                patches = [kept[0], recent[0]]
            path.append(found)
            last = frame
        return path

    def _step(self, last: int, frame: int, seen: Seen, motion: tuple[float, float]) -> Seen | None:
        """By what lies close around the point, or, if that has too little to hold on to or is hidden, by more of the subject."""
        near = self._frame(last)[1]
        for reach in (self._radius(near), 3 * self._radius(near)):
            found = self._carried(last, frame, seen, motion, reach / GRID)
            if found is not None:
                return found
        return None

    def _carried(self, last: int, frame: int, seen: Seen, motion: tuple[float, float], spacing: float) -> Seen | None:
        (before, near), (after, later) = self._frame(last), self._frame(frame)
        height, width = near.shape
        offsets = torch.arange(-GRID, GRID + 1) * spacing
        middle = torch.tensor([seen.x * width - 0.5, seen.y * height - 0.5])
        onward = torch.tensor([motion[0] * width, motion[1] * height])
        points = torch.cartesian_prod(offsets, offsets) + middle
        points = points[_inside(points, near)]
        own, own_later = ((values - seen.disparity).abs() < AT_SUBJECT for values in (near, later))
        points = points[_at(own, points)]
        if len(points) < FEWEST:
            return None
        there, textured = _flow(before, after, own, own_later, points, points + onward)
        back, _ = _flow(after, before, own_later, own, there, points)
        kept = textured & _inside(there, near) & ((back - points).norm(dim=1) < THERE_AND_BACK) & _at(own_later, there)
        if int(kept.sum()) < max(FEWEST, LEAST * len(points)):
            return None
        to = _moved(points[kept] - middle, there[kept] - middle) + middle
        if not bool(_inside(to[None], near)):
            return None
        x, y = (float((to[axis] + 0.5) / length) for axis, length in enumerate((width, height)))
        return Seen(x, y, float(_at(later, there[kept]).median()))

    def _patch(self, frame: int, seen: Seen) -> _Patch:
        picture, near = self._coarse(frame)
        height, width = near.shape
        radius = self._radius(near) * 2
        offsets = torch.arange(-radius, radius + 1).float()
        y, x = torch.meshgrid(offsets + seen.y * height - 0.5, offsets + seen.x * width - 0.5, indexing="ij")
        points = torch.stack([x, y], -1).flatten(0, 1)
        mask = ((_at(near, points) - seen.disparity).abs() < AT_SUBJECT) & _inside(points, near)
        side = 2 * radius + 1
        return _Patch(_sample(picture, points).view(3, side, side), mask.view(side, side).float())

    def _coarse(self, frame: int) -> tuple[Tensor, Tensor]:
        """Photo (3, h, w) and disparity (h, w) as they are when the point is looked for: at half the size if it has so many pixels."""
        pyramid, near = self._frame(frame)
        return (pyramid[1], _at_centres(near, pyramid[1])) if len(pyramid) > 2 else (pyramid[0], near)

    def _again(self, frame: int, seen: Seen, motion: tuple[float, float], missing: int, patches: list[_Patch]) -> Seen | None:
        """The lost point, looked for the farther around the longer it is lost."""
        height, width = self._coarse(frame)[1].shape
        middle = (seen.x + motion[0] * missing) * width, (seen.y + motion[1] * missing) * height
        reach = 0.2 + 0.015 * missing
        return self._search(frame, patches, middle, round(reach * min(height, width)), seen.disparity)

    def _search(
        self, frame: int, patches: list[_Patch], middle: tuple[float, float], reach: int, disparity: float | None
    ) -> Seen | None:
        picture, near = self._coarse(frame)
        height, width = near.shape
        rows = slice(max(0, int(middle[1]) - reach), max(0, int(middle[1]) + reach + 1))
        columns = slice(max(0, int(middle[0]) - reach), max(0, int(middle[0]) + reach + 1))
        values = near[rows, columns]
        if not values.numel():
            return None
        radius = len(patches[0].mask) // 2
        wide = F.pad(picture[None], [radius] * 4, mode="replicate")[
            ...,
            rows.start : rows.start + len(values) + 2 * radius,
            columns.start : columns.start + values.shape[1] + 2 * radius,
        ]
        best = torch.stack([_correlation(wide, patch, turn) for patch in patches for turn in TURNS]).amax(0)
        if disparity is not None:
            best = best.where((values - disparity).abs() < FOUND_NEAR, -torch.ones(()))
        row, column = divmod(int(best.argmax()), best.shape[1])
        if best[row, column] < (ALIKE_ANYWHERE if disparity is None else ALIKE):
            return None
        x, y = (columns.start + column + 0.5) / width, (rows.start + row + 0.5) / height
        return Seen(x, y, float(values[row, column]))


def small(photo: Tensor, disparity: Tensor) -> tuple[Tensor, Tensor]:
    """A frame in the size in which is looked: photo (1, 3, h, w) and disparity (1, 1, h, w), on the CPU. What has it already stays as it is."""
    scale = min(1.0, SIDE / max(photo.shape[-2:]))
    size = [max(2 * WINDOW + 2, round(scale * length)) for length in photo.shape[-2:]]
    level = F.interpolate(photo.float().cpu(), size=size, mode="bilinear", antialias=True)
    return level, F.interpolate(disparity.float().cpu(), size=size, mode="nearest-exact")


def _inside(points: Tensor, near: Tensor) -> Tensor:
    height, width = near.shape
    return (points[:, 0] >= 0) & (points[:, 0] <= width - 1) & (points[:, 1] >= 0) & (points[:, 1] <= height - 1)


def _at(near: Tensor, points: Tensor) -> Tensor:
    """The map's value at the pixel of each point (N, 2)."""
    column, row = (points[:, axis].round().long().clamp(0, near.shape[1 - axis] - 1) for axis in (0, 1))
    return near[row, column]


def _at_centres(near: Tensor, picture: Tensor) -> Tensor:
    """The map at the size of a picture (3, h, w), without means, which would make up depths between two."""
    return F.interpolate(near[None, None], size=picture.shape[-2:], mode="nearest-exact")[0, 0]


def _sample(picture: Tensor, points: Tensor) -> Tensor:
    """(C, N) at points (N, 2)."""
    height, width = picture.shape[-2:]
    grid = points / torch.tensor([(width - 1) / 2, (height - 1) / 2]) - 1
    return F.grid_sample(picture[None], grid[None, None], align_corners=True, padding_mode="border")[0, :, 0]


def _flow(
    before: list[Tensor], after: list[Tensor], own: Tensor, own_later: Tensor, points: Tensor, guess: Tensor
) -> tuple[Tensor, Tensor]:
    """Where points (N, 2) of one pyramid are in another, and which of them have enough around them to tell.

    own, own_later: (h, w) bool, what belongs to the subject; all else does not count. guess: where they may be.
    """
    offsets = torch.arange(-WINDOW, WINDOW + 1).float()
    window = torch.cartesian_prod(offsets, offsets)
    shift = guess - points
    for level in reversed(range(len(before))):
        scale = 2.0**level
        places = ((points + 0.5) / scale - 0.5)[:, None] + window
        old, new, step = before[level], after[level], torch.tensor([0.5, 0.0])
        flat = places.flatten(0, 1)
        gradient_x = _sample(old, flat + step) - _sample(old, flat - step)
        gradient_y = _sample(old, flat + step.flip(0)) - _sample(old, flat - step.flip(0))
        gradient = torch.stack([gradient_x, gradient_y], -1) * _at(own, (flat + 0.5) * scale - 0.5)[:, None]
        gradient = gradient.view(3, len(points), -1, 2)
        start = _sample(old, flat).view(3, len(points), -1)
        moved = shift / scale
        for _ in range(STEPS):
            to = (places + moved[:, None]).flatten(0, 1)
            difference = start - _sample(new, to).view_as(start)
            counted = gradient * _at(own_later, (to + 0.5) * scale - 0.5).view(len(points), -1, 1)
            around = counted.movedim(1, 0).flatten(1, 2)
            matrix = around.mT @ around
            pushed = around.mT @ difference.movedim(1, 0).reshape(len(points), -1, 1)
            moved = moved + (torch.linalg.inv(matrix + 1e-4 * torch.eye(2)) @ pushed)[..., 0].clamp(-2, 2)
        shift = moved * scale
    return points + shift, torch.linalg.eigvalsh(matrix)[:, 0] > 0.01


def _moved(points: Tensor, to: Tensor) -> Tensor:
    """Where 0 goes by the similarity that takes points (N, 2) to others, by least squares without those that it fits least."""
    kept = torch.ones(len(points)) > 0
    for _ in range(3):
        ones, zeros = torch.ones(int(kept.sum())), torch.zeros(int(kept.sum()))
        x, y = points[kept].T
        rows = torch.cat([torch.stack([x, -y, ones, zeros], 1), torch.stack([y, x, zeros, ones], 1)])
        a, b, *shift = torch.linalg.lstsq(rows, to[kept].T.flatten()[:, None], driver="gelsd").solution[:, 0]
        turned = points @ torch.stack([torch.stack([a, b]), torch.stack([-b, a])]) + torch.stack(shift)
        off = (turned - to).norm(dim=1)
        kept = off <= max(0.25, 2 * float(off[kept].median()))
    return torch.stack(shift)


def _correlation(picture: Tensor, patch: _Patch, turn: float) -> Tensor:
    """Of a turned patch with every place of a picture (1, 3, h, w) where it fits in, -1..1."""
    cos, sin = math.cos(turn), math.sin(turn)
    grid = F.affine_grid(torch.tensor([[[cos, -sin, 0], [sin, cos, 0]]]), [1, 4, *patch.mask.shape], align_corners=True)
    turned = F.grid_sample(torch.cat([patch.picture, patch.mask[None]])[None], grid, align_corners=True)[0]
    mask = (turned[3:] > 0.5).float()
    count = mask.sum().clamp(min=1)
    template = (turned[:3] - (turned[:3] * mask).sum((1, 2), keepdim=True) / count) * mask
    kernel = mask.expand(3, 1, *mask.shape[-2:])
    means = F.conv2d(picture, kernel, groups=3)
    spread = F.conv2d(picture**2, kernel, groups=3) - means**2 / count
    size = (template**2).sum() * spread.clamp(min=0).sum(1)[0]
    return F.conv2d(picture, template[None])[0, 0] / size.clamp(min=1e-6).sqrt()
