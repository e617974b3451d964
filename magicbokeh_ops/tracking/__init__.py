"""The focus that follows a subject through a clip: its disparity in each frame, by masks, by boxes, or by a point that is followed.

Frames come from functions, so that a clip is looked at one frame at a time. Each shot is for itself (`cuts`); what has been measured is
then pulled (`pull`).
"""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from ..planes import resize
from .cuts import colors_of, cuts_between, find_cuts
from .follow import Follower, Maker, Seen, small
from .pull import pull, shots
from .report import describe, draw_plot
from .subject import Layer, ellipse, layers_in, path_through

__all__ = [
    "Box",
    "Maker",
    "Seen",
    "by_boxes",
    "by_masks",
    "by_point",
    "colors_of",
    "cuts_between",
    "describe",
    "draw_plot",
    "find_cuts",
    "pull",
    "shots",
    "small",
]

Box = tuple[float, float, float, float]
SIDE = 512  # pixels of the maps in which is measured, on their longer side


def by_masks(disparity: Maker, mask: Maker, frames: int, cuts: Sequence[int]) -> list[float | None]:
    """The subject's disparity in each frame, None where its mask is empty or shows something else for a while.

    disparity, mask: make (1, 1, h, w) of a frame, in 0..1 and of one shape; above one half is the subject. cuts: as for `shots`.
    """

    def layers(i: int) -> list[Layer]:
        near = _small(disparity(i))
        inside = resize(mask(i).float(), near.shape)[0, 0].cpu().numpy()
        return layers_in(near, inside * (inside > 0.5))

    return _through(layers, frames, cuts, behind=0.1)


def by_boxes(disparity: Maker, boxes: Sequence[Box | None], cuts: Sequence[int]) -> list[float | None]:
    """The same by a box of each frame, left, top, right and bottom in 0..1, or None: of what is in its middle rather than its corners."""

    def layers(i: int) -> list[Layer]:
        box = boxes[i]
        if box is None:
            return []
        near = _small(disparity(i))
        return layers_in(near, ellipse(near.shape, box))

    return _through(layers, len(boxes), cuts, behind=0.3)


def by_point(
    photo: Maker, disparity: Maker, frames: int, cuts: Sequence[int], start: int, x: float, y: float
) -> list[Seen | None]:
    """Where a point of frame `start` is in each frame, and its disparity; None where it is lost. In other shots it is looked for anew.

    photo: makes (1, 3, h, w) of a frame in 0..1. disparity: as for `by_masks`. x, y: 0..1 from the left and the top.
    Raises ValueError for a frame that is not in the clip.
    """
    if not 0 <= start < frames:
        raise ValueError(f"point_frame is {start}, but the clip's {frames} frames are 0 to {frames - 1}.")
    follower = Follower(photo, disparity)
    parts = {shot: follower.follow(shot, start, x, y) for shot in shots(cuts, frames) if start in shot}
    seen = next(iter(parts.values()))[start - next(iter(parts)).start]
    assert seen is not None
    path: list[Seen | None] = []
    for shot in shots(cuts, frames):
        path += parts[shot] if shot in parts else follower.find(shot, start, seen)
    return path


def _small(disparity: Tensor) -> np.ndarray:
    """(h, w), by leaving out pixels, since means would make up layers between two."""
    step = -(-max(disparity.shape[-2:]) // SIDE)
    return disparity[0, 0, ::step, ::step].float().cpu().numpy()


def _through(layers: Callable[[int], list[Layer]], frames: int, cuts: Sequence[int], behind: float) -> list[float | None]:
    return [value for shot in shots(cuts, frames) for value in path_through([layers(i) for i in shot], behind)]
