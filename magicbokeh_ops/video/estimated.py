"""Disparity of a clip from a depth network, which looks at a sample of the clip first (`depths`)."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..color import linear_to_srgb
from ..defocus import find_range, stretch
from ..depth import INPUT_SIZE, estimate, refine_edges
from .depths import Source, spread, together
from .reading import Frame

LOOKS = 48  # frames of a clip that the network sees twice


class FoundDepths:
    """Disparity from a depth network. sample, ends: as for `GivenDepths`.

    refine: half the width of edges that are moved to the photo's, in pixels. progress: called with (frames looked at, frames in all);
    may raise to stop.
    """

    def __init__(
        self,
        network: Any,
        source: Source,
        normalize: str,
        progress: Callable[[int, int], None],
        input_size: int = INPUT_SIZE,
        refine: int = 0,
        device: torch.device | str | None = None,
    ):
        self.network, self.space, self.input_size, self.refine, self.device = network, source.space, input_size, refine, device
        found = together(self._look_over(source, progress))
        self.ends = find_range(lambda: found, normalize)
        self.sample = stretch(found, *self.ends)

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """A stage that gives frames their disparity, but for those that are done and have no new ones near."""
        for frame in frames:
            if frame.is_near_new or not frame.is_done:
                photo = self._photo(frame.image)
                near = stretch(self._estimate(photo), *self.ends)
                frame.disparity = refine_edges(photo, near, self.refine, device=self.device) if self.refine else near
            yield frame

    def _look_over(self, source: Source, progress: Callable[[int, int], None]) -> Iterator[Tensor]:
        chosen = spread(source.count, LOOKS)
        for done, frame in enumerate(source.frames(only=chosen)):
            progress(done, len(chosen))
            yield self._estimate(self._photo(frame.image))
        progress(len(chosen), len(chosen))

    def _photo(self, image: Tensor) -> Tensor:
        return image if self.space == "srgb" else linear_to_srgb(image).clamp(max=1)

    @torch.inference_mode()
    def _estimate(self, photo: Tensor) -> Tensor:
        return estimate(self.network, photo, self.input_size)
