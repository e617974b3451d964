"""Disparity of a clip from a depth network, which looks at a sample of the clip first (`depths`)."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..defocus import find_range, stretch
from ..depth import INPUT_SIZE, fitted, predict, refine_edges
from .depths import Source, spread, together
from .reading import Frame
from .stages import shown
from .store import Store

LOOKS = 48  # frames of a clip that the network sees twice


class FoundDepths:
    """Disparity from a depth network. sample, ends: as for `GivenDepths`.

    refine: half the width of edges that are moved to the photo's, in pixels. progress: called with (frames looked at, frames in all);
    may raise to stop. kept: where the network's own maps are kept, so that it sees no frame twice, however often the clip is gone through.
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
        kept: Store | None = None,
    ):
        self.kept = kept
        self.network, self.space, self.input_size, self.refine, self.device = network, source.space, input_size, refine, device
        found = together(self._look_over(source, progress))
        self.ends = find_range(lambda: found, normalize)
        self.sample = stretch(found, *self.ends)

    def __call__(self, frames: Iterable[Frame], _only: Collection[int] | None = None) -> Iterator[Frame]:
        """A stage that gives frames their disparity, but for those that are done and have no new ones near."""
        for frame in frames:
            if frame.is_near_new or not frame.is_done:
                photo = shown(frame.image, self.space)
                near = stretch(self._estimate(photo, frame.index), *self.ends)
                frame.disparity = refine_edges(photo, near, self.refine, device=self.device) if self.refine else near
            yield frame

    def _look_over(self, source: Source, progress: Callable[[int, int], None]) -> Iterator[Tensor]:
        chosen = spread(source.count, LOOKS)
        for done, frame in enumerate(source.frames(only=chosen)):
            progress(done, len(chosen))
            yield self._estimate(shown(frame.image, self.space), frame.index)
        progress(len(chosen), len(chosen))

    @torch.inference_mode()
    def _estimate(self, photo: Tensor, index: int) -> Tensor:
        if self.kept is not None and index in self.kept:
            return fitted(self.kept[index].to(next(self.network.parameters()).device), photo)
        raw = predict(self.network, photo, self.input_size)
        if self.kept is not None:
            self.kept[index] = raw
        return fitted(raw, photo)
