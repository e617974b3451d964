"""Pictures and maps as planes (B, C, H, W): what they may be, and how one gets the size of the other."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .clips import is_finite

OVERSHOOT = 0.1  # of values in 0..1, by which a resampling with a sharp kernel may leave the range


def check_image(image: Tensor, name: str = "image") -> None:
    """Raise ValueError unless `image` is a finite (B, 3, H, W) picture."""
    if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
        raise ValueError(
            f"{name} is {image.dtype} of shape {tuple(image.shape)}; it must be floats, (batch, 3, height, width)."
        )
    check_not_empty(image, name)
    if not is_finite(image):
        raise ValueError(f"{name} holds NaN or infinite values; check where they come from.")


def check_levels(image: Tensor, name: str = "image") -> None:
    """Raise ValueError for floats (B, ...) that are no picture in 0..1, but one in 0..255, in -1..1 or the like.

    Light above 1 is told apart: half or more of what is not black lies below 2, or no more than a tenth of a frame is not
    black, as with lamps at night. (A small thing in 0..255 on black can't be told from them.)
    """
    low, high = torch.stack([image.amin(), image.amax()]).tolist()
    if low >= -OVERSHOOT and high <= 2:
        return
    for frame in image:
        lit = int((frame.abs() > 1 / 64).sum())
        if int((frame > 2).sum()) > lit / 2 and lit > frame.numel() / 10:
            raise ValueError(
                f"{name} goes from {low:.4g} to {high:.4g}, most of it above 2, but white should be 1; divide it by its white (255 "
                "for 8 bits), or darken it if it is HDR."
            )
        if int((frame < -OVERSHOOT).sum()) > frame.numel() / 20:
            raise ValueError(
                f"{name} goes from {low:.4g} to {high:.4g}, but black should be 0; bring -1..1 to 0..1 by (x + 1) / 2."
            )


def check_map(values: Tensor, name: str) -> None:
    """Raise ValueError unless `values` is a finite (B, 1, H, W) map."""
    check_map_shape(values, name)
    if not is_finite(values):
        raise ValueError(
            f"{name} holds NaN or infinite values; check where they come from (in a depth map, Disparity From Depth fills such pixels)."
        )


def check_map_shape(values: Tensor, name: str) -> None:
    """Raise ValueError unless `values` is a (B, 1, H, W) map, of any values."""
    if values.ndim != 4 or values.shape[1] != 1:
        raise ValueError(f"{name} has shape {tuple(values.shape)}; it must be (batch, 1, height, width).")
    check_not_empty(values, name)


def check_not_empty(values: Tensor, name: str) -> None:
    """Raise ValueError for a tensor without frames or without pixels."""
    if values.numel() == 0:
        raise ValueError(f"{name} is empty (its shape is {tuple(values.shape)}); check where it comes from.")


def check_range(values: Tensor, name: str, highest: float = 1.0) -> None:
    """Raise ValueError unless `values` is a finite (B, 1, H, W) map within 0..highest, but for what a resampling overshoots."""
    check_map(values, name)
    low, high = torch.stack([values.amin(), values.amax()]).tolist()
    if low < -OVERSHOOT or high > highest + OVERSHOOT:
        raise ValueError(
            f"{name} goes from {low:.4g} to {high:.4g}; it must lie in 0..{highest:g}, so divide it by 255 if that is its white."
        )


def match_batch(values: Tensor, batch: int, name: str) -> Tensor:
    """Repeat a single map for a batch; raise ValueError if the counts can't go together."""
    if len(values) not in (1, batch):
        raise ValueError(
            f"{name} has {len(values)} frames for {batch} picture{'s' * (batch > 1)}; give one for all, or one each."
        )
    return values.expand(batch, -1, -1, -1)


def resize(values: Tensor, size: Sequence[int]) -> Tensor:
    """Bring a (B, 1, h, w) map to `size` (height, width), bilinear, smoothed when it shrinks."""
    if tuple(values.shape[-2:]) == tuple(size):
        return values
    whole = with_every_operation(values.float())
    return F.interpolate(whole, size=tuple(size), mode="bilinear", antialias=True).to(values.device)


def with_every_operation(values: Tensor) -> Tensor:
    """These values where torch lacks nothing: on the CPU, unless they lie there or on CUDA (which ROCm is too) already.

    Apple's, Intel's and DirectML's devices have no float64, and not in every version smoothing when a picture shrinks.
    """
    return values if values.device.type == "cuda" else values.cpu()


def check_same_shape(values: Tensor, size: Sequence[int], name: str, of: str = "the photo") -> None:
    """Raise ValueError if a map (B, 1, h, w) is not of the shape of what it belongs to, which has `size` (height, width).

    The ratios of the sides may differ by 2 %, and by what rounding the sides of the smaller one by a pixel does. A map of one
    value has no shape. of: what it belongs to.
    """
    own = tuple(values.shape[-2:])
    (h, w), (height, width) = sorted((own, tuple(size)), key=math.prod)
    alike = (w - 1) * height <= 1.02 * width * (h + 1) and (h - 1) * width <= 1.02 * height * (w + 1)
    if not alike and values.amin() < values.amax():
        raise ValueError(
            f"{name} is {own[1]} x {own[0]} pixels and {of} {size[1]} x {size[0]}, a different aspect ratio, so it would be "
            "stretched; crop both alike."
        )


def fit(values: Tensor, size: Sequence[int], name: str, of: str = "the photo") -> Tensor:
    """`resize` for a map that belongs to a photo of `size`. Raises ValueError as `check_same_shape`."""
    check_same_shape(values, size, name, of)
    return resize(values, size)


def fill_unknown(values: Tensor, name: str) -> Tensor:
    """A map (B, 1, H, W) with its NaN and infinite values filled from what is known around them; all others are kept.

    Raises ValueError for a frame in which nothing is known.
    """
    check_map_shape(values, name)
    if is_finite(values):
        return values
    return torch.cat([_fill_frame(frame[None].float(), name) for frame in values])


def _fill_frame(frame: Tensor, name: str) -> Tensor:
    known = torch.isfinite(frame)
    if not known.any():
        raise ValueError(f"{name} has a frame without a single finite value; use another depth map.")
    levels = [torch.cat([frame.where(known, torch.zeros_like(frame)), known.to(frame)], 1)]
    while max(levels[-1].shape[-2:]) > 1:
        levels.append(F.avg_pool2d(levels[-1], 2, ceil_mode=True))
    filled = levels[-1][:, :1] / levels[-1][:, 1:]
    for level in reversed(levels[:-1]):
        height, width = level.shape[-2:]
        value, share = level.split(1, 1)
        # From coarse to fine, the coarser one only where the finer one knows little.
        filled = F.interpolate(filled, scale_factor=2, mode="bilinear")[..., :height, :width]
        filled = torch.lerp(filled, value / share.clamp(min=1e-12), (4 * share).clamp(max=1))
    return frame.where(known, filled)


def magnified(planes: Tensor, factor: float) -> Tensor:
    """Planes (1, C, H, W) around their middle, larger by a factor of at least 1, of the same size: what a lens shows as it focuses nearer.

    The image of what is nearer lies farther behind the lens, and a farther image is a larger one: by the thin lens equation in
    proportion to 1 / (1 - f / s), which is nearly linear in 1 / s, and so in disparity.
    """
    if factor == 1:
        return planes
    turn = torch.tensor([[[1 / factor, 0, 0], [0, 1 / factor, 0]]], device=planes.device)
    grid = F.affine_grid(turn, [1, *planes.shape[1:]], align_corners=False)
    if planes.shape[1] == 1:
        return F.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    lowest, highest = planes.amin((2, 3), keepdim=True), planes.amax((2, 3), keepdim=True)
    return F.grid_sample(planes, grid, "bicubic", "border", align_corners=False).clamp(lowest, highest)
