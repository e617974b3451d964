"""The pruned Stable Diffusion 2.1 U-Net and its ControlNet: no cross-attention, no mid block.

Parameter names are those of diffusers, so that official tensors load by name. `operations` is the namespace that layers
come from (`torch.nn`, or the host's, which can cast and off-load them); `attention` computes plain attention.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import Attend, MaskedBranch, Regions, attend, thinned

TIMESTEP = 999
# What becomes of the attention of networks by their prediction.
ATTENTION: dict[str, Callable[[Attend], Attend]] = {"epsilon": lambda attention: attention, "residual": thinned}


@dataclass(frozen=True)
class Config:
    """Sizes of a network. Defaults are those of Stable Diffusion 2.1; levels are ordered from fine to coarse.

    heads: per level; 0 = no attention at that level. rank: of the bokeh LoRA; 0 = none.
    prediction: what the networks predict, see `method.METHODS`: "epsilon", or "residual" for those that are given the whole picture, so
    that their attention is thinned.
    latent_scale: between the VAE's latents and those that the network sees.
    folded: without time embedding, whose constant share is in the biases (`checkpoint.fold_time`).
    """

    in_channels: int = 4
    out_channels: int = 4
    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    heads: tuple[int, ...] = (5, 10, 20, 0)
    layers: int = 2
    groups: int = 32
    rank: int = 0
    hint_channels: tuple[int, ...] = (16, 32, 96, 256)
    prediction: str = "epsilon"
    latent_scale: float = 0.18215
    folded: bool = False

    @property
    def time_channels(self) -> int:
        return 4 * self.channels[0]


class TimeEmbedding(nn.Module):
    def __init__(self, config: Config, operations):
        super().__init__()
        self.width = config.channels[0]
        self.linear_1 = operations.Linear(self.width, config.time_channels)
        self.linear_2 = operations.Linear(config.time_channels, config.time_channels)

    def forward(self, like: Tensor) -> Tensor:
        half = torch.arange(self.width // 2, dtype=torch.float32, device=like.device)
        angle = TIMESTEP * torch.exp(-math.log(10000) * half / (self.width // 2))
        sinusoid = torch.cat([angle.cos(), angle.sin()])[None].to(like)
        return self.linear_2(F.silu(self.linear_1(sinusoid)))


class ResnetBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, config: Config, operations):
        super().__init__()
        self.norm1 = operations.GroupNorm(config.groups, in_channels, eps=1e-5)
        self.conv1 = operations.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = None if config.folded else operations.Linear(config.time_channels, out_channels)
        self.norm2 = operations.GroupNorm(config.groups, out_channels, eps=1e-5)
        self.conv2 = operations.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = operations.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, time: Tensor | None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        if self.time_emb_proj is not None and time is not None:
            h = h + self.time_emb_proj(F.silu(time))[:, :, None, None]
        return self.conv_shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class SelfAttention(nn.Module):
    def __init__(self, channels: int, heads: int, rank: int, operations, attention: Attend):
        super().__init__()
        self.heads, self.attention = heads, attention
        self.to_q = operations.Linear(channels, channels, bias=False)
        self.to_k = operations.Linear(channels, channels, bias=False)
        self.to_v = operations.Linear(channels, channels, bias=False)
        self.to_out = nn.ModuleList([operations.Linear(channels, channels)])
        self.processor = MaskedBranch(channels, rank, operations) if rank else None

    def forward(self, x: Tensor, region: Regions | None) -> Tensor:
        q, k, v = self.to_q(x), self.to_k(x), self.to_v(x)
        out = self.to_out[0](self.attention(q, k, v, self.heads))
        if self.processor is not None:
            out = out + self.processor(x, q, k, v, self.heads, region, self.attention)
        return out


class GatedProjection(nn.Module):
    def __init__(self, channels: int, operations):
        super().__init__()
        self.proj = operations.Linear(channels, 8 * channels)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.proj(x).chunk(2, -1)
        return x * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, channels: int, operations):
        super().__init__()
        self.net = nn.Sequential(
            GatedProjection(channels, operations), nn.Identity(), operations.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class TransformerBlock(nn.Module):
    def __init__(self, channels: int, heads: int, rank: int, operations, attention: Attend):
        super().__init__()
        self.norm1 = operations.LayerNorm(channels)
        self.attn1 = SelfAttention(channels, heads, rank, operations, attention)
        self.norm3 = operations.LayerNorm(channels)
        self.ff = FeedForward(channels, operations)

    def forward(self, x: Tensor, region: Regions | None) -> Tensor:
        x = x + self.attn1(self.norm1(x), region)
        return x + self.ff(self.norm3(x))


class Transformer(nn.Module):
    def __init__(self, channels: int, heads: int, rank: int, config: Config, operations, attention: Attend):
        super().__init__()
        self.norm = operations.GroupNorm(config.groups, channels, eps=1e-6)
        self.proj_in = operations.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(channels, heads, rank, operations, attention)])
        self.proj_out = operations.Linear(channels, channels)

    def forward(self, x: Tensor, region: Regions | None = None) -> Tensor:
        size = x.shape[-2:]
        tokens = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))  # (B, N, C)
        for block in self.transformer_blocks:
            tokens = block(tokens, region)
        return x + self.proj_out(tokens).transpose(1, 2).unflatten(2, size)


class Resample(nn.Module):
    def __init__(self, channels: int, stride: int, operations):
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 3, stride=stride, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class DownBlock(nn.Module):
    def __init__(self, in_channels: int, level: int, config: Config, operations, attention: Attend):
        super().__init__()
        channels, heads = config.channels[level], config.heads[level]
        widths = [in_channels] + [channels] * (config.layers - 1)
        self.resnets = nn.ModuleList([ResnetBlock(width, channels, config, operations) for width in widths])
        self.attentions = nn.ModuleList(
            [Transformer(channels, heads, 0, config, operations, attention) for _ in widths if heads]
        )
        last = level == len(config.channels) - 1
        self.downsamplers = nn.ModuleList([] if last else [Resample(channels, 2, operations)])

    def forward(self, x: Tensor, time: Tensor | None, skips: list[Tensor]) -> Tensor:
        for i, resnet in enumerate(self.resnets):
            x = resnet(x, time)
            if self.attentions:
                x = self.attentions[i](x)
            skips.append(x)
        for downsampler in self.downsamplers:
            x = downsampler(x)
            skips.append(x)
        return x


class UpBlock(nn.Module):
    def __init__(self, in_channels: int, skip_channels: list[int], level: int, config: Config, operations, attention: Attend):
        super().__init__()
        channels, heads = config.channels[level], config.heads[level]
        widths = [in_channels] + [channels] * config.layers
        self.resnets = nn.ModuleList(
            [ResnetBlock(width + skip, channels, config, operations) for width, skip in zip(widths, skip_channels)]
        )
        self.attentions = nn.ModuleList(
            [Transformer(channels, heads, config.rank, config, operations, attention) for _ in widths if heads]
        )
        self.upsamplers = nn.ModuleList([Resample(channels, 1, operations)] if level else [])

    def forward(self, x: Tensor, time: Tensor | None, skips: list[Tensor], regions: Tensor | None) -> Tensor:
        region = None
        if regions is not None and self.attentions:
            region = Regions(F.interpolate(regions, size=x.shape[-2:], mode="nearest").flatten(1) > 0.5)
        for i, resnet in enumerate(self.resnets):
            x = resnet(torch.cat([x, skips.pop()], 1), time)
            if self.attentions:
                x = self.attentions[i](x, region)
        for upsampler in self.upsamplers:
            x = upsampler(F.interpolate(x, size=skips[-1].shape[-2:], mode="nearest"))
        return x


class HintEmbedding(nn.Module):
    """Defocus map at image resolution to features at latent resolution."""

    def __init__(self, config: Config, operations):
        super().__init__()
        widths = config.hint_channels
        self.conv_in = operations.Conv2d(3, widths[0], 3, padding=1)
        blocks = []
        for narrow, wide in zip(widths, widths[1:]):
            blocks += [
                operations.Conv2d(narrow, narrow, 3, padding=1),
                operations.Conv2d(narrow, wide, 3, padding=1, stride=2),
            ]
        self.blocks = nn.ModuleList(blocks)
        self.conv_out = operations.Conv2d(widths[-1], config.channels[0], 3, padding=1)

    def forward(self, hint: Tensor) -> Tensor:
        # In place, since these are by far the largest tensors of a whole picture.
        x = F.silu(self.conv_in(hint), inplace=True)
        for block in self.blocks:
            x = F.silu(block(x), inplace=True)
        return self.conv_out(x)


def _down_blocks(config: Config, operations, attention: Attend) -> nn.ModuleList:
    widths = [config.channels[0], *config.channels]
    return nn.ModuleList([DownBlock(widths[i], i, config, operations, attention) for i in range(len(config.channels))])


def skip_channels(config: Config) -> list[int]:
    """Channels of the tensors that the way down hands to the way up, in order."""
    out = [config.channels[0]]
    for level, channels in enumerate(config.channels):
        out += [channels] * (config.layers + (level < len(config.channels) - 1))
    return out


class UNet(nn.Module):
    def __init__(self, config: Config = Config(), operations=nn, attention: Attend = attend):
        super().__init__()
        self.config = config
        attention = ATTENTION[config.prediction](attention)
        self.conv_in = operations.Conv2d(config.in_channels, config.channels[0], 3, padding=1)
        self.time_embedding = None if config.folded else TimeEmbedding(config, operations)
        self.down_blocks = _down_blocks(config, operations, attention)
        skips, width, up_blocks = skip_channels(config), config.channels[-1], []
        for level in reversed(range(len(config.channels))):
            taken = [skips.pop() for _ in range(config.layers + 1)]
            up_blocks.append(UpBlock(width, taken, level, config, operations, attention))
            width = config.channels[level]
        self.up_blocks = nn.ModuleList(up_blocks)
        self.conv_norm_out = operations.GroupNorm(config.groups, config.channels[0], eps=1e-5)
        self.conv_out = operations.Conv2d(config.channels[0], config.out_channels, 3, padding=1)

    def forward(self, latent: Tensor, residuals: list[Tensor], regions: Tensor | None = None) -> Tensor:
        """Prediction (B, C, h, w) for a latent of that shape.

        residuals: of the ControlNet, added to the skip tensors (but not to what enters the way up directly).
        regions: focus mask (B, 1, H, W) of 0 and 1, which the masked branch attends within; None = one region.
        """
        time = None if self.time_embedding is None else self.time_embedding(latent)
        x = self.conv_in(latent)
        skips = [x]
        for down in self.down_blocks:
            x = down(x, time, skips)
        skips = [skip + residual for skip, residual in zip(skips, residuals, strict=True)]
        for up in self.up_blocks:
            x = up(x, time, skips, regions)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class ControlNet(nn.Module):
    def __init__(self, config: Config = Config(), operations=nn, attention: Attend = attend):
        super().__init__()
        attention = ATTENTION[config.prediction](attention)
        self.conv_in = operations.Conv2d(config.in_channels, config.channels[0], 3, padding=1)
        self.time_embedding = None if config.folded else TimeEmbedding(config, operations)
        self.controlnet_cond_embedding = HintEmbedding(config, operations)
        self.down_blocks = _down_blocks(config, operations, attention)
        self.controlnet_down_blocks = nn.ModuleList(
            [operations.Conv2d(channels, channels, 1) for channels in skip_channels(config)]
        )

    def forward(self, latent: Tensor, hint: Tensor) -> list[Tensor]:
        """Residuals for the U-Net's skip tensors.

        hint: defocus map (B, 1, H, W) at the resolution of the image; 0 = in focus, 1 = 32 pixels of blur.
        """
        hint = (2 * hint - 1).expand(-1, 3, -1, -1)
        time = None if self.time_embedding is None else self.time_embedding(latent)
        x = self.conv_in(latent) + self.controlnet_cond_embedding(hint)
        skips = [x]
        for down in self.down_blocks:
            x = down(x, time, skips)
        return [project(skip) for project, skip in zip(self.controlnet_down_blocks, skips, strict=True)]
