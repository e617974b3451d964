"""Colour: sRGB to linear light and back, and giving a result the colours of its input."""

import torch
import torch.nn.functional as F
from torch import Tensor


def srgb_to_linear(x: Tensor) -> Tensor:
    """sRGB values to linear light (IEC 61966-2-1). Values above 1 follow the same curve, negative ones become 0."""
    x = x.clamp(min=0)
    return torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(x: Tensor) -> Tensor:
    """Linear light to sRGB values, the inverse of `srgb_to_linear`."""
    x = x.clamp(min=0)
    return torch.where(x <= 0.0031308, x * 12.92, 1.055 * x ** (1 / 2.4) - 0.055)


def match_mean_and_spread(image: Tensor, reference: Tensor) -> Tensor:
    """AdaIN as released: per channel over the whole image, mean and standard deviation of `reference`.

    image, reference: (B, 3, H, W) in [0, 1], sizes may differ; the result is clamped to [0, 1].
    """
    means = [x.mean((2, 3), keepdim=True) for x in (image, reference)]
    # Of a single pixel there is no unbiased variance.
    spreads = [(x.var((2, 3), keepdim=True, correction=min(1, x[0, 0].numel() - 1)) + 1e-5).sqrt() for x in (image, reference)]
    return ((image - means[0]) / spreads[0] * spreads[1] + means[1]).clamp(0, 1)


def match_low_frequencies(image: Tensor, reference: Tensor, levels: int = 5) -> Tensor:
    """Wavelet colour transfer: details of `image` on the low frequencies of `reference`, clamped to [0, 1].

    Both (B, 3, H, W) in [0, 1] of the same size. Low frequencies are what is left after blurs of 1, 2, 4 ... pixels.
    """
    return (image + _low_frequencies(reference, levels) - _low_frequencies(image, levels)).clamp(0, 1)


def _low_frequencies(x: Tensor, levels: int) -> Tensor:
    taps = torch.tensor([0.25, 0.5, 0.25], device=x.device, dtype=x.dtype)
    kernel = (taps[:, None] * taps).expand(x.shape[1], 1, 3, 3)
    for level in range(levels):
        step = 2**level
        x = F.conv2d(F.pad(x, (step,) * 4, mode="replicate"), kernel, dilation=step, groups=x.shape[1])
    return x
