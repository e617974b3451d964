"""Disparity of a clip that streams: one scale for all frames, of which no more than one is held at a time.

In ComfyUI the scale comes from all frames of a batch. To see all of a stream first would cost half of the time again for maps, and
twice the time of a depth network. So a sample is taken: frames evenly spread over the clip, of each every n-th pixel. A scale by
percentiles rests on how often a disparity occurs, and that changes little from a pixel or a frame to the next; what lies beyond it
in other frames becomes 0 or 1. A short clip of small frames is its own sample. The focus is found in the sample as in a batch.
"""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from .. import files
from ..defocus import check_same_shape, find_range, stretch, to_disparity
from .reading import VIDEOS, Clip, Frame
from .sequences import Sequence, listed

MAPS = 240  # in the sample
SIDE = 256  # pixels of their shorter side at least, unless they have fewer
Source = Clip | Sequence


class Maps:
    """A map for each frame of a clip: a folder, a pattern, or a clip of grey pictures.

    what: they are called in messages. Raises ValueError unless there are as many as frames.
    """

    def __init__(self, path: Path, source: Source, what: str):
        self.path = path
        self.maps = Clip(path) if path.suffix.lower() in VIDEOS else listed(path, files.MAPS)
        self.count = self.maps.count if isinstance(self.maps, Clip) else len(self.maps)
        if self.count != source.count:
            raise ValueError(
                f"{path} has {self.count} {what} for the {source.count} frames of {source.path}; give one for each."
            )

    def read(
        self, only: Collection[int] | None = None, layer: str | None = None, in_any_unit: bool = False
    ) -> Iterator[Tensor]:
        """(1, 1, h, w) of each frame, in order, or of some indexes. layer, in_any_unit: as for `files.read_map`."""
        if isinstance(self.maps, Clip):
            return self.maps.levels(only)
        paths = (path for index, path in enumerate(self.maps) if only is None or index in only)
        return (files.read_map(path, layer, in_any_unit) for path in paths)


class GivenDepths:
    """Disparity from maps, one for each frame.

    sample: (S, 1, h, w) in [0, 1], small frames for finding the focus. ends: what became 0 and 1.
    Raises ValueError unless there are as many maps as frames, of their shape; and as `to_disparity` and `find_range` do.
    """

    def __init__(self, path: Path, source: Source, convention: str, normalize: str, layer: str | None = None):
        self.path, self.convention, self.layer = path, convention, layer
        self.maps = Maps(path, source, "depth maps")
        found = together(self._disparities(spread(source.count, MAPS)))
        self.ends = find_range(lambda: found, normalize, str(path))
        self.sample = stretch(found, *self.ends)

    def __call__(self, frames: Iterable[Frame], only: Collection[int] | None = None) -> Iterator[Frame]:
        """A stage that gives frames their disparity. only: the indexes of these frames, if they are not all."""
        for frame, near in zip(frames, self._disparities(only)):
            frame.disparity = stretch(near, *self.ends)
            check_same_shape(frame.disparity, frame.image.shape[-2:], str(self.path), "the clip")
            yield frame

    def _disparities(self, only: Collection[int] | None = None) -> Iterator[Tensor]:
        for depth in self.maps.read(only, self.layer, in_any_unit=self.convention == "distance"):
            try:
                yield to_disparity(depth, self.convention)
            except ValueError as error:
                raise ValueError(f"{self.path}: {error}") from None


class FlatDepths:
    """One disparity everywhere, for a lens whose plane of focus is tilted."""

    def __init__(self, disparity: float):
        self.disparity = disparity
        self.sample = torch.full((1, 1, 1, 1), disparity)
        self.ends = torch.tensor(0.0), torch.tensor(1.0)

    def __call__(self, frames: Iterable[Frame], _only: Collection[int] | None = None) -> Iterator[Frame]:
        for frame in frames:
            frame.disparity = torch.full_like(frame.image[:, :1], self.disparity)
            yield frame


def spread(count: int, most: int) -> set[int]:
    """Which of so many frames are in a sample."""
    return set(range(count)) if count <= most else {round(i * (count - 1) / (most - 1)) for i in range(most)}


def together(maps: Iterable[Tensor]) -> Tensor:
    """Every n-th pixel of maps (1, 1, h, w) of one size, as a batch."""
    steps = ((max(1, min(values.shape[-2:]) // SIDE), values) for values in maps)
    return torch.cat([values[..., ::step, ::step].clone() for step, values in steps])
