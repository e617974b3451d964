"""Stable Diffusion's VAE outside ComfyUI, as diffusers runs it."""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from .checkpoint import is_patch_codec, vae_sizes
from .patch_codec import PatchCodec

KEYS_PER_SIDE = 64  # tokens of the 512-pixel pictures that the VAE was trained on


class ThinnedAttention:
    """Attention of the VAE's middle block, from every token to at most 64 x 64 of them, evenly spaced.

    Equal to full attention up to 512 pixels. Beyond, cost grows with the area and not with its square, and the softmax
    stays as sharp as it was in training. All tokens see the same keys, so there is no seam.
    """

    def __call__(self, attn, hidden_states: Tensor, temb: Tensor | None = None, **_kwargs) -> Tensor:
        x = attn.group_norm(hidden_states)
        rows, cols = (torch.linspace(0, n - 1, min(n, KEYS_PER_SIDE)).round().long().to(x.device) for n in x.shape[-2:])
        seen = x[..., rows, :][..., cols].flatten(2).transpose(1, 2)
        q, k, v = attn.to_q(x.flatten(2).transpose(1, 2)), attn.to_k(seen), attn.to_v(seen)
        out = attn.to_out[0](F.scaled_dot_product_attention(q, k, v))
        return hidden_states + out.transpose(1, 2).view_as(hidden_states)


def make_codec(
    tensors: dict[str, Tensor], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> "DiffusersCodec | PatchCodec":
    """The codec that a merged file's VAE tensors are of."""
    if is_patch_codec(tensors):
        codec = PatchCodec()
        codec.load_state_dict({key: value.float() for key, value in tensors.items()})
        return codec.eval().to(device, dtype)
    return DiffusersCodec(tensors, device, dtype)


class DiffusersCodec(nn.Module):
    """A `sampler.Codec` of a state dict under diffusers' names."""

    cell = 8

    def __init__(self, tensors: dict[str, Tensor], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32):
        super().__init__()
        channels, layers, latent_channels = vae_sizes(tensors)
        with torch.device("meta"):
            vae: Any = AutoencoderKL(
                down_block_types=("DownEncoderBlock2D",) * len(channels),
                up_block_types=("UpDecoderBlock2D",) * len(channels),
                block_out_channels=channels,
                layers_per_block=layers,
                latent_channels=latent_channels,
            )
        vae.load_state_dict({key: value.to(device, dtype) for key, value in tensors.items()}, assign=True)
        vae.set_attn_processor(ThinnedAttention())
        self.vae = vae.eval()

    def _to_vae(self, x: Tensor) -> Tensor:
        weight = self.vae.quant_conv.weight
        return x.to(weight.device, weight.dtype)

    def encode(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        posterior = self.vae.encode(self._to_vae(image)).latent_dist
        mean = posterior.mean.to(image.device, torch.float32)
        return mean if noise is None else mean + posterior.std.to(mean) * noise.to(mean)

    def decode(self, latent: Tensor) -> Tensor:
        return self.vae.decode(self._to_vae(latent)).sample.to(latent.device, torch.float32)
