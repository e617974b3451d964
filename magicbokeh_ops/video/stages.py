"""Stages that frames go through on their way from one file to the other."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..lens import radius_map, render
from .reading import Frame


def focused(frames: Iterable[Frame], focus: float, k: float) -> Iterator[Frame]:
    """One focus and one aperture for the whole clip."""
    for frame in frames:
        frame.focus, frame.k = focus, k
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
