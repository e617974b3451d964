"""Settings of the lens for one frame, and the blur radius that they give."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..defocus import blur_radius, check_map, signed_radius
from ..focal_plane import tilted
from ..planes import fit, magnified


@dataclass(frozen=True)
class Settings:
    """As `render` takes them, for one frame of `size` (height, width)."""

    size: Sequence[int]
    focus: float
    k: float
    focus_range: float = 0.0
    falloff: float = 1.0
    tilt: float = 0.0
    tilt_direction: float = 0.0
    near_scale: float = 1.0
    far_scale: float = 1.0
    highlight_boost: float = 0.0
    color_space: str = "srgb"

    @property
    def largest(self) -> float:
        """Radius beyond which all is one haze."""
        return max(self.size) / 2

    def levelled(self, disparity: Tensor, rows: slice = slice(None), cols: slice = slice(None)) -> Tensor:
        """Disparity of a part of the picture as it is to a focal plane without tilt."""
        return tilted(disparity, self.tilt, self.tilt_direction, self.size, rows, cols)

    def radius(self, levelled: Tensor) -> Tensor:
        """Signed radius in pixels of levelled disparity (1, 1, h, w)."""
        radius = blur_radius(levelled.float() - self.focus, self.k, self.focus_range, self.falloff)
        return torch.where(radius > 0, radius * self.near_scale, radius * self.far_scale).clamp(-self.largest, self.largest)


def radius_map(disparity: Tensor, size: Sequence[int], focus: float, k: float, *, breathing: float = 0.0, **options) -> Tensor:
    """Blur radius in pixels that `render` gives the pixels of a picture of `size` (height, width): positive in front of the focus.

    disparity: (1, 1, h, w). focus, k and options: as for `render`, those that the radius depends on. Returns (1, 1, H, W).
    Raises ValueError as `defocus.signed_radius`.
    """
    settings = Settings(size, focus, k, **options)
    check_map(disparity, "disparity")
    signed_radius(disparity[..., :1, :1], focus, k, settings.focus_range, settings.falloff)  # refuses what can't be a focus
    disparity = magnified(fit(disparity, size, "disparity").float(), 1 + breathing * focus)
    return settings.radius(settings.levelled(disparity))
