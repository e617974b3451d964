"""Disparity of a clip that streams: one scale for all frames, of which no more than one is held at a time.

In ComfyUI the scale comes from all frames of a batch. Maps that are given are all read for it beforehand, so it is the same here.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from .. import files
from ..defocus import check_same_shape, find_range, stretch, to_disparity
from ..planes import resize
from .reading import VIDEOS, Clip, Frame
from .sequences import Sequence, listed

SAMPLE = 48  # frames of a clip that are looked at before it is worked on
SIDE = 512  # pixels of their shorter side
Source = Clip | Sequence


class GivenDepths:
    """Disparity from maps: a folder, a pattern, or a clip of grey pictures, one map for each frame.

    sample: (S, 1, h, w) in [0, 1], small frames for finding the focus. ends: what became 0 and 1.
    Raises ValueError unless there are as many maps as frames, of their shape; and as `to_disparity` and `find_range` do.
    """

    def __init__(self, path: Path, source: Source, convention: str, normalize: str, layer: str | None = None):
        self.path, self.convention, self.layer = path, convention, layer
        self.maps = Clip(path) if path.suffix.lower() in VIDEOS else listed(path, files.MAPS)
        count = self.maps.count if isinstance(self.maps, Clip) else len(self.maps)
        if count != source.count:
            raise ValueError(
                f"{path} has {count} depth maps for the {source.count} frames of {source.path}; give one for each."
            )
        self.ends = find_range(self._disparities, normalize, str(path))
        chosen = spread(count)
        self.sample = stretch(together(near for index, near in enumerate(self._disparities()) if index in chosen), *self.ends)

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """A stage that gives frames their disparity."""
        for frame, near in zip(frames, self._disparities()):
            frame.disparity = stretch(near, *self.ends)
            check_same_shape(frame.disparity, frame.image.shape[-2:], str(self.path), "the clip")
            yield frame

    def _disparities(self) -> Iterator[Tensor]:
        for index, depth in enumerate(self._depths()):
            try:
                yield to_disparity(depth, self.convention)
            except ValueError as error:
                raise ValueError(f"{self.path}, map {index}: {error}") from None

    def _depths(self) -> Iterator[Tensor]:
        if isinstance(self.maps, Clip):
            return (frame.image.mean(1, keepdim=True) for frame in self.maps.frames())
        return (files.read_map(path, self.layer, in_any_unit=self.convention == "distance") for path in self.maps)


class FlatDepths:
    """One disparity everywhere, for a lens whose plane of focus is tilted."""

    def __init__(self, disparity: float):
        self.disparity = disparity
        self.sample = torch.full((1, 1, 1, 1), disparity)
        self.ends = torch.tensor(0.0), torch.tensor(1.0)

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            frame.disparity = torch.full_like(frame.image[:, :1], self.disparity)
            yield frame


def spread(count: int) -> set[int]:
    """Which of so many frames are looked at."""
    return set(range(count)) if count <= SAMPLE else {round(i * (count - 1) / (SAMPLE - 1)) for i in range(SAMPLE)}


def together(maps: Iterable[Tensor]) -> Tensor:
    """Maps of one size as a batch, made small."""
    small = []
    for values in maps:
        scale = min(1, SIDE / min(values.shape[-2:]))
        small.append(resize(values, [round(scale * side) for side in values.shape[-2:]]))
    return torch.cat(small)
