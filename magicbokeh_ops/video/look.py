"""A first pass over a clip, for a focus that follows something: what tracking needs of all frames before the first one is photographed.

One frame at a time becomes small (`tracking.small`) and goes to disk (`Store`). Its disparity is that which the lens gets: of one scale with
it, and steadied if it is. Steadying takes longer than the lens, so it is the small maps that are steadied here, and not the large
ones twice: scale and shift of a frame, and what moves in it, are found in small pictures in any case.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import repeat

import numpy as np
import torch
from torch import Tensor

from .. import tracking
from ..planes import resize
from .depths import Source
from .reading import Frame
from .stages import near_new, shown, steadied
from .store import Store

Depths = Callable[[Iterable[Frame], Collection[int] | None], Iterator[Frame]]


def look_over(
    source: Source,
    depths: Depths,
    steadiness: float,
    masks: Iterable[Tensor] | None,
    store: Store,
    device: torch.device,
    progress: Callable[[], object],
) -> tuple[int, list[int]]:
    """Puts all frames into a store: ("near", i), and ("mask", i) if there are masks, else ("photo", i). Returns their number, and cuts.

    depths, steadiness: as for the lens. masks: (1, 1, h, w) in 0..1, one for each frame. progress: called with each frame; may raise to stop.
    """
    colors: list[np.ndarray] = []

    def seen() -> Iterator[Frame]:
        for frame in source.frames():
            colors.append(tracking.colors_of(shown(frame.image, source.space)))
            progress()
            yield frame

    frames = small_frames(depths(seen(), None), source, steadiness, device)
    given: Iterable[Tensor | None] = repeat(None) if masks is None else masks
    for frame, mask in zip(frames, given):
        store["near", frame.index] = frame.disparity
        if mask is None:
            store["photo", frame.index] = frame.image
        else:
            store["mask", frame.index] = resize(mask, frame.disparity.shape[-2:])
    return len(colors), tracking.cuts_between(colors)


def small_frames(frames: Iterable[Frame], source: Source, steadiness: float, device: torch.device) -> Iterator[Frame]:
    """A stage after the one for disparity: frames in sRGB, as tracking sees them."""
    frames = _small(frames, source.space)
    if steadiness:
        frames = near_new(frames, lambda _: False, source.count)
        frames = steadied(frames, "srgb", steadiness, lambda: None, device)
    return iter(frames)


def _small(frames: Iterable[Frame], space: str) -> Iterator[Frame]:
    for frame in frames:
        frame.image, frame.disparity = tracking.small(shown(frame.image, space), frame.disparity)
        frame.alpha = frame.rest = None
        yield frame
