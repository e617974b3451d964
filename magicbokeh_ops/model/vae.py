"""Stable Diffusion's VAE outside ComfyUI, and the choice between it and nano's codec.

Parameter names are those of diffusers, whose `AutoencoderKL` it equals; the layers of large pictures work in strips of rows and write
over what is no longer needed, which takes half of the memory.
"""

import re
from typing import Any

import torch
from torch import Tensor, nn

from .attention import attend
from .patch_codec import PatchCodec, codec_of, is_patch_codec
from .strips import activated, downsampled, strip_rows, takes_strips, upsampled

GROUPS, EPS = 32, 1e-6
TRAINED_SIDE = 64  # in latents, of the 512-pixel pictures that the VAE was trained on
QUERIES = 4096  # that attend at once, for devices whose attention makes all scores


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, channels, eps=EPS)


def _conv(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1)


class ResnetBlock(nn.Module):
    def __init__(self, before: int, after: int):
        super().__init__()
        self.norm1, self.conv1 = _norm(before), _conv(before, after)
        self.norm2, self.conv2 = _norm(after), _conv(after, after)
        self.conv_shortcut = nn.Conv2d(before, after, 1) if before != after else None

    def forward(self, x: Tensor) -> Tensor:
        h = activated(self.conv1, self.norm1, x)
        h = activated(self.conv2, self.norm2, h, in_place=True)
        if self.conv_shortcut is None:
            return h.add_(x)
        if not takes_strips(self.conv1, x):
            return h.add_(self.conv_shortcut(x))
        rows = strip_rows(x)
        for part, strip in zip(h.split(rows, -2), x.split(rows, -2)):
            part.add_(self.conv_shortcut(strip))
        return h


class Attention(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.group_norm = _norm(channels)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)  # (B, N, C)
        k, v = self.to_k(tokens), self.to_v(tokens)
        out = torch.cat([attend(q, k, v, 1) for q in self.to_q(tokens).split(QUERIES, 1)], 1)
        return x + self.to_out[0](out).transpose(1, 2).view_as(x)


class MiddleBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.resnets = nn.ModuleList([ResnetBlock(channels, channels) for _ in range(2)])
        self.attentions = nn.ModuleList([Attention(channels)])

    def forward(self, x: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Resampler(nn.Module):
    def __init__(self, channels: int, stride: int, padding: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride, padding)


class DownBlock(nn.Module):
    """One level of the encoder. Its layers are called there: a block would hold on to what it was given."""

    def __init__(self, before: int, after: int, layers: int, last: bool):
        super().__init__()
        self.resnets = nn.ModuleList([ResnetBlock(width, after) for width in [before] + [after] * (layers - 1)])
        self.downsamplers = nn.ModuleList([] if last else [Resampler(after, stride=2, padding=0)])


class UpBlock(nn.Module):
    """One level of the decoder, where its layers are called."""

    def __init__(self, before: int, after: int, layers: int, last: bool):
        super().__init__()
        self.resnets = nn.ModuleList([ResnetBlock(width, after) for width in [before] + [after] * (layers - 1)])
        self.upsamplers = nn.ModuleList([] if last else [Resampler(after, stride=1, padding=1)])


class Encoder(nn.Module):
    def __init__(self, channels: tuple[int, ...], layers: int, latent_channels: int):
        super().__init__()
        self.conv_in = _conv(3, channels[0])
        befores, last = (channels[0], *channels), len(channels) - 1
        self.down_blocks = nn.ModuleList([DownBlock(befores[i], after, layers, i == last) for i, after in enumerate(channels)])
        self.mid_block = MiddleBlock(channels[-1])
        self.conv_norm_out = _norm(channels[-1])
        self.conv_out = _conv(channels[-1], 2 * latent_channels)

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv_in(image)
        blocks: Any = self.down_blocks
        for block in blocks:
            for resnet in block.resnets:
                x = resnet(x)
            for downsampler in block.downsamplers:
                x = downsampled(downsampler.conv, x)
        return activated(self.conv_out, self.conv_norm_out, self.mid_block(x))


class Decoder(nn.Module):
    """Up to 512 pixels it does what diffusers' does, operation by operation, so that the released tiles stay what they are."""

    def __init__(self, channels: tuple[int, ...], layers: int, latent_channels: int):
        super().__init__()
        self.conv_in = _conv(latent_channels, channels[-1])
        self.mid_block = MiddleBlock(channels[-1])
        afters, last = channels[::-1], len(channels) - 1
        befores = (channels[-1], *afters)
        self.up_blocks = nn.ModuleList([UpBlock(befores[i], after, layers + 1, i == last) for i, after in enumerate(afters)])
        self.conv_norm_out = _norm(channels[0])
        self.conv_out = _conv(channels[0], 3)

    def forward(self, latent: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(latent))
        in_phases = max(latent.shape[-2:]) > TRAINED_SIDE
        blocks: Any = self.up_blocks
        for block in blocks:
            for resnet in block.resnets:
                x = resnet(x)
            for upsampler in block.upsamplers:
                x = upsampled(upsampler.conv, x, in_phases)
        return activated(self.conv_out, self.conv_norm_out, x)


class Vae(nn.Module):
    """A `sampler.Codec`, of these sizes: see `vae_sizes`."""

    cell = 8

    def __init__(self, channels: tuple[int, ...], layers: int, latent_channels: int):
        super().__init__()
        self.encoder = Encoder(channels, layers, latent_channels)
        self.decoder = Decoder(channels, layers, latent_channels)
        self.quant_conv = nn.Conv2d(2 * latent_channels, 2 * latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)

    def encode(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """The posterior's mean, or mean + deviation * noise, (B, C, h, w) in fp32, of images in [-1, 1]."""
        moments = self.quant_conv(self.encoder(self._to_own(image))).to(image.device, torch.float32)
        mean, log_variance = moments.chunk(2, 1)
        return mean if noise is None else mean + (0.5 * log_variance.clamp(-30, 20)).exp() * noise.to(mean)

    def decode(self, latent: Tensor) -> Tensor:
        """Images (B, 3, H, W) in fp32, near [-1, 1], of latents."""
        return self.decoder(self.post_quant_conv(self._to_own(latent))).to(latent.device, torch.float32)

    def _to_own(self, x: Tensor) -> Tensor:
        weight = self.post_quant_conv.weight
        return x.to(weight.device, weight.dtype)


def vae_sizes(tensors: dict[str, Tensor]) -> tuple[tuple[int, ...], int, int]:
    """Channels per level, layers per level of the encoder, and channels of the latent, as the shapes of a VAE's tensors tell.

    Raises KeyError with the name of a tensor that is missing for it.
    """
    numbers = [re.match(r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\.", key) for key in tensors]
    levels, layers = (1 + max((int(found[i]) for found in numbers if found), default=0) for i in (1, 2))
    names = [f"encoder.down_blocks.{i}.resnets.0.conv1.weight" for i in range(levels)]
    return tuple(side(tensors, name, 0) for name in names), layers, side(tensors, "decoder.conv_in.weight", 1)


def side(tensors: dict[str, Tensor], key: str, axis: int) -> int:
    """Length of a tensor along an axis. Raises KeyError with its name if it is missing or has no such axis."""
    shape = tensors[key].shape
    if len(shape) <= axis:
        raise KeyError(key)
    return shape[axis]


def vae_of(tensors: dict[str, Tensor], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Vae:
    """The VAE of a state dict under diffusers' names."""
    with torch.device("meta"):
        vae = Vae(*vae_sizes(tensors))
    vae.load_state_dict({key: value.to(device, dtype) for key, value in tensors.items()}, assign=True)
    return vae.eval()


def make_codec(
    tensors: dict[str, Tensor], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Vae | PatchCodec:
    """The codec that a merged file's VAE tensors are of."""
    return codec_of(tensors, device, dtype) if is_patch_codec(tensors) else vae_of(tensors, device, dtype)
