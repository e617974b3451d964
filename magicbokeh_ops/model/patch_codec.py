"""A small stand-in for the VAE, for networks that are trained from nothing."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 4
SQUARE = 2  # side of the squares that the encoder's network works on
LEVELS, BLOCKS = (48, 72, 96), (1, 2, 3)  # its channels at squares of 2, 4 and 8 pixels, and residual blocks there
PLAIN = (12, 64, 64, 64, 64, 64, 64, 12)  # channels of a plain network
SMOOTHING = (3, 16, 16, 3)  # of the decoder's


class PatchCodec(nn.Module):
    """A `sampler.Codec` whose latent is the picture itself: its patches of 4 x 4 pixels as 48 channels.

    Both ways are exact up to a small convolutional network, which starts at nothing: the encoder's learns to take noise and
    compression away (as the LoRA on the VAE's encoder does in the full model), the decoder's to hide the patches' borders.

    restore: the encoder's network.
    """

    cell, prediction = PATCH, "residual"

    def __init__(self, restore: nn.Module | None = None):
        super().__init__()
        self.restore = Restorer() if restore is None else restore
        self.smooth = _convolutions(SMOOTHING)

    def encode(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """(B, 48, H / 4, W / 4) of images (B, 3, H, W) in [-1, 1]. Raises ValueError for noise: there is no posterior."""
        if noise is not None:
            raise ValueError("model has no posterior to sample from; leave seed and noise out.")
        own = image.to(next(self.restore.parameters()))
        flaws = F.pixel_shuffle(self.restore(F.pixel_unshuffle(own, SQUARE)), SQUARE)
        return F.pixel_unshuffle(own - flaws, PATCH).to(image)

    def decode(self, latent: Tensor) -> Tensor:
        """Images (B, 3, H, W), near [-1, 1], of latents."""
        picture = F.pixel_shuffle(latent.to(next(self.smooth.parameters())), PATCH)
        return (picture + self.smooth(picture)).to(latent)


class Restorer(nn.Module):
    """A U-Net of residual blocks without norms, from squares of 2 x 2 pixels, (B, 12, h, w), to what is wrong with them."""

    def __init__(self, levels: Sequence[int] = LEVELS):
        super().__init__()
        steps = list(zip(levels, levels[1:]))
        self.conv_in = nn.Conv2d(3 * SQUARE**2, levels[0], 3, padding=1)
        self.down_blocks, self.up_blocks = (
            nn.ModuleList(_residual_blocks(width, count) for width, count in zip(levels[:-1], BLOCKS)) for _ in range(2)
        )
        self.downsamplers = nn.ModuleList(nn.Conv2d(fine, coarse, 2, 2) for fine, coarse in steps)
        self.mid_block = _residual_blocks(levels[-1], BLOCKS[-1])
        self.upsamplers = nn.ModuleList(nn.Conv2d(coarse, 4 * fine, 1) for fine, coarse in steps)
        self.conv_out = nn.Conv2d(levels[0], 3 * SQUARE**2, 3, padding=1)
        for parameter in self.conv_out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        coarsest = 2 ** len(self.downsamplers)
        x = self.conv_in(F.pad(x, (0, -width % coarsest, 0, -height % coarsest), mode="replicate"))
        skips = []
        for blocks, downsample in zip(self.down_blocks, self.downsamplers):
            x = blocks(x)
            skips.append(x)
            x = downsample(x)
        x = self.mid_block(x)
        for blocks, upsample in zip(reversed(self.up_blocks), reversed(self.upsamplers)):
            x = blocks(skips.pop() + F.pixel_shuffle(upsample(x), 2))
        return self.conv_out(x)[..., :height, :width]


def plain_restorer() -> nn.Sequential:
    """A row of convolutions, which older files have in place of a `Restorer`."""
    return _convolutions(PLAIN)


class ResidualBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        kaiming_start(self)
        nn.init.normal_(self.conv2.weight, std=0.1 / math.sqrt(9 * channels))  # or the blocks would add up to too much at first

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


def is_patch_codec(tensors: dict[str, Tensor]) -> bool:
    """Whether these are a `PatchCodec`'s tensors and no VAE's."""
    return any(key.startswith("smooth.") for key in tensors)


def empty_codec(tensors: dict[str, Tensor]) -> PatchCodec:
    """A codec for these tensors, without memory of its own."""
    with torch.device("meta"):
        return PatchCodec(plain_restorer() if "restore.0.weight" in tensors else None)


def codec_of(tensors: dict[str, Tensor], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> PatchCodec:
    """The codec of these tensors."""
    codec = empty_codec(tensors)
    codec.load_state_dict({key: value.to(device, dtype) for key, value in tensors.items()}, assign=True)
    return codec.eval()


def as_picture(latent: Tensor) -> Tensor:
    """The pictures (B, 3, H, W) in [0, 1] that latents are, without the decoder's smoothing."""
    return (F.pixel_shuffle(latent, PATCH) + 1) / 2


def kaiming_start(network: nn.Module, slope: float = 0.0) -> None:
    """He's start for convolutions without norms between, through which torch's own fades. slope: of the activation below 0."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, a=slope)
        else:
            nn.init.zeros_(parameter)


def _residual_blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


def _convolutions(channels: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for narrow, wide in zip(channels, channels[1:]):
        convolution = nn.Conv2d(narrow, wide, 3, padding=1)
        kaiming_start(convolution)
        layers += [convolution, nn.ReLU()]
    nn.init.zeros_(convolution.weight)
    return nn.Sequential(*layers[:-1])
