"""A small stand-in for the VAE, for networks that are trained from nothing."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .color import linear_to_srgb, srgb_to_linear
from .defocus import K_TRAINED

PATCH = 4
LEVELS = 6  # of means: up to squares of 64 pixels
RESTORING = (3, 32, 32, 32, 32, 32, 3)  # channels of the encoder's network
SMOOTHING = (3, 16, 16, 3)  # of the decoder's


class PatchCodec(nn.Module):
    """A `sampler.Codec` whose latent is the picture itself: its patches of 4 x 4 pixels as 48 channels.

    Both ways are exact up to a small convolutional network, which starts at nothing: the encoder's learns to take noise and
    compression away (as the LoRA on the VAE's encoder does in the full model), the decoder's to hide the patches' borders.
    """

    cell = PATCH

    def __init__(self):
        super().__init__()
        self.restore, self.smooth = _convolutions(RESTORING), _convolutions(SMOOTHING)

    def encode(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """(B, 48, H / 4, W / 4) of images (B, 3, H, W) in [-1, 1]. Raises ValueError for noise: there is no posterior."""
        if noise is not None:
            raise ValueError("This model's codec has no posterior to sample from; leave the seed and the noise out.")
        own = image.to(self.restore[0].weight)
        return F.pixel_unshuffle(own - self.restore(own), PATCH).to(image)

    def decode(self, latent: Tensor) -> Tensor:
        """Images (B, 3, H, W), near [-1, 1], of latents."""
        picture = F.pixel_shuffle(latent.to(self.smooth[0].weight), PATCH)
        return (picture + self.smooth(picture)).to(latent)


def plain_blur(latent: Tensor, defocus: Tensor) -> Tensor:
    """Latents (B, 48, h, w) of pictures that are blurred in the plainest way: means over squares as wide as the blur radius.

    Their variance is that of the disc. In linear light; nothing keeps what is in front and what is behind apart.
    defocus: radius / 32, (B, 1, 4 h, 4 w). Where the radius is at most a pixel the latent stays as it is.
    """
    picture = F.pixel_shuffle(latent, PATCH)
    level = torch.log2((K_TRAINED * defocus).clamp(1, 2**LEVELS))
    light = srgb_to_linear(((picture + 1) / 2).clamp(0, 1))
    mixed = light * (1 - level).clamp(min=0)
    height, width = light.shape[-2:]
    for i in range(1, LEVELS + 1):
        means = F.avg_pool2d(light, 2**i, ceil_mode=True, count_include_pad=False)
        means = F.interpolate(means, scale_factor=2**i, mode="bilinear")[..., :height, :width]
        mixed = mixed + means * (1 - (level - i).abs()).clamp(min=0)
    return F.pixel_unshuffle(torch.where(level > 0, 2 * linear_to_srgb(mixed) - 1, picture), PATCH)


def kaiming_start(network: nn.Module, slope: float = 0.0) -> None:
    """He's start for convolutions without norms between, through which torch's own fades. slope: of the activation below 0."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, a=slope)
        else:
            nn.init.zeros_(parameter)


def _convolutions(channels: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for narrow, wide in zip(channels, channels[1:]):
        convolution = nn.Conv2d(narrow, wide, 3, padding=1)
        kaiming_start(convolution)
        layers += [convolution, nn.ReLU()]
    nn.init.zeros_(convolution.weight)
    return nn.Sequential(*layers[:-1])
