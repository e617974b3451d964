"""TAESD outside ComfyUI."""

from pathlib import Path

from diffusers import AutoencoderTiny
from torch import Tensor

from magicbokeh_ops.model.network import Config


class Tiny:
    """A `sampler.Codec` of TAESD, whose own latents are scaled as the networks see them."""

    cell = 8

    def __init__(self, folder: Path):
        self.model, self.scale = AutoencoderTiny.from_pretrained(folder).eval(), Config().latent_scale

    def encode(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        return self.model.encode(image).latents / self.scale

    def decode(self, latent: Tensor) -> Tensor:
        return self.model.decode(self.scale * latent).sample
