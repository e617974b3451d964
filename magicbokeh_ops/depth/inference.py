"""Disparity from a photo, or from the frames of a video, by Depth Anything."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..defocus import check_image, check_map, stretch
from ..planes import with_every_operation

INPUT_SIZE = 518
LONGEST = 8  # times the shorter side
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def network_size(height: int, width: int, input_size: int = INPUT_SIZE, patch: int = 14) -> tuple[int, int]:
    """Size that a photo gets: the shorter side at least `input_size`, both multiples of a patch.

    Raises ValueError for pictures that are too narrow, and a size below 1.
    """
    if input_size < 1:
        raise ValueError(f"input_size is {input_size}; it is 1 pixel or more.")
    if max(height, width) > LONGEST * min(height, width) or min(height, width) < 2:
        raise ValueError(
            f"image is {width} x {height} pixels, too narrow for depth; crop it to at most {LONGEST} times as long as wide."
        )
    scale = max(input_size / height, input_size / width)

    def side(length: int) -> int:
        rounded = round(scale * length / patch) * patch
        return rounded if rounded >= input_size else math.ceil(scale * length / patch) * patch

    return side(height), side(width)


def prepare(image: Tensor, input_size: int = INPUT_SIZE, patch: int = 14) -> Tensor:
    """Photo (B, 3, H, W) in [0, 1] as the network wants it: resized, cubic without smoothing, and standardised."""
    size = network_size(image.shape[-2], image.shape[-1], input_size, patch)
    whole = with_every_operation(image).double().clamp(0, 1)
    return standardize(F.interpolate(whole, size=size, mode="bicubic")).float().to(image.device)


def standardize(image: Tensor) -> Tensor:
    """Photos (B, 3, H, W) in [0, 1] with ImageNet's mean and spread taken out."""
    mean, spread = (image.new_tensor(x).view(3, 1, 1) for x in (MEAN, SPREAD))
    return (image - mean) / spread


def memory_needed(config: Any, height: int, width: int, input_size: int = INPUT_SIZE) -> int:
    """Upper bound in bytes for `estimate` of one photo on a device, without weights. config: of the model."""
    rows, columns = network_size(height, width, input_size, config.patch_size)
    # Measured on the small and the large model: the head's maps at full size, and what grows with its width.
    return rows * columns * 4 * (64 + 5 * config.fusion_hidden_size // 2)


def estimate(model: Any, image: Tensor, input_size: int = INPUT_SIZE) -> Tensor:
    """Relative disparity (B, 1, H, W), 0 or more and not yet normalised, of photos (B, 3, H, W) in [0, 1].

    input_size: length of the shorter side that the network sees; more shows finer detail and takes more memory.
    """
    return fitted(predict(model, image, input_size), image)


def predict(model: Any, image: Tensor, input_size: int = INPUT_SIZE) -> Tensor:
    """What `estimate` enlarges: (B, 1, h, w) of the size that the network works at, where the model lies."""
    x = prepare(image, input_size, model.config.patch_size)
    parameter = next(model.parameters())
    return model(x.to(parameter)).predicted_depth[:, None].float()


def fitted(raw: Tensor, image: Tensor) -> Tensor:
    """What `predict` gives, in the size of its photos and beside them."""
    return F.interpolate(raw, size=image.shape[-2:], mode="bilinear", align_corners=True).to(image.device)


def disparity(
    model: Any,
    image: Tensor,
    input_size: int = INPUT_SIZE,
    smooth_range: int = 0,
    progress: Callable[[int, int], None] | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Disparity (B, 1, H, W) in [0, 1], 1 = nearest, of photos or the frames of a video (B, 3, H, W) in [0, 1].

    One range is stretched to [0, 1] for all frames, so that nothing flickers; with smooth_range each frame has its own, averaged
    over that many frames to either side, for videos that move from one place to another.
    out: what is filled and returned, of any type; by default float32 beside the photos.
    Raises ValueError for NaN, pictures that are too narrow, numbers below 0, and photos in which nothing is nearer than anything else.
    """
    check_image(image)
    if smooth_range < 0:
        raise ValueError(f"smooth_range is {smooth_range}; it is 0 or more frames.")
    if out is None:
        out = torch.empty(len(image), 1, *image.shape[-2:], device=image.device)
    own_low, own_high = torch.empty(2, len(image))
    for i in range(len(image)):
        if progress is not None:
            progress(i, len(image))
        frame = estimate(model, image[i : i + 1], input_size)
        check_map(frame, "disparity")
        own_low[i], own_high[i] = frame.amin(), frame.amax()
        # In its own range first, which any type holds well.
        out[i] = stretch(frame, own_low[i], own_high[i])[0] if own_low[i] < own_high[i] else 0
    if progress is not None:
        progress(len(image), len(image))
    low, high = (_averaged(values, smooth_range) for values in (own_low, own_high))
    if smooth_range == 0 or (high <= low).any():
        low, high = own_low.amin(), own_high.amax()
        if low == high:
            raise ValueError("image looks equally far everywhere to the depth model; use another photo.")
    lowest, highest = (((values - low) / (high - low)).to(out.device) for values in (own_low, own_high))
    for i in range(len(out)):
        out[i] = torch.lerp(lowest[i], highest[i], out[i].float()).clamp_(0, 1)
    return out


def _averaged(values: Tensor, reach: int) -> Tensor:
    padded = F.pad(values[None, None], (reach, reach), mode="replicate")
    return F.avg_pool1d(padded, 2 * reach + 1, 1)[0, 0]
