"""The one diffusion step (paper Sec. 3): encode, condition, predict the clean latent, decode."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from .color import match_mean_and_spread
from .network import TIMESTEP
from .tiling import blend, released_positions

VAE_SCALE = 0.18215
TILE, STRIDE = 512, 256


class Codec(Protocol):
    """Images (B, 3, H, W) in [-1, 1] to and from unscaled latents (B, 4, H / 8, W / 8)."""

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the posterior."""
        ...

    def decode(self, latent: Tensor) -> Tensor: ...


def alpha_at(timestep: int) -> float:
    """Product of 1 - beta up to `timestep`, in Stable Diffusion's scaled linear schedule."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float32) ** 2
    return float(torch.cumprod(1 - betas, 0)[timestep])


def clean_latent(latent: Tensor, epsilon: Tensor) -> Tensor:
    """The scheduler's x0 at t = 999, in fp32: it divides errors by 0.068."""
    alpha = alpha_at(TIMESTEP)
    return (latent.float() - (1 - alpha) ** 0.5 * epsilon.float()) / alpha**0.5


def predict(unet: nn.Module, controlnet: nn.Module, latent: Tensor, defocus: Tensor, regions: Tensor | None) -> Tensor:
    """Clean latent (B, 4, h, w) of a scaled latent; defocus and regions (focus mask) at image size, (B, 1, H, W)."""
    return clean_latent(latent, unet(latent, controlnet(latent, defocus), regions))


def sample_as_released(
    unet: nn.Module,
    controlnet: nn.Module,
    codec: Codec,
    image: Tensor,
    defocus: Tensor,
    regions: Tensor | None,
    noise: Tensor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """The released procedure: each tile of 512 pixels encoded, predicted and decoded by itself, blended, AdaIN.

    image: (1, 3, H, W) sRGB in [0, 1], sides of 512 or more. defocus: (1, 1, H, W). regions: focus mask or None.
    noise: posterior noise (tiles, 4, 64, 64) in the order of the tiles; None takes the posterior's mean.
    Returns (1, 3, H, W) in [0, 1]. The blended picture is cut to 8 bit before the colour transfer, as released.
    """
    size = image.shape[-2:]
    positions = released_positions(size, TILE, STRIDE)
    if noise is not None and len(noise) != len(positions):
        raise ValueError(f"noise is for {len(noise)} tiles, but this image has {len(positions)}.")
    tiles = []
    for i, (top, left) in enumerate(positions):
        if progress is not None:
            progress(i, len(positions))
        here = (..., slice(top, top + TILE), slice(left, left + TILE))
        mean, deviation = codec.encode(2 * image[here] - 1)
        if noise is not None:
            mean = mean + deviation * noise[i : i + 1]
        x0 = predict(unet, controlnet, mean * VAE_SCALE, defocus[here], None if regions is None else regions[here])
        tiles.append(codec.decode(x0 / VAE_SCALE).clamp(-1, 1))
    if progress is not None:
        progress(len(positions), len(positions))
    blended = (blend(tiles, positions, size, STRIDE) + 1) / 2
    return match_mean_and_spread((blended * 255).floor() / 255, image)
