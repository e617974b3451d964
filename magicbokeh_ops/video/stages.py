"""Stages that frames go through on their way from one file to the other."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from .. import steady
from ..color import linear_to_srgb
from ..lens import radius_map, render
from .reading import Frame


def focused(frames: Iterable[Frame], focus: float | Sequence[float], k: float | Sequence[float]) -> Iterator[Frame]:
    """Focus and aperture: one for the whole clip, or one for each of its frames."""
    for frame in frames:
        frame.focus, frame.k = (value if isinstance(value, float | int) else value[frame.index] for value in (focus, k))
        yield frame


def shown(image: Tensor, space: str) -> Tensor:
    """The picture of a frame in sRGB, as a screen would cut it off."""
    return image if space == "srgb" else linear_to_srgb(image).clamp(max=1)


def near_new(frames: Iterable[Frame], is_done: Callable[[int], bool], count: int) -> Iterator[Frame]:
    """Marks frames that `steadied` looks at for a frame that is not done. is_done: of an index below count."""
    for frame in frames:
        around = range(max(0, frame.index - steady.REACH), min(count, frame.index + steady.REACH + 1))
        frame.is_near_new = not all(map(is_done, around))
        yield frame


def steadied(
    frames: Iterable[Frame],
    space: str,
    strength: float,
    check: Callable[[], None],
    device: torch.device | str | None = None,
) -> Iterator[Frame]:
    """Frames with a disparity that stands still, some frames later, but for those without new ones near.

    space: colours of the frames. strength, check, device: as for `steady.steadied`.
    """
    for is_near_new, some in groupby(frames, lambda frame: frame.is_near_new):
        if is_near_new:
            yield from _steadied(some, space, strength, check, device)
        else:
            yield from some


def _steadied(
    frames: Iterable[Frame], space: str, strength: float, check: Callable[[], None], device: torch.device | str | None
) -> Iterator[Frame]:
    held: deque[Frame] = deque()

    def seen() -> Iterator[tuple[Tensor, Tensor]]:
        for frame in frames:
            held.append(frame)
            yield frame.disparity, frame.image if space == "srgb" else linear_to_srgb(frame.image)

    for near in steady.steadied(seen(), strength, check, device):
        frame = held.popleft()
        frame.disparity = near
        yield frame


def photographed(
    frames: Iterable[Frame],
    space: str,
    shape: dict[str, Any],
    look: dict[str, Any],
    grain_seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Frame]:
    """Each frame through the lens, but for those that are done.

    space: colours of the frames. shape: options of `lens.render` that the radius depends on. look: its others. Every frame gets other
    grain. progress: as for `render`.
    """
    for frame in frames:
        if not frame.is_done:
            result = render(
                frame.image,
                frame.disparity,
                frame.focus,
                frame.k,
                alpha=frame.alpha,
                color_space=space,
                grain_seed=grain_seed + frame.index,
                progress=progress,
                **shape,
                **look,
            )
            frame.image = result[:, :3]
            frame.alpha = None if frame.alpha is None else result[:, 3:]
            if frame.rest is not None:
                radius = radius_map(frame.disparity, frame.rest.shape[-2:], frame.focus, frame.k, **shape)
                # Where it is sharp, and nothing has moved.
                frame.rest = frame.rest * (1 - radius.abs()).clamp(min=0) * (shape.get("breathing", 0) == 0)
        yield frame
