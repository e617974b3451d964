"""What is read from files and put together."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..model.network import Config

Tensors = dict[str, Tensor]

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}  # that weights are stored in
LORA_ALPHA = 8  # peft's default, in effect since the release sets none
IN_FOLDERS = re.compile(r"(diffusion_pytorch_|pytorch_)?model\b|(scheduler_)?config\.json$")  # files of the same name in many


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


def shown(path: Path) -> str:
    """What a message calls a file: its name; of one whose name many folders have the end of its path."""
    return "/".join(path.parts[-3:]) if IN_FOLDERS.match(path.name) else path.name


def without_prefix(tensors: Tensors, prefix: str) -> Tensors:
    """Those below a prefix, by the rest of their names."""
    return {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}


def copied(tensors: Tensors) -> Tensors:
    """The same values in memory of their own, so that the file that they were mapped from is let go."""
    return {key: value.clone() for key, value in tensors.items()}
