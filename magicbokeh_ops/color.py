"""Colour: sRGB to linear light and back."""

import torch
from torch import Tensor


def srgb_to_linear(x: Tensor) -> Tensor:
    """sRGB values to linear light (IEC 61966-2-1). Values above 1 follow the same curve, negative ones become 0."""
    x = x.clamp(min=0)
    return torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(x: Tensor) -> Tensor:
    """Linear light to sRGB values, the inverse of `srgb_to_linear`."""
    x = x.clamp(min=0)
    return torch.where(x <= 0.0031308, x * 12.92, 1.055 * x ** (1 / 2.4) - 0.055)
