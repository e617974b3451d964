"""What the one step computes: `Method`, of which there are Stable Diffusion's (paper Sec. 3) and nano's."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .nano import Nano
from .network import TIMESTEP, ResnetBlock, UNet

OVERLAP = 6  # of tiles, in latents
FIXED_BYTES = 256 * 2**20  # of a prediction: what does not depend on the latent's size

# networks(latent, photo's latent): what U-Net and ControlNet predict.
Networks = Callable[[Tensor, Tensor], Tensor]


class Method(Protocol):
    """What one step is for networks of one kind, which `network.Config.prediction` names.

    lossless: latents are the picture itself. Colours can't shift then, so that the colour fix "adain", which would raise a blurred
    picture's contrast to the sharp photo's, is left out; there is no posterior to sample from; and there are no released tiles,
    so that the preset "reference" is "fast", cut to 8 bit.
    uses_lens: Fourier transforms are needed. values_per_cell: of memory, per cell of the latent in a prediction.
    """

    lossless: bool
    uses_lens: bool
    values_per_cell: int

    def tiles(self, side: int, batch: int, cell: int) -> tuple[int, int, int]:
        """Largest side and overlap, in latents, of the fast preset's tiles, and how many go at once. side, batch: of the budget."""
        ...

    def clean_latent(self, latent: Tensor, defocus: Tensor, networks: Networks, report: Callable[[], None] | None) -> Tensor:
        """Clean latent of a latent (B, C, h, w), both scaled as the networks see them. defocus: (B, 1, H, W)."""
        ...


class StableDiffusion:
    """The noise that the networks predict is taken out of the latent, as at t = 999."""

    lossless, uses_lens, values_per_cell = False, False, 12_000

    def tiles(self, side: int, batch: int, cell: int) -> tuple[int, int, int]:
        return side, OVERLAP, batch

    def clean_latent(self, latent: Tensor, defocus: Tensor, networks: Networks, report: Callable[[], None] | None) -> Tensor:
        return clean_latent(latent, networks(latent, latent))


METHODS: dict[str, Method] = {"epsilon": StableDiffusion(), "residual": Nano()}


def method_of(codec: Any) -> Method:
    """The method that goes with a `sampler.Codec`: Stable Diffusion's, unless its `prediction` names another."""
    return METHODS[getattr(codec, "prediction", "epsilon")]


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
        x, photo, hint = (values.to(device, dtype) for values in (x, photo, defocus))
        with nullcontext() if report is None else _reporting((unet, controlnet), report):
            return unet(x, controlnet(photo, hint), regions).to(latent)

    return METHODS[config.prediction].clean_latent(latent, defocus.to(latent), networks, report) / config.latent_scale


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


def memory_needed(shape: Sequence[int], dtype: torch.dtype, prediction: str = "epsilon") -> int:
    """Upper bound in bytes for `predict` of a latent (B, C, h, w) on the full-size networks, or on nano's, without their weights."""
    batch, _, height, width = shape
    return FIXED_BYTES + batch * height * width * METHODS[prediction].values_per_cell * dtype.itemsize
