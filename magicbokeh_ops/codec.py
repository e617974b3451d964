"""Stable Diffusion's VAE outside ComfyUI, as diffusers runs it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import Decoder
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from .attention import attend
from .checkpoint import is_patch_codec, vae_sizes
from .patch_codec import PatchCodec

STRIP = 2**22  # values that a convolution gets at once
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
        out = attn.to_out[0](attend(q, k, v, 1))
        return hidden_states + out.transpose(1, 2).view_as(hidden_states)


class StripConv(nn.Conv2d):
    """A convolution of 3 x 3 that can work in strips of rows, so that neither what it is given nor PyTorch's own copy of it is ever whole."""

    def prepared(self, x: Tensor, prepare: Callable[[Tensor], Tensor]) -> Tensor:
        """The convolution of prepare(x), which changes pixels by themselves or doubles them."""
        height = x.shape[-2]
        rows = max(1, STRIP // (x.shape[-3] * x.shape[-1]))
        out = x
        for top in range(0, height, rows):
            above, below = top > 0, top + rows < height
            part = x[..., top - above : top + rows + below, :]
            strip = prepare(part)
            zoom = strip.shape[-2] // part.shape[-2]
            if top == 0:
                out = x.new_empty(len(x), self.out_channels, zoom * height, strip.shape[-1])
            # Of the neighbours' rows one is needed; outside of the picture are zeros.
            strip = F.pad(strip, (1, 1, 1 - zoom * above, 1 - zoom * below))
            out[..., zoom * top : zoom * (top + rows), :] = F.conv2d(strip, self.weight, self.bias)
        return out


def takes_strips(layer: nn.Module | None, x: Tensor) -> bool:
    """Whether the picture is large, nothing is to be learned, no LoRA is around the layer, and means are not rounded to fp16."""
    large = x[0].numel() > STRIP and x.dtype == torch.float32
    return large and isinstance(layer, StripConv) and not torch.is_grad_enabled()


class LeanResnet(ResnetBlock2D):
    """diffusers' block with as little at once as it goes."""

    def forward(self, input_tensor: Tensor, temb: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:
        x = input_tensor
        h = convolved(self.conv2, self.norm2, convolved(self.conv1, self.norm1, x))
        return h.add_(x if self.conv_shortcut is None else self.conv_shortcut(x))


def convolved(conv: Any, norm: Any, x: Tensor) -> Tensor:
    """conv(silu(norm(x)))."""
    if not takes_strips(conv, x):
        return conv(F.silu(norm(x), inplace=True))
    n, channels, height, width = x.shape
    shared = channels // norm.num_groups
    means, spreads = [], []
    for group in x.split(shared, 1):
        _, mean, spread = torch.native_group_norm(group.contiguous(), None, None, n, shared, height * width, 1, norm.eps)
        means.append(mean)
        spreads.append(spread)
    scale = norm.weight * torch.cat(spreads, 1).repeat_interleave(shared, 1)
    shift = norm.bias - scale * torch.cat(means, 1).repeat_interleave(shared, 1)
    scale, shift = scale[..., None, None], shift[..., None, None]
    return conv.prepared(x, lambda part: F.silu(torch.addcmul(shift, part, scale), inplace=True))


class LeanUpsample(Upsample2D):
    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        conv: Any = self.conv
        if not takes_strips(conv, hidden_states):
            return super().forward(hidden_states, *args, **kwargs)
        return conv.prepared(hidden_states, partial(F.interpolate, scale_factor=2.0, mode="nearest"))


class LeanDecoder(Decoder):
    """diffusers' decoder without holding on to what its blocks were given."""

    def forward(self, sample: Tensor, latent_embeds: Tensor | None = None) -> Tensor:
        x = self.mid_block(self.conv_in(sample))
        blocks: Any = self.up_blocks
        for block in blocks:
            for layer in (*block.resnets, *(block.upsamplers or ())):
                x = layer(x)
        return convolved(self.conv_out, self.conv_norm_out, x)


LEAN = {ResnetBlock2D: LeanResnet, Upsample2D: LeanUpsample, Decoder: LeanDecoder}


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
        for module in vae.modules():
            if isinstance(module, nn.Conv2d) and (module.kernel_size, module.stride) == ((3, 3), (1, 1)):
                module.__class__ = StripConv
            else:
                module.__class__ = LEAN.get(type(module), type(module))
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
