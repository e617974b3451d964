"""Push-pull pyramid: means of what is known, ever coarser, fill what is not (Gortler et al. 1996)."""

import torch.nn.functional as F
from torch import Tensor


def levels_of(planes: Tensor) -> list[Tensor]:
    """Premultiplied planes and their weight, (1, C + 1, H, W), and ever coarser means of them."""
    levels = [planes]
    while max(levels[-1].shape[-2:]) > 1:
        levels.append(halve(levels[-1]))
    return levels


def pull(levels: list[Tensor], filled: Tensor | None = None) -> Tensor:
    """Mean planes (1, C, H, W) at the first level, holes filled from the coarser ones. filled: of the level after the last."""
    means = [level[:, :-1] / level[:, -1:].clamp(min=1e-12) for level in levels]
    if filled is None:
        filled = means[-1]
    for level, mean in reversed(list(zip(levels, means))):
        trust = (2 * level[:, -1:]).clamp(max=1)
        if filled.shape != mean.shape:
            filled = F.interpolate(filled, scale_factor=2, mode="bilinear")[..., : mean.shape[-2], : mean.shape[-1]]
        filled = mean * trust + filled * (1 - trust)
    return filled


def halve(planes: Tensor) -> Tensor:
    """Mean of 2 x 2 pixels, zeros beyond an odd border (bilinear at half scale is just that, and the fastest way)."""
    planes = F.pad(planes, (0, planes.shape[-1] % 2, 0, planes.shape[-2] % 2))
    return F.interpolate(planes, scale_factor=0.5, mode="bilinear")
