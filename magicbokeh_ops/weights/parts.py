"""What is read from files and put together."""

from dataclasses import dataclass, field

from torch import Tensor

from ..network import Config

Tensors = dict[str, Tensor]

LORA_ALPHA = 8  # peft's default, in effect since the release sets none


@dataclass
class Base:
    """Stable Diffusion 2.1 under diffusers' names: the U-Net without what is pruned, and the VAE."""

    unet: Tensors
    vae: Tensors
    heads: tuple[int, ...] | None = None
    name: str = ""


@dataclass
class Adapter:
    """The released adapter: LoRA of U-Net and VAE encoder, ControlNet, bokeh LoRA."""

    unet: Tensors
    vae: Tensors
    controlnet: Tensors
    processor: Tensors
    rank_unet: int
    rank_vae: int
    rank_bokeh: int
    unet_modules: list[str]
    vae_modules: list[str]
    name: str = ""


@dataclass
class Weights:
    """Ready to run: LoRA merged, bokeh LoRA scaled, everything under diffusers' names."""

    unet: Tensors
    controlnet: Tensors
    vae: Tensors
    config: Config
    sources: dict[str, str] = field(default_factory=dict)


def without_prefix(tensors: Tensors, prefix: str) -> Tensors:
    """Those below a prefix, by the rest of their names."""
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


def copied(tensors: Tensors) -> Tensors:
    """The same values in memory of their own, so that the file that they were mapped from is let go."""
    return {key: value.clone() for key, value in tensors.items()}
