"""What the one step computes: Stable Diffusion's (paper Sec. 3), and that of networks trained from nothing, such as nano."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from .network import TIMESTEP, ResnetBlock, UNet
from .patch_codec import PATCH, lens_blur

# Of a prediction: values per cell of its latent, and what does not depend on it.
VALUES_PER_CELL, FIXED_BYTES = 12_000, 256 * 2**20
VALUES_PER_PATCH = 1_500  # the same per cell of a patch codec's latent, for nano's networks


def is_lossless(codec: Any) -> bool:
    """Whether the latents of a `sampler.Codec` are the picture itself, as those of a `PatchCodec` are.

    Then colours cannot shift, and the step is that of networks trained from nothing. Their norms would decide differently in
    every tile, so that they see the whole picture.
    """
    return getattr(codec, "lossless", False)


def alpha_at(timestep: int) -> float:
    """Product of 1 - beta up to `timestep`, in Stable Diffusion's scaled linear schedule."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float32) ** 2
    return float(torch.cumprod(1 - betas, 0)[timestep])


def clean_latent(latent: Tensor, epsilon: Tensor) -> Tensor:
    """The scheduler's x0 at t = 999, in fp32: it divides errors by 0.068."""
    alpha = alpha_at(TIMESTEP)
    return (latent.float() - (1 - alpha) ** 0.5 * epsilon.float()) / alpha**0.5


def predict(
    unet: UNet,
    controlnet: nn.Module,
    latent: Tensor,
    defocus: Tensor,
    regions: Tensor | None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    report: Callable[[], None] | None = None,
) -> Tensor:
    """Clean latent (B, C, h, w) of a latent, both unscaled, computed on `device` in `dtype` and brought back.

    defocus, regions (focus mask): (B, 1, H, W) at image size; regions None = one region.
    report: called before every block of the networks and often in the lens; may raise to stop.
    """
    config = unet.config
    latent = latent.float() * config.latent_scale
    if regions is not None:
        regions = regions.to(device, dtype)

    def networks(x: Tensor, photo: Tensor) -> Tensor:
        with nullcontext() if report is None else _reporting((unet, controlnet), report):
            return unet(x, controlnet(photo, defocus.to(device, dtype)), regions).to(latent)

    if config.prediction == "epsilon":
        x = latent.to(device, dtype)
        return clean_latent(latent, networks(x, x)) / config.latent_scale
    # The networks' norms forget contrast, without which they would take too much out of flat pictures.
    mean = latent.mean((2, 3), keepdim=True)
    spread = latent.std((2, 3), keepdim=True).mean(1, keepdim=True).clamp(min=0.01)
    behind, front = lens_blur(latent, defocus.to(latent), report)
    found = networks(*(((z - mean) / spread).to(device, dtype) for z in (behind, latent)))
    residual, order = found[:, :-1], found[:, -1:].sigmoid()
    return torch.lerp(behind, front, order) - spread * residual


@contextmanager
def _reporting(networks: Sequence[nn.Module], report: Callable[[], None]) -> Iterator[None]:
    """`report` is called before each of the networks' blocks."""

    def hook(_block: nn.Module, _inputs: Any) -> None:
        report()

    blocks = [module for network in networks for module in network.modules() if isinstance(module, ResnetBlock)]
    hooks = [block.register_forward_pre_hook(hook) for block in blocks]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()


def memory_needed(shape: Sequence[int], dtype: torch.dtype) -> int:
    """Upper bound in bytes for `predict` of a latent (B, C, h, w) on the full-size networks, or on nano's, without their weights."""
    batch, channels, height, width = shape
    values = VALUES_PER_PATCH if channels == 3 * PATCH**2 else VALUES_PER_CELL
    return FIXED_BYTES + batch * height * width * values * dtype.itemsize
