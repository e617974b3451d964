"""Layer inpainting: what a lens may see past the nearest surface, which is the surface behind, continued.

Pixels that a nearer surface could uncover get colour and depth from a push-pull pyramid (Gortler et al. 1996) for each of eight
depths. Whether a step can uncover anything follows from geometry: the lens moves two surfaces against each other by the difference
of their radii.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..windows import widen
from .edges import EDGE, Split
from .pyramid import halve, levels_of, pull
from .tiles import box_of

HIDDEN_CONFIDENCE = 0.5  # vote of a continued pixel against a seen one
DEPTHS = 8
CELL, COARSE = 4, 16  # pixels per side of the cells of which something is known for the whole picture
CONTEXT = COARSE  # pixels around one that what is continued there depends on, besides the coarse cells


@dataclass(frozen=True)
class Hidden:
    """The surface behind the nearest one, all (C, H, W).

    The weight is 1 where the surface is seen, less where it is made up, 0 where no gap can open.
    """

    color: Tensor
    radius: Tensor
    weight: Tensor


class Behind:
    """The surface behind, from a survey of the whole picture in parts and then a closer look at each part.

    Covered pixels take the colour and radius of the closest pixels that are far enough behind them: a push-pull
    pyramid (Gortler 1996) for each of a few depths, from half resolution on, since nothing there is sharp. Its coarse levels are
    the whole picture's, its fine ones a part's. Light above white is not continued.

    size: of the picture. lowest, highest: signed radius in it. extent: of the aperture, of which discs are that many times as wide.
    """

    def __init__(self, size: Sequence[int], channels: int, lowest: float, highest: float, extent: float, device: torch.device):
        self.extent = extent
        self.channels, self.span, self.reach = channels, highest - lowest, math.ceil(extent * max(-lowest, highest)) + 2
        step = (self.span - EDGE) / DEPTHS
        self.depths = [lowest + 0.01 + i * step for i in range(DEPTHS)]
        cells, coarse = ([-(-length // side) for length in size] for side in (CELL, COARSE))
        self.farthest = torch.full((1, *cells), math.inf, device=device)
        self.nearest = torch.full((1, *cells), -math.inf, device=device)
        self.sums = torch.zeros(DEPTHS + 1, channels + 2, *coarse, device=device)

    def survey(self, split: Split, rows: slice, inside: slice) -> None:
        """Note what is needed of some rows of the picture. inside: where in `split` these rows are."""
        far_color, far_radius, near_radius = (
            plane[:, inside].contiguous() for plane in (split.far_color, split.far_radius, split.near_radius)
        )
        cells = slice(rows.start // CELL, -(-rows.stop // CELL))
        self.farthest[:, cells] = -F.max_pool2d(-far_radius[None], CELL, ceil_mode=True)[0]
        self.nearest[:, cells] = F.max_pool2d(near_radius[None], CELL, ceil_mode=True)[0]
        height, width = near_radius.shape[-2:]
        coarse = slice(rows.start // COARSE, -(-rows.stop // COARSE))
        sums = self.sums[:, :, coarse]
        row, col = (torch.arange(length, device=far_radius.device) // COARSE for length in (height, width))
        cell = (row[:, None] * sums.shape[-1] + col).flatten()
        depth = torch.bucketize(far_radius, torch.tensor(self.depths, device=far_radius.device)).flatten()
        seen = _seen(split)[:, inside]
        planes = torch.cat([_source(far_color, far_radius) * seen, seen]).flatten(1)
        place = depth * (sums.shape[-2] * sums.shape[-1]) + cell
        for i, plane in enumerate(planes):
            found = torch.zeros(sums[:, i].numel(), device=plane.device).scatter_add_(0, place, plane)
            sums[:, i] += found.view_as(sums[:, i]) / COARSE**2

    def finish(self, report: Callable[[], None]) -> None:
        """Conclude the survey.

        The lens moves a surface x pixels away against this one by the difference of their radii (times the extent of the
        aperture), so it shows only if that exceeds x. (A slope never does; a step always does, up to its height.)
        """
        nearness, cells = -self.farthest[None], 0
        self.limit = torch.full_like(self.farthest, math.inf)
        while (step := max(EDGE, CELL * cells / self.extent)) <= self.span:
            report()
            nearness = widen(nearness, max(1, cells))
            self.limit = self.limit.minimum(step - nearness[0])
            cells += max(1, cells)
        self.covered = self.nearest >= self.limit
        self.needed = widen(self.covered.float()[None], self.reach // CELL + 1)[0]
        sums = self.sums[:DEPTHS].cumsum(0)
        self.known = (sums[:, -1] > 0).flatten(1).any(1).tolist()
        self.filled = torch.zeros_like(sums[:, :-1])
        for i in range(DEPTHS):
            if self.known[i]:
                report()
                self.filled[i] = pull(levels_of(sums[i : i + 1]))[0]

    def hidden(self, split: Split, rows: slice, cols: slice, report: Callable[[], None]) -> Hidden:
        """The surface behind in a part of the picture, whose `split` begins at multiples of `COARSE`."""

        def of_part(planes: Tensor, side: int) -> Tensor:
            return planes[..., rows.start // side : -(-rows.stop // side), cols.start // side : -(-cols.stop // side)]

        size = split.near_radius.shape[-2:]
        covered = split.near_radius >= _to_pixels(of_part(self.limit, CELL), size)
        depths = torch.tensor(self.depths, device=covered.device)
        depth = torch.where(covered, torch.bucketize(split.near_radius - EDGE, depths, right=True), 0)[0]
        source, seen = _source(split.far_color, split.far_radius), _seen(split)
        hidden = torch.cat([split.far_color, split.far_radius])
        for i, (some_rows, some_cols) in self._boxes(depth).items():
            report()
            part = slice(None), some_rows, some_cols
            weight = seen[part] * (split.far_radius[part] <= self.depths[i])
            level = halve(torch.cat([source[part] * weight, weight])[None])
            cells = [slice(span.start // COARSE, -(-span.stop // COARSE)) for span in (some_rows, some_cols)]
            coarse = of_part(self.filled[i : i + 1], COARSE)[..., cells[0], cells[1]]
            filled = pull([level, halve(level), halve(halve(level))], coarse)
            report()
            filled = F.interpolate(filled, scale_factor=2, mode="bilinear")[0]
            here = depth[part[1:]] == i + 1
            hidden[part] = torch.where(here, filled[:, : here.shape[0], : here.shape[1]], hidden[part])
        color, radius = hidden[:-1], hidden[-1:]
        radius = torch.where(covered, radius.minimum(split.near_radius), radius)
        weight = torch.where(covered, HIDDEN_CONFIDENCE, 1.0).to(radius) * _to_pixels(of_part(self.needed, CELL), size)
        return Hidden(color, radius, weight)

    def _boxes(self, depth: Tensor) -> dict[int, tuple[slice, slice]]:
        """Where pixels are covered, by the number of the depth behind them: rows and columns, whole cells and `CONTEXT` around.

        depth: (h, w), one more than that number, and 0 for what is not covered.
        """
        height, width = depth.shape
        across = -(-width // COARSE)
        row, col = (torch.arange(length, device=depth.device) // COARSE for length in (height, width))
        place = (depth * (-(-height // COARSE)) + row[:, None]) * across + col
        found = torch.zeros((DEPTHS + 1) * -(-height // COARSE) * across, dtype=torch.uint8, device=depth.device)
        cells = found.scatter_(0, place.flatten(), 1).view(DEPTHS + 1, -1, across).cpu().numpy()
        boxes = {i: box_of(cells[i + 1], COARSE, (height, width), CONTEXT) for i in range(DEPTHS) if self.known[i]}
        return {i: box for i, box in boxes.items() if box is not None}


def _source(color: Tensor, radius: Tensor) -> Tensor:
    return torch.cat([color.clamp(max=1), radius])


def _seen(split: Split) -> Tensor:
    """Share of a pixel in which its far surface is seen."""
    return torch.where(split.far_radius < split.near_radius, 1 - split.near_weight, 1.0)


def _to_pixels(cells: Tensor, size: Sequence[int]) -> Tensor:
    return cells.repeat_interleave(CELL, -2).repeat_interleave(CELL, -1)[:, : size[0], : size[1]]
